//! What the worker and its rounds work with.

use std::time::Duration;

use sqlx::PgPool;

use super::budget::Budget;
use super::pause::Pause;
use super::restored::Restorations;
use crate::chat::ChatClient;
use crate::members::{Settling, WakeUp};
use crate::metrics::{DatabasePart, Metrics};

/// The parts of a replica that the worker needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The database.
    pub pool: PgPool,
    /// The client for calls.
    pub chat: ChatClient,
    /// The budget of `modify_user_info`.
    pub budget: Budget,
    /// The budget of `check_members`, which tells who is in a room when a call is refused.
    pub checks: Budget,
    /// The alarm clock that recorders and rule changes ring.
    pub wake: WakeUp,
    /// The pause shared with whoever reports on it.
    pub pause: Pause,
    /// How long a claim stays with a worker that fell silent.
    pub lease: Duration,
    /// How long members' events may settle, and members of a busy room gather.
    pub settling: Settling,
    /// Told of members marked, delays, and faults of the database.
    pub metrics: Metrics,
    /// Where restored members are shown.
    pub restorations: Restorations,
}

impl WorkerSettings {
    /// The answer of the database, counted if it is a fault.
    pub(super) fn noted<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        answer.inspect_err(|_| self.metrics.database_error(DatabasePart::Worker))
    }
}
