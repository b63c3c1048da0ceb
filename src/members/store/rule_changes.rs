//! What a change of rules means for the members it concerns.
//!
//! This runs in the transaction that writes the rules, so a rule and its consequences become visible
//! together. Members who are present become due at once; their marks are planned later, from the rules as
//! they then are. A disabled rule concerns no member.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domain::{RequestId, RuleDraft};

/// One rule before and after a write. `before` is `None` for a new rule, `after` for a deleted one.
#[derive(Debug, Clone, Copy)]
pub struct RuleChange<'a> {
    /// The rule as it was.
    pub before: Option<&'a RuleDraft>,
    /// The rule as it is now.
    pub after: Option<&'a RuleDraft>,
}

/// Makes every member due whom the changes concern, and tries members without a row where a rule names
/// an account in full.
///
/// Call it after the rules are written, in the same transaction; after the commit wake the rooms that it
/// returns, and the worker.
pub async fn rules_changed(
    transaction: &mut PgConnection,
    changes: &[RuleChange<'_>],
    request: Option<&RequestId>,
) -> Result<Vec<String>, sqlx::Error> {
    let request = request.map(RequestId::as_str);
    let concerned = changes
        .iter()
        .flat_map(|change| [change.before, change.after])
        .flatten()
        .filter(|rule| rule.enabled);
    let mut rooms = make_due(transaction, &Patterns::of(concerned), request).await?;
    let demanding = changes
        .iter()
        .filter_map(|change| change.after)
        .filter(|rule| rule.enabled);
    rooms.extend(probe_unknown(transaction, &Patterns::of(demanding), request).await?);
    let new = changes.iter().filter_map(RuleChange::newly_matching);
    rooms.extend(probe_absent(transaction, &Patterns::of(new), request).await?);
    rooms.sort_unstable();
    rooms.dedup();
    Ok(rooms)
}

impl<'a> RuleChange<'a> {
    /// The rule as it is now, if it is enabled and did not match these members before.
    fn newly_matching(&self) -> Option<&'a RuleDraft> {
        let after = self.after.filter(|rule| rule.enabled)?;
        let before = self.before;
        before
            .is_none_or(|rule| (&rule.group, &rule.account) != (&after.group, &after.account))
            .then_some(after)
    }
}

/// The patterns of rules as columns for `UNNEST`.
#[derive(Default)]
struct Patterns {
    group_texts: Vec<String>,
    group_prefix_lens: Vec<i16>,
    account_texts: Vec<String>,
    account_prefix_lens: Vec<i16>,
    /// Arrays as text, since Postgres would flatten an array of arrays.
    marks: Vec<String>,
    starts_at: Vec<Option<DateTime<Utc>>>,
}

impl Patterns {
    fn of<'a>(rules: impl Iterator<Item = &'a RuleDraft>) -> Self {
        let mut columns = Self::default();
        for rule in rules {
            columns.group_texts.push(rule.group.text().to_owned());
            columns.group_prefix_lens.push(rule.group.prefix_len());
            columns.account_texts.push(rule.account.text().to_owned());
            columns.account_prefix_lens.push(rule.account.prefix_len());
            columns
                .marks
                .push(crate::members::array_text(rule.marks.iter()));
            columns.starts_at.push(rule.window.starts_at);
        }
        columns
    }
}

/// Makes members due that the patterns match. Absent members are skipped, except when a call is in flight
/// or was interrupted (`in_doubt`): Chat may then hold marks of these rules, so they are added to `revoked`
/// and removed by the next round, unless a rule still demands them. A rule whose window has not begun has
/// demanded nothing yet.
async fn make_due(
    transaction: &mut PgConnection,
    rules: &Patterns,
    request: Option<&str>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with change as (
            select group_text, group_prefix_len, account_text, account_prefix_len,
                   case when starts_at > now() then '{}' else marks end as marks
            from unnest($1::text[], $2::smallint[], $3::text[], $4::smallint[], $5::text[],
                        $7::timestamptz[])
                as c (group_text, group_prefix_len, account_text, account_prefix_len, marks, starts_at)
        ),
        -- One branch for each kind of pattern, so that each can be joined by its index.
        hit as (
            select m.group_id, m.account, c.marks from change c
            join members m on m.group_id = c.group_text and m.account = c.account_text
            where c.group_prefix_len < 0 and c.account_prefix_len < 0
            union all
            select m.group_id, m.account, c.marks from change c
            join members m on m.group_id = c.group_text and starts_with(m.account, c.account_text)
            where c.group_prefix_len < 0 and c.account_prefix_len >= 0
            union all
            select m.group_id, m.account, c.marks from change c
            join members m on m.account = c.account_text and starts_with(m.group_id, c.group_text)
            where c.group_prefix_len >= 0 and c.account_prefix_len < 0
            union all
            select m.group_id, m.account, c.marks from change c
            join members m on starts_with(m.group_id, c.group_text)
                          and starts_with(m.account, c.account_text)
            where c.group_prefix_len >= 0 and c.account_prefix_len >= 0
        ),
        concerned as (
            select hit.group_id, hit.account, array_remove(array_agg(distinct mark), null) as marks
            from hit left join unnest(hit.marks::bigint[]) as mark on true
            group by hit.group_id, hit.account
        ),
        -- Locked in the order that every writer of members keeps.
        locked as (
            select m.group_id, m.account, c.marks
            from members m join concerned c using (group_id, account)
            where m.presence <> 'absent' or m.in_doubt
            order by m.group_id, m.account
            for update of m
        ),
        -- A call may be under way in them.
        leased as materialized (
            select group_id from rooms where leased_until is not null
        )
        update members m set
            due_at = now(),
            pending_since = coalesce(m.pending_since, now()),
            generation = m.generation + 1, request_id = $6, traceparent = null,
            tries = 0, last_error = null, failed_at = null,
            revoked = case when m.in_doubt or m.group_id in (select group_id from leased)
                then array(select distinct unnest(m.revoked || l.marks)) else m.revoked end
        from locked l where m.group_id = l.group_id and m.account = l.account
        returning m.group_id
        "#,
        &rules.group_texts,
        &rules.group_prefix_lens,
        &rules.account_texts,
        &rules.account_prefix_lens,
        &rules.marks,
        request,
        &rules.starts_at as &[Option<DateTime<Utc>>],
    )
    .fetch_all(transaction)
    .await
}

/// A rule that names an account in full may match a member who is in the room already and whose events
/// were not recorded. A row of unknown presence makes the worker try; Chat's answer tells whether the
/// member is there. Rooms become due at 20 a second, so that an import of many rules does not delay
/// members who arrive.
async fn probe_unknown(
    transaction: &mut PgConnection,
    rules: &Patterns,
    request: Option<&str>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with change as (
            select * from unnest($1::text[], $2::smallint[], $3::text[], $4::smallint[])
                as c (group_text, group_prefix_len, account_text, account_prefix_len)
            where account_prefix_len < 0
        ),
        named as (
            select group_text as group_id, account_text as account from change
            where group_prefix_len < 0
            union
            select r.group_id, c.account_text from change c
            join rooms r on starts_with(r.group_id, c.group_text)
            where c.group_prefix_len >= 0
              and r.gone_at is null and r.last_event_at > now() - interval '1 day'
        ),
        unknown as (
            select n.*, now() + interval '50 ms' * (dense_rank() over (order by n.group_id) - 1) as due_at
            from named n
            where not exists (select from members m
                              where m.group_id = n.group_id and m.account = n.account)
        ),
        -- A room that exists must not be deleted before this commits; see `cleanup`. Claims of the room
        -- do not wait for this lock.
        locked as materialized (
            select group_id from rooms where group_id in (select group_id from unknown)
            order by group_id
            for key share
        ),
        opened as (
            insert into rooms (group_id)
            select distinct group_id from unknown
            where group_id not in (select group_id from locked)
            order by group_id
            on conflict on constraint rooms_pkey do nothing
        )
        insert into members (group_id, account, presence, due_at, pending_since, request_id)
        select group_id, account, 'unknown', due_at, due_at, $5 from unknown
        order by group_id, account
        on conflict on constraint members_pkey do nothing
        returning group_id
        "#,
        &rules.group_texts,
        &rules.group_prefix_lens,
        &rules.account_texts,
        &rules.account_prefix_lens,
        request,
    )
    .fetch_all(transaction)
    .await
}

/// Events of members without a rule are not recorded, so `absent` may be out of date. A new rule that
/// names an account in full therefore schedules one attempt; Chat's answer tells whether the member is
/// there.
async fn probe_absent(
    transaction: &mut PgConnection,
    rules: &Patterns,
    request: Option<&str>,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with change as (
            select * from unnest($1::text[], $2::smallint[], $3::text[], $4::smallint[])
                as c (group_text, group_prefix_len, account_text, account_prefix_len)
            where account_prefix_len < 0
        ),
        named as (
            select group_text as group_id, account_text as account from change
            where group_prefix_len < 0
            union
            select r.group_id, c.account_text from change c
            join rooms r on starts_with(r.group_id, c.group_text)
            where c.group_prefix_len >= 0
              and r.gone_at is null and r.last_event_at > now() - interval '1 day'
        ),
        -- Locked in the order that every writer of members keeps.
        locked as materialized (
            select m.group_id, m.account from members m join named n using (group_id, account)
            join rooms r using (group_id)
            where m.presence = 'absent' and m.due_at is null and r.gone_at is null
            order by m.group_id, m.account
            for update of m
        ),
        paced as (
            select l.*, now() + interval '50 ms' * (dense_rank() over (order by l.group_id) - 1) as at
            from locked l
        )
        update members m set
            due_at = p.at, pending_since = p.at, generation = m.generation + 1, request_id = $5, traceparent = null,
            tries = 0, last_error = null, failed_at = null
        from paced p where m.group_id = p.group_id and m.account = p.account
        returning m.group_id
        "#,
        &rules.group_texts,
        &rules.group_prefix_lens,
        &rules.account_texts,
        &rules.account_prefix_lens,
        request,
    )
    .fetch_all(transaction)
    .await
}
