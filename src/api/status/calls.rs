//! How the calls to Chat of this replica end, and why members wait for another one.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::chat::CallSummary;
use crate::messages::Message;

/// Errors that are shown.
const MOST_ERRORS: usize = 5;

/// Calls of this replica to Chat in the last minute.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = ChatCalls)]
pub(crate) struct CallsView {
    calls: u64,
    /// Calls that failed; a refusal that concerns only one room or member is not counted.
    failed: u64,
    /// `failed` as a share of `calls`, 0 to 1.
    failing_share: f64,
    /// The errors, the most frequent first, at most five.
    errors: Vec<CallError>,
    /// The last error since the start of the process.
    #[schema(required = true)]
    last_error: Option<Message>,
    #[schema(required = true)]
    last_error_at: Option<DateTime<Utc>>,
}

/// An error of calls.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CallError {
    message: Message,
    /// How many calls.
    calls: u64,
}

impl From<CallSummary> for CallsView {
    fn from(summary: CallSummary) -> Self {
        let (last_error_at, last_error) = summary.last_error.unzip();
        let errors = summary.errors.into_iter().take(MOST_ERRORS);
        Self {
            calls: summary.calls,
            failed: summary.failed,
            failing_share: match summary.calls {
                0 => 0.0,
                calls => summary.failed as f64 / calls as f64,
            },
            errors: errors
                .map(|(text, calls)| CallError {
                    message: Message::of(text),
                    calls,
                })
                .collect(),
            last_error: last_error.map(Message::of),
            last_error_at,
        }
    }
}
