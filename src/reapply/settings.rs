//! What the worker and its rounds work with.

use std::time::Duration;

use sqlx::PgPool;

use super::breaker::Breaker;
use super::restored::Restorations;
use crate::chat::ChatClient;
use crate::members::{Settling, WakeUp};
use crate::metrics::{DatabasePart, Metrics};

/// The parts of a replica that the worker needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub pool: PgPool,
    pub chat: ChatClient,
    /// Ends the worker's sleep when a member is due.
    pub wake: WakeUp,
    pub breaker: Breaker,
    /// How long a claim stays with a worker that fell silent.
    pub lease: Duration,
    /// The debounce of events, and how long members of a busy room gather.
    pub settling: Settling,
    pub metrics: Metrics,
    /// Where restored members are shown.
    pub restorations: Restorations,
}

impl WorkerSettings {
    /// The result of a statement, counted if it is a fault.
    pub(super) fn counted<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        result.inspect_err(|_| self.metrics.database_error(DatabasePart::Worker))
    }
}
