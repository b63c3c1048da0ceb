//! Records events in the members table, and the end of rooms.
//!
//! Arrivals and leaves are two statements. Each commits by itself and locks its rows in the order of
//! the primary key, so writers in several replicas cannot deadlock. A batch contains a member at most
//! once.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::database::{Db, interval};
use crate::domain::{Change, EventTime, GroupId, REMEMBERED, RoomEnd};
use crate::members::batch::{Batch, Heard, Named};
use crate::members::column;

/// A room that was declared gone is checked with Chat after this time, in which Chat's lists catch up.
const CHECKED_AFTER: Duration = Duration::from_secs(70);

/// How long the events of one member are debounced before the call.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    /// Wait after the last event.
    pub settle: Duration,
    /// Limit, counted from the first event.
    pub max_wait: Duration,
}

/// What a batch made due.
#[derive(Debug, Default)]
pub struct MadeDue {
    pub members: usize,
    /// Rooms whose rows were left alone: to be woken, see [`wake_rooms`](super::claim::wake_rooms).
    pub asleep: BTreeSet<String>,
}

/// Records a batch. On an error, part of it may be stored; recording it again is harmless.
pub async fn record(db: &Db, batch: &Batch, settling: Settling) -> Result<MadeDue, sqlx::Error> {
    for (end, _) in batch.ends.values() {
        let was_there = room_gone(db, &end.group, Ended::Told(end)).await?;
        if was_there {
            let (group, request_id) = (end.group.as_str(), end.request.as_str());
            tracing::info!(group, request_id, "room was destroyed");
        }
    }
    let mut due = MadeDue::default();
    for change in [Change::Left, Change::Arrived] {
        let events = batch.events(change);
        if events.is_empty() {
            continue;
        }
        let made_due = match change {
            Change::Left => record_leaves(db, &events, settling).await?,
            Change::Arrived => record_arrivals(db, &events, settling).await?,
        };
        due.members += made_due.members;
        due.asleep.extend(made_due.asleep);
    }
    Ok(due)
}

/// Records the arrivals of members that a rule matches. An arrival is stale if it is older than the
/// event in the row; an equal or missing time is not stale. A row that is already pending stays
/// pending until its events are debounced or `max_wait` is over.
///
/// The event in the row counts as no later than the moment it was recorded: an event dated in the
/// future, forged or from a wrong clock, must not make the next arrival stale. Leaves have no such
/// rule, since a clock that is behind Chat's would turn old leaves into new ones.
///
/// A stale arrival does not reopen a room that is gone. Rooms that are due soon in any case are not written.
async fn record_arrivals(
    db: &Db,
    events: &[&Heard],
    settling: Settling,
) -> Result<MadeDue, sqlx::Error> {
    let due = sqlx::query!(
        r#"
        with event as (
            select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $7::bool[], $8::text[],
                                 $9::float8[], $10::text[])
                as e (group_id, account, source, at, named, request_id, waited, traceparent)
        ),
        named as materialized (
            select e.group_id, e.account, e.source, e.at, e.request_id, e.traceparent,
                   now() - make_interval(secs => e.waited) as heard_since
            from event e
            where e.named or exists (
                select from rule_shapes s
                -- `offset 0` keeps this one index probe per shape, whatever the planner guesses.
                cross join lateral (
                    select from rules r
                    where r.account_prefix_len = s.account_prefix_len
                      and r.group_prefix_len = s.group_prefix_len
                      and r.account_text = case when s.account_prefix_len < 0
                          then e.account else left(e.account, s.account_prefix_len) end
                      and r.group_text = case when s.group_prefix_len < 0
                          then e.group_id else left(e.group_id, s.group_prefix_len) end
                      and (r.ends_at is null or r.ends_at > now() - $11::interval)
                    offset 0) rule)
        ),
        arrived as (
            insert into members as m
                (group_id, account, presence, event, event_at, heard_at, request_id, due_at, pending_since,
                 unserved_since, traceparent)
            select group_id, account, 'present', source, at, now(), request_id, now() + $5, now(),
                   heard_since, traceparent
            from named
            order by group_id, account
            on conflict on constraint members_pkey do update set
                presence = 'present', event = excluded.event, event_at = excluded.event_at,
                heard_at = excluded.heard_at, request_id = excluded.request_id,
                traceparent = excluded.traceparent,
                marks = '{}', waits_for = '{}', generation = m.generation + 1,
                tries = 0, last_error = null, failed_at = null,
                unserved_since = case when m.pending_since is null then excluded.unserved_since
                    else coalesce(m.unserved_since, excluded.unserved_since) end,
                pending_since = case
                    when not m.in_doubt and m.tries = 0
                    then coalesce(m.pending_since, now()) else now() end,
                due_at = case
                    when not m.in_doubt and m.tries = 0
                    then least(excluded.due_at, coalesce(m.pending_since, now()) + $6)
                    else excluded.due_at end
            where m.event_at is null or excluded.event_at is null
               or excluded.event_at >= least(m.event_at, (extract(epoch from m.heard_at) * 1000)::bigint)
            returning m.group_id, m.due_at
        ),
        -- `offset 0`: one index probe for each room, never all rooms against all.
        room as materialized (
            select a.group_id, a.due_at,
                r.gone_at is null and r.last_event_at > now() - interval '1 minute'
                and r.due_at <= now() + $6 and r.due_at is distinct from r.leased_until as awake
            from (select group_id, min(due_at) as due_at from arrived group by group_id) a
            left join lateral (
                select gone_at, last_event_at, due_at, leased_until from rooms
                where rooms.group_id = a.group_id offset 0) r on true
        ),
        written as (
            insert into rooms as r (group_id, last_event_at, due_at)
            select group_id, now(), due_at from room where awake is not true
            order by group_id
            on conflict on constraint rooms_pkey do update set
                last_event_at = excluded.last_event_at, gone_at = null,
                due_at = case
                    when r.due_at <= now() + $6 and r.due_at is distinct from r.leased_until then r.due_at
                    else excluded.due_at end
        )
        select (select count(*) from arrived) as "members!",
               array(select group_id from room where awake) as "asleep!"
        "#,
        &column(events, |heard| heard.event.group.as_str()) as &[&str],
        &column(events, |heard| heard.event.account.as_str()) as &[&str],
        &column(events, |heard| heard.event.source.as_str()) as &[&str],
        &column(events, |heard| heard.event.at.map(EventTime::millis)) as &[Option<i64>],
        interval(settling.settle),
        interval(settling.max_wait),
        &column(events, |heard| heard.named == Named::Perhaps),
        &column(events, |heard| heard.event.request.as_str()) as &[&str],
        &column(events, |heard| heard.since.elapsed().as_secs_f64()),
        &column(events, |heard| heard.event.request.traceparent()) as &[Option<&str>],
        interval(REMEMBERED),
    )
    .fetch_one(db)
    .await?;
    Ok(MadeDue {
        members: usize::try_from(due.members).unwrap_or(usize::MAX),
        asleep: due.asleep.into_iter().collect(),
    })
}

/// Records the leaves of members who have a row; returns how many became due. If both times are known,
/// only a later leave counts. If one is missing, the leave is doubtful, since it may be older than the
/// event in the row: a pending member stays pending, any other member is tried once more. To mark a
/// member who is gone is harmless.
///
/// Chat forgets the marks of a member who leaves, so a leave ends all doubt unless it is doubtful itself.
async fn record_leaves(
    db: &Db,
    events: &[&Heard],
    settling: Settling,
) -> Result<MadeDue, sqlx::Error> {
    let doubtful = sqlx::query_scalar!(
        r#"
        with event as materialized (
            select * from unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $6::text[])
                as e (group_id, account, source, at, request_id)
            order by group_id collate "C", account collate "C"
        ),
        locked as materialized (
            select e.*, m.doubtful
            from event e cross join lateral (
                select m.event_at is null or e.at is null as doubtful
                from members m
                where m.group_id = e.group_id and m.account = e.account
                  and case when m.event_at is null or e.at is null
                      then m.presence <> 'absent'
                           and not (m.presence = 'present' and m.pending_since is not null)
                      else e.at > m.event_at end
                offset 0
                for update
            ) m
        )
        -- Never inserts, since the rows are there.
        insert into members as m
            (group_id, account, presence, event, event_at, heard_at, request_id, in_doubt, due_at, pending_since)
        select group_id, account, 'absent', source, at, now(), request_id, doubtful,
               case when doubtful then now() + $5 end, case when doubtful then now() end
        from locked
        on conflict on constraint members_pkey do update set
            presence = excluded.presence, event = excluded.event, event_at = excluded.event_at,
            heard_at = excluded.heard_at, request_id = excluded.request_id, traceparent = null,
            marks = '{}', waits_for = '{}', generation = m.generation + 1,
            in_doubt = m.in_doubt and excluded.in_doubt,
            revoked = case when excluded.in_doubt then m.revoked else '{}' end,
            tries = 0, last_error = null, failed_at = null,
            due_at = excluded.due_at, pending_since = excluded.pending_since, unserved_since = null
        returning case when due_at is not null then group_id end as doubtful
        "#,
        &column(events, |heard| heard.event.group.as_str()) as &[&str],
        &column(events, |heard| heard.event.account.as_str()) as &[&str],
        &column(events, |heard| heard.event.source.as_str()) as &[&str],
        &column(events, |heard| heard.event.at.map(EventTime::millis)) as &[Option<i64>],
        interval(settling.settle),
        &column(events, |heard| heard.event.request.as_str()) as &[&str],
    )
    .fetch_all(db)
    .await?;
    let doubtful: Vec<String> = doubtful.into_iter().flatten().collect();
    Ok(MadeDue {
        members: doubtful.len(),
        asleep: doubtful.into_iter().collect(),
    })
}

/// Where the end of a room is known from.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// `Group.CallbackAfterGroupDestroyed`. Members who arrived later, in a new room of the same id, stay.
    Told(&'a RoomEnd),
    /// Chat's answer to a call that was made after this moment of Postgres. Members with an event since
    /// then stay, since they may have come while Chat answered; with any of them the room stays.
    Answered(DateTime<Utc>),
}

/// Records that a room has ended. Returns whether it was known and had not ended before.
pub async fn room_gone(db: &Db, group: &GroupId, ended: Ended<'_>) -> Result<bool, sqlx::Error> {
    let (at, request, asked) = match ended {
        Ended::Told(end) => (end.at, Some(end.request.as_str()), None),
        Ended::Answered(asked) => (None, None, Some(asked)),
    };
    let ended = sqlx::query!(
        r#"
        with locked as (
            select group_id, account from members
            where group_id = $1 and ($2::bigint is null or event_at is null or event_at <= $2)
              and ($4::timestamptz is null or heard_at is null or heard_at < $4)
            order by account
            for update
        ),
        emptied as (
            update members m set
                presence = 'absent', marks = '{}', revoked = '{}', waits_for = '{}', in_doubt = false,
                event = 'destroyed', event_at = coalesce($2, m.event_at), heard_at = now(),
                request_id = $3, traceparent = null,
                generation = m.generation + 1, due_at = null, pending_since = null, unserved_since = null,
                tries = 0, last_error = null, failed_at = null
            from locked l where m.group_id = l.group_id and m.account = l.account
            returning 1
        )
        update rooms set gone_at = now(), sweep_due_at = now() + $5, sweep_requested_at = null
        -- Members are locked before their room, as every writer does.
        where (select count(*) from emptied) >= 0
          and group_id = $1 and gone_at is null
          and not exists (select from members where group_id = $1 and presence <> 'absent'
                          and (heard_at >= $4 or event_at > $2))
        "#,
        group.as_str(),
        at.map(EventTime::millis),
        request,
        asked,
        interval(CHECKED_AFTER),
    )
    .execute(db)
    .await?;
    Ok(ended.rows_affected() > 0)
}
