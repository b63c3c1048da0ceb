//! Which room is swept when, and by which replica: the sweep's columns of `rooms`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::database::{Db, interval};
use crate::domain::GroupId;
use crate::members::Found;
use crate::wake::WakeUp;

/// How long a sweep's claim is honoured before another replica takes over; renewed during the sweep.
pub(super) const LEASE: Duration = Duration::from_secs(60);

/// A room claimed for a sweep.
#[derive(Debug)]
pub(super) struct SweepClaim {
    pub group: GroupId,
    /// Proof of the lease.
    pub token: Uuid,
    /// The moment of the claim by the clock of Postgres.
    pub at: DateTime<Utc>,
    /// The last complete sweep of the room, or its first event.
    pub compared_at: DateTime<Utc>,
    /// Failed sweeps in a row.
    pub failures: i32,
    /// The room was declared gone; the sweep checks that.
    pub gone: bool,
}

/// Requests a sweep of a room as soon as possible, before all rooms that are due by themselves. The room
/// need not be known, and sweeps may be turned off.
pub async fn request(db: &Db, wake: &WakeUp, group: &GroupId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        with first as (
            select least(now(), min(sweep_due_at)) - interval '1 millisecond' as due_at
            from rooms where sweep_due_at is not null
        )
        insert into rooms (group_id, sweep_due_at, sweep_requested_at)
        select $1, due_at, now() from first
        on conflict on constraint rooms_pkey do update set
            sweep_due_at = excluded.sweep_due_at, sweep_requested_at = now()
        "#,
        group.as_str(),
    )
    .execute(db)
    .await?;
    wake.now();
    Ok(())
}

/// Schedules the first sweep of every room that has none, at a random moment within the interval. Rooms
/// whose rows are locked get it next time.
pub(super) async fn schedule_new(db: &Db, every: Duration) -> Result<u64, sqlx::Error> {
    let scheduled = sqlx::query!(
        r#"
        with new as materialized (
            select group_id from rooms where gone_at is null and sweep_due_at is null
            limit 1000
            for no key update skip locked
        )
        update rooms r set sweep_due_at = now() + random() * $1::interval
        from new n where r.group_id = n.group_id
        "#,
        interval(every),
    )
    .execute(db)
    .await?;
    Ok(scheduled.rows_affected())
}

/// Claims the room whose sweep is most overdue; with `only_requested`, where sweeps are turned off, only a
/// room with a request.
pub(super) async fn claim(
    db: &Db,
    only_requested: bool,
) -> Result<Option<SweepClaim>, sqlx::Error> {
    let token = Uuid::new_v4();
    let row = sqlx::query!(
        r#"
        with room as materialized (
            select group_id from rooms
            where sweep_due_at <= now()
              and (sweeping_until is null or sweeping_until <= now())
              and (not $3 or sweep_requested_at is not null)
            order by sweep_due_at
            limit 1
            for no key update skip locked
        )
        update rooms r set sweeping_until = now() + $1, sweep = $2, sweep_requested_at = null
        from room where r.group_id = room.group_id
        returning r.group_id, r.sweep_failures, coalesce(r.swept_at, r.opened_at) as "compared_at!",
                  r.gone_at is not null as "gone!", now() as "at!"
        "#,
        interval(LEASE),
        token,
        only_requested,
    )
    .fetch_optional(db)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let group =
        GroupId::parse(&row.group_id).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Some(SweepClaim {
        group,
        token,
        at: row.at,
        compared_at: row.compared_at,
        failures: row.sweep_failures,
        gone: row.gone,
    }))
}

/// Records that Chat knows a room that was declared gone.
pub(super) async fn reopen(db: &Db, claim: &SweepClaim) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update rooms set gone_at = null where group_id = $1 and sweep = $2",
        claim.group.as_str(),
        claim.token,
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Renews the lease of a long sweep. False if it was lost.
pub(super) async fn renew(db: &Db, claim: &SweepClaim) -> Result<bool, sqlx::Error> {
    let renewed = sqlx::query!(
        "update rooms set sweeping_until = now() + $3 where group_id = $1 and sweep = $2",
        claim.group.as_str(),
        claim.token,
        interval(LEASE),
    )
    .execute(db)
    .await?;
    Ok(renewed.rows_affected() == 1)
}

/// Records a complete sweep. The next one is due after `next`, at once if one was requested meanwhile, or
/// never.
pub(super) async fn finish(
    db: &Db,
    claim: &SweepClaim,
    found: &Found,
    next: Option<Duration>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update rooms set
            sweeping_until = null, sweep = null, swept_at = now(), sweep_found = $3,
            sweep_failures = 0, sweep_error = null,
            sweep_due_at = case when gone_at is not null then null
                when sweep_requested_at is not null then now() else now() + $4 end
        where group_id = $1 and sweep = $2
        "#,
        claim.group.as_str(),
        claim.token,
        Json(found) as _,
        next.map(interval),
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Releases a room without a result, and records why if the sweep failed. It is due after `retry`, or as
/// it was.
pub(super) async fn put_off(
    db: &Db,
    claim: &SweepClaim,
    error: Option<&str>,
    counts: bool,
    retry: Option<Duration>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        update rooms set
            sweeping_until = null, sweep = null, sweep_error = coalesce($3, sweep_error),
            sweep_failures = sweep_failures + $4, sweep_due_at = coalesce(now() + $5, sweep_due_at),
            sweep_requested_at = coalesce(sweep_requested_at, now())
        where group_id = $1 and sweep = $2
        "#,
        claim.group.as_str(),
        claim.token,
        error,
        i32::from(counts),
        retry.map(interval),
    )
    .execute(db)
    .await?;
    Ok(())
}
