//! The row of a budget in `chat_budgets`. All arithmetic on time happens in Postgres, whose clock is
//! the one that all replicas share.

use std::time::Duration;

use crate::database::{Db, interval};

/// Smallest share of the rate, also while the clock of Postgres is before the last halving.
const LOWEST_SHARE: f64 = 0.02;
/// Slots at the lowest rate that are reserved ahead, at most. A larger backlog can only come from a
/// step back of Postgres' clock; it is cut.
const MOST_AHEAD: f64 = 16.0;
/// Share regained per second.
const RECOVERY: f64 = 0.02;

/// Slots as Postgres granted them.
pub(super) struct Granted {
    /// Seconds until the end of the last of them.
    pub(super) until_end: f64,
    /// Share of the configured rate in force.
    pub(super) share: f64,
}

/// Moves the next free moment on by so many slots of this length.
pub(super) async fn reserve(
    db: &Db,
    api: &str,
    slots: u32,
    length: Duration,
) -> Result<Granted, sqlx::Error> {
    // A reservation that is lost in a crash of the database is older than its restart, so the
    // commit does not wait for a flush.
    sqlx::query_as!(
        Granted,
        r#"
        insert into chat_budgets as b (api, next_at, share, slowed_at)
        select $1, clock_timestamp() + $4::float8 * $2::interval, 1, clock_timestamp()
        from (select set_config('synchronous_commit', 'off', true)) unflushed
        on conflict on constraint chat_budgets_pkey do update set
            next_at = greatest(least(b.next_at, clock_timestamp() + $6::float8 * $2::interval / $5),
                               clock_timestamp())
                + $4::float8 * $2::interval / greatest($5, least(1, b.share
                    + $3 * extract(epoch from clock_timestamp() - b.slowed_at)::float8))
        returning extract(epoch from next_at - clock_timestamp())::float8 as "until_end!",
            greatest($5, least(1, share
                + $3 * extract(epoch from clock_timestamp() - slowed_at)::float8)) as "share!"
        "#,
        api,
        interval(length),
        RECOVERY,
        f64::from(slots),
        LOWEST_SHARE,
        MOST_AHEAD,
    )
    .fetch_one(db)
    .await
}

/// Halves the share in force. False: that was done within the last second, and calls that were under
/// way then say the same.
pub(super) async fn halve(db: &Db, api: &str) -> Result<bool, sqlx::Error> {
    let halved = sqlx::query!(
        r#"
        update chat_budgets set
            share = greatest($2, 0.5 * least(1, share
                + $3 * extract(epoch from clock_timestamp() - slowed_at)::float8)),
            slowed_at = clock_timestamp()
        where api = $1 and (share = 1 or slowed_at < clock_timestamp() - interval '1 second')
        "#,
        api,
        LOWEST_SHARE,
        RECOVERY,
    )
    .execute(db)
    .await?;
    Ok(halved.rows_affected() > 0)
}

/// The share of the configured rate in force now.
pub(super) async fn share(db: &Db, api: &str) -> Result<f64, sqlx::Error> {
    let share = sqlx::query_scalar!(
        r#"
        select greatest($3, least(1, share
            + $2 * extract(epoch from clock_timestamp() - slowed_at)::float8)) as "share!"
        from chat_budgets where api = $1
        "#,
        api,
        RECOVERY,
        LOWEST_SHARE,
    )
    .fetch_optional(db)
    .await?;
    Ok(share.unwrap_or(1.0))
}
