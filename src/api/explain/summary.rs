//! The explanation in a sentence or two: the first thing that somebody has to know.

use chrono::{DateTime, SecondsFormat, Utc};

use super::view::Facts;
use crate::domain::MarkSet;
use crate::members::{MemberRow, MemberState, Presence};
use crate::rules::explain::Miss;

/// Says what is the matter.
pub(super) fn summary(facts: &Facts) -> String {
    let desired = &facts.rules.desired;
    let demand = match (desired.is_empty(), facts.rules.near.first()) {
        (false, _) => format!("Rules demand {}.", listed(desired)),
        (true, Some((_, Miss::Disabled | Miss::NotStarted | Miss::Ended))) => {
            "Rules name him, but none of them is in force now.".to_owned()
        }
        (true, _) => "No rule names him in this room.".to_owned(),
    };
    let gone = facts.room.as_ref().and_then(|room| room.gone_at);
    let state = match (&facts.member, gone) {
        (_, Some(at)) => format!("The room was destroyed at {}.", time(at)),
        (Some(member), None) => of_member(member, desired, facts),
        (None, None) if desired.is_empty() => String::new(),
        (None, None) => "No event of him was heard; the marks are set when he arrives.".to_owned(),
    };
    format!("{demand} {state}").trim_end().to_owned()
}

fn of_member(member: &MemberRow, desired: &MarkSet, facts: &Facts) -> String {
    let reason = member.last_error.as_deref().unwrap_or("no reason is known");
    let paused = facts.paused.as_ref().map(|paused| paused.reason.as_str());
    match (member.state, member.presence, paused) {
        (MemberState::Failed, ..) => {
            format!("He was given up: {reason}. POST /v1/members/retry gives him another try.")
        }
        (MemberState::Pending, _, Some(paused)) => {
            format!("He waits, since calls to Chat are paused: {paused}.")
        }
        (MemberState::Pending, ..) if !member.waits_for.is_empty() => {
            format!("He waits: {reason}.")
        }
        (MemberState::Pending, ..) => match (member.due_at, &member.last_error) {
            (Some(due), Some(error)) => {
                format!(
                    "The last attempt failed: {error}. The next one is due at {}.",
                    time(due)
                )
            }
            (Some(due), None) => match left_out(member) {
                Some(why) => format!("{why}. The next attempt is due at {}.", time(due)),
                None => format!("Something is to be done for him at {}.", time(due)),
            },
            (None, _) => "Something is to be done for him.".to_owned(),
        },
        (_, Presence::Present, _) if member.marks == *desired => match desired.is_empty() {
            true => "He is in the room and carries no mark of ours.".to_owned(),
            false => "He is in the room, and Chat confirmed them all.".to_owned(),
        },
        (_, Presence::Present, _) => format!(
            "He is in the room, and Chat confirmed {}.",
            listed(&member.marks)
        ),
        _ => "He is not in the room, as far as is known; marks are set when he arrives.".to_owned(),
    }
}

/// That Chat left him out of its answer, if it did so last.
pub(super) fn left_out(member: &MemberRow) -> Option<String> {
    let times = match member.omissions {
        ..=0 => return None,
        1 => "once".to_owned(),
        times => format!("{times} times in a row"),
    };
    Some(format!(
        "Chat left him out of its answer {times}, as it does with whoever is not online"
    ))
}

fn listed(marks: &MarkSet) -> String {
    let marks: Vec<String> = marks.iter().map(ToString::to_string).collect();
    match marks.as_slice() {
        [] => "no mark".to_owned(),
        [one] => format!("the mark {one}"),
        many => format!("the marks {}", many.join(", ")),
    }
}

/// A moment for people.
pub(super) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
