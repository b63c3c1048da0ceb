//! What the worker and its rounds work with.

use std::time::Duration;

use super::restored::Restorations;
use crate::chat::ChatClient;
use crate::members::Settling;
use crate::replica::Replica;

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
