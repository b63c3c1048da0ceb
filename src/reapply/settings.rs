//! What the worker and its rounds work with.

use std::time::Duration;

use super::breaker::Breaker;
use super::restored::Restorations;
use crate::chat::ChatClient;
use crate::database::Db;
use crate::members::{Settling, WakeUp};
use crate::metrics::Metrics;

/// The parts of a replica that the worker needs.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    pub db: Db,
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
