//! What a change of rules means for the members it concerns, in small batches after its commit.
//!
//! Members with rows become due; their marks are planned later, from the rules as they then are. Members
//! who may be in a room without a row are tried, or the room is compared with Chat. `rules::propagation`
//! says in which order. No row that others keep locked is waited for: such members are noted in
//! `unreached_members`, in the same transaction, and reached later.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use super::{locked_members, locked_rooms};
use crate::database::interval;
use crate::domain::{Account, GroupId, MarkSet, Pattern};
use crate::members::MarkColumn;

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

/// A member that changes of rules concern: a row of `unreached_members`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Concerned {
    #[serde(rename = "group_id")]
    pub group: String,
    pub account: String,
    /// The marks that Chat may have been asked to set because of these rules.
    pub marks: MarkSet,
    /// The request that changed them.
    #[serde(rename = "request_id")]
    pub request: Option<String>,
    /// The first of the changes, as a number of the history.
    pub change: i64,
    /// A rule names the member that did not before.
    pub newly: bool,
}

impl Concerned {
    fn key(&self) -> (&str, &str) {
        (&self.group, &self.account)
    }
}

/// Carries changes, the first first, to members, and returns the rooms of those who became due. A member
/// whose row others keep locked is noted, for [`reach_left`].
pub(crate) async fn reach(
    transaction: &mut PgConnection,
    mut members: Vec<Concerned>,
) -> Result<Vec<String>, sqlx::Error> {
    // Locked in the order that every writer of members keeps.
    members.sort_by(|one, other| one.key().cmp(&other.key()));
    members.dedup_by(|later, member| {
        let same = later.key() == member.key();
        if same {
            member.marks.append(&mut later.marks);
            member.request = later.request.take();
            member.newly |= later.newly;
        }
        same
    });
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let keys = members.iter().map(Concerned::key);
    let locked = locked_members(&mut *transaction, keys).await?;
    // A room may have to be opened for those who are new to the rules.
    let newly = members.iter().filter(|member| member.newly);
    let rooms = newly.map(|member| member.group.as_str());
    let rooms = locked_rooms(&mut *transaction, rooms).await?;
    let is_locked = |member: &mut Concerned| {
        let (group, account) = (&member.group, &member.account);
        let is_member = |key: &(String, String)| (&key.0, &key.1) == (group, account);
        locked.iter().any(is_member) || member.newly && rooms.contains(group)
    };
    let left: Vec<Concerned> = members.extract_if(.., is_locked).collect();
    note_unreached(transaction, &left).await?;
    make_due(transaction, &members).await
}

/// Carries changes to members who were locked before. Returns the rooms of those who are not any more.
pub(crate) async fn reach_left(transaction: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let left = sqlx::query_as!(
        Concerned,
        r#"
        with next as (
            select group_id, account from unreached_members order by tried_at limit $1
        )
        delete from unreached_members u using next n
        where u.group_id = n.group_id and u.account = n.account
        returning u.group_id as "group", u.account, u.marks as "marks: MarkColumn",
                  u.request_id as request, u.change, u.newly
        "#,
        MEMBERS_A_BATCH,
    )
    .fetch_all(&mut *transaction)
    .await?;
    reach(transaction, left).await
}

/// Members as JSON for `json_populate_recordset`.
fn rows(members: &[Concerned]) -> Result<String, sqlx::Error> {
    serde_json::to_string(members).map_err(|error| sqlx::Error::Encode(error.into()))
}

async fn note_unreached(
    transaction: &mut PgConnection,
    members: &[Concerned],
) -> Result<(), sqlx::Error> {
    if members.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        insert into unreached_members as u (group_id, account, marks, request_id, change, newly)
        select group_id, account, marks, request_id, change, newly
        from json_populate_recordset(null::unreached_members, $1::text::json)
        on conflict on constraint unreached_members_pkey do update set
            marks = array(select distinct unnest(u.marks || excluded.marks)),
            request_id = excluded.request_id, change = least(u.change, excluded.change),
            newly = u.newly or excluded.newly, tried_at = now()
        "#,
        rows(members)?,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Makes members due, and returns their rooms. Absent members are skipped, except if they are in doubt: Chat
/// may then hold marks of these rules. The same holds while a call may be under way in the room. The marks
/// are added to `revoked` then, and the next round removes them unless a rule still requires them.
///
/// Events of members without a rule are not recorded. A new rule that names a member in full may match one
/// who is in the room already: they have no row, or one that believes them absent. They are tried once;
/// Chat's answer tells whether they are there.
async fn make_due(
    transaction: &mut PgConnection,
    members: &[Concerned],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        with concerned as materialized (
            select c.*, m.presence is not null as known
            from json_populate_recordset(null::unreached_members, $1::text::json) c
            left join lateral (
                select m.presence, m.in_doubt from members m
                where m.group_id = c.group_id and m.account = c.account
                offset 0
            ) m on true
            left join lateral (
                select r.gone_at from rooms r where r.group_id = c.group_id offset 0
            ) r on true
            where m.presence <> 'absent' or m.in_doubt or c.newly and r.gone_at is null
        ),
        -- A room that exists must not be deleted before this commits; see `cleanup`. Claims of the room
        -- do not wait for this lock.
        locked as materialized (
            select group_id from rooms where group_id in (select group_id from concerned where newly)
            order by group_id
            for key share
        ),
        opened as (
            insert into rooms (group_id)
            select distinct group_id from concerned
            where newly and group_id not in (select group_id from locked)
            order by group_id
            on conflict on constraint rooms_pkey do nothing
        )
        insert into members as m (group_id, account, presence, due_at, pending_since, request_id, revoked)
        select group_id, account, 'unknown', now(), now(), request_id, case when known then marks else '{}' end
        from concerned
        -- Locked in the order that every writer of members keeps.
        order by group_id collate "C", account collate "C"
        on conflict on constraint members_pkey do update set
            due_at = now(), pending_since = coalesce(m.pending_since, now()),
            generation = m.generation + 1, request_id = excluded.request_id, traceparent = null,
            tries = 0, last_error = null, failed_at = null,
            revoked = case when m.in_doubt or exists (
                    select from rooms r where r.group_id = m.group_id and r.leased_until is not null)
                then array(select distinct unnest(m.revoked || excluded.revoked)) else m.revoked end
        returning group_id
        "#,
        rows(members)?,
    )
    .fetch_all(transaction)
    .await
}

/// The room and account of the next members that a target matches, after the given ones, in their order.
/// Fewer than [`MEMBERS_A_BATCH`]: there are no more.
pub(crate) async fn next_members(
    transaction: &mut PgConnection,
    target: &Target,
    after: (&str, &str),
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (first, last) = target.rooms();
    let rows = sqlx::query!(
        r#"
        select group_id, account from members
        where group_id >= $1 and group_id <= $2 and (group_id, account) > ($3, $4)
          and case when $6::smallint < 0 then account = $5 else starts_with(account, $5) end
          and (presence <> 'absent' or in_doubt)
        order by group_id, account
        limit $7
        "#,
        first,
        last,
        after.0,
        after.1,
        target.account.text(),
        target.account.prefix_len(),
        MEMBERS_A_BATCH,
    )
    .fetch_all(transaction)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.group_id, row.account))
        .collect())
}

/// Requests a comparison of these rooms, which need not be known. The accounts that rules name there are
/// then asked about in few calls.
pub(crate) async fn ask_rooms(
    transaction: &mut PgConnection,
    rooms: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into rooms as r (group_id, sweep_due_at, sweep_requested_at)
        select distinct group_id collate "C", now(), now() from unnest($1::text[]) as t (group_id)
        order by 1
        on conflict on constraint rooms_pkey do update set
            sweep_due_at = least(r.sweep_due_at, now()),
            sweep_requested_at = coalesce(r.sweep_requested_at, now())
        where r.gone_at is null
        "#,
        rooms,
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
