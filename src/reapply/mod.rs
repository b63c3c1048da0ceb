//! Sets marks again: claims due members, plans from the rules, calls Chat, writes the results back.
//!
//! The worker sleeps until a member is due or a wake-up comes. Each turn claims one room with up to 500
//! of its due members and hands them to a task of its own: match the rules, plan (a pure function),
//! call, write back. No transaction is open while Chat is called; what a dead worker held comes due
//! again when its lease ends.

mod call;
mod outcome;
mod places;
mod plan;
mod restored;
mod round;
mod settings;
mod worker;

pub use plan::plan;
pub use restored::{Restoration, Restorations, Unseen};
pub use settings::WorkerSettings;
pub use worker::Worker;
