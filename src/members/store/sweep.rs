//! What the sweep reads about a room and its members.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::database::{Db, interval};
use crate::domain::{Account, GroupId, MarkSet, REMEMBERED};
use crate::members::{MEMBERS_A_CALL, MarkColumn, Member, Presence};

/// A sweep that begins so long after a rule stopped demanding a mark is the last one to look for it.
const RETIRED: Duration = Duration::from_secs(10 * 60);
/// The queue tries a member again within this time, whatever went wrong.
const LONGEST_WORK: Duration = Duration::from_secs(10 * 60);

/// The marks of ours in a room, and whether rules match accounts there by prefix.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    pub marks: MarkSet,
    pub by_prefix: bool,
}

/// The marks that belong to Stickymark in a room: those of enabled rules whose window has begun, those that
/// members carry because of such a rule, and those that a rule once demanded there. `retired_marks`
/// remembers the last kind; it is the only memory of it, and kept by triggers, so that no way of writing
/// rules can forget it.
///
/// A mark that no rule names any more is looked for in one more sweep, well after the rule changed: a call
/// that was under way may set it late. That of a rule that has ended is looked for as long as the rule is
/// remembered. A mark that a disabled rule names is looked for in every sweep.
/// A rule that was never enabled, or has not begun, claims nothing.
pub(crate) async fn demand(db: &Db, group: &GroupId) -> Result<Demand, sqlx::Error> {
    sqlx::query_as!(
        Demand,
        r#"
        with shape as (
            select distinct group_prefix_len as length,
                   case when group_prefix_len < 0 then $1 else left($1, group_prefix_len) end as text
            from rule_shapes
        ),
        swept as (
            select coalesce((select swept_at from rooms where group_id = $1), '-infinity') as at
        ),
        here as (
            select d.marks from swept cross join shape s
            join room_demands d on d.group_text = s.text and d.group_prefix_len = s.length
            where d.starts_at <= now() and d.ends_at > swept.at - $3::interval
            union all
            select m.marks from members m where m.group_id = $1 and m.marks <> '{}'
            union all
            select array[k.mark] from swept cross join generate_series(-1, length($1)) as p (length)
            join retired_marks k on k.group_prefix_len = p.length
                and k.group_text = case when p.length < 0 then $1 else left($1, p.length) end
            where k.retired_at > swept.at - $2::interval
               or exists (
                select from rules r
                where r.group_text = k.group_text and r.group_prefix_len = k.group_prefix_len
                  and not r.enabled and k.mark = any(r.marks))
        )
        select array(select distinct mark from here cross join unnest(marks) as mark) as "marks!: MarkColumn",
            exists (
                select from shape s
                join rules r on r.group_text = s.text and r.group_prefix_len = s.length
                where r.account_prefix_len >= 0 and r.enabled
                  and (r.ends_at is null or r.ends_at > now())
            ) as "by_prefix!"
        "#,
        group.as_str(),
        interval(RETIRED),
        interval(REMEMBERED),
    )
    .fetch_one(db)
    .await
}

/// The next page of accounts to ask Chat about, in order: those that active rules name in full, and those
/// with a row; rows of absent members only if `absent_too`, and if they left lately: who came back since is
/// among the newest members that Chat lists. The last page is shorter than
/// [`MEMBERS_A_CALL`].
pub(crate) async fn candidates(
    db: &Db,
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
            where group_id = $1 and account > $2
              and (presence <> 'absent' or $3 and heard_at > now() - interval '1 hour')
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
    .fetch_all(db)
    .await
}

/// The rows of some members.
pub(crate) async fn known(
    db: &Db,
    group: &GroupId,
    accounts: &[Account],
    quiet_since: DateTime<Utc>,
) -> Result<HashMap<Account, Member>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Member,
        r#"
        select account as "account: Account", presence as "presence: Presence", marks as "marks: MarkColumn",
            confirmed_marks as "confirmed_marks: MarkColumn", confirmed_at, in_doubt,
            revoked as "revoked: MarkColumn", waits_for as "waits_for: MarkColumn", due_at, pending_since,
            unserved_since, generation, tries, last_error, failed_at, request_id, traceparent,
            (due_at <= now() or pending_since <= now() and due_at < now() + $4::interval) is not true
                and (heard_at between $3 and now()) is not true
                and (confirmed_at between $3 and now()) is not true as "quiet!"
        from members where group_id = $1 and account = any($2)
        "#,
        group.as_str(),
        &accounts.iter().map(Account::as_str).collect::<Vec<_>>() as &[&str],
        quiet_since,
        interval(LONGEST_WORK),
    )
    .fetch_all(db)
    .await?;
    let known = rows.into_iter().map(|row| (row.account.clone(), row));
    Ok(known.collect())
}
