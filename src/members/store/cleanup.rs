//! Clears away what is over: rooms long silent, and members whom no rule has named for a while.
//!
//! Rows that somebody else holds at the moment are passed over; they are met again next time.

use std::time::Duration;

use sqlx::PgPool;

use crate::domain::GroupId;
use crate::members::{MEMBERS_A_CALL, interval};

/// How often a replica looks for rooms that are over.
pub(crate) const FADE_INTERVAL: Duration = Duration::from_secs(60);
/// A room of which nothing was heard for so long, and where nobody is, is over.
const SILENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// A destroyed room is kept so long, lest late callbacks revive its members.
const AFTERLIFE: Duration = Duration::from_secs(60 * 60);
/// Whoever lost his last rule is remembered so long, so that a rule that comes back acts at once.
/// Nobody listens for his leave, so not longer.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Marks that rules ceased to name are remembered so long, for rooms that are swept rarely.
const RETIREMENT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Deletes some rooms that are over, with their members' rows; returns how many rooms.
///
/// Members first: a room whose last member row is gone can go. Should somebody arrive in between,
/// his arrival opens the room anew.
pub(crate) async fn fade(pool: &PgPool) -> Result<u64, sqlx::Error> {
    sqlx::query!(
        r#"
        with silent as materialized (
            select r.group_id from rooms r
            where (coalesce(r.last_event_at, r.opened_at) < now() - $1::interval or r.gone_at < now() - $2::interval)
              and (r.leased_until is null or r.leased_until <= now())
              and (r.sweeping_until is null or r.sweeping_until <= now())
              and not exists (
                  select from members m where m.group_id = r.group_id
                  and (m.presence = 'present' or m.due_at is not null or m.in_doubt))
            limit 100
        ),
        over as (
            select m.group_id, m.account from members m join silent s using (group_id)
            where m.presence <> 'present' and m.due_at is null and not m.in_doubt
            limit 5000
            for update of m skip locked
        )
        delete from members m using over o where m.group_id = o.group_id and m.account = o.account
        "#,
        interval(SILENCE),
        interval(AFTERLIFE),
    )
    .execute(pool)
    .await?;
    let faded = sqlx::query!(
        r#"
        with over as (
            select r.group_id from rooms r
            where (coalesce(r.last_event_at, r.opened_at) < now() - $1::interval or r.gone_at < now() - $2::interval)
              and (r.leased_until is null or r.leased_until <= now())
              and (r.sweeping_until is null or r.sweeping_until <= now())
              and not exists (select from members m where m.group_id = r.group_id)
            limit 1000
            for update skip locked
        )
        delete from rooms r using over o where r.group_id = o.group_id
        "#,
        interval(SILENCE),
        interval(AFTERLIFE),
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "delete from retired_marks where retired_at < now() - $1::interval",
        interval(RETIREMENT),
    )
    .execute(pool)
    .await?;
    Ok(faded.rows_affected())
}

/// Deletes rows of a room's members whom no rule names any more, of those present only after a
/// while: a page at each sweep, on and on through the room.
pub(crate) async fn clear_unnamed(pool: &PgPool, group: &GroupId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with page as materialized (
            select m.group_id, m.account from members m join rooms r using (group_id)
            where m.group_id = $1 and m.account > r.cleared_to
            order by m.account
            limit $2
        ),
        unnamed as (
            select m.group_id, m.account
            from page p join members m on m.group_id = p.group_id and m.account = p.account
            where m.due_at is null and not m.in_doubt
              -- A late callback must still find that it is late.
              and case m.presence when 'absent' then m.heard_at < now() - $3::interval
                  else m.marks = '{}' and m.failed_at is null
                      and coalesce(greatest(m.confirmed_at, m.heard_at), '-infinity') < now() - $4::interval end
              and not exists (
                  select from rule_shapes s cross join lateral (
                      select from rules r
                      where r.account_prefix_len = s.account_prefix_len
                        and r.group_prefix_len = s.group_prefix_len
                        and r.account_text = case when s.account_prefix_len < 0
                            then m.account else left(m.account, s.account_prefix_len) end
                        and r.group_text = case when s.group_prefix_len < 0
                            then $1 else left($1, s.group_prefix_len) end
                      offset 0) rule)
            for update of m skip locked
        ),
        cleared as (
            delete from members m using unnamed u where m.group_id = u.group_id and m.account = u.account
        )
        update rooms set cleared_to = coalesce(
            (select max(account) from page having count(*) >= $2), '')
        where group_id = $1
        "#,
        group.as_str(),
        MEMBERS_A_CALL,
        interval(AFTERLIFE),
        interval(REMEMBERED),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Does where no sweep does so: a page of some rooms, whichever. A look for those in need of it would
/// read the whole table of members.
pub(crate) async fn clear_some(pool: &PgPool) -> Result<(), sqlx::Error> {
    let groups = sqlx::query_scalar!(
        "select group_id from rooms where gone_at is null order by random() limit 50"
    )
    .fetch_all(pool)
    .await?;
    for group in groups.iter().filter_map(|text| GroupId::parse(text).ok()) {
        clear_unnamed(pool, &group).await?;
    }
    Ok(())
}
