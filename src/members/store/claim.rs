//! The queue: claims the room that has waited longest, with up to one call's worth of its due members.
//!
//! A claim takes the room's lease, so that there is one call per room at a time over all replicas. It
//! moves its members' `due_at` to the end of the lease: if the worker dies, they become due again. No lock
//! outlives the statement. A busy room is paced: it collects members for a while, so that a storm costs
//! few, full calls.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::interval;
use crate::domain::{Account, GroupId, Mark, RequestId};
use crate::members::store::record::Settling;
use crate::members::{Member, Presence, mark_set};

/// Accounts that Chat takes in one `modify_user_info`.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_CALL: i64 = 500;

/// One room's due members, for the worker that has the lease.
#[derive(Debug)]
pub struct Claim {
    pub group: GroupId,
    /// Proof of the lease.
    pub lease: Uuid,
    /// The moment of the claim by the clock of Postgres.
    pub at: DateTime<Utc>,
    /// Oldest due first.
    pub members: Vec<Member>,
}

/// Due and settling members that make a room busy.
const BUSY: i64 = 8;

/// Claims the room with the oldest due member that is not leased; `None` if there is none.
///
/// In a busy room, arrivals that have waited for `settle` (at most half of `max_wait`) are taken along
/// although their events are still debounced. The next ones are collected for what that leaves of
/// `max_wait`, so that no member waits longer, unless the next call is full in any case.
pub async fn claim(
    pool: &PgPool,
    lease: Duration,
    settling: Settling,
) -> Result<Option<Claim>, sqlx::Error> {
    claim_except(pool, lease, settling, &[]).await
}

/// The same, but none of these rooms.
pub async fn claim_except(
    pool: &PgPool,
    lease: Duration,
    settling: Settling,
    avoided: &[GroupId],
) -> Result<Option<Claim>, sqlx::Error> {
    let token = Uuid::new_v4();
    let avoided: Vec<&str> = avoided.iter().map(GroupId::as_str).collect();
    let patience = settling.settle.min(settling.max_wait / 2);
    let rows = sqlx::query!(
        r#"
        with room as materialized (
            select r.group_id
            from members m join rooms r on r.group_id = m.group_id
            where m.due_at <= now() and (r.leased_until is null or r.leased_until <= now())
              and (r.paced_until is null or r.paced_until <= now())
              and m.group_id <> all($8)
            order by m.due_at
            limit 1
            for no key update of r skip locked
        ),
        crowd as materialized (
            select count(*) >= $4 as busy from (
                select from members m
                where m.group_id = (select group_id from room)
                  and m.due_at <= now() + $5
                limit $4
            ) someone
        ),
        due as materialized (
            select m.group_id, m.account, m.in_doubt, m.due_at
            from members m
            where m.group_id = (select group_id from room) and m.due_at <= now() + $5
              and (m.due_at <= now()
                   or (select busy from crowd) and m.pending_since <= now() - $7::interval
                      and m.tries = 0 and m.waits_for = '{}')
            order by m.due_at
            limit $3
            for update of m skip locked
        ),
        -- A claim that a crash of the database loses is made again: no need to wait for a flush.
        taken as (
            select count(*) as members, set_config('synchronous_commit', 'off', true) from due
        ),
        -- Rows that a callback has locked are skipped; with none left there is no lease.
        leased as (
            update rooms r set leased_until = now() + $1, lease = $2,
                paced_until = case when (select busy from crowd) and taken.members < $3
                              then now() + $6 end
            from room, taken
            where r.group_id = room.group_id and taken.members > 0
        )
        update members m set
            due_at = now() + $1, generation = m.generation + 1, in_doubt = true,
            pending_since = coalesce(m.pending_since, now())
        from due d
        where m.group_id = d.group_id and m.account = d.account
        returning m.group_id, m.account, m.presence as "presence: Presence", m.marks,
                  m.confirmed_marks, m.confirmed_at, d.in_doubt as was_in_doubt, m.revoked, m.waits_for,
                  d.due_at, m.pending_since, m.unserved_since, m.generation, m.tries, m.last_error,
                  m.failed_at, m.request_id, now() as "at!"
        "#,
        interval(lease),
        token,
        MEMBERS_A_CALL,
        BUSY,
        interval(settling.settle),
        interval(settling.max_wait.saturating_sub(patience)),
        interval(patience),
        &avoided as &[&str],
    )
    .fetch_all(pool)
    .await?;
    let mut claimed: Option<Claim> = None;
    for row in rows {
        // What does not parse was not written by this program.
        let (Ok(group), Ok(account)) =
            (GroupId::parse(&row.group_id), Account::parse(&row.account))
        else {
            tracing::error!(group = ?row.group_id, account = ?row.account, "unreadable member");
            continue;
        };
        let claim = claimed.get_or_insert_with(|| Claim {
            group,
            lease: token,
            at: row.at,
            members: Vec::with_capacity(16),
        });
        claim.members.push(Member {
            account,
            presence: row.presence,
            marks: mark_set(&row.marks),
            confirmed_marks: mark_set(&row.confirmed_marks),
            confirmed_at: row.confirmed_at,
            in_doubt: row.was_in_doubt,
            revoked: mark_set(&row.revoked),
            waits_for: mark_set(&row.waits_for),
            due_at: row.due_at,
            pending_since: row.pending_since,
            unserved_since: row.unserved_since,
            generation: row.generation,
            tries: row.tries,
            last_error: row.last_error,
            failed_at: row.failed_at,
            request: row.request_id.as_deref().and_then(RequestId::parse),
        });
    }
    Ok(claimed)
}

/// How long until a member in a room without a lease is due, or a paced room may be claimed; `None` if
/// none will be.
pub async fn until_next_due(pool: &PgPool) -> Result<Option<Duration>, sqlx::Error> {
    let seconds = sqlx::query_scalar!(
        r#"
        select extract(epoch from least(
            (select m.due_at
             from members m join rooms r on r.group_id = m.group_id
             where m.due_at is not null and (r.leased_until is null or r.leased_until <= now())
               and (r.paced_until is null or r.paced_until <= now())
             order by m.due_at
             limit 1),
            (select paced_until from rooms where paced_until > now() order by paced_until limit 1)
        ) - now())::float8 as seconds
        "#
    )
    .fetch_one(pool)
    .await?;
    Ok(seconds
        .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// Members of a room who can carry the same mark.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_MARK: usize = 1000;

/// How many members of a room carry each mark, as far as Chat confirmed. Only the worker with the room's
/// lease gives places away, so the count stays true until the call, except for members who leave meanwhile.
pub async fn held_places(
    pool: &PgPool,
    group: &GroupId,
) -> Result<BTreeMap<Mark, usize>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select mark as "mark!", count(*) as "holders!"
        from members m cross join unnest(m.marks) as mark
        where m.group_id = $1 and m.marks <> '{}'
        group by mark
        "#,
        group.as_str(),
    )
    .fetch_all(pool)
    .await?;
    let place = |row: (i64, i64)| {
        let mark = Mark::parse(row.0).ok()?;
        Some((mark, usize::try_from(row.1).unwrap_or(usize::MAX)))
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| place((row.mark, row.holders)))
        .collect())
}

/// Makes failed members due now because a person asks: of one room, of one account, or all. Returns how
/// many. Wake the worker afterwards.
pub async fn retry_failed(
    pool: &PgPool,
    group: Option<&GroupId>,
    account: Option<&Account>,
    request: &RequestId,
) -> Result<u64, sqlx::Error> {
    let retried = sqlx::query!(
        r#"
        -- Locked in the order that every writer of members keeps.
        with failed as (
            select group_id, account from members
            where failed_at is not null
              and ($1::text is null or group_id = $1) and ($2::text is null or account = $2)
            order by group_id, account
            for update
        )
        update members m set
            due_at = now(), pending_since = now(), generation = m.generation + 1, request_id = $3,
            tries = 0, last_error = null, failed_at = null
        from failed f where m.group_id = f.group_id and m.account = f.account
        "#,
        group.map(GroupId::as_str),
        account.map(Account::as_str),
        request.as_str(),
    )
    .execute(pool)
    .await?;
    Ok(retried.rows_affected())
}
