//! What changes of rules mean for the members they concern, after their commit.
//!
//! A change is noted first: for the members with rows that it concerns, and for the rooms in which Chat alone
//! may know such members. One note stays for each, however many changes concern it. Then members are reached
//! in small batches: they become due, and their marks are planned later, from the rules as they then are.
//! Members who may be in a room without a row are tried, and rooms are compared with Chat. No row that
//! others keep locked is waited for: the note of such a member stays.

use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;

use super::locked_members;
use crate::database::interval;
use crate::domain::{Account, GroupId, MarkSet, Pattern};
use crate::members::MarkColumn;

/// Members reached at once.
const MEMBERS_A_BATCH: i64 = 1000;
/// Rooms asked for at once.
const ROOMS_A_BATCH: i64 = 100;
/// Only rooms with events so recent are compared with Chat because of a rule.
const LIVELY: Duration = Duration::from_secs(24 * 60 * 60);

/// The members that a version of a rule matches, and what a change of it means for them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub group: Pattern<GroupId>,
    pub account: Pattern<Account>,
    /// The marks that Chat may have been asked to set because of it.
    pub marks: MarkSet,
    /// The request that changed the rule.
    pub request: Option<String>,
    /// The change, as a number of the history.
    pub change: i64,
    /// The rule did not match these members before.
    pub newly: bool,
}

impl Target {
    /// The one member of one room that it names, if it is such a target.
    pub(crate) fn member(&self) -> Option<Concerned> {
        let literal = self.group.prefix_len() < 0 && self.account.prefix_len() < 0;
        literal.then(|| Concerned {
            group: self.group.text().to_owned(),
            account: self.account.text().to_owned(),
            marks: self.marks.clone(),
            request: self.request.clone(),
            change: self.change,
            newly: self.newly,
        })
    }
}

/// A note: a row of `unreached_members`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Concerned {
    #[serde(rename = "group_id")]
    pub group: String,
    /// Empty: the room is to be compared with Chat.
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

    /// To compare the room of this member with Chat.
    pub(crate) fn room(&self) -> Self {
        Self {
            account: String::new(),
            marks: MarkSet::new(),
            newly: false,
            ..self.clone()
        }
    }
}

/// Members as JSON for `json_populate_recordset`.
fn rows(members: &[Concerned]) -> Result<String, sqlx::Error> {
    serde_json::to_string(members).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// Notes members and rooms, the first change first.
pub(crate) async fn note(
    transaction: &mut PgConnection,
    mut members: Vec<Concerned>,
) -> Result<(), sqlx::Error> {
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
        rows(&members)?,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Notes the members with rows that a target matches and, if it is new, the live rooms that it matches. Returns
/// how many.
pub(crate) async fn note_all(
    transaction: &mut PgConnection,
    target: &Target,
) -> Result<u64, sqlx::Error> {
    let first = target.group.text();
    let last = match target.group.prefix_len() {
        ..0 => first.to_owned(),
        // No id has a greater character.
        _ => format!("{first}\u{10ffff}"),
    };
    let marks: Vec<i64> = target.marks.iter().copied().map(i64::from).collect();
    let noted = sqlx::query!(
        r#"
        insert into unreached_members as u (group_id, account, marks, request_id, change, newly)
        select group_id, account, $5::bigint[], $6::text, $7::bigint, false from members
        where group_id >= $1 and group_id <= $2
          and case when $4::smallint < 0 then account = $3 else starts_with(account, $3) end
          and (presence <> 'absent' or in_doubt)
        union all
        select group_id, '', '{}', $6, $7, false from rooms
        where $8::boolean and group_id >= $1 and group_id <= $2 and gone_at is null
          and coalesce(last_event_at, opened_at) > now() - $9::interval
        on conflict on constraint unreached_members_pkey do update set
            marks = array(select distinct unnest(u.marks || excluded.marks)),
            request_id = excluded.request_id
        "#,
        first,
        last,
        target.account.text(),
        target.account.prefix_len(),
        &marks,
        target.request,
        target.change,
        target.newly,
        interval(LIVELY),
    )
    .execute(transaction)
    .await?;
    Ok(noted.rows_affected())
}

/// What became of a batch of notes of members.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    pub members: usize,
    /// Members whose rows others keep locked.
    pub locked: usize,
    /// The rooms of those who became due.
    pub rooms: Vec<String>,
}

/// Reaches the next members.
pub(crate) async fn reach(transaction: &mut PgConnection) -> Result<Reached, sqlx::Error> {
    let mut members = sqlx::query_as!(
        Concerned,
        r#"
        with next as materialized (
            select ctid as place from unreached_members where account <> '' order by tried_at limit $1
        )
        delete from unreached_members u using next n where u.ctid = n.place
        returning u.group_id as "group", u.account, u.marks as "marks: MarkColumn",
                  u.request_id as request, u.change, u.newly
        "#,
        MEMBERS_A_BATCH,
    )
    .fetch_all(&mut *transaction)
    .await?;
    if members.is_empty() {
        return Ok(Reached::default());
    }
    // Locked in the order that every writer of members keeps.
    members.sort_by(|one, other| one.key().cmp(&other.key()));
    let keys = members.iter().map(Concerned::key);
    let locked = locked_members(&mut *transaction, keys).await?;
    let is_locked = |member: &mut Concerned| {
        let (group, account) = (&member.group, &member.account);
        locked
            .iter()
            .any(|key| (&key.0, &key.1) == (group, account))
    };
    let left: Vec<Concerned> = members.extract_if(.., is_locked).collect();
    note(transaction, left).await?;
    Ok(Reached {
        rooms: make_due(transaction, &members).await?,
        members: members.len(),
        locked: locked.len(),
    })
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

/// Requests a comparison of these rooms, which need not be known. The accounts that rules name there are
/// then asked about in few calls.
pub(crate) async fn ask_rooms(
    transaction: &mut PgConnection,
    rooms: &[String],
) -> Result<(), sqlx::Error> {
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
        rooms,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Requests a comparison of the next rooms, those with the latest events first; returns how many.
pub(crate) async fn ask_next_rooms(transaction: &mut PgConnection) -> Result<usize, sqlx::Error> {
    let rooms = sqlx::query_scalar!(
        r#"
        with next as materialized (
            select u.ctid as place from unreached_members u
            -- `offset 0`: one index probe for each.
            left join lateral (
                select last_event_at from rooms r where r.group_id = u.group_id offset 0) r on true
            where u.account = ''
            order by r.last_event_at desc nulls last
            limit $1
        )
        delete from unreached_members u using next n where u.ctid = n.place
        returning u.group_id
        "#,
        ROOMS_A_BATCH,
    )
    .fetch_all(&mut *transaction)
    .await?;
    if !rooms.is_empty() {
        ask_rooms(transaction, &rooms).await?;
    }
    Ok(rooms.len())
}
