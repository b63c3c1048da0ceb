//! What a change of rules means for the members it concerns, in small batches after its commit.
//!
//! Members with rows become due; their marks are planned later, from the rules as they then are. Members
//! who may be in a room without a row are tried, or the room is compared with Chat. `rules::propagation`
//! says in which order.

use std::time::Duration;

use sqlx::PgConnection;

use crate::database::interval;
use crate::domain::{Account, GroupId, MarkSet, Pattern};
use crate::members::array_text;

/// Members in a batch.
pub(crate) const MEMBERS_A_BATCH: i64 = 1000;
/// Rooms in a batch.
pub(crate) const ROOMS_A_BATCH: i64 = 100;
/// Only rooms with events so recent are compared with Chat because of a rule.
const LIVELY: Duration = Duration::from_secs(24 * 60 * 60);

/// The members that a version of a rule matches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub group: Pattern<GroupId>,
    pub account: Pattern<Account>,
    /// The marks that Chat may have been asked to set because of it.
    pub marks: MarkSet,
    /// The request that changed the rule.
    pub request: Option<String>,
}

impl Target {
    /// Whether it names one member of one room.
    pub(crate) fn is_literal(&self) -> bool {
        self.group.prefix_len() < 0 && self.account.prefix_len() < 0
    }

    /// The first and the last room id that may match.
    fn rooms(&self) -> (String, String) {
        let first = self.group.text().to_owned();
        let last = match self.group.prefix_len() {
            ..0 => first.clone(),
            // No id has a greater character.
            _ => format!("{first}\u{10ffff}"),
        };
        (first, last)
    }
}

/// Literal targets as columns for `UNNEST`.
#[derive(Default)]
struct Columns<'a> {
    groups: Vec<&'a str>,
    accounts: Vec<&'a str>,
    /// Arrays as text, since Postgres would flatten an array of arrays.
    marks: Vec<String>,
    requests: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(targets: &'a [Target]) -> Self {
        let mut columns = Self::default();
        for target in targets {
            columns.groups.push(target.group.text());
            columns.accounts.push(target.account.text());
            columns.marks.push(array_text(target.marks.iter().copied()));
            columns.requests.push(target.request.as_deref());
        }
        columns
    }
}

/// Makes due the members that literal targets name, and returns their rooms. Absent members are skipped,
/// except if they are in doubt: Chat may then hold marks of these rules. The same holds while a call may be
/// under way in the room. The marks are added to `revoked` then, and the next round removes them unless a
/// rule still requires them.
pub(crate) async fn make_due(
    transaction: &mut PgConnection,
    targets: &[Target],
) -> Result<Vec<String>, sqlx::Error> {
    let columns = Columns::of(targets);
    sqlx::query_scalar!(
        r#"
        with target as materialized (
            select t.group_id, t.account, max(t.request_id) as request_id,
                   array_remove(array_agg(distinct mark), null) as marks
            from unnest($1::text[], $2::text[], $3::text[], $4::text[])
                as t (group_id, account, marks, request_id)
            left join unnest(t.marks::bigint[]) as mark on true
            group by t.group_id, t.account
            -- Locked in the order that every writer of members keeps.
            order by t.group_id collate "C", t.account collate "C"
        ),
        locked as materialized (
            select t.* from target t cross join lateral (
                select from members m
                where m.group_id = t.group_id and m.account = t.account
                  and (m.presence <> 'absent' or m.in_doubt)
                offset 0
                for update
            ) m
        )
        -- Never inserts, since the rows are there: see "Batches" in the module's header.
        insert into members as m (group_id, account, presence, due_at, pending_since, request_id, revoked)
        select group_id, account, 'unknown', now(), now(), request_id, marks from locked
        on conflict on constraint members_pkey do update set
            due_at = now(), pending_since = coalesce(m.pending_since, now()),
            generation = m.generation + 1, request_id = excluded.request_id, traceparent = null,
            tries = 0, last_error = null, failed_at = null,
            revoked = case when m.in_doubt or exists (
                    select from rooms r where r.group_id = m.group_id and r.leased_until is not null)
                then array(select distinct unnest(m.revoked || excluded.revoked)) else m.revoked end
        returning group_id
        "#,
        &columns.groups as &[&str],
        &columns.accounts as &[&str],
        &columns.marks,
        &columns.requests as &[Option<&str>],
    )
    .fetch_all(transaction)
    .await
}

/// The same for the next members of any target after the given one, in the order of their keys; returns
/// their keys. Fewer than [`MEMBERS_A_BATCH`]: there are no more.
pub(crate) async fn make_next_due(
    transaction: &mut PgConnection,
    target: &Target,
    after: (&str, &str),
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (first, last) = target.rooms();
    let rows = sqlx::query!(
        r#"
        with locked as materialized (
            select group_id, account from members
            where group_id >= $1 and group_id <= $2 and (group_id, account) > ($3, $4)
              and case when $6::smallint < 0 then account = $5 else starts_with(account, $5) end
              and (presence <> 'absent' or in_doubt)
            order by group_id, account
            limit $7
            for update
        )
        -- Never inserts, since the rows are there: see "Batches" in the module's header.
        insert into members as m (group_id, account, presence, due_at, pending_since, request_id, revoked)
        select group_id, account, 'unknown', now(), now(), $8, $9::text::bigint[] from locked
        on conflict on constraint members_pkey do update set
            due_at = now(), pending_since = coalesce(m.pending_since, now()),
            generation = m.generation + 1, request_id = excluded.request_id, traceparent = null,
            tries = 0, last_error = null, failed_at = null,
            revoked = case when m.in_doubt or exists (
                    select from rooms r where r.group_id = m.group_id and r.leased_until is not null)
                then array(select distinct unnest(m.revoked || excluded.revoked)) else m.revoked end
        returning group_id, account
        "#,
        first,
        last,
        after.0,
        after.1,
        target.account.text(),
        target.account.prefix_len(),
        MEMBERS_A_BATCH,
        target.request,
        array_text(target.marks.iter().copied()),
    )
    .fetch_all(transaction)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.group_id, row.account))
        .collect())
}

/// Events of members without a rule are not recorded. A new rule that names a member in full may match one
/// who is in the room already: they have no row, or one that believes them absent. They are tried once;
/// Chat's answer tells whether they are there. Returns their rooms.
pub(crate) async fn try_unknown(
    transaction: &mut PgConnection,
    targets: &[Target],
) -> Result<Vec<String>, sqlx::Error> {
    let columns = Columns::of(targets);
    sqlx::query_scalar!(
        r#"
        with target as materialized (
            select t.group_id, t.account, max(t.request_id) as request_id
            from unnest($1::text[], $2::text[], $3::text[]) as t (group_id, account, request_id)
            left join rooms r on r.group_id = t.group_id
            where r.gone_at is null
            group by t.group_id, t.account
        ),
        -- A room that exists must not be deleted before this commits; see `cleanup`. Claims of the room
        -- do not wait for this lock.
        locked as materialized (
            select group_id from rooms where group_id in (select group_id from target)
            order by group_id
            for key share
        ),
        opened as (
            insert into rooms (group_id)
            select distinct group_id from target
            where group_id not in (select group_id from locked)
            order by group_id
            on conflict on constraint rooms_pkey do nothing
        )
        insert into members as m (group_id, account, presence, due_at, pending_since, request_id)
        select group_id, account, 'unknown', now(), now(), request_id from target
        order by group_id, account
        on conflict on constraint members_pkey do update set
            due_at = now(), pending_since = now(), generation = m.generation + 1,
            request_id = excluded.request_id, traceparent = null, tries = 0, last_error = null, failed_at = null
        where m.presence = 'absent' and m.due_at is null
        returning group_id
        "#,
        &columns.groups as &[&str],
        &columns.accounts as &[&str],
        &columns.requests as &[Option<&str>],
    )
    .fetch_all(transaction)
    .await
}

/// Requests a comparison of these rooms, which need not be known. The accounts that rules name there are
/// then asked about in few calls.
pub(crate) async fn ask_rooms(
    transaction: &mut PgConnection,
    targets: &[Target],
) -> Result<(), sqlx::Error> {
    let columns = Columns::of(targets);
    sqlx::query!(
        r#"
        insert into rooms as r (group_id, sweep_due_at, sweep_requested_at)
        select distinct group_id, now(), now() from unnest($1::text[]) as t (group_id)
        order by group_id
        on conflict on constraint rooms_pkey do update set
            sweep_due_at = least(r.sweep_due_at, now()),
            sweep_requested_at = coalesce(r.sweep_requested_at, now())
        where r.gone_at is null
        "#,
        &columns.groups as &[&str],
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Requests a comparison of the next live rooms of a target, those with the latest events first, each once
/// for the change with this number. Returns how many; fewer than [`ROOMS_A_BATCH`]: there are no more.
pub(crate) async fn ask_next_rooms(
    transaction: &mut PgConnection,
    target: &Target,
    change: i64,
) -> Result<u64, sqlx::Error> {
    let (first, last) = target.rooms();
    let asked = sqlx::query!(
        r#"
        with next as materialized (
            select group_id from rooms
            where group_id >= $1 and group_id <= $2 and gone_at is null and asked_at_change < $3
              and coalesce(last_event_at, opened_at) > now() - $4::interval
            order by last_event_at desc nulls last
            limit $5
        ),
        -- Locked in the order that every writer of rooms keeps.
        locked as materialized (
            select r.group_id from rooms r where r.group_id in (select group_id from next)
            order by r.group_id
            for no key update
        )
        update rooms r set
            asked_at_change = $3, sweep_due_at = least(r.sweep_due_at, now()),
            sweep_requested_at = coalesce(r.sweep_requested_at, now())
        from locked l where r.group_id = l.group_id
        "#,
        first,
        last,
        change,
        interval(LIVELY),
        ROOMS_A_BATCH,
    )
    .execute(transaction)
    .await?;
    Ok(asked.rows_affected())
}
