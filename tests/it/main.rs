//! The integration tests: real parts only, each test with a database of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that panics has failed"
)]
mod admin_api;
mod arriving;
mod breaker;
mod budget;
mod chaos;
mod check;
mod cli;
mod console;
mod database;
mod demo;
mod erase;
mod errors;
mod explain;
mod filter;
mod forward_https;
mod fuzz;
mod fuzz_import;
mod hostile;
mod import;
mod inbox;
mod layers;
mod local_database;
mod log_filter;
mod marks;
mod members;
mod members_api;
mod metrics;
mod plans;
mod propagation;
mod proxies;
mod refusals;
mod request_id;
mod restore;
mod resync;
mod resync_faults;
mod rules_api;
mod rules_limits;
mod serve;
mod small_commands;
mod stage;
mod support;
mod traces;
