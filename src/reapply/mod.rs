//! Sets marks again: claims due members, plans from the rules, calls Chat, settles the answers.
//!
//! The worker sleeps until somebody is due or a wake-up comes. Each turn takes one call from the
//! budget that all replicas share, claims one room with up to 500 of its due members, and hands
//! them to a task of its own: match the rules, plan (a pure function), call, settle. No transaction
//! is open while Chat is called; what a dead worker held comes due again when its lease ends.

mod budget;
mod call;
mod decisions;
mod halving;
mod outcome;
mod pause;
mod places;
mod plan;
mod restored;
mod round;
mod settings;
mod verdict;
mod worker;

pub use budget::{Budget, BudgetState, CallRate, Slot};
pub use pause::{Leave, Pause, PauseState};
pub use plan::{MemberPlan, plan};
pub use restored::{Restoration, Restorations, Unseen};
pub use settings::WorkerSettings;
pub use worker::Worker;
