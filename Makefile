# make demo, make test: all that a newcomer needs. On a fresh machine have cargo (https://rustup.rs),
# make and a C compiler; PostgreSQL's programs are installed if they are missing.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench sqlx openapi tools

help: ## says what there is
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile | expand -t 14

demo: tools ## plays the whole product on this machine
	cargo run -- demo

test: tools ## runs all tests
	@.ci/pgbouncer >/dev/null
	cargo test

check: tools ## runs what must hold before a change is taken: tests, format, lints, docs
	.ci/run

bench: tools ## measures storms, memory and more, and writes benches/RESULTS.md; takes ten minutes
	cargo bench

sqlx: tools ## renews .sqlx after a query or a migration changed
	.ci/sqlx write

openapi: ## renews deploy/openapi.json after the management API changed
	.ci/checks/openapi write

tools:
	@command -v cargo >/dev/null || { echo "cargo is missing; install Rust from https://rustup.rs" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "cc is missing. Debian, Ubuntu: sudo apt-get install build-essential; macOS: xcode-select --install; Fedora: sudo dnf install gcc" >&2; exit 1; }
	@deploy/postgresql-binaries --install >/dev/null
