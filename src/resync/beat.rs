//! Notices when nobody was there to hear callbacks.
//!
//! Every replica renews one row every few seconds. Whoever finds it old knows that all replicas were
//! down or away from the database, and makes every room due, in the same statement, so that exactly
//! one replica does. This covers an outage of the database and a start after a stop alike.

use std::time::Duration;

use sqlx::PgPool;

use crate::members::interval;

/// How often the row is renewed.
pub(super) const BEAT: Duration = Duration::from_secs(2);
/// An older beat means a gap.
const GAP: Duration = Duration::from_secs(7);

/// Renews the beat. After a gap every room comes due, spread over `spread`; returns how many did.
pub(super) async fn beat(pool: &PgPool, spread: Duration) -> Result<u64, sqlx::Error> {
    let due = sqlx::query!(
        r#"
        with last as materialized (select beat_at from sweep_beat for update),
        renewed as (update sweep_beat set beat_at = greatest(clock_timestamp(), last.beat_at) from last),
        -- Locked in the order that every writer of rooms keeps.
        missed as materialized (
            select group_id from rooms
            where gone_at is null and (select clock_timestamp() - beat_at > $1 from last)
            order by group_id
            for no key update
        )
        update rooms r set
            sweep_due_at = least(r.sweep_due_at, now() + random() * $2::interval)
        from missed m where r.group_id = m.group_id
        "#,
        interval(GAP),
        interval(spread),
    )
    .execute(pool)
    .await?;
    Ok(due.rows_affected())
}
