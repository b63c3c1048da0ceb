//! The queue: rooms wait in it, and their due members are what a round works on.
//!
//! `rooms.due_at` is never later than the first due member of the room, except by the moment that a busy
//! room gathers members, so that a storm costs few, full calls. A claim takes the room's lease, and with
//! it all its due members: one round and one call per room at a time over all replicas. It reads members
//! and writes none of them. If the worker dies, the lease expires, and the next claim takes all due
//! members of the room as in doubt, since Chat may hold marks that no answer confirmed.
//!
//! Code that makes members due calls [`wake_rooms`] after the commit. A room that is due anyway is left
//! alone, so its row is written at most once between two claims. The claim or the write-back that follows
//! sees the members. While the room is leased, the first one moves `due_at` away from the end of the
//! lease, and the write-back keeps that time: it may not have seen the members.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::locked_rooms;
use crate::database::{Db, interval, is_lock_timeout};
use crate::domain::{Account, GroupId, Mark, RequestId};
use crate::members::store::record::Settling;
use crate::members::{MarkColumn, Member, Presence};

/// Accounts that Chat takes in one `modify_user_info`.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_CALL: i64 = 500;

/// Due and debounced members that make a room busy.
const BUSY: usize = 8;

/// A room, for the worker that has the lease.
#[derive(Debug, Clone)]
pub struct Claim {
    pub group: GroupId,
    /// Proof of the lease.
    pub lease: Uuid,
    /// The moment of the claim by the clock of Postgres.
    pub at: DateTime<Utc>,
    /// A worker with the lease fell silent: what became of its call is unknown.
    pub interrupted: bool,
}

/// The members of a claim.
#[derive(Debug)]
pub struct Due {
    /// Oldest due first, at most one call's worth.
    pub members: Vec<Member>,
    /// A busy room gathers members until then.
    pub gathers_until: Option<DateTime<Utc>>,
}

/// Claims the room that has been due longest, but none of those avoided; `None` if there is none. A room
/// whose first member is due later, since more events of that member came, waits for that. Where the first
/// member waits for anything else, the claim gives the room its right time: it must not stay at the head.
pub async fn claim(
    db: &Db,
    lease: Duration,
    avoided: &[GroupId],
) -> Result<Option<Claim>, sqlx::Error> {
    let avoided: Vec<&str> = avoided.iter().map(GroupId::as_str).collect();
    sqlx::query_as!(
        Claim,
        r#"
        with room as materialized (
            select group_id, leased_until from rooms r
            where due_at <= now() and (leased_until is null or leased_until <= now())
              and group_id <> all($3)
              and coalesce((select m.due_at <= now() or m.pending_since is null or m.tries > 0
                            from members m
                            where m.group_id = r.group_id and m.due_at is not null
                            order by m.due_at limit 1), true)
            order by due_at
            limit 1
            for no key update skip locked
        ),
        -- A claim that a crash of the database loses is made again: no need to wait for a flush.
        unflushed as materialized (select set_config('synchronous_commit', 'off', true))
        update rooms r set leased_until = now() + $1, lease = $2, due_at = now() + $1
        from room, unflushed where r.group_id = room.group_id
        returning r.group_id as "group: GroupId", r.lease as "lease!", now() as "at!",
                  room.leased_until is not null as "interrupted!"
        "#,
        interval(lease),
        Uuid::new_v4(),
        &avoided as &[&str],
    )
    .fetch_optional(db)
    .await
}

/// The members that are due in a claimed room.
///
/// In a busy room, arrivals that have waited for `settle` (at most half of `max_wait`) are taken along
/// although their events are still debounced. The next ones gather for what that leaves of `max_wait`, so
/// that no member waits longer, unless the next call is full in any case.
pub async fn due_members(db: &Db, claim: &Claim, settling: Settling) -> Result<Due, sqlx::Error> {
    if claim.interrupted {
        doubt_due(db, &claim.group).await?;
    }
    let delta = |duration| TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX);
    let rows = sqlx::query_as!(
        Member,
        r#"
        select account as "account: Account", presence as "presence: Presence", marks as "marks: MarkColumn",
            confirmed_marks as "confirmed_marks: MarkColumn", confirmed_at, in_doubt,
            revoked as "revoked: MarkColumn", waits_for as "waits_for: MarkColumn", due_at, pending_since,
            unserved_since, generation, tries, last_error, failed_at, request_id, traceparent,
            false as "quiet!"
        from members where group_id = $1 and due_at <= $2
        order by due_at
        limit $3
        "#,
        claim.group.as_str(),
        claim.at + delta(settling.settle),
        MEMBERS_A_CALL,
    )
    .fetch_all(db)
    .await?;
    let patience = settling.settle.min(settling.max_wait / 2);
    let busy = rows.len() >= BUSY;
    let goes_along = |row: &Member| {
        let waited = claim.at - delta(patience);
        busy && row.pending_since.is_some_and(|since| since <= waited)
            && row.tries == 0
            && row.waits_for.is_empty()
    };
    let mut members = rows;
    members.retain(|row| row.due_at.is_some_and(|at| at <= claim.at) || goes_along(row));
    for member in &mut members {
        // Also where another writer has the row locked at this moment.
        member.in_doubt |= claim.interrupted;
    }
    let full = i64::try_from(members.len()).is_ok_and(|members| members >= MEMBERS_A_CALL);
    let gathers = settling.max_wait.saturating_sub(patience);
    Ok(Due {
        gathers_until: (busy && !full && !gathers.is_zero()).then(|| claim.at + delta(gathers)),
        members,
    })
}

/// A worker fell silent, perhaps after its call. Its results, if they come after all, count no more.
async fn doubt_due(db: &Db, group: &GroupId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with due as (
            select group_id, account from members where group_id = $1 and due_at is not null
            order by account
            for update skip locked
        )
        update members m set in_doubt = true, generation = m.generation + 1
        from due d where m.group_id = d.group_id and m.account = d.account
        "#,
        group.as_str(),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sees to it that rooms are claimed in time for members that were made due, but not before `after`. Call
/// it after the commit. A room that is due within `slack` of that is left alone.
pub async fn wake_rooms(
    db: &Db,
    groups: &[String],
    after: Duration,
    slack: Duration,
) -> Result<(), sqlx::Error> {
    match wake(db, groups, after, slack).await {
        // Rooms that a stranger keeps locked are found as forgotten ones later.
        Err(error) if is_lock_timeout(&error) => {
            let locked = locked_rooms(db, groups.iter().map(String::as_str)).await?;
            let mut free = groups.to_vec();
            free.retain(|group| !locked.contains(group));
            wake(db, &free, after, slack).await
        }
        done => done,
    }
}

async fn wake(
    db: &Db,
    groups: &[String],
    after: Duration,
    slack: Duration,
) -> Result<(), sqlx::Error> {
    if groups.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        with
        -- Most rooms are awake, and cost one look at their row. `offset 0` keeps it one.
        perhaps as materialized (
            select g.group_id
            from unnest($1::text[]) as g (group_id)
            cross join lateral (
                select from rooms r
                where r.group_id = g.group_id
                  and (r.due_at is null or r.due_at > now() + $2::interval + $3::interval
                       or r.due_at is not distinct from r.leased_until)
                offset 0) r
        )
        insert into rooms as r (group_id, due_at)
        select p.group_id, greatest(now() + $2, m.due_at)
        from perhaps p
        cross join lateral (
            select due_at from members
            where members.group_id = p.group_id and due_at is not null
            order by due_at limit 1) m
        -- Locked in the order that every writer of rooms keeps.
        order by p.group_id collate "C"
        -- Never inserts, since the rooms are there: see "Batches" in the module's header.
        on conflict on constraint rooms_pkey do update set due_at = excluded.due_at
        where r.due_at is null or r.due_at > excluded.due_at + $3
           or r.due_at is not distinct from r.leased_until
        "#,
        groups,
        interval(after),
        interval(slack),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How often a replica looks for rooms that are missing in the queue.
pub(crate) const FORGOTTEN_INTERVAL: Duration = Duration::from_secs(5);

/// Rooms with due members that are not due themselves, which a process that died between a commit and
/// [`wake_rooms`] leaves behind. Returns how many were found.
pub(crate) async fn wake_forgotten_rooms(db: &Db) -> Result<usize, sqlx::Error> {
    let groups = sqlx::query_scalar!(
        r#"
        with overdue as materialized (
            select distinct group_id from members where due_at < now() - interval '3 seconds'
        )
        select r.group_id from overdue o join rooms r on r.group_id = o.group_id
        where (r.due_at is null or r.due_at > now())
          and (r.leased_until is null or r.leased_until <= now())
        limit 1000
        "#
    )
    .fetch_all(db)
    .await?;
    wake_rooms(db, &groups, Duration::ZERO, Duration::ZERO).await?;
    Ok(groups.len())
}

/// How long until a room without a lease is due; `None` if none will be.
pub async fn until_next_due(db: &Db) -> Result<Option<Duration>, sqlx::Error> {
    let seconds = sqlx::query_scalar!(
        r#"
        select extract(epoch from min(greatest(r.due_at, m.due_at)) - now())::float8
        from (
            select group_id, due_at from rooms
            where due_at is not null and (leased_until is null or leased_until <= now())
            order by due_at
            -- A room behind these may be due a little earlier; it is claimed with the first of them.
            limit 100) r
        left join lateral (
            -- As in `claim`.
            select case when pending_since is not null and tries = 0 then due_at end as due_at
            from members
            where members.group_id = r.group_id and members.due_at is not null
            order by members.due_at limit 1) m on true
        "#
    )
    .fetch_one(db)
    .await?;
    Ok(seconds
        .map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

/// Members of a room who can carry the same mark.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_MARK: usize = 1000;

/// How many members of a room carry each mark, as far as Chat confirmed. Only the worker with the room's
/// lease gives places away, so the count stays true until the call, except for members who leave meanwhile.
pub async fn held_places(db: &Db, group: &GroupId) -> Result<BTreeMap<Mark, usize>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select mark as "mark!", count(*) as "holders!"
        from members m cross join unnest(m.marks) as mark
        where m.group_id = $1 and m.marks <> '{}'
        group by mark
        "#,
        group.as_str(),
    )
    .fetch_all(db)
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
    db: &Db,
    group: Option<&GroupId>,
    account: Option<&Account>,
    request: &RequestId,
) -> Result<u64, sqlx::Error> {
    let mut retried = sqlx::query_scalar!(
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
            traceparent = null,
            tries = 0, last_error = null, failed_at = null
        from failed f where m.group_id = f.group_id and m.account = f.account
        returning m.group_id
        "#,
        group.map(GroupId::as_str),
        account.map(Account::as_str),
        request.as_str(),
    )
    .fetch_all(db)
    .await?;
    let members = retried.len();
    retried.sort_unstable();
    retried.dedup();
    wake_rooms(db, &retried, Duration::ZERO, Duration::ZERO).await?;
    Ok(u64::try_from(members).unwrap_or(u64::MAX))
}
