//! A look at rooms, calls and figures.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::Refused;
use crate::domain::GroupId;
use crate::local::simulator::api::Api;
use crate::local::simulator::shared::Shared;
use crate::local::simulator::wire::{CallPage, MemberView, Moment, RoomSummary, RoomView, Stats};

/// Calls in one answer, unless asked for fewer.
const MOST_CALLS: usize = 1000;
/// The longest wait for a moment.
const LONGEST_WAIT_MS: u64 = 30_000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneRoom {
    group: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFilter {
    #[serde(default)]
    after: u64,
    api: Option<Api>,
    group: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MomentFilter {
    after: Option<u64>,
    #[serde(default)]
    wait_ms: u64,
}

pub(super) async fn rooms(State(shared): State<Arc<Shared>>) -> Json<Vec<RoomSummary>> {
    let world = shared.world();
    let mut list: Vec<RoomSummary> = world
        .rooms
        .iter()
        .map(|(group, room)| RoomSummary {
            group: group.as_str().to_owned(),
            members: room.len(),
            online: room.online(),
            marks: room
                .mark_counts()
                .map(|(mark, count)| (mark.get(), count))
                .collect(),
        })
        .collect();
    list.sort_unstable_by(|a, b| a.group.cmp(&b.group));
    Json(list)
}

pub(super) async fn room(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<OneRoom>,
) -> Result<Json<RoomView>, Refused> {
    let group = GroupId::parse(&query.group).map_err(Refused::bad)?;
    let mut world = shared.world();
    let room = world.rooms.find(&group)?;
    let view = |member: &crate::local::simulator::room::Member| MemberView {
        online: member.online,
        connected: member.connected,
        arrived_at: member.arrived / 1000,
        marks: member.marks.iter().map(|mark| mark.get()).collect(),
    };
    let members = room.members();
    Ok(Json(RoomView {
        group: query.group,
        owner: room.owner.clone(),
        name: room.name.clone(),
        members: members
            .map(|(account, m)| (account.as_str().to_owned(), view(m)))
            .collect(),
    }))
}

pub(super) async fn calls(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<CallFilter>,
) -> Result<Json<CallPage>, Refused> {
    let limit = filter.limit.unwrap_or(MOST_CALLS);
    if !(1..=MOST_CALLS).contains(&limit) {
        return Err(Refused::bad(format!("`limit` is from 1 to {MOST_CALLS}")));
    }
    let world = shared.world();
    let wanted = |call: &&crate::local::simulator::CallRecord| {
        filter.api.is_none_or(|api| api == call.api)
            && (filter.group.is_none() || filter.group == call.group)
    };
    let mut items: Vec<_> = world
        .log
        .after(filter.after)
        .filter(wanted)
        .take(limit + 1)
        .cloned()
        .collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|call| call.seq);
    Ok(Json(CallPage { items, next }))
}

/// Answers as soon as a call began or ended after moment `after`, or when `wait_ms` are over.
pub(super) async fn moment(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<MomentFilter>,
) -> Json<Moment> {
    let mut moments = shared.moments();
    if let Some(after) = filter.after {
        let wait = Duration::from_millis(filter.wait_ms.min(LONGEST_WAIT_MS));
        let later = tokio::time::timeout(wait, moments.wait_for(|moment| *moment > after));
        // However the wait ended, the answer is the present moment.
        let _ended = shared
            .stop
            .run_until_cancelled(later)
            .await
            .map(|result| result.is_ok());
    }
    let moment = *moments.borrow();
    Json(Moment { moment })
}

pub(super) async fn stats(State(shared): State<Arc<Shared>>) -> Json<Stats> {
    let calls = shared.world().log.counts();
    let (callbacks, callback_answers) = shared.outbox.counts();
    Json(Stats {
        calls,
        callbacks,
        callback_answers,
    })
}
