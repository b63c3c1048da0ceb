//! Every statement on `members` and `rooms`.
//!
//! # From an arrival to a mark
//!
//! An event writes the member's row and makes it due (`record`); the room becomes due with it. A worker
//! claims the room that has been due longest, reads its due members (`claim`), plans from the rules, calls
//! Chat, and decides what becomes of each row (`members::life`). `write_back` stores that, sets the next due
//! time of the room from its members, and releases the room.
//!
//! # Who works on a row
//!
//! A row of `members` belongs to the queue while it is due, or while it is pending (`pending_since` has come)
//! and due soon. Otherwise it belongs to the sweep, once nothing was recorded or confirmed for a minute. No
//! other column decides, so no row is left out by both; a test runs both over every combination.
//!
//! | Column | Set by | Cleared by | Means for others |
//! |---|---|---|---|
//! | `due_at` | events, write-backs (next try; start or end of a rule), rule changes, retries, corrections of the sweep | leaves, room ends, write-backs without a next time | null: the queue does nothing |
//! | `pending_since` | events, rule changes, retries, corrections; write-backs that try again | write-backs that are final, leaves, room ends | the sweep leaves the row to the queue |
//! | `in_doubt` | write-backs that find the row changed or whose call has an unknown result; a claim after a lease that expired | other write-backs, leaves that are not doubtful, room ends, corrections | the plan sends everything and removes what may be left; rule changes reach absent members too |
//! | `revoked` | rule changes, of members in doubt or in a leased room | as `in_doubt` | the next plan removes these marks |
//! | `failed_at` | write-backs after the last try | events, rule changes, retries, room ends, write-backs that succeed, corrections that find nothing missing | the sweep does not make the member due for a missing mark |
//! | `tries`, `last_error` | write-backs | events, rule changes, retries, room ends, write-backs that succeed | a busy room does not take the member along before their time |
//! | `waits_for` | write-backs, when a mark has no place | events, room ends, the next write-back, corrections | a busy room does not take the member along before their time |
//! | `rooms.due_at` | code that makes members due, after the commit; claims (end of the lease); write-backs | write-backs without a due member | when the room is claimed |
//! | `rooms.leased_until` | claims | write-backs | one round per room; expired: what became of a call is unknown |
//! | `rooms.gone_at` | destroyed events, Chat's answer that the room does not exist | arrivals, confirmed marks, a sweep of which Chat knows the room | no sweep after the one that checks it; deleted after an hour |
//!
//! A doubtful leave is one whose time, or that of the event in the row, is missing.
//!
//! # Batches
//!
//! Statements that run for each callback or call reach the members of a batch by `cross join lateral (…
//! offset 0)`: one lookup by the primary key for each. They change them by `on conflict do update`, which
//! takes whatever the row has become, or by the place of the row (`ctid`), which does not find a row that
//! was rewritten meanwhile. A join lets PostgreSQL read the whole room and compare each member with each
//! row of the batch, if it believes that the table is empty: 13 s for 500 of 20,000 members. It believes
//! so when it analysed the table while that was empty, until the next analysis.
//!
//! # Locks and generations
//!
//! One order for every writer: members by room and account, then rooms by their id. Only against the
//! deletion of the room it is locked first, by `for key share`, for which no other writer waits. Every
//! change of fact raises `generation`; who decided something about a row writes it only if the generation
//! is still the one they read.
//!
//! A row that a stranger keeps locked, most often a person at a prompt, is not waited for longer than the
//! session allows; then the others of the batch go on without it.

pub(crate) mod claim;
pub(crate) mod cleanup;
pub(crate) mod figures;
pub(crate) mod list;
pub(crate) mod record;
pub(crate) mod rooms;
pub(crate) mod rule_changes;
pub(crate) mod sweep;
pub(crate) mod write_back;

use std::collections::HashSet;

use sqlx::PgExecutor;

/// The room and account of those of these members whose rows others have locked now. In a transaction the
/// rows of the other members are locked from here on.
pub(crate) async fn locked_members(
    executor: impl PgExecutor<'_>,
    members: impl Iterator<Item = (&str, &str)>,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (groups, accounts): (Vec<&str>, Vec<&str>) = members.unzip();
    let locked = sqlx::query!(
        r#"
        with asked as materialized (select * from unnest($1::text[], $2::text[]) as a (group_id, account))
        select a.group_id as "group_id!", a.account as "account!"
        from asked a
        cross join lateral (
            select from members m where m.group_id = a.group_id and m.account = a.account offset 0) there
        left join lateral (
            select true as free from members m where m.group_id = a.group_id and m.account = a.account
            offset 0 for update skip locked) f on true
        where f.free is null
        "#,
        &groups as &[&str],
        &accounts as &[&str],
    )
    .fetch_all(executor)
    .await?;
    Ok(locked
        .into_iter()
        .map(|row| (row.group_id, row.account))
        .collect())
}

/// Those of these rooms whose rows others have locked now. In a transaction the rows of the others are locked
/// from here on.
pub(crate) async fn locked_rooms(
    executor: impl PgExecutor<'_>,
    rooms: impl Iterator<Item = &str>,
) -> Result<HashSet<String>, sqlx::Error> {
    let rooms: HashSet<&str> = rooms.collect();
    if rooms.is_empty() {
        return Ok(HashSet::new());
    }
    let rooms: Vec<&str> = rooms.into_iter().collect();
    let locked = sqlx::query_scalar!(
        r#"
        with asked as materialized (select * from unnest($1::text[]) as a (group_id))
        select a.group_id as "group_id!"
        from asked a
        cross join lateral (select from rooms r where r.group_id = a.group_id offset 0) there
        left join lateral (
            select true as free from rooms r where r.group_id = a.group_id
            offset 0 for no key update skip locked) f on true
        where f.free is null
        "#,
        &rooms as &[&str],
    )
    .fetch_all(executor)
    .await?;
    Ok(locked.into_iter().collect())
}
