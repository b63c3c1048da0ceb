//! The reports of all replicas, in the database: a status is read on one replica, and callbacks come
//! to any.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::arrivals::{Arrivals, Report};
use crate::database::Db;
use crate::telemetry::warn_seldom;

/// How often a report is written, if something arrived.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// Writes the report of this replica whenever it has changed, until stopped.
pub(crate) async fn share(db: Db, arrivals: Arrivals, stop: CancellationToken) {
    let mut written = None;
    loop {
        let report = arrivals.report();
        if written.as_ref() != Some(&report) {
            match write(&db, arrivals.replica(), &report).await {
                Ok(()) => written = Some(report),
                Err(error) => {
                    warn_seldom!(%error, "cannot share which callbacks arrived; trying again")
                }
            }
        }
        let pause = tokio::time::sleep(WRITE_EVERY);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn write(db: &Db, replica: Uuid, report: &Report) -> Result<(), sqlx::Error> {
    let report = serde_json::to_value(report).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "insert into callback_reports (replica, reported_at, report) values ($1, now(), $2)
         on conflict on constraint callback_reports_pkey
         do update set reported_at = excluded.reported_at, report = excluded.report",
        replica,
        report,
    )
    .execute(db)
    .await?;
    sqlx::query!("delete from callback_reports where reported_at < now() - interval '1 day'")
        .execute(db)
        .await?;
    Ok(())
}

/// What all replicas of the last day received, those that have ended too.
pub(crate) async fn all(db: &Db, own: &Arrivals) -> Result<Report, sqlx::Error> {
    let others = sqlx::query_scalar!(
        "select report from callback_reports
         where replica <> $1 and reported_at > now() - interval '1 day'",
        own.replica(),
    )
    .fetch_all(db)
    .await?;
    let mut all = own.report();
    // Another version may write what this one cannot read.
    for report in others.into_iter().flat_map(serde_json::from_value) {
        all.merge(report);
    }
    Ok(all)
}
