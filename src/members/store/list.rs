//! Members as people see them: lists, and the depth of the queue.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};

#[allow(unused_imports, reason = "named in schemas only")]
use crate::database::Db;
use crate::domain::Mark;
use crate::domain::{Account, GroupId, MarkSet};
use crate::members::{MarkColumn, Presence};
use crate::messages::Message;

/// The state of a member in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, Deserialize, ToSchema)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// An update is pending.
    Pending,
    /// Chat confirmed all marks that rules require.
    Applied,
    /// Not in the room, as far as is known.
    Offline,
    /// No further try until the next event or a retry by a person.
    Failed,
}

/// Members of a room by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct MembersByState {
    /// An update is pending.
    pub pending: i64,
    /// Chat confirmed all marks that rules require.
    pub applied: i64,
    /// Not in the room as far as is known.
    pub offline: i64,
    /// No further try until the next event or a retry by a person.
    pub failed: i64,
}

impl MembersByState {
    /// Whether less than one in a hundred is in this state.
    pub fn are_few(&self, state: MemberState) -> bool {
        let in_state = match state {
            MemberState::Pending => self.pending,
            MemberState::Applied => self.applied,
            MemberState::Offline => self.offline,
            MemberState::Failed => self.failed,
        };
        in_state * 100 < self.pending + self.applied + self.offline + self.failed
    }
}

/// A member of a room that a rule matches, or matched until lately.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Member)]
pub struct MemberRow {
    #[schema(value_type = String)]
    pub group: GroupId,
    #[schema(value_type = String)]
    pub account: Account,
    pub state: MemberState,
    /// Whether they are believed to be in the room.
    pub presence: Presence,
    /// The event that this comes from: `join`, `online`, `exit`, `offline` or `destroyed`; null if
    /// there was none.
    pub event: Option<String>,
    /// Chat's time of the event.
    pub event_at: Option<DateTime<Utc>>,
    /// When the event was received.
    pub heard_at: Option<DateTime<Utc>>,
    /// The request that last concerned them: a callback (Chat's `RequestID`, or a generated id), or a
    /// write to this API (its `X-Request-Id`). Null if unknown, for example after a sweep found them.
    pub request_id: Option<String>,
    /// The marks that the member carries as far as is known, ascending.
    #[schema(value_type = Vec<Mark>)]
    pub marks: MarkSet,
    /// When Chat last confirmed a call for this member; null: never.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The marks that the member carried then. Chat removes them when the member leaves or drops.
    #[schema(value_type = Vec<Mark>)]
    pub confirmed_marks: MarkSet,
    /// True while Chat may hold marks that no answer confirmed: a call is under way, or its answer
    /// was lost.
    pub in_doubt: bool,
    /// Required marks for which the room has no place: a thousand other members carry them.
    #[schema(value_type = Vec<Mark>)]
    pub waits_for: MarkSet,
    /// Since when work is pending; null: none is.
    pub pending_since: Option<DateTime<Utc>>,
    /// Next attempt; null: on the next event.
    pub due_at: Option<DateTime<Utc>>,
    /// Tries in a row that did not succeed.
    pub tries: i32,
    /// Why the last one did not, or what they wait for.
    pub last_error: Option<String>,
    /// `last_error` as a code with parameters.
    pub message: Option<Message>,
    /// When they failed: no further try until the next event or a retry by a person.
    pub failed_at: Option<DateTime<Utc>>,
}

/// Which members; `None` is any.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct MemberFilter {
    /// Members of exactly this room.
    #[param(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    pub group: Option<GroupId>,
    /// Exactly this account, in every room.
    #[param(value_type = Option<String>, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    pub account: Option<Account>,
    /// Members in this state.
    pub state: Option<MemberState>,
    /// Few match, so all are read and sorted; walking the index in order, one would pass millions of others.
    #[serde(skip)]
    #[param(ignore)]
    pub few: bool,
}

/// Members in the order of room and account, after `after`, which stays a valid cursor however rows change
/// between two pages.
pub async fn list_members(
    reading: &mut PgConnection,
    filter: &MemberFilter,
    after: Option<(&GroupId, &Account)>,
    limit: i64,
) -> Result<Vec<MemberRow>, sqlx::Error> {
    let (after_group, after_account) = after.map_or(("", ""), |(group, account)| {
        (group.as_str(), account.as_str())
    });
    sqlx::query_as!(
        MemberRow,
        r#"
        select m.group_id as "group: GroupId", m.account as "account: Account",
               s.state as "state!: MemberState", m.presence as "presence: Presence", m.event,
               -- Of a forged event it may be no moment at all.
               case when m.event_at between 0 and 253402300799999
                   then to_timestamp(m.event_at / 1000.0) end as event_at,
               m.heard_at, m.request_id, m.marks as "marks: MarkColumn", m.confirmed_at,
               m.confirmed_marks as "confirmed_marks: MarkColumn", m.in_doubt,
               m.waits_for as "waits_for: MarkColumn", m.pending_since, m.due_at, m.tries, m.last_error,
               m.last_error as "message: Message", m.failed_at
        from members m
        cross join lateral (
            select case when m.failed_at is not null then 'failed'
                        when m.pending_since is not null then 'pending'
                        when m.presence = 'present' then 'applied'
                        else 'offline' end as state
        ) s
        where (m.group_id, m.account) > ($1, $2)
          and ($3::text is null or m.group_id = $3) and ($4::text is null or m.account = $4)
          and ($5::text is null or s.state = $5)
          -- Redundant, so that a search for failed or pending members can use their indexes.
          and ($5 is distinct from 'failed' or m.failed_at is not null)
          and ($5 is distinct from 'pending' or m.due_at is not null)
        order by case when $7 then m.group_id || '' end, m.group_id, m.account
        limit $6
        "#,
        after_group,
        after_account,
        filter.group.as_ref().map(GroupId::as_str),
        filter.account.as_ref().map(Account::as_str),
        filter.state as Option<MemberState>,
        limit,
        filter.few,
    )
    .fetch_all(reading)
    .await
}

/// The depth of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct QueueDepth {
    /// Members due now.
    pub due: i64,
    /// Members due later: retries, starts and ends of rules, renewals.
    pub later: i64,
    /// Seconds that the oldest due member has waited.
    pub oldest_seconds: f64,
    /// Failed members.
    pub failed: i64,
    /// Rooms with a call in flight.
    pub rooms_in_flight: i64,
    /// Rooms whose last comparison with Chat failed.
    pub rooms_failing: i64,
}

/// Counts the queue.
pub async fn queue_depth(db: &Db) -> Result<QueueDepth, sqlx::Error> {
    sqlx::query_as!(
        QueueDepth,
        r#"
        select
            (select count(*) from members m join rooms r using (group_id)
             where m.due_at <= now() and coalesce(r.leased_until <= now(), true)) as "due!",
            (select count(*) from members where due_at > now()) as "later!",
            (select coalesce(greatest(0, extract(epoch from now() - min(m.due_at))), 0)::float8
             from members m join rooms r using (group_id)
             where m.due_at <= now() and coalesce(r.leased_until <= now(), true)) as "oldest_seconds!",
            (select count(*) from members where failed_at is not null) as "failed!",
            (select count(*) from rooms where leased_until > now()) as "rooms_in_flight!",
            (select count(*) from rooms where sweep_failures > 0 and gone_at is null) as "rooms_failing!"
        "#
    )
    .fetch_one(db)
    .await
}

/// A reason for which members failed, or wait for another call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FailureReason {
    /// The error of their last call.
    pub reason: String,
    /// `reason` as a code with parameters.
    pub message: Message,
    /// How many members.
    pub members: i64,
}

/// Why members failed, the most frequent reason first, at most ten reasons.
pub async fn failure_reasons(db: &Db) -> Result<Vec<FailureReason>, sqlx::Error> {
    sqlx::query_as!(
        FailureReason,
        r#"
        select coalesce(last_error, '') as "reason!", coalesce(last_error, '') as "message!: Message",
               count(*) as "members!"
        from members where failed_at is not null
        group by 1 order by 3 desc, 1 limit 10
        "#
    )
    .fetch_all(db)
    .await
}

/// Why members wait for another call, the most frequent reason first, at most ten reasons.
pub async fn retry_reasons(db: &Db) -> Result<Vec<FailureReason>, sqlx::Error> {
    sqlx::query_as!(
        FailureReason,
        r#"
        select last_error as "reason!", last_error as "message!: Message", count(*) as "members!"
        from members where due_at is not null and failed_at is null and last_error is not null
        group by 1 order by 3 desc, 1 limit 10
        "#
    )
    .fetch_all(db)
    .await
}

/// Counts the members of a room, of an account, or all, by state.
pub async fn count_members(
    reading: &mut PgConnection,
    group: Option<&GroupId>,
    account: Option<&Account>,
) -> Result<MembersByState, sqlx::Error> {
    sqlx::query_as!(
        MembersByState,
        r#"
        select count(*) filter (where failed_at is null and pending_since is not null) as "pending!",
               count(*) filter (where failed_at is null and pending_since is null
                                  and presence = 'present') as "applied!",
               count(*) filter (where failed_at is null and pending_since is null
                                  and presence <> 'present') as "offline!",
               count(*) filter (where failed_at is not null) as "failed!"
        from members
        where ($1::text is null or group_id = $1) and ($2::text is null or account = $2)
        "#,
        group.map(GroupId::as_str),
        account.map(Account::as_str),
    )
    .fetch_one(reading)
    .await
}
