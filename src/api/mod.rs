//! The management API: everything behind the admin listener.
//!
//! `router` puts it together. `auth`, `body`, `query` and `problem` are what all requests share; each
//! resource has a file or folder of its own.

mod assets;
mod auth;
mod body;
pub mod chat;
pub mod console;
mod docs;
mod erase;
pub mod explain;
mod guesses;
mod log;
pub mod marks;
pub mod members;
mod openapi;
mod origin;
mod probes;
mod problem;
mod query;
mod request;
mod responses;
pub mod rooms;
mod router;
pub mod rules;
mod session;
pub mod status;

use std::sync::Arc;

use chrono::Utc;
use parking_lot::Mutex;

use crate::callback::Arrivals;
use crate::config::AdminToken;
use crate::members::Inbox;
use crate::reapply::Restorations;
use crate::replica::Replica;
use crate::resync::SweepTotals;
use crate::rules::Rules;
use crate::rules::filter::RuleFilter;
pub use auth::Caller;
pub(crate) use auth::{Tokens, authorize, is_write};
pub(crate) use body::MAX_BODY;
pub use body::{Json, JsonBody};
use console::Live;
use marks::MarkNames;
#[cfg(feature = "local")]
pub(crate) use origin::this_machine_only;
pub use problem::{Problem, ProblemDetails, ProblemType};
pub(crate) use query::{Limit, Listed, MAX_LIMIT, NoParameters, Paging, Query};
use responses::{
    BodyProblems, CommonProblems, ImportProblems, ProbeProblems, RuleChanged, RuleConflict,
    RuleUnknown,
};
pub use router::{openapi, router};
use status::{Pulse, Readiness};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    pub(crate) replica: Replica,
    pub(crate) readiness: Readiness,
    pub(crate) tokens: Tokens,
    pub(crate) rules: Rules,
    pub(crate) live: Live,
    /// What the replica counted lately, for charts.
    pub(crate) pulse: Pulse,
    pub(crate) mark_names: MarkNames,
    /// The rule filter, if there is one.
    pub(crate) filter: Option<RuleFilter>,
    /// The inbox, if callbacks are taken.
    pub(crate) inbox: Option<Inbox>,
    /// What the callback listener received.
    pub(crate) arrivals: Arrivals,
    /// What sweeps found.
    pub(crate) sweep_totals: Arc<Mutex<SweepTotals>>,
    /// The members that were restored last.
    pub(crate) restorations: Restorations,
}

impl AdminState {
    /// Without the parts that take callbacks and call Chat. Without tokens everyone who reaches the
    /// listener from this machine may do everything; the settings allow that on loopback alone.
    pub fn new(replica: Replica, readiness: Readiness, tokens: &[AdminToken]) -> Self {
        Self {
            tokens: Tokens::new(tokens, &replica.metrics),
            rules: Rules::new(replica.db.clone(), replica.wake_propagation.clone()),
            live: Live::default(),
            pulse: Pulse::of(replica.metrics.clone()),
            mark_names: MarkNames::default(),
            filter: None,
            inbox: None,
            arrivals: Arrivals::since(Utc::now()),
            sweep_totals: Arc::default(),
            restorations: Restorations::default(),
            replica,
            readiness,
        }
    }
}
