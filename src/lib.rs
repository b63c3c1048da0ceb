//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.

pub mod admin;
pub mod callback;
pub mod chat;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod database;
#[cfg(feature = "local")]
pub mod demo;
pub mod domain;
pub mod explain;
pub mod members;
pub mod metrics;
pub mod reapply;
pub mod rest;
pub mod resync;
pub mod rules;
pub mod service;
#[cfg(feature = "local")]
pub mod simulator;
pub mod status;
pub mod telemetry;
pub mod version;
