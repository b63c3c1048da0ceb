//! Rooms as people see them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::{IntoParams, ToSchema};

use super::list::MembersByState;
use crate::domain::GroupId;
use crate::messages::Message;

/// What one sweep found in a room; kept as `sweep_found` in its row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ComparisonFindings)]
pub struct Found {
    /// Members in the room who lacked a mark that rules require.
    pub missing: u64,
    /// Members who carried a mark of ours that no rule requires for them.
    pub surplus: u64,
    /// Members in the room without a callback (they may also count as missing).
    pub unheard: u64,
    /// Present members that Chat does not find in the room.
    pub vanished: u64,
}

impl Found {
    /// True if Chat and the table agreed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Found {
    fn add_assign(&mut self, more: Self) {
        self.missing += more.missing;
        self.surplus += more.surplus;
        self.unheard += more.unheard;
        self.vanished += more.vanished;
    }
}

/// A live room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Room)]
pub struct RoomRow {
    #[schema(value_type = String)]
    pub group: GroupId,
    /// Whether it exists in Chat.
    pub state: RoomState,
    /// The first event, or when a rule first named it.
    pub opened_at: DateTime<Utc>,
    /// The last callback about it, to a minute; null: none yet.
    pub last_event_at: Option<DateTime<Utc>>,
    /// When it was destroyed.
    pub gone_at: Option<DateTime<Utc>>,
    /// Its members by state.
    pub members: MembersByState,
    /// How it was compared with Chat.
    pub sweep: RoomSweepState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RoomState {
    Live,
    /// Destroyed.
    Gone,
}

/// How a room was compared with Chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RoomComparison)]
pub struct RoomSweepState {
    /// The last complete sweep; null: none yet.
    pub at: Option<DateTime<Utc>>,
    /// What that one found and fixed.
    pub drift: Option<Found>,
    /// The next one; null: none is due.
    pub due_at: Option<DateTime<Utc>>,
    /// When a person or a change of rules requested one that has not started yet.
    pub requested_at: Option<DateTime<Utc>>,
    /// Whether one is under way.
    pub running: bool,
    /// Failed sweeps in a row.
    pub failures: i32,
    /// Why the last one failed.
    pub last_error: Option<String>,
    /// `last_error` as a code with parameters.
    pub message: Option<Message>,
}

/// Which rooms; `None` is any.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RoomFilter {
    /// Exactly this room.
    #[param(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    pub group: Option<GroupId>,
    /// Rooms in this state.
    pub state: Option<RoomState>,
}

/// Rooms in the order of their ids, after `after`, which stays a valid cursor however rows change between
/// two pages.
pub async fn list_rooms(
    reading: &mut PgConnection,
    filter: &RoomFilter,
    after: &str,
    limit: i64,
) -> Result<Vec<RoomRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        -- The room's own time of it is up to a minute old.
        select r.group_id as "group: GroupId", r.opened_at, greatest(r.last_event_at, c.heard_at) as last_event_at, r.gone_at, r.swept_at,
               r.sweep_found as "sweep_found: Json<Found>", r.sweep_due_at, r.sweep_requested_at,
               coalesce(r.sweeping_until > now(), false) as "sweeping!",
               r.sweep_failures, r.sweep_error,
               c.pending as "pending!", c.applied as "applied!", c.offline as "offline!",
               c.failed as "failed!"
        from (
            select * from rooms
            where group_id > $1 and ($2::text is null or group_id = $2)
              and ($3::boolean is null or (gone_at is not null) = $3)
            order by group_id limit $4
        ) r
        cross join lateral (
            select max(m.heard_at) as heard_at,
                   count(*) filter (where s.state = 'pending') as pending,
                   count(*) filter (where s.state = 'applied') as applied,
                   count(*) filter (where s.state = 'offline') as offline,
                   count(*) filter (where s.state = 'failed') as failed
            from members m
            cross join lateral (
                select case when m.failed_at is not null then 'failed'
                            when m.pending_since is not null then 'pending'
                            when m.presence = 'present' then 'applied'
                            else 'offline' end as state
            ) s
            where m.group_id = r.group_id
        ) c
        order by r.group_id
        "#,
        after,
        filter.group.as_ref().map(GroupId::as_str),
        filter.state.map(|state| state == RoomState::Gone),
        limit,
    )
    .fetch_all(reading)
    .await?;
    let rooms = rows.into_iter().map(|row| RoomRow {
        group: row.group,
        state: match row.gone_at {
            Some(_) => RoomState::Gone,
            None => RoomState::Live,
        },
        opened_at: row.opened_at,
        last_event_at: row.last_event_at,
        gone_at: row.gone_at,
        members: MembersByState {
            pending: row.pending,
            applied: row.applied,
            offline: row.offline,
            failed: row.failed,
        },
        sweep: RoomSweepState {
            at: row.swept_at,
            drift: row.sweep_found.map(|Json(found)| found),
            due_at: row.sweep_due_at,
            requested_at: row.sweep_requested_at,
            running: row.sweeping,
            failures: row.sweep_failures,
            message: row.sweep_error.as_deref().map(Message::of),
            last_error: row.sweep_error,
        },
    });
    Ok(rooms.collect())
}

/// Rooms by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct RoomsByState {
    pub live: i64,
    pub gone: i64,
}

/// Counts all rooms, or the one, by state.
pub async fn count_rooms(
    reading: &mut PgConnection,
    group: Option<&GroupId>,
) -> Result<RoomsByState, sqlx::Error> {
    sqlx::query_as!(
        RoomsByState,
        r#"
        select count(*) filter (where gone_at is null) as "live!",
               count(*) filter (where gone_at is not null) as "gone!"
        from rooms where ($1::text is null or group_id = $1)
        "#,
        group.map(GroupId::as_str),
    )
    .fetch_one(reading)
    .await
}
