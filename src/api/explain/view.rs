//! The explanation as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::summary::{left_out, summary};
use crate::api::members::MemberView;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet};
use crate::members::RoomRow;
use crate::members::{MEMBERS_A_MARK, MemberRow};
use crate::reapply::PauseState;
use crate::rules::explain::{Miss, RulesFor};
use crate::rules::wire::{MarkNumber, RuleView};

/// What was read.
pub(super) struct Facts {
    pub rules: RulesFor,
    pub member: Option<MemberRow>,
    pub room: Option<RoomRow>,
    pub held: BTreeMap<Mark, usize>,
    pub paused: Option<PauseState>,
}

/// Why a member has, or lacks, marks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    /// The room.
    group: String,
    /// The member.
    account: String,
    /// The moment of the answer, by the clock of the database.
    at: DateTime<Utc>,
    /// The whole in a sentence or two.
    summary: String,
    /// The marks he should carry now.
    #[schema(value_type = Vec<MarkNumber>)]
    desired: Vec<u32>,
    /// Rules in force that name him, in the order of their ids, at most 20.
    matched: Vec<RuleView>,
    /// How many there are.
    matched_total: usize,
    /// Rules that demand nothing for him, but nearly do; at most 20 for each reason.
    near: Vec<NearRule>,
    /// What is known of him; null: no event was kept, and no rule named him outright so far.
    #[schema(required = true)]
    member: Option<MemberView>,
    /// What is still to be done for him; null: nothing.
    #[schema(required = true)]
    pending: Option<Pending>,
    /// His room.
    room: ExplainedRoom,
}

/// A rule that demands nothing for the member.
#[derive(Debug, Serialize, ToSchema)]
struct NearRule {
    /// Why not.
    reason: Miss,
    /// The reason in words.
    detail: String,
    /// The rule.
    rule: RuleView,
}

/// What is still to be done.
#[derive(Debug, Serialize, ToSchema)]
struct Pending {
    /// Since when; null: it lies ahead (a rule begins or ends, a mark is renewed).
    #[schema(required = true)]
    since: Option<DateTime<Utc>>,
    /// The next attempt.
    next_attempt_at: DateTime<Utc>,
    /// Why the last call failed, or did not reach him, or what he waits for.
    #[schema(required = true)]
    last_error: Option<String>,
    /// Why no calls go out at all, on the replica that answers.
    #[schema(required = true)]
    paused: Option<String>,
}

/// Whether a room is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExplainedRoomState {
    /// As far as is known.
    Live,
    /// It was destroyed.
    Gone,
    /// Nothing was heard of it.
    Unknown,
}

/// The room of the member.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedRoom {
    /// Whether it is there.
    state: ExplainedRoomState,
    /// The last callback of it, to a minute.
    #[schema(required = true)]
    last_event_at: Option<DateTime<Utc>>,
    /// When it was destroyed.
    #[schema(required = true)]
    gone_at: Option<DateTime<Utc>>,
    /// Distinct marks that rules in force demand in it.
    #[schema(value_type = Vec<MarkNumber>)]
    marks: Vec<u32>,
    /// Whether these are as many as a room can hold.
    at_mark_limit: bool,
    /// Marks that as many members carry as Chat allows: nobody else gets them until one leaves.
    #[schema(value_type = Vec<MarkNumber>)]
    full_marks: Vec<u32>,
}

impl Explanation {
    /// Puts together what was read.
    pub(super) fn of(group: &GroupId, account: &Account, facts: Facts) -> Self {
        let summary = summary(&facts);
        let pending = pending(&facts);
        let room = ExplainedRoom::of(&facts);
        let RulesFor {
            at,
            desired,
            matched,
            near,
            ..
        } = facts.rules;
        let near = near.iter().map(|(rule, reason)| NearRule {
            reason: *reason,
            detail: words(*reason, &RuleView::from(rule)),
            rule: RuleView::from(rule),
        });
        Self {
            group: group.to_string(),
            account: account.to_string(),
            at,
            summary,
            desired: numbers(&desired),
            matched: matched.0.iter().map(RuleView::from).collect(),
            matched_total: matched.1,
            near: near.collect(),
            member: facts.member.map(MemberView::from),
            pending,
            room,
        }
    }
}

fn pending(facts: &Facts) -> Option<Pending> {
    let member = facts.member.as_ref()?;
    Some(Pending {
        since: member.pending_since,
        next_attempt_at: member.due_at?,
        last_error: member.last_error.clone().or_else(|| left_out(member)),
        paused: facts.paused.as_ref().map(|paused| paused.reason.clone()),
    })
}

impl ExplainedRoom {
    fn of(facts: &Facts) -> Self {
        let room = facts.room.as_ref();
        let full = facts.held.iter();
        let full = full.filter(|(_, holders)| **holders >= MEMBERS_A_MARK);
        Self {
            state: match room {
                None => ExplainedRoomState::Unknown,
                Some(room) if room.gone_at.is_some() => ExplainedRoomState::Gone,
                Some(_) => ExplainedRoomState::Live,
            },
            last_event_at: room.and_then(|room| room.last_event_at),
            gone_at: room.and_then(|room| room.gone_at),
            marks: numbers(&facts.rules.in_room),
            at_mark_limit: facts.rules.in_room.len() >= MAX_MARKS_PER_ROOM,
            full_marks: full.map(|(mark, _)| mark.get()).collect(),
        }
    }
}

fn words(reason: Miss, rule: &RuleView) -> String {
    let moment = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, super::summary::time);
    match reason {
        Miss::Disabled => "it names him, but is disabled".to_owned(),
        Miss::NotStarted => format!(
            "it names him, but begins only at {}",
            moment(rule.starts_at)
        ),
        Miss::Ended => format!("it names him, but ended at {}", moment(rule.ends_at)),
        Miss::OtherRoom => format!("it names him, but in the rooms {}", rule.group),
        Miss::OtherAccount => format!("it names this room, but the accounts {}", rule.account),
    }
}

fn numbers(marks: &MarkSet) -> Vec<u32> {
    marks.iter().map(|mark| mark.get()).collect()
}
