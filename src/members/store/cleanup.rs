//! Deletes what is over: rooms that were silent for long or are gone, and rows of members that no rule
//! matches or that are absent for long; and what is stored about one account, when a person asks for that.
//!
//! The cleanup skips rows that others have locked, and meets them again.

use std::time::Duration;

use super::rule_changes::ask_rooms;
use crate::database::{Db, interval};
use crate::domain::{Account, GroupId, REMEMBERED};

/// How often a replica looks for rooms to delete.
pub(crate) const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);
/// A room without events for so long, in which no member is present, is over.
const SILENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Rooms that are gone, and rows of absent members, are kept so long: late callbacks must find that
/// they are late.
const AFTERLIFE: Duration = Duration::from_secs(60 * 60);
/// Marks that rules no longer demand are remembered so long, for rooms that are rarely swept.
const RETIREMENT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Members deleted at once.
const MEMBERS: i64 = 5000;

/// Deletes some rooms that are over, with the rows of their members; returns how many rooms.
///
/// A member never has a row without a row of its room, since a room without a row is neither claimed
/// nor swept. For this the rooms are locked first, and only then, in a new snapshot, searched for
/// members. A statement that adds a member to a room that may be over locks the room's row as well.
///
/// A room that an event declared gone is kept until a sweep has asked Chat about it.
pub(crate) async fn delete_rooms(db: &Db) -> Result<u64, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let over = sqlx::query_scalar!(
        r#"
        select r.group_id from rooms r
        where (coalesce(r.last_event_at, r.opened_at) < now() - $1::interval
               or r.gone_at < now() - $2::interval and r.sweep_due_at is null)
          and (r.leased_until is null or r.leased_until <= now())
          and (r.sweeping_until is null or r.sweeping_until <= now())
          and not exists (
              select from members m where m.group_id = r.group_id
              and (m.presence = 'present' or m.due_at is not null))
        limit 1000
        for update of r skip locked
        "#,
        interval(SILENCE),
        interval(AFTERLIFE),
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        r#"
        with over as (
            select group_id, account from members
            where group_id = any($1) and presence <> 'present' and due_at is null
            limit $2
            for update skip locked
        )
        delete from members m using over o where m.group_id = o.group_id and m.account = o.account
        "#,
        &over,
        MEMBERS,
    )
    .execute(&mut *transaction)
    .await?;
    let deleted = sqlx::query!(
        r#"
        delete from rooms r where r.group_id = any($1)
        and not exists (select from members m where m.group_id = r.group_id)
        "#,
        &over,
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(deleted.rows_affected())
}

/// Forgets marks that rules stopped demanding long ago, except those that a disabled rule still names.
pub(crate) async fn forget_retired_marks(db: &Db) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        delete from retired_marks k
        where k.retired_at < now() - $1::interval
          and not exists (
              select from rules r
              where r.group_text = k.group_text and r.group_prefix_len = k.group_prefix_len
                and not r.enabled and k.mark = any(r.marks))
        "#,
        interval(RETIREMENT),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes rows of members of a room that no rule matches, and of members who are absent for longer than
/// `keep` (`None`: no limit). Of present members only those without marks; a sweep has the others' marks
/// removed first.
pub(crate) async fn delete_unmatched(
    db: &Db,
    group: &GroupId,
    keep: Option<Duration>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with unmatched as materialized (
            select m.group_id, m.account from members m
            where m.group_id = $1 and m.due_at is null
              and case m.presence when 'absent' then coalesce(m.heard_at < now() - $2::interval, true)
                  else m.marks = '{}' end
              and (m.presence = 'absent' and m.heard_at < now() - $4::interval or not exists (
                  select from rule_shapes s cross join lateral (
                      select from rules r
                      where r.account_prefix_len = s.account_prefix_len
                        and r.group_prefix_len = s.group_prefix_len
                        and r.account_text = case when s.account_prefix_len < 0
                            then m.account else left(m.account, s.account_prefix_len) end
                        and r.group_text = case when s.group_prefix_len < 0
                            then $1 else left($1, s.group_prefix_len) end
                        and (r.ends_at is null or r.ends_at > now() - $5::interval)
                      offset 0) rule))
            limit $3
            for update of m skip locked
        )
        delete from members m using unmatched u where m.group_id = u.group_id and m.account = u.account
        "#,
        group.as_str(),
        interval(AFTERLIFE),
        MEMBERS,
        keep.map(interval),
        interval(REMEMBERED),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The same where no sweeps run: in some random rooms. A search for the rooms that need it would read
/// all members.
pub(crate) async fn delete_unmatched_somewhere(
    db: &Db,
    keep: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let groups = sqlx::query_scalar!(
        r#"select group_id as "group: GroupId" from rooms where gone_at is null order by random() limit 50"#
    )
    .fetch_all(db)
    .await?;
    for group in &groups {
        delete_unmatched(db, group, keep).await?;
    }
    Ok(())
}

/// Deletes the rows of an account in all rooms; returns how many. Chat may still hold marks that only
/// these rows knew, so those rooms are compared with Chat at once.
pub(crate) async fn delete_rows_of(db: &Db, account: &Account) -> Result<u64, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let deleted = sqlx::query!(
        r#"
        with mine as materialized (
            select group_id, account from members
            where account = $1 and group_id = any(array(select group_id from rooms))
            -- Locked in the order that every writer of members keeps.
            order by group_id
            for update
        )
        delete from members m using mine where m.group_id = mine.group_id and m.account = mine.account
        returning m.group_id, m.marks <> '{}' or m.in_doubt or m.due_at is not null as "carries_marks!"
        "#,
        account.as_str(),
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        "delete from unreached_members where account = $1",
        account.as_str()
    )
    .execute(&mut *transaction)
    .await?;
    let to_compare = deleted.iter().filter(|row| row.carries_marks);
    let to_compare: Vec<String> = to_compare.map(|row| row.group_id.clone()).collect();
    ask_rooms(&mut transaction, &to_compare).await?;
    transaction.commit().await?;
    Ok(deleted.len() as u64)
}

/// How many rows [`delete_rows_of`] would delete.
pub(crate) async fn count_rows_of(db: &Db, account: &Account) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select count(*) as "rows!" from members
        where account = $1 and group_id = any(array(select group_id from rooms))
        "#,
        account.as_str(),
    )
    .fetch_one(db)
    .await?;
    Ok(rows.unsigned_abs())
}
