//! The figures that all replicas share, read in one statement.

use crate::database::Db;

/// Figures of the tables of members and rooms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedFigures {
    /// Members due now.
    pub due: i64,
    /// Members due later.
    pub delayed: i64,
    /// Members claimed by a worker.
    pub leased: i64,
    /// Failed members.
    pub failed: i64,
    /// Seconds that the oldest due member has waited; 0 if none is due.
    pub oldest_due_seconds: f64,
    /// Rooms that are not gone and in which a member with a row is present.
    pub rooms_live: i64,
    /// Seconds since the oldest last comparison of a live room; 0 without live rooms.
    pub oldest_comparison_seconds: f64,
}

/// Reads them. The due members of a leased room are claimed.
pub async fn shared_figures(db: &Db) -> Result<SharedFigures, sqlx::Error> {
    sqlx::query_as!(
        SharedFigures,
        r#"
        with member as (
            select m.due_at, m.failed_at, m.pending_since,
                   m.due_at <= now() as due, coalesce(r.leased_until > now(), false) as leased
            from members m join rooms r on r.group_id = m.group_id
            where m.due_at is not null
        ),
        queue as (
            select count(*) filter (where due and not leased) as due,
                   count(*) filter (where not due
                                    and (failed_at is null or pending_since is not null)) as delayed,
                   count(*) filter (where due and leased) as leased,
                   coalesce(extract(epoch from now() - min(due_at)
                       filter (where due and not leased)), 0)::float8 as oldest
            from member
        ),
        live as (
            select count(*) as rooms,
                   coalesce(extract(epoch from now() - min(coalesce(r.swept_at, r.opened_at))), 0)
                       ::float8 as oldest
            from rooms r
            where r.gone_at is null and exists (
                select from members m where m.group_id = r.group_id and m.presence = 'present')
        )
        select queue.due as "due!", queue.delayed as "delayed!", queue.leased as "leased!",
               -- One whose rule starts or ends later is no less failed until then.
               (select count(*) from members
                where failed_at is not null
                  and (due_at is null or due_at > now() and pending_since is null)) as "failed!",
               queue.oldest as "oldest_due_seconds!", live.rooms as "rooms_live!",
               greatest(0, live.oldest) as "oldest_comparison_seconds!"
        from queue cross join live
        "#
    )
    .fetch_one(db)
    .await
}
