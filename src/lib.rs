//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.

pub mod admin;
pub mod config;
pub mod database;
pub mod domain;
pub mod members;
pub mod rules;
