//! The explanation as JSON.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::summary::summary;
use crate::api::marks::{MarkNames, NamedMark};
use crate::chat::PauseState;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet};
use crate::members::RoomRow;
use crate::members::{MEMBERS_A_MARK, MemberRow};
use crate::messages::Message;
use crate::rules::document::RuleView;
use crate::rules::explain::{Miss, RulesFor};

/// What was read from the database.
pub(super) struct Facts {
    pub rules: RulesFor,
    pub member: Option<MemberRow>,
    pub room: Option<RoomRow>,
    pub held: BTreeMap<Mark, usize>,
    pub paused: Option<PauseState>,
    pub names: MarkNames,
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
    /// The explanation in a few sentences.
    summary: String,
    /// The marks that the member should carry now.
    #[schema(value_type = Vec<Mark>)]
    desired: Vec<u32>,
    /// The names of the marks in this answer that have one.
    mark_names: Vec<NamedMark>,
    /// Active rules that match the member, in the order of their ids, at most 20.
    matched: Vec<RuleView>,
    /// How many active rules match.
    matched_total: usize,
    /// Rules of which a change has not reached this room yet.
    under_way: Vec<String>,
    /// Rules that nearly match, at most 20 for each reason.
    near: Vec<NearRule>,
    /// What is known about the member; null: no event was recorded, and no rule names the account in full.
    #[schema(required = true)]
    member: Option<MemberRow>,
    /// The next attempt; null: none is due.
    #[schema(required = true)]
    pending: Option<Pending>,
    /// The room of the member.
    room: ExplainedRoom,
}

/// A rule that requires nothing for the member, but nearly does.
#[derive(Debug, Serialize, ToSchema)]
struct NearRule {
    /// Why it does not match.
    reason: Miss,
    /// The reason in words.
    detail: String,
    /// The rule.
    rule: RuleView,
}

/// The next attempt for a member.
#[derive(Debug, Serialize, ToSchema)]
struct Pending {
    /// Since when it is pending; null: it lies ahead (a rule starts or ends, a mark is renewed).
    #[schema(required = true)]
    since: Option<DateTime<Utc>>,
    /// The next attempt.
    next_attempt_at: DateTime<Utc>,
    /// Why the last call failed or left the member out, or what the member waits for.
    #[schema(required = true)]
    last_error: Option<String>,
    /// `paused`, or else `last_error`, as a code with parameters.
    #[schema(required = true)]
    message: Option<Message>,
    /// Why the replica that answers makes no calls; null: it does.
    #[schema(required = true)]
    paused: Option<String>,
}

/// Whether a room exists in Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ExplainedRoomState {
    /// It exists, as far as is known.
    Live,
    /// It was destroyed.
    Gone,
    /// No event and no rule has named it.
    Unknown,
}

/// The room of the member.
#[derive(Debug, Serialize, ToSchema)]
struct ExplainedRoom {
    /// Whether it exists in Chat.
    state: ExplainedRoomState,
    /// The last callback about it, to a minute.
    #[schema(required = true)]
    last_event_at: Option<DateTime<Utc>>,
    /// When it was destroyed.
    #[schema(required = true)]
    gone_at: Option<DateTime<Utc>>,
    /// Distinct marks that active rules require in it.
    #[schema(value_type = Vec<Mark>)]
    marks: Vec<u32>,
    /// Whether these are as many as a room can have.
    at_mark_limit: bool,
    /// Marks that as many members carry as Chat allows: no other member gets them until one leaves.
    #[schema(value_type = Vec<Mark>)]
    full_marks: Vec<u32>,
}

impl Explanation {
    pub(super) fn of(group: &GroupId, account: &Account, facts: Facts) -> Self {
        let summary = summary(&facts);
        let pending = pending(&facts);
        let room = ExplainedRoom::of(&facts);
        let mark_names = facts.names.of(&facts.marks());
        let RulesFor {
            at,
            desired,
            matched,
            near,
            under_way,
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
            mark_names,
            matched: matched.0.iter().map(RuleView::from).collect(),
            matched_total: matched.1,
            under_way: under_way.iter().map(ToString::to_string).collect(),
            near: near.collect(),
            member: facts.member,
            pending,
            room,
        }
    }
}

fn pending(facts: &Facts) -> Option<Pending> {
    let member = facts.member.as_ref()?;
    let last_error = member.last_error.clone();
    let paused = facts.paused.as_ref().map(|paused| paused.reason.clone());
    Some(Pending {
        since: member.pending_since,
        next_attempt_at: member.due_at?,
        message: paused.as_deref().or(last_error.as_deref()).map(Message::of),
        last_error,
        paused,
    })
}

impl Facts {
    /// Every mark that the answer can name.
    fn marks(&self) -> MarkSet {
        let rules = &self.rules;
        let near = rules.near.iter().map(|(rule, _)| rule);
        let mut marks: MarkSet = near.flat_map(|rule| rule.draft.marks.iter()).collect();
        marks.extend(rules.in_room.iter().chain(&rules.desired));
        if let Some(member) = &self.member {
            marks.extend(member.marks.iter().chain(&member.confirmed_marks));
        }
        marks
    }
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
        Miss::Disabled => "matches the member, but is disabled".to_owned(),
        Miss::NotStarted => format!(
            "matches the member, but starts at {}",
            moment(rule.starts_at)
        ),
        Miss::Ended => format!("matched the member, but ended at {}", moment(rule.ends_at)),
        Miss::OtherRoom => format!("matches the account, but only in the rooms {}", rule.group),
        Miss::OtherAccount => format!("matches the room, but only the accounts {}", rule.account),
    }
}

fn numbers(marks: &MarkSet) -> Vec<u32> {
    marks.iter().map(|mark| mark.get()).collect()
}
