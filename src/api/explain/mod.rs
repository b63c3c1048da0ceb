//! Why a member has, or lacks, a mark: everything that is known, and a summary in words.
//!
//! Rules, the member's row and the room are read one after the other, not in one snapshot; a change in
//! between shows in the next answer.

mod summary;

use std::collections::BTreeMap;

use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::marks::NamedMark;
use crate::api::{AdminState, CommonProblems, Json, Problem, Query};
use crate::chat::PauseState;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Rule, RuleId};
use crate::members::{
    MEMBERS_A_MARK, MemberFilter, MemberRow, RoomFilter, RoomRow, held_places, list_members,
    list_rooms,
};
use crate::messages::Message;
use crate::rules::document::RuleView;
use crate::rules::explain::{Miss, RulesFor, rules_for};

/// Why a member has, or lacks, marks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Explanation {
    /// The room.
    #[schema(value_type = String)]
    group: GroupId,
    /// The member.
    #[schema(value_type = String)]
    account: Account,
    /// The moment of the answer, by the clock of the database.
    at: DateTime<Utc>,
    /// The explanation in a few sentences.
    summary: String,
    /// The marks that the member should carry now.
    #[schema(value_type = Vec<Mark>)]
    desired: MarkSet,
    /// The names of the marks in this answer that have one.
    mark_names: Vec<NamedMark>,
    /// Active rules that match the member, in the order of their ids, at most 20.
    matched: Vec<RuleView>,
    /// How many active rules match.
    matched_total: usize,
    /// Rules of which a change has not reached this room yet.
    #[schema(value_type = Vec<String>)]
    under_way: Vec<RuleId>,
    /// Rules that nearly match, at most 20 for each reason.
    near: Vec<NearRule>,
    /// What is known about the member; null: no event was recorded, and no rule names the account in full.
    member: Option<MemberRow>,
    /// The next attempt; null: none is due.
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
    since: Option<DateTime<Utc>>,
    /// The next attempt.
    next_attempt_at: DateTime<Utc>,
    /// Why the last call failed or left the member out, or what the member waits for.
    last_error: Option<String>,
    /// `paused`, or else `last_error`, as a code with parameters.
    message: Option<Message>,
    /// Why the replica that answers makes no calls; null: it does.
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
    last_event_at: Option<DateTime<Utc>>,
    /// When it was destroyed.
    gone_at: Option<DateTime<Utc>>,
    /// Distinct marks that active rules require in it.
    #[schema(value_type = Vec<Mark>)]
    marks: MarkSet,
    /// Whether these are as many as a room can have.
    at_mark_limit: bool,
    /// Marks that as many members carry as Chat allows: no other member gets them until one leaves.
    #[schema(value_type = Vec<Mark>)]
    full_marks: MarkSet,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    /// The room.
    #[param(value_type = String, pattern = "^[ -~]{1,48}$")]
    group: GroupId,
    /// The member; they need not be known.
    #[param(value_type = String, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Account,
}

/// Explain the marks of a member.
///
/// What the member has, what rules require and which, what happened last, and when the next attempt is;
/// also for accounts that no rule matches and rooms that are not known.
#[utoipa::path(
    get, path = "/explain", operation_id = "explainMember", tag = "members", params(ExplainQuery),
    responses((status = 200, description = "The explanation.", body = Explanation), CommonProblems)
)]
pub(super) async fn explain(
    State(state): State<AdminState>,
    Query(ExplainQuery { group, account }): Query<ExplainQuery>,
) -> Result<Json<Explanation>, Problem> {
    let db = &state.replica.db;
    let RulesFor {
        at,
        matched: (matched, matched_total),
        near,
        desired,
        in_room,
        under_way,
    } = rules_for(db, &group, &account).await?;
    let room = RoomFilter {
        group: Some(group.clone()),
        state: None,
    };
    let member = MemberFilter {
        group: Some(group.clone()),
        account: Some(account.clone()),
        ..MemberFilter::default()
    };
    let mut reading = db.begin_reading().await?;
    let member = list_members(&mut reading, &member, None, 1).await?.pop();
    let room = list_rooms(&mut reading, &room, "", 1).await?.pop();
    drop(reading);
    let held = held_places(db, &group).await?;
    let paused = state.replica.worker_breaker.paused();
    let mut marks: MarkSet = near
        .iter()
        .flat_map(|(rule, _)| rule.draft.marks.iter())
        .collect();
    marks.extend(in_room.iter().chain(&desired));
    if let Some(member) = &member {
        marks.extend(member.marks.iter().chain(&member.confirmed_marks));
    }
    let names = state.mark_names;
    let mut explanation = Explanation {
        group,
        account,
        at,
        summary: String::new(),
        desired,
        mark_names: names.of(&marks),
        matched: matched.iter().map(RuleView::from).collect(),
        matched_total,
        under_way,
        near: near.iter().map(NearRule::of).collect(),
        pending: member
            .as_ref()
            .and_then(|member| Pending::of(member, paused)),
        member,
        room: ExplainedRoom::of(room, in_room, &held),
    };
    explanation.summary = summary::summary(&explanation, &names);
    Ok(Json(explanation))
}

impl Pending {
    fn of(member: &MemberRow, paused: Option<PauseState>) -> Option<Self> {
        let last_error = member.last_error.clone();
        let paused = paused.map(|paused| paused.reason);
        Some(Self {
            since: member.pending_since,
            next_attempt_at: member.due_at?,
            message: paused.as_deref().or(last_error.as_deref()).map(Message::of),
            last_error,
            paused,
        })
    }
}

impl ExplainedRoom {
    fn of(room: Option<RoomRow>, marks: MarkSet, held: &BTreeMap<Mark, usize>) -> Self {
        let full = held
            .iter()
            .filter(|(_, holders)| **holders >= MEMBERS_A_MARK);
        let gone_at = room.as_ref().and_then(|room| room.gone_at);
        Self {
            state: match (&room, gone_at) {
                (None, _) => ExplainedRoomState::Unknown,
                (_, Some(_)) => ExplainedRoomState::Gone,
                (_, None) => ExplainedRoomState::Live,
            },
            last_event_at: room.and_then(|room| room.last_event_at),
            gone_at,
            at_mark_limit: marks.len() >= MAX_MARKS_PER_ROOM,
            marks,
            full_marks: full.map(|(mark, _)| *mark).collect(),
        }
    }
}

impl NearRule {
    fn of((rule, reason): &(Rule, Miss)) -> Self {
        let (rule, reason) = (RuleView::from(rule), *reason);
        let moment = |at: Option<DateTime<Utc>>| at.map_or_else(String::new, summary::time);
        let detail = match reason {
            Miss::Disabled => "matches the member, but is disabled".to_owned(),
            Miss::NotStarted => format!(
                "matches the member, but starts at {}",
                moment(rule.starts_at)
            ),
            Miss::Ended => format!("matched the member, but ended at {}", moment(rule.ends_at)),
            Miss::OtherRoom => format!("matches the account, but only in the rooms {}", rule.group),
            Miss::OtherAccount => {
                format!("matches the room, but only the accounts {}", rule.account)
            }
        };
        Self {
            reason,
            detail,
            rule,
        }
    }
}
