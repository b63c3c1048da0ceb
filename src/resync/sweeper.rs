//! The task that sweeps: finds the room whose sweep is most overdue, claims it, compares. Beside it
//! run the heartbeat and the housekeeping, which wait for no sweep and no call.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::schedule::{claim, schedule_new};
use super::{Sweeper, heartbeat};
use crate::members::store::claim::{FORGOTTEN_INTERVAL, wake_forgotten_rooms};
use crate::members::store::cleanup::{
    CLEANUP_INTERVAL, delete_rooms, delete_unmatched_somewhere, forget_retired_marks,
};
use crate::rules::delete_old_history;
use crate::telemetry::warn_seldom;

/// Rooms that one replica sweeps at once: few, since no member waits for a sweep.
const ROOMS_AT_ONCE: usize = 4;
/// How often a replica looks for old history of rules.
const HISTORY_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Without a wake-up the database is asked this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

impl Sweeper {
    /// Sweeps until cancelled. Sweeps that run at that moment are stopped: they change no mark, and
    /// their rooms come due again.
    pub async fn run(self, cancel: CancellationToken) {
        let sweeps = TaskTracker::new();
        let heartbeat = heartbeat::run(&self.replica.db, self.interval);
        let heartbeat = cancel.run_until_cancelled(heartbeat);
        let housekeeping = cancel.run_until_cancelled(self.housekeeping());
        let sweeping = self.sweep_rooms(&sweeps, &cancel);
        tokio::join!(sweeping, heartbeat, housekeeping);
        sweeps.close();
        sweeps.wait().await;
    }

    /// Schedules rooms that are new, and deletes what is over.
    async fn housekeeping(&self) -> Infallible {
        let db = &self.replica.db;
        let (mut cleaned, mut looked): (Option<Instant>, Option<Instant>) = (None, None);
        let mut searched = Instant::now();
        loop {
            if searched.elapsed() >= FORGOTTEN_INTERVAL {
                searched = Instant::now();
                let woken = wake_forgotten_rooms(db).await;
                if let Some(rooms @ 1..) = self.note(woken, "complete the queue") {
                    tracing::warn!(rooms, "rooms with due members were not in the queue; added");
                }
            }
            if let Some(every) = self.interval {
                let scheduled = schedule_new(db, every).await;
                self.note(scheduled, "schedule new rooms");
            }
            if cleaned.is_none_or(|at| at.elapsed() >= CLEANUP_INTERVAL) {
                cleaned = Some(Instant::now());
                let cleanup = self.clean_up().await;
                self.note(cleanup, "delete old rooms");
            }
            if let Some(keep) = self.keep_history
                && looked.is_none_or(|at| at.elapsed() >= HISTORY_INTERVAL)
            {
                let deleted = delete_old_history(db, keep).await;
                // What is left follows in a second.
                let done = !matches!(self.note(deleted, "delete old history"), Some(1..));
                looked = done.then(Instant::now);
            }
            tokio::time::sleep(LONGEST_SLEEP).await;
        }
    }

    async fn sweep_rooms(&self, sweeps: &TaskTracker, cancel: &CancellationToken) {
        let replica = &self.replica;
        let slots = Arc::new(Semaphore::new(ROOMS_AT_ONCE));
        while let Some(Ok(slot)) = cancel
            .run_until_cancelled(slots.clone().acquire_owned())
            .await
        {
            let turn = async {
                replica.worker_breaker.ready().await;
                replica.sweeper_breaker.ready().await;
                claim(&replica.db, self.interval.is_none()).await
            };
            let Some(claimed) = cancel.run_until_cancelled(turn).await else {
                return;
            };
            let Some(Some(claim)) = self.note(claimed, "claim a room to sweep") else {
                let next = replica.wake_sweeper.wait(LONGEST_SLEEP);
                match cancel.run_until_cancelled(next).await {
                    Some(()) => continue,
                    None => return,
                }
            };
            let pass = replica.sweeper_breaker.pass();
            let (sweeper, cancel) = (self.clone(), cancel.clone());
            sweeps.spawn(async move {
                let swept = cancel.run_until_cancelled(sweeper.sweep(&claim)).await;
                if swept.is_none() {
                    sweeper.give_up(&claim).await;
                }
                drop((pass, slot));
            });
        }
    }

    /// Deletes rooms that are over. Where no room is swept regularly, members without a rule go here too.
    async fn clean_up(&self) -> Result<(), sqlx::Error> {
        let db = &self.replica.db;
        let rooms = db.run(delete_rooms(db)).await?;
        forget_retired_marks(db).await?;
        if self.interval.is_none() {
            delete_unmatched_somewhere(db, self.keep_absent).await?;
        }
        tracing::debug!(rooms, "deleted rooms that are over");
        Ok(())
    }

    /// The value of a statement; an error is logged.
    fn note<T>(&self, result: Result<T, sqlx::Error>, task: &'static str) -> Option<T> {
        if let Err(error) = &result {
            warn_seldom!(%error, task, "statement failed; trying again");
        }
        result.ok()
    }
}
