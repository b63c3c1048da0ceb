//! The task that reads the shared figures every 15 s, so that scrapes never reach the database.
//!
//! While PostgreSQL does not answer, the last figures stay; `queue_read` says how old they are.

use std::time::Duration;

use chrono::Utc;
use tokio_util::sync::CancellationToken;

use crate::database::table_sizes;
pub use crate::members::store::figures::{SharedFigures, shared_figures};
use crate::metrics::{Api, DatabasePart, Label, QueueState, Table};
use crate::replica::Replica;
use crate::rules::propagation::backlog;

pub const READ_EVERY: Duration = Duration::from_secs(15);

/// Reads the figures of a database into the metrics of a replica.
#[derive(Debug)]
pub struct Figures(Replica);

impl Figures {
    pub fn new(replica: &Replica) -> Self {
        Self(replica.part(DatabasePart::Figures))
    }

    /// Reads them now and every [`READ_EVERY`], until stopped.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.read().await {
                tracing::debug!(%error, "could not read the shared figures");
            }
            let pause = tokio::time::sleep(READ_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Shows settings: 0 for a comparison that is off. Until the database is read, the configured budget is
    /// shown as the one in force.
    pub fn show(&self, calls_per_second: u32, resync_interval: Option<Duration>) {
        let gauges = &self.0.metrics;
        let configured = f64::from(calls_per_second);
        gauges.budget_configured.set(configured);
        for budget in self.0.budgets.all() {
            if let Some(api) = Api::named(budget.api()) {
                gauges.budget.of(api).set(configured);
            }
        }
        let interval = resync_interval.unwrap_or_default();
        gauges.resync_interval.set(interval.as_secs_f64());
    }

    /// Reads them once.
    pub async fn read(&self) -> Result<(), sqlx::Error> {
        let shared = shared_figures(&self.0.db).await?;
        let gauges = &self.0.metrics;
        for budget in self.0.budgets.all() {
            let state = budget.state().await?;
            if let Some(api) = Api::named(budget.api()) {
                gauges.budget.of(api).set(state.per_second);
            }
        }
        for (state, members) in [
            (QueueState::Due, shared.due),
            (QueueState::Delayed, shared.delayed),
            (QueueState::Leased, shared.leased),
            (QueueState::Failed, shared.failed),
        ] {
            gauges.queue_members.of(state).set(number(members));
        }
        gauges.queue_oldest_due.set(shared.oldest_due_seconds);
        gauges.rooms_live.set(number(shared.rooms_live));
        gauges.resync_oldest.set(shared.oldest_comparison_seconds);
        for size in table_sizes(&self.0.db).await? {
            if let Some(table) = Table::named(&size.name) {
                gauges.table_rows.of(table).set(number(size.rows));
                gauges.table_bytes.of(table).set(number(size.bytes));
            }
        }
        let backlog = backlog(&self.0.db).await?;
        gauges.propagation_pending.set(number(backlog.changes));
        gauges.queue_read.set(number(Utc::now().timestamp()));
        Ok(())
    }
}

fn number(count: i64) -> f64 {
    count as f64
}
