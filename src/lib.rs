//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.
//!
//! Each room stands below those it uses; `tests/it/layers.rs` compares this order with the imports.

pub mod domain;

pub mod messages;

pub mod clock;
pub mod version;

pub mod config;

pub mod telemetry;

pub mod metrics;

pub mod database;

pub mod chat;

pub mod replica;
pub mod wake;

pub mod members;

pub mod rules;

pub mod callback;

pub mod reapply;

pub mod resync;

pub mod api;

pub mod service;

pub mod check;
pub mod cli;
#[cfg(feature = "local")]
pub mod local;
