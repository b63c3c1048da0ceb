//! The figures that all replicas share, read in one statement.

use sqlx::PgPool;

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

/// Reads them. A claim sets a member's due time and the end of the room's lease to the same moment, which
/// tells claimed members from waiting ones.
pub async fn shared_figures(pool: &PgPool) -> Result<SharedFigures, sqlx::Error> {
    sqlx::query_as!(
        SharedFigures,
        r#"
        with queue as (
            select count(*) filter (where m.due_at <= now()) as due,
                   count(*) filter (where m.due_at > now()
                                    and m.due_at is distinct from r.leased_until
                                    and (m.failed_at is null or m.pending_since is not null)) as delayed,
                   count(*) filter (where m.due_at > now()
                                    and m.due_at = r.leased_until) as leased,
                   coalesce(extract(epoch from now() - min(m.due_at)
                       filter (where m.due_at <= now())), 0)::float8 as oldest
            from members m join rooms r on r.group_id = m.group_id
            where m.due_at is not null
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
    .fetch_one(pool)
    .await
}
