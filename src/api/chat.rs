//! Calls to Chat that are paused: one try now, after a repair.

use std::time::Duration;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{AdminState, CommonProblems, Json, Problem};
use crate::chat::{Breaker, Tried};
use crate::messages::Message;
use crate::wake::WakeUp;

/// How long the answer waits for what the try brings.
const PATIENCE: Duration = Duration::from_secs(6);

/// What a try brought.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChatProbe {
    outcome: ChatProbeOutcome,
    /// Why calls are still paused.
    reason: Option<String>,
    /// `reason` as a code with parameters.
    message: Option<Message>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ChatProbeOutcome {
    /// Calls of this replica were not paused.
    NotPaused,
    /// The call succeeded; calls go on.
    Resumed,
    /// Chat refused the call again.
    StillPaused,
    /// No call could be tried: no member of this replica's queue is due, or the call takes long.
    NothingTried,
}

/// Try a call to Chat now.
///
/// While calls are paused after a fault that an operator must fix, this tries one at once, so that one
/// need not wait for the next probe. Each replica pauses its own calls; this is about the replica that
/// answers.
#[utoipa::path(
    post, path = "/chat/probe", operation_id = "probeChat", tag = "status",
    responses((status = 200, description = "What the try brought.", body = ChatProbe), CommonProblems)
)]
pub(super) async fn probe(State(state): State<AdminState>) -> Result<Json<ChatProbe>, Problem> {
    let replica = &state.replica;
    let (marks, comparisons) = tokio::join!(
        try_now(&replica.worker_breaker, &replica.wake_worker),
        try_now(&replica.sweeper_breaker, &replica.wake_sweeper),
    );
    // The calls that set marks matter more.
    let tried = match marks {
        Tried::NotPaused => comparisons,
        marks => marks,
    };
    Ok(Json(tried.into()))
}

async fn try_now(breaker: &Breaker, wake: &WakeUp) -> Tried {
    wake.now();
    breaker.try_now(PATIENCE).await
}

impl From<Tried> for ChatProbe {
    fn from(tried: Tried) -> Self {
        let (outcome, reason) = match tried {
            Tried::NotPaused => (ChatProbeOutcome::NotPaused, None),
            Tried::Resumed => (ChatProbeOutcome::Resumed, None),
            Tried::Refused(pause) => (ChatProbeOutcome::StillPaused, Some(pause.reason)),
            Tried::NothingTried(pause) => (ChatProbeOutcome::NothingTried, Some(pause.reason)),
        };
        Self {
            outcome,
            message: reason.as_deref().map(Message::of),
            reason,
        }
    }
}
