//! Notices when no replica was there to receive callbacks.
//!
//! Every replica renews one row every two seconds, whatever its sweeps do and whether or not calls to
//! Chat are paused. A replica that finds the row old knows that all replicas were down or could not
//! reach the database, and makes every room due in the same statement, so that exactly one replica
//! does. This covers an outage of the database and a start after a stop alike.

use std::convert::Infallible;
use std::time::Duration;

use crate::database::{Db, interval};
use crate::telemetry::warn_seldom;

const BEAT: Duration = Duration::from_secs(2);
/// An older beat means a gap.
const GAP: Duration = Duration::from_secs(7);
/// After a gap every room is swept within this time, or within the interval if that is shorter.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Renews the row until it is dropped. `every`: the time between two sweeps of a room; without regular
/// sweeps a gap in the callbacks would start none.
pub(super) async fn run(db: &Db, every: Option<Duration>) -> Infallible {
    let Some(every) = every else {
        return std::future::pending().await;
    };
    loop {
        match beat(db, every.min(CATCH_UP)).await {
            Ok(0) => {}
            Ok(rooms) => tracing::warn!(
                rooms,
                "callbacks may have been missed; comparing every room with Chat"
            ),
            Err(error) => warn_seldom!(%error, "cannot renew the heartbeat; trying again in 2 s"),
        }
        tokio::time::sleep(BEAT).await;
    }
}

/// Renews the row. After a gap every room comes due, spread over `spread`; returns how many did.
async fn beat(db: &Db, spread: Duration) -> Result<u64, sqlx::Error> {
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
    .execute(db)
    .await?;
    Ok(due.rows_affected())
}
