//! The explanation in a few sentences: what a person needs to know first.

use chrono::{DateTime, SecondsFormat, Utc};

use super::Facts;
use crate::api::marks::MarkNames;
use crate::domain::MarkSet;
use crate::members::{MemberRow, MemberState, Presence};
use crate::rules::explain::Miss;

/// What rules require, what happened to the marks, and what comes next.
pub(super) fn summary(facts: &Facts) -> String {
    let desired = &facts.rules.desired;
    let demand = match (desired.is_empty(), facts.rules.near.first()) {
        (false, _) => format!("Rules require {}.", listed(desired, &facts.names)),
        (true, Some((_, Miss::Disabled | Miss::NotStarted | Miss::Ended))) => {
            "Rules match this member, but none is in effect now.".to_owned()
        }
        (true, _) => "No rule matches this member in this room.".to_owned(),
    };
    let gone = facts.room.as_ref().and_then(|room| room.gone_at);
    let state = match (&facts.member, gone) {
        (_, Some(at)) => format!("The room was destroyed at {}.", time(at)),
        (Some(member), None) => of_member(member, desired, facts),
        (None, None) if desired.is_empty() => String::new(),
        (None, None) => {
            "No event received for this member yet; marks will be set when they join.".to_owned()
        }
    };
    let lost = facts.member.as_ref();
    let lost = lost.and_then(|member| lost_marks(member, &facts.names));
    let under_way = facts
        .rules
        .under_way
        .first()
        .map(|rule| format!("A change of rule {rule} has not reached this room yet."));
    let sentences = [Some(demand), under_way, lost, Some(state)];
    let sentences: Vec<String> = sentences.into_iter().flatten().collect();
    sentences.join(" ").trim_end().to_owned()
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

fn of_member(member: &MemberRow, desired: &MarkSet, facts: &Facts) -> String {
    let reason = member.last_error.as_deref().unwrap_or("unknown reason");
    let paused = facts.paused.as_ref().map(|paused| paused.reason.as_str());
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
            format!("In the room, with {}.", listed(&member.marks, &facts.names))
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
