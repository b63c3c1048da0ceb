//! What a round decides for each member, as the log tells it: a line a member at `debug`, by which one
//! callback is followed to its end, and a warning for what somebody should look at. In a long outage
//! warnings come once a minute, with the number of those left out.

use std::time::Duration;

use crate::domain::{GroupId, RequestId};
use crate::members::{ClaimedMember, Outcome};
use crate::telemetry::warn_seldom;

/// Tells what was decided; written down right after.
pub(super) fn tell(group: &GroupId, member: &ClaimedMember, outcome: &Outcome) {
    let (group, account) = (group.as_str(), member.account.as_str());
    let request_id = member.request.as_ref().map(RequestId::as_str);
    match outcome {
        Outcome::Failed {
            error, retry: None, ..
        } => warn_seldom!(
            ?group,
            ?account,
            request_id,
            error,
            "a member is given up until an event or a person asks for another try"
        ),
        Outcome::Waiting { reason, retry, .. } => {
            warn_seldom!(
                ?group,
                ?account,
                request_id,
                reason,
                ?retry,
                "a member waits for a place"
            );
        }
        other => {
            let (error, retry) = next_try(other);
            tracing::debug!(
                ?group,
                ?account,
                request_id,
                outcome = other.kind(),
                error,
                retry = retry.map(tracing::field::debug),
                "decided"
            );
        }
    }
}

/// Why there has to be another try, and after what time.
fn next_try(outcome: &Outcome) -> (Option<&str>, Option<Duration>) {
    match outcome {
        Outcome::Failed { error, retry, .. } => (Some(error), *retry),
        Outcome::Refused { error, retry, .. } => (Some(error), Some(*retry)),
        Outcome::Omitted { retry } => (None, *retry),
        _ => (None, None),
    }
}
