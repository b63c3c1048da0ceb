//! What the sweep reads about a room and its members, and how it corrects what the table says.
//!
//! A correction counts only if the row's generation is still the one that was read. If it has changed, an
//! event, a claim or a rule change knows more than Chat's lists.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::database::interval;
use crate::domain::{Account, GroupId, MarkSet};
use crate::members::{MEMBERS_A_CALL, Presence, array_text, mark_set};

/// A sweep that begins so long after a rule stopped demanding a mark is the last one to look for it.
const RETIRED: Duration = Duration::from_secs(10 * 60);
/// The queue tries a member again within this time, whatever went wrong.
const LONGEST_WORK: Duration = Duration::from_secs(10 * 60);

/// What the table says about a member.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub presence: Presence,
    pub marks: MarkSet,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub generation: i64,
    pub in_doubt: bool,
    pub failed: bool,
    /// The queue does not work on the member, and nothing was recorded or confirmed since the given
    /// moment.
    pub quiet: bool,
}

/// A correction for a member who is in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Correction {
    pub account: Account,
    /// The marks of ours that the member carries according to Chat.
    pub held: MarkSet,
    /// The generation that was read; `None` for a member without a row.
    pub generation: Option<i64>,
    /// Whether marks must be set or deleted now.
    pub due: bool,
    /// Whether the member has failed and still lacks a mark.
    pub stays_failed: bool,
    /// When the plan must be looked at again.
    pub next: Option<DateTime<Utc>>,
}

/// The marks of ours in a room, and whether rules match accounts there by prefix.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    pub marks: MarkSet,
    pub by_prefix: bool,
}

/// The marks that belong to Stickymark in a room: those of enabled rules whose window has begun (and of
/// those whose window has ended), those that members carry because of such a rule, and those that a rule
/// once demanded there. `retired_marks` remembers the last kind; it is the only memory of it, and kept by
/// triggers, so that no way of writing rules can forget it.
///
/// A mark that no rule names any more is looked for in one more sweep, well after the rule changed: a call
/// that was under way may set it late. A mark that a disabled rule names is looked for in every sweep.
/// A rule that was never enabled, or has not begun, claims nothing.
pub(crate) async fn demand(pool: &PgPool, group: &GroupId) -> Result<Demand, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        with shape as (
            select distinct group_prefix_len as length,
                   case when group_prefix_len < 0 then $1 else left($1, group_prefix_len) end as text
            from rule_shapes
        ),
        here as (
            select d.marks from shape s
            join room_demands d on d.group_text = s.text and d.group_prefix_len = s.length
            where d.starts_at <= now()
            union all
            select m.marks from members m where m.group_id = $1 and m.marks <> '{}'
            union all
            select array[k.mark] from generate_series(-1, length($1)) as p (length)
            join retired_marks k on k.group_prefix_len = p.length
                and k.group_text = case when p.length < 0 then $1 else left($1, p.length) end
            where k.retired_at > coalesce(
                (select swept_at from rooms where group_id = $1), '-infinity') - $2::interval
               or exists (
                select from rules r
                where r.group_text = k.group_text and r.group_prefix_len = k.group_prefix_len
                  and not r.enabled and k.mark = any(r.marks))
        )
        select array(select distinct mark from here cross join unnest(marks) as mark) as "marks!",
            exists (
                select from shape s
                join rules r on r.group_text = s.text and r.group_prefix_len = s.length
                where r.account_prefix_len >= 0 and r.enabled
            ) as "by_prefix!"
        "#,
        group.as_str(),
        interval(RETIRED),
    )
    .fetch_one(pool)
    .await?;
    Ok(Demand {
        marks: mark_set(&row.marks),
        by_prefix: row.by_prefix,
    })
}

/// The next page of accounts to ask Chat about, in order: those that active rules name in full, and those
/// with a row; rows of absent members only if `absent_too`. The last page is shorter than
/// [`MEMBERS_A_CALL`].
pub(crate) async fn candidates(
    pool: &PgPool,
    group: &GroupId,
    after: &str,
    absent_too: bool,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with lengths as (
            select distinct group_prefix_len as length from rule_shapes where account_prefix_len < 0
        ),
        named as (
            select r.account_text as account
            from lengths l cross join lateral (
                select distinct account_text from rules
                where group_prefix_len = l.length
                  and group_text = case when l.length < 0 then $1 else left($1, l.length) end
                  and account_prefix_len < 0 and enabled and account_text > $2
                  and (starts_at is null or starts_at <= now())
                  and (ends_at is null or ends_at > now())
                order by account_text
                limit $4
            ) r
        ),
        known as (
            select account from members
            where group_id = $1 and account > $2 and (presence <> 'absent' or $3)
            order by account
            limit $4
        )
        select account as "account!" from (
            select account from named union select account from known
        ) both_kinds
        order by account
        limit $4
        "#,
        group.as_str(),
        after,
        absent_too,
        MEMBERS_A_CALL,
    )
    .fetch_all(pool)
    .await
}

/// The rows of some members.
///
/// The queue works on a member whose pending time has come and whose next try is near. A row without a due
/// time, or with one that is far away, is not its work, whatever else the row says; so no row is left out
/// by queue and sweep at the same time.
pub(crate) async fn known(
    pool: &PgPool,
    group: &GroupId,
    accounts: &[Account],
    quiet_since: DateTime<Utc>,
) -> Result<HashMap<Account, Known>, sqlx::Error> {
    let accounts: Vec<&str> = accounts.iter().map(Account::as_str).collect();
    let rows = sqlx::query!(
        r#"
        select account, presence as "presence: Presence", marks, confirmed_at, generation, in_doubt,
            failed_at is not null as "failed!",
            (pending_since <= now() and due_at < now() + $4::interval) is not true
                and (heard_at between $3 and now()) is not true
                and (confirmed_at between $3 and now()) is not true as "quiet!"
        from members where group_id = $1 and account = any($2)
        "#,
        group.as_str(),
        &accounts as &[&str],
        quiet_since,
        interval(LONGEST_WORK),
    )
    .fetch_all(pool)
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        let known = Known {
            presence: row.presence,
            marks: mark_set(&row.marks),
            confirmed_at: row.confirmed_at,
            generation: row.generation,
            in_doubt: row.in_doubt,
            failed: row.failed,
            quiet: row.quiet,
        };
        Some((Account::parse(&row.account).ok()?, known))
    });
    Ok(known.collect())
}

/// Writes corrections of distinct members; returns the accounts whose rows took them. Chat's lists showed
/// which marks the members carry, so a correction ends all doubt.
pub(crate) async fn correct(
    pool: &PgPool,
    group: &GroupId,
    corrections: &[&Correction],
) -> Result<Vec<String>, sqlx::Error> {
    let accounts: Vec<&str> = corrections.iter().map(|c| c.account.as_str()).collect();
    let held = corrections.iter().map(|c| c.held.iter().copied());
    let held: Vec<String> = held.map(array_text).collect();
    // A new row begins at 0, so a row that was inserted meanwhile is never overwritten.
    let next_generation = |c: &&Correction| c.generation.map_or(0, |read| read + 1);
    let generations: Vec<i64> = corrections.iter().map(next_generation).collect();
    let due: Vec<bool> = corrections.iter().map(|c| c.due).collect();
    let stay_failed: Vec<bool> = corrections.iter().map(|c| c.stays_failed).collect();
    let next: Vec<Option<DateTime<Utc>>> = corrections.iter().map(|c| c.next).collect();
    sqlx::query_scalar!(
        r#"
        insert into members as m
            (group_id, account, presence, marks, generation, due_at, pending_since, failed_at)
        select room.group_id, c.account, 'present', c.held::bigint[], c.generation,
               case when c.due then now() else c.next end, case when c.due then now() end,
               case when c.stays_failed then now() end
        from unnest($2::text[], $3::text[], $4::bigint[], $5::bool[], $6::bool[], $7::timestamptz[])
            as c (account, held, generation, due, stays_failed, next)
        -- So that the room is not deleted meanwhile.
        cross join (select group_id from rooms where group_id = $1 for key share) room
        -- Locked in the order that every writer of members keeps.
        order by c.account
        on conflict on constraint members_pkey do update set
            presence = 'present', marks = excluded.marks, waits_for = '{}',
            in_doubt = false, revoked = '{}',
            generation = excluded.generation, request_id = null,
            due_at = excluded.due_at, pending_since = excluded.pending_since, omissions = 0,
            attempts = case when excluded.failed_at is null then 0 else m.attempts end,
            refusals = case when excluded.failed_at is null then 0 else m.refusals end,
            last_error = case when excluded.failed_at is not null then m.last_error end,
            failed_at = case when excluded.failed_at is not null then m.failed_at end
        where m.generation = excluded.generation - 1
        returning m.account
        "#,
        group.as_str(),
        &accounts as &[&str],
        &held,
        &generations,
        &due,
        &stay_failed,
        &next as &[Option<DateTime<Utc>>],
    )
    .fetch_all(pool)
    .await
}

/// Records that Chat does not find members, given with the generation that was read, in the room. Returns
/// the accounts whose rows took it.
pub(crate) async fn vanished(
    pool: &PgPool,
    group: &GroupId,
    members: &[(Account, i64)],
) -> Result<Vec<String>, sqlx::Error> {
    let accounts: Vec<&str> = members
        .iter()
        .map(|(account, _)| account.as_str())
        .collect();
    let generations: Vec<i64> = members.iter().map(|(_, generation)| *generation).collect();
    sqlx::query_scalar!(
        r#"
        with missed as materialized (
            select $1::text as group_id, account, generation
            from unnest($2::text[], $3::bigint[]) as v (account, generation)
        ),
        -- Locked in the order that every writer of members keeps.
        locked as (
            select m.group_id, m.account
            from members m join missed v using (group_id, account)
            where m.generation = v.generation
            order by m.account
            for update of m
        )
        update members m set
            presence = 'absent', marks = '{}', waits_for = '{}', in_doubt = false, revoked = '{}',
            generation = m.generation + 1, request_id = null, due_at = null, pending_since = null,
            omissions = 0, attempts = 0, refusals = 0, last_error = null, failed_at = null
        from locked l where m.group_id = l.group_id and m.account = l.account
        returning m.account
        "#,
        group.as_str(),
        &accounts as &[&str],
        &generations,
    )
    .fetch_all(pool)
    .await
}
