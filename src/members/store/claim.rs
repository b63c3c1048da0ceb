//! Takes the room that has waited longest, with up to one call's worth of its due members.
//!
//! A claim holds the room's lease, so that there is one call per room at a time over all replicas,
//! and pushes its members' `due_at` to the end of the lease: should the claimer die, they come due
//! again by themselves. No lock outlives the statement. A busy room is paced: it gathers members for
//! a while, so that a storm costs few, full calls.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{Account, GroupId, MarkSet, RequestId};
use crate::members::store::record::{Settling, interval};
use crate::members::{Presence, mark_set};

/// Accounts that Chat takes in one `modify_user_info`.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_CALL: i64 = 500;

/// One room's due members, for whoever holds the lease.
#[derive(Debug)]
pub struct Claim {
    /// The room.
    pub group: GroupId,
    /// Proof of the lease.
    pub lease: Uuid,
    /// The moment of the claim by the clock of Postgres.
    pub at: DateTime<Utc>,
    /// Whom to look at, oldest due first.
    pub members: Vec<ClaimedMember>,
}

/// What is known of a claimed member.
#[derive(Debug, Clone)]
pub struct ClaimedMember {
    /// The member.
    pub account: Account,
    /// Where he is believed to be.
    pub presence: Presence,
    /// The marks Chat last confirmed since he arrived.
    pub marks: MarkSet,
    /// When it did.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Marks taken away by rule changes while he was in doubt.
    pub revoked: MarkSet,
    /// An earlier claim ended without settlement: Chat may hold marks that are not in `marks`.
    pub in_doubt: bool,
    /// To settle with.
    pub generation: i64,
    /// Answers in a row that left him out.
    pub omissions: i32,
    /// Failed calls in a row.
    pub attempts: i32,
    /// Tries in a row at which Chat refused him beside others, perhaps not seeing him yet.
    pub refusals: i32,
    /// The request that last concerned him; `None` if none is known to.
    pub request: Option<RequestId>,
}

/// Due and settling members that make a room busy.
const BUSY: i64 = 8;

/// Claims the room with the oldest due member that nobody holds; `None` if there is none.
///
/// In a busy room arrivals who have waited for `settle` (at most half of `max_wait`) go along though
/// their events have not settled yet. The next ones gather for what that leaves of `max_wait`, so that
/// nobody waits longer, unless so many are due that the next call is full in any case.
pub async fn claim(
    pool: &PgPool,
    lease: Duration,
    settling: Settling,
) -> Result<Option<Claim>, sqlx::Error> {
    let token = Uuid::new_v4();
    let patience = settling.settle.min(settling.max_wait / 2);
    let rows = sqlx::query!(
        r#"
        with room as materialized (
            select r.group_id
            from members m join rooms r on r.group_id = m.group_id
            where m.due_at <= now() and (r.leased_until is null or r.leased_until <= now())
              and (r.paced_until is null or r.paced_until <= now())
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
                      and m.omissions = 0 and m.attempts = 0 and m.waits_for = '{}')
            order by m.due_at
            limit $3
            for update of m skip locked
        ),
        -- A claim that is lost in a crash of the database is made again: no flush is waited for.
        taken as (
            select count(*) as members, set_config('synchronous_commit', 'off', true) from due
        ),
        -- Rows a callback holds at this moment are passed over; with none left there is no lease.
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
                  m.confirmed_at, m.revoked, d.in_doubt as was_in_doubt, m.generation,
                  m.omissions, m.attempts, m.refusals, m.request_id, now() as "at!"
        "#,
        interval(lease),
        token,
        MEMBERS_A_CALL,
        BUSY,
        interval(settling.settle),
        interval(settling.max_wait.saturating_sub(patience)),
        interval(patience),
    )
    .fetch_all(pool)
    .await?;
    let mut claimed: Option<Claim> = None;
    for row in rows {
        // What does not parse was not written by this program; leave it to its lease.
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
        claim.members.push(ClaimedMember {
            account,
            presence: row.presence,
            marks: mark_set(&row.marks),
            confirmed_at: row.confirmed_at,
            revoked: mark_set(&row.revoked),
            in_doubt: row.was_in_doubt,
            generation: row.generation,
            omissions: row.omissions,
            attempts: row.attempts,
            refusals: row.refusals,
            request: row.request_id.as_deref().and_then(RequestId::parse),
        });
    }
    Ok(claimed)
}

/// How long until some member in a room that nobody holds is due, or a room has gathered its members;
/// `None` if nobody is waiting.
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
