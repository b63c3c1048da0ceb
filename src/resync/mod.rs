//! The sweep: compares each room with Chat, and heals what callbacks did not tell.
//!
//! Callbacks are hints that Chat may lose; the sweep is the guarantee. Every replica runs one
//! [`Sweeper`]; a room is claimed (`SKIP LOCKED` and a lease), there is no leader. The sweep itself changes
//! no mark: it corrects the members table, and members who lack a mark or carry a wrong one become due for
//! the worker. It removes only marks that a rule once demanded in the room, and leaves alone what was
//! recorded or confirmed within the last minute, since Chat's lists lag by 40 s. Its calls have budgets of
//! their own, so that it neither starves nor delays the worker.

mod compare;
mod heartbeat;
mod room;
mod schedule;
mod sweep;
mod sweeper;

pub use schedule::request;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use crate::chat::ChatClient;
use crate::members::Found;
use crate::replica::Replica;

/// Sweeps rooms. One per replica.
#[derive(Debug, Clone)]
pub struct Sweeper {
    /// In the part of the sweep.
    pub replica: Replica,
    pub chat: ChatClient,
    /// Time between two sweeps of a room; `None` = only those that a person asks for.
    pub interval: Option<Duration>,
    /// How long rows of absent members are kept; `None` = no limit.
    pub keep_absent: Option<Duration>,
    /// The same for the history of rules.
    pub keep_history: Option<Duration>,
    pub totals: Arc<Mutex<SweepTotals>>,
}

/// What the sweeps of this process found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SweepTotals {
    /// Complete sweeps.
    pub rooms: u64,
    /// Failed sweeps.
    pub failed: u64,
    /// What the complete ones found.
    pub found: Found,
}
