//! The integration tests: real parts only, each test with a database of its own.

mod database;
mod local_database;
mod support;
