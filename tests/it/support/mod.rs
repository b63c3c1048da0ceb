//! What the tests share.

pub mod api;
pub mod database;

pub use database::{database, empty_database};
