//! Sets marks again: claims due members, plans from the rules, calls Chat, writes the results back.
//!
//! The worker sleeps until a member is due or a wake-up comes. Each turn claims one room with up to 500
//! of its due members and hands them to a task of its own: match the rules, plan (a pure function),
//! call, write back. No transaction is open while Chat is called; what a dead worker held comes due
//! again when its lease ends.

mod call;
mod outcome;
mod plan;
mod restored;
mod round;
mod worker;

pub use plan::plan;
#[cfg(test)]
pub(crate) use plan::tests as plan_tests;
pub use restored::Restorations;
pub use worker::Worker;

use std::time::Duration;

use crate::chat::ChatClient;
use crate::members::Settling;
use crate::replica::Replica;

/// What the worker and its rounds work with.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub replica: Replica,
    pub chat: ChatClient,
    /// How long a claim stays with a worker that fell silent.
    pub lease: Duration,
    /// The debounce of events, and how long members of a busy room gather.
    pub settling: Settling,
    /// Where restored members are shown.
    pub restorations: Restorations,
}
