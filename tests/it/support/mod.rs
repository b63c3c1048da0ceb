//! What the tests share.

pub mod database;

pub use database::{database, empty_database};
