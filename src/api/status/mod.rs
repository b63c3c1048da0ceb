//! The state of the service at one look.
//!
//! It answers also while the database does not, because people look then. What could not be read is
//! null. Queue, budgets and callbacks are those of all replicas; breakers, filter and sweep totals are
//! those of the replica that answers.

mod callbacks;
pub mod figures;
mod pulse;
mod readiness;

use std::time::Duration;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use callbacks::CallbacksView;
pub(crate) use pulse::BEAT;
pub use pulse::Pulse;
pub use readiness::{DatabaseState, Readiness, Ready};

use crate::api::{AdminState, CommonProblems, Json, NoParameters, Problem, Query};
use crate::chat::{BudgetState, CallSummary, PauseState};
use crate::members::{FailureReason, QueueDepth, failure_reasons, queue_depth, retry_reasons};
use crate::messages::Message;
use crate::resync::SweepTotals;
use crate::rules::filter::{FilterState, RuleFilter};
use crate::rules::propagation::{Backlog, backlog};
use crate::version;

/// How long the database may take over what the status shows.
const PATIENCE: Duration = Duration::from_secs(3);

/// The state of the service.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ServiceStatus)]
pub(crate) struct Status {
    /// Version and commit of the replica that answers.
    version: &'static str,
    /// True once the replica has begun to end.
    draining: bool,
    /// The database.
    database: DatabaseState,
    /// What arrived at the callback listeners of all replicas; of the one that answers if the
    /// database does not respond in time.
    callbacks: CallbacksView,
    /// The queue of members; null if the database does not respond in time.
    queue: Option<QueueDepth>,
    /// Changes of rules that have not reached the members they concern yet; null if the database does not
    /// respond in time.
    propagation: Option<Backlog>,
    /// Why members failed, the most frequent reason first, at most ten.
    failures: Vec<FailureReason>,
    /// The budget of calls of each Chat API, for all replicas together; empty if the database does
    /// not respond in time.
    budgets: Vec<BudgetState>,
    /// Why members wait for another call, the most frequent reason first, at most ten.
    retries: Vec<FailureReason>,
    /// How the calls to Chat of this replica end.
    calls: CallSummary,
    /// Calls to Chat that set marks.
    chat: ChatView,
    /// Calls to Chat that compare rooms.
    chat_resync: ChatView,
    /// The rule filter; null if there is none.
    filter: Option<FilterState>,
    /// What sweeps of this replica found since its start.
    resync: SweepTotals,
}

/// Whether calls to Chat go out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChatStatus)]
struct ChatView {
    /// True while only a person can help; one call a minute is tried.
    paused: bool,
    /// The last answer of Chat.
    reason: Option<String>,
    /// `reason` as a code with parameters.
    message: Option<Message>,
    /// What to do about it.
    advice: Option<String>,
    /// Since when calls are paused.
    since: Option<DateTime<Utc>>,
}

impl From<Option<PauseState>> for ChatView {
    fn from(state: Option<PauseState>) -> Self {
        let reason = state.as_ref().map(|state| state.reason.clone());
        Self {
            paused: state.is_some(),
            message: reason.as_deref().map(Message::of),
            reason,
            since: state.as_ref().map(|state| state.since),
            advice: state.and_then(|state| state.advice),
        }
    }
}

/// Read the state of the service.
///
/// Callbacks, queue, calls to Chat, budgets and failures at one look; also while the database does not
/// answer, with null for what could not be read.
#[utoipa::path(
    get, path = "/status", operation_id = "getStatus", tag = "status",
    responses((status = 200, description = "The state.", body = Status), CommonProblems)
)]
pub(crate) async fn status(
    State(state): State<AdminState>,
    _: Query<NoParameters>,
) -> Result<Json<Status>, Problem> {
    Ok(Json(read(&state).await))
}

/// Reads the state of the service; it takes as long as the database is waited for, at most.
pub(crate) async fn read(state: &AdminState) -> Status {
    let replica = &state.replica;
    let mut status = Status {
        version: version::FULL,
        draining: state.readiness.is_draining(),
        database: state.readiness.database().await,
        callbacks: CallbacksView::of(state.arrivals.report(), Utc::now()),
        queue: None,
        propagation: None,
        failures: Vec::new(),
        budgets: Vec::new(),
        retries: Vec::new(),
        calls: replica.budgets.recent.summary(),
        chat: replica.worker_breaker.paused().into(),
        chat_resync: replica.sweeper_breaker.paused().into(),
        filter: state.filter.as_ref().map(RuleFilter::state),
        resync: *state.sweep_totals.lock(),
    };
    if status.database != DatabaseState::Unreachable {
        match tokio::time::timeout(PATIENCE, status.add_stored(state)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot read the status from the database"),
            Err(_) => {
                tracing::warn!("the database does not respond in time; the status lacks its part");
            }
        }
    }
    status
}

impl Status {
    /// Adds what the database says.
    async fn add_stored(&mut self, state: &AdminState) -> Result<(), sqlx::Error> {
        let db = &state.replica.db;
        self.queue = Some(queue_depth(db).await?);
        self.propagation = Some(backlog(db).await?);
        self.failures = failure_reasons(db).await?;
        for budget in state.replica.budgets.all() {
            self.budgets.push(budget.state().await?);
        }
        let arrived = state.arrivals.of_all_replicas(db).await?;
        self.callbacks = CallbacksView::of(arrived, Utc::now());
        let mut retries = retry_reasons(db).await?;
        // That a member is not online is no failure.
        retries.retain(|one| one.message.code != "left-out");
        self.retries = retries;
        Ok(())
    }
}
