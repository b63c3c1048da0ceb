//! What the sweep reads about a room and its members, and how it corrects what is believed.
//!
//! A correction counts only for a row that is still as it was read, is not in work, and did not
//! change lately: whatever happened meanwhile knows better than Chat's lists.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::{Account, GroupId, MarkSet};
use crate::members::{MEMBERS_A_CALL, Presence, array_text, interval, mark_set};

/// A sweep so long after a rule went is the last one to look for its marks.
const RETIRED: Duration = Duration::from_secs(10 * 60);

/// What the table says of a member.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub presence: Presence,
    pub marks: MarkSet,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub generation: i64,
    /// Not in work, not given up, and nothing heard or confirmed since the given moment.
    pub quiet: bool,
}

/// A correction of what is believed of a member who is in the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Correction {
    pub account: Account,
    /// The marks of ours that he holds by Chat's account.
    pub held: MarkSet,
    /// The generation that was read; `None` for a member without a row.
    pub generation: Option<i64>,
    /// Whether marks must be set or deleted now.
    pub due: bool,
    /// When the plan must be looked at again.
    pub next: Option<DateTime<Utc>>,
}

/// The marks of ours in a room, and whether rules name accounts there by prefix.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    pub marks: MarkSet,
    pub by_prefix: bool,
}

/// What rules demand in a room: every mark that a rule for it names, enabled or not, every mark
/// that was set there because a rule, gone since, had named it, and every mark that a rule ceased to
/// name since the last sweep or shortly before.
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
            union all
            select r.marks from shape s
            join rules r on r.group_text = s.text and r.group_prefix_len = s.length
            where not r.enabled
            union all
            select m.marks from members m where m.group_id = $1 and m.marks <> '{}'
            union all
            -- A call that was under way when the rule went may set its mark later than anybody
            -- could notice; so each room is looked through once more, well after that.
            select array[k.mark] from generate_series(-1, length($1)) as p (length)
            join retired_marks k on k.group_prefix_len = p.length
                and k.group_text = case when p.length < 0 then $1 else left($1, p.length) end
            where k.retired_at > coalesce(
                (select swept_at from rooms where group_id = $1), '-infinity') - $2::interval
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

/// The next page of accounts to ask Chat about, in order: those that rules in force name outright,
/// and those with a row; rows of members believed absent only if `absent_too`. The last page is
/// shorter than [`MEMBERS_A_CALL`].
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
pub(crate) async fn known(
    pool: &PgPool,
    group: &GroupId,
    accounts: &[Account],
    quiet_since: DateTime<Utc>,
) -> Result<HashMap<Account, Known>, sqlx::Error> {
    let accounts: Vec<&str> = accounts.iter().map(Account::as_str).collect();
    let rows = sqlx::query!(
        r#"
        select account, presence as "presence: Presence", marks, confirmed_at, generation,
            pending_since is null and not in_doubt and failed_at is null
                and (heard_at is null or heard_at < $3)
                and (confirmed_at is null or confirmed_at < $3) as "quiet!"
        from members where group_id = $1 and account = any($2)
        "#,
        group.as_str(),
        &accounts as &[&str],
        quiet_since,
    )
    .fetch_all(pool)
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        let known = Known {
            presence: row.presence,
            marks: mark_set(&row.marks),
            confirmed_at: row.confirmed_at,
            generation: row.generation,
            quiet: row.quiet,
        };
        Some((Account::parse(&row.account).ok()?, known))
    });
    Ok(known.collect())
}

/// Writes corrections of distinct members; returns the accounts whose rows took them.
pub(crate) async fn correct(
    pool: &PgPool,
    group: &GroupId,
    corrections: &[&Correction],
    quiet_since: DateTime<Utc>,
) -> Result<Vec<String>, sqlx::Error> {
    let accounts: Vec<&str> = corrections.iter().map(|c| c.account.as_str()).collect();
    let held = corrections.iter().map(|c| c.held.iter().copied());
    let held: Vec<String> = held.map(array_text).collect();
    // A new row begins at 0; so no row that somebody else has just made is ever overwritten.
    let next_generation = |c: &&Correction| c.generation.map_or(0, |read| read + 1);
    let generations: Vec<i64> = corrections.iter().map(next_generation).collect();
    let due: Vec<bool> = corrections.iter().map(|c| c.due).collect();
    let next: Vec<Option<DateTime<Utc>>> = corrections.iter().map(|c| c.next).collect();
    sqlx::query_scalar!(
        r#"
        insert into members as m
            (group_id, account, presence, marks, generation, due_at, pending_since)
        select $1, c.account, 'present', c.held::bigint[], c.generation,
               case when c.due then now() else c.next end, case when c.due then now() end
        from unnest($2::text[], $3::text[], $4::bigint[], $5::bool[], $6::timestamptz[])
            as c (account, held, generation, due, next)
        -- Locked in the order that every writer of members keeps.
        order by c.account
        on conflict on constraint members_pkey do update set
            presence = 'present', marks = excluded.marks, waits_for = '{}',
            generation = excluded.generation, request_id = null,
            due_at = excluded.due_at, pending_since = excluded.pending_since,
            omissions = 0, attempts = 0, refusals = 0, last_error = null
        where m.generation = excluded.generation - 1
          and m.pending_since is null and not m.in_doubt and m.failed_at is null
          and (m.heard_at is null or m.heard_at < $7)
          and (m.confirmed_at is null or m.confirmed_at < $7)
        returning m.account
        "#,
        group.as_str(),
        &accounts as &[&str],
        &held,
        &generations,
        &due,
        &next as &[Option<DateTime<Utc>>],
        quiet_since,
    )
    .fetch_all(pool)
    .await
}

/// Notes members, given with the generation that was read, whom Chat does not find in the room.
/// Returns the accounts whose rows took it.
pub(crate) async fn vanished(
    pool: &PgPool,
    group: &GroupId,
    members: &[(Account, i64)],
    quiet_since: DateTime<Utc>,
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
              and m.pending_since is null and not m.in_doubt
              and (m.heard_at is null or m.heard_at < $4)
              and (m.confirmed_at is null or m.confirmed_at < $4)
            order by m.account
            for update of m
        )
        update members m set
            presence = 'absent', marks = '{}', waits_for = '{}', generation = m.generation + 1,
            request_id = null, due_at = null, omissions = 0, attempts = 0, refusals = 0, last_error = null, failed_at = null
        from locked l where m.group_id = l.group_id and m.account = l.account
        returning m.account
        "#,
        group.as_str(),
        &accounts as &[&str],
        &generations,
        quiet_since,
    )
    .fetch_all(pool)
    .await
}
