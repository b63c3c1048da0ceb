//! The `stickymark` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    stickymark::cli::main()
}
