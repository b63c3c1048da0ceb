//! The explanation in a few sentences: what a person needs to know first.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Explanation;
use crate::api::marks::MarkNames;
use crate::domain::MarkSet;
use crate::members::{MemberRow, MemberState, Presence};
use crate::rules::explain::Miss;

/// What rules require, what happened to the marks, and what comes next.
pub(super) fn summary(known: &Explanation, names: &MarkNames) -> String {
    let desired = &known.desired;
    let near = known.near.first().map(|near| near.reason);
    let demand = match (desired.is_empty(), near) {
        (false, _) => format!("Rules require {}.", listed(desired, names)),
        (true, Some(Miss::Disabled | Miss::NotStarted | Miss::Ended)) => {
            "Rules match this member, but none is in effect now.".to_owned()
        }
        (true, _) => "No rule matches this member in this room.".to_owned(),
    };
    let member = known.member.as_ref();
    let state = match (member, known.room.gone_at) {
        (_, Some(at)) => Some(format!("The room was destroyed at {}.", time(at))),
        (Some(member), None) => Some(of_member(member, known, names)),
        (None, None) if desired.is_empty() => None,
        (None, None) => Some(
            "No event received for this member yet; marks will be set when they join.".to_owned(),
        ),
    };
    let lost = member.and_then(|member| lost_marks(member, names));
    let under_way = known.under_way.first();
    let under_way =
        under_way.map(|rule| format!("A change of rule {rule} has not reached this room yet."));
    let sentences = [Some(demand), under_way, lost, state];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    sentences.join(" ")
}

/// What became of the marks that Chat confirmed last, if the member does not carry them any more.
fn lost_marks(member: &MemberRow, names: &MarkNames) -> Option<String> {
    if member.confirmed_marks.is_empty() || !member.marks.is_empty() {
        return None;
    }
    let since = member.heard_at > member.confirmed_at;
    let what = match (member.event.as_deref().filter(|_| since), member.presence) {
        (Some("offline"), _) => "the member dropped, and Chat removed them",
        (Some("exit"), _) => "the member left, and Chat removed them",
        (Some("destroyed"), _) => "then the room was destroyed",
        (Some(_), _) => "the member came back after that, and they must be set again",
        (None, Presence::Absent) => "Chat no longer finds the member in the room",
        (None, _) => "a comparison with Chat found that they were removed",
    };
    let marks = listed(&member.confirmed_marks, names);
    Some(format!("Chat confirmed {marks}; {what}."))
}

fn of_member(member: &MemberRow, known: &Explanation, names: &MarkNames) -> String {
    let desired = &known.desired;
    let reason = member.last_error.as_deref().unwrap_or("unknown reason");
    let pending = known.pending.as_ref();
    let paused = pending.and_then(|pending| pending.paused.as_deref());
    match (member.state, member.presence, paused) {
        (MemberState::Failed, ..) => {
            format!("Gave up after repeated failures: {reason}. Retry with POST /v1/members/retry.")
        }
        (MemberState::Pending, _, Some(paused)) => {
            format!("Waiting: calls to Chat are paused: {paused}.")
        }
        (MemberState::Pending, ..) if !member.waits_for.is_empty() => {
            format!("Waiting: {reason}.")
        }
        (MemberState::Pending, ..) => match (member.due_at, &member.last_error) {
            (Some(due), Some(error)) => {
                format!(
                    "The last attempt failed: {error}. Next attempt at {}.",
                    time(due)
                )
            }
            (Some(due), None) => format!("Next update is due at {}.", time(due)),
            (None, _) => "An update is pending.".to_owned(),
        },
        (_, Presence::Present, _) if member.marks == *desired => match desired.is_empty() {
            true => "In the room, with no marks managed by Stickymark.".to_owned(),
            false => "In the room, and Chat confirmed all of them.".to_owned(),
        },
        (_, Presence::Present, _) => {
            format!("In the room, with {}.", listed(&member.marks, names))
        }
        _ if desired.is_empty() => "Not in the room, as far as is known.".to_owned(),
        _ => "Not in the room, as far as is known; marks will be set when they join.".to_owned(),
    }
}

/// "marks 1000 (teacher), 1001 and 1002".
fn listed(marks: &MarkSet, names: &MarkNames) -> String {
    let marks: Vec<String> = marks.iter().map(|mark| names.shown(*mark)).collect();
    match marks.as_slice() {
        [] => "no mark".to_owned(),
        [one] => format!("mark {one}"),
        [first @ .., last] => format!("marks {} and {last}", first.join(", ")),
    }
}

/// A moment, for people.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
