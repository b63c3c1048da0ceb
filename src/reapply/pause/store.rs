//! The row of a pause in `chat_pauses`, by the clock of Postgres. No row: nothing is paused.

use std::time::{Duration, Instant};

use sqlx::PgPool;
use uuid::Uuid;

use super::{PauseState, Paused};
use crate::members::interval;

/// How long the others wait for a probe whose sender fell silent.
const PROBE_LEASE: Duration = Duration::from_secs(60);

/// What a pause begins with, or goes on with.
pub(super) struct Begun<'a> {
    pub(super) reason: &'a str,
    pub(super) advice: Option<&'a str>,
    /// Length of the first pause, and of the longest.
    pub(super) lengths: (Duration, Duration),
    /// The next probe goes out no sooner.
    pub(super) least: Duration,
}

/// Begins a pause, or makes it longer after a probe that failed. Not while it runs.
pub(super) async fn begin(
    pool: &PgPool,
    circuit: &str,
    begun: Begun<'_>,
) -> Result<(), sqlx::Error> {
    let (first, longest) = begun.lengths;
    sqlx::query!(
        r#"
        insert into chat_pauses as p (circuit, reason, advice, since, length, probe_at)
        values ($1, $2, $3, now(), $4, now() + greatest($4, $6::interval))
        on conflict on constraint chat_pauses_pkey do update set
            reason = excluded.reason, advice = excluded.advice, probe = null,
            length = least(p.length * 2, $5::interval),
            probe_at = now() + greatest(least(p.length * 2, $5::interval), $6::interval)
        where p.probe is not null or p.probe_at <= now()
        "#,
        circuit,
        begun.reason,
        begun.advice,
        interval(first),
        interval(longest),
        interval(begun.least),
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Ends a pause.
pub(super) async fn end(pool: &PgPool, circuit: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from chat_pauses where circuit = $1", circuit)
        .execute(pool)
        .await?;
    Ok(())
}

/// Takes the probe if it is time for one. False: somebody else has it, or the pause has ended.
pub(super) async fn take_probe(
    pool: &PgPool,
    circuit: &str,
    probe: Uuid,
) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!(
        "update chat_pauses set probe = $2, probe_at = now() + $3
         where circuit = $1 and probe_at <= now()",
        circuit,
        probe,
        interval(PROBE_LEASE),
    )
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() == 1)
}

/// Gives a probe back: if it was used the next one comes after the pause's length, else at once.
pub(super) async fn give_back(
    pool: &PgPool,
    circuit: &str,
    probe: Uuid,
    used: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update chat_pauses set
             probe = null, probe_at = case when $3 then now() + length else now() end
         where circuit = $1 and probe = $2",
        circuit,
        probe,
        used,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The pause in force, if there is one.
pub(super) async fn read(pool: &PgPool, circuit: &str) -> Result<Option<Paused>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select reason, advice, since,
               greatest(0, extract(epoch from probe_at - clock_timestamp()))::float8 as "left!"
        from chat_pauses where circuit = $1
        "#,
        circuit,
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| Paused {
        probe_at: Instant::now() + Duration::from_secs_f64(row.left),
        shown: PauseState {
            reason: row.reason,
            advice: row.advice,
            since: row.since,
        },
    }))
}
