//! Stickymark keeps member marks of Tencent Cloud Chat live rooms in place.
//!
//! Each room stands below those it uses; `tests/it/layers.rs` compares this order with the imports.

mod domain;

mod messages;

mod clock;
mod version;

mod config;

mod telemetry;

mod metrics;

mod database;

mod chat;

mod wake;

mod replica;

mod members;

mod rules;

mod callback;

mod reapply;

mod resync;

mod api;

mod service;

mod check;
pub mod cli;
#[cfg(feature = "local")]
mod local;

pub mod testing;
