//! The task that sweeps: finds the room whose sweep is most overdue, claims it, compares. Beside it
//! run the heartbeat and the housekeeping, which wait for no sweep and no call.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::SweeperSettings;
use super::heartbeat;
use super::schedule::{claim, schedule_new};
use crate::database::Db;
use crate::members::store::claim::{FORGOTTEN_INTERVAL, wake_forgotten_rooms};
use crate::members::store::cleanup::{
    CLEANUP_INTERVAL, delete_rooms, delete_unmatched_somewhere, forget_retired_marks,
};
use crate::metrics::DatabasePart;
use crate::replica::Replica;
use crate::telemetry::warn_seldom;

/// Rooms that one replica sweeps at once: few, since no member waits for a sweep.
const ROOMS_AT_ONCE: usize = 4;
/// Without a wake-up the database is asked this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Sweeps rooms. One per replica.
#[derive(Debug)]
pub struct Sweeper {
    settings: Arc<SweeperSettings>,
    slots: Arc<Semaphore>,
    sweeps: TaskTracker,
}

impl Sweeper {
    pub fn new(settings: SweeperSettings) -> Self {
        let replica = settings.replica.part(DatabasePart::Resync);
        let settings = SweeperSettings {
            replica,
            ..settings
        };
        Self {
            settings: Arc::new(settings),
            slots: Arc::new(Semaphore::new(ROOMS_AT_ONCE)),
            sweeps: TaskTracker::new(),
        }
    }

    /// Sweeps until cancelled. Sweeps that run at that moment are stopped: they change no mark, and
    /// their rooms come due again.
    pub async fn run(self, cancel: CancellationToken) {
        let heartbeat = cancel.run_until_cancelled(self.heartbeat());
        let housekeeping = cancel.run_until_cancelled(self.housekeeping());
        tokio::join!(self.sweep_rooms(&cancel), heartbeat, housekeeping);
        self.sweeps.close();
        self.sweeps.wait().await;
    }

    /// Without regular sweeps a gap in the callbacks would start none.
    async fn heartbeat(&self) -> Infallible {
        let settings = &self.settings;
        match settings.interval {
            Some(every) => heartbeat::run(&settings.replica.db, every).await,
            None => std::future::pending().await,
        }
    }

    /// Schedules rooms that are new, and deletes what is over.
    async fn housekeeping(&self) -> Infallible {
        let SweeperSettings {
            replica: Replica { db, .. },
            interval,
            keep_absent,
            ..
        } = &*self.settings;
        let mut cleaned: Option<Instant> = None;
        let mut searched = Instant::now();
        loop {
            if searched.elapsed() >= FORGOTTEN_INTERVAL {
                searched = Instant::now();
                let woken = wake_forgotten_rooms(db).await;
                if let Some(rooms @ 1..) = self.note(woken, "complete the queue") {
                    tracing::warn!(rooms, "rooms with due members were not in the queue; added");
                }
            }
            if let Some(every) = *interval {
                let scheduled = schedule_new(db, every).await;
                self.note(scheduled, "schedule new rooms");
            }
            if cleaned.is_none_or(|at| at.elapsed() >= CLEANUP_INTERVAL) {
                cleaned = Some(Instant::now());
                let cleanup = clean_up(db, interval.is_none(), *keep_absent).await;
                self.note(cleanup, "delete old rooms");
            }
            tokio::time::sleep(LONGEST_SLEEP).await;
        }
    }

    async fn sweep_rooms(&self, cancel: &CancellationToken) {
        let replica = &self.settings.replica;
        while let Some(Ok(slot)) = cancel
            .run_until_cancelled(self.slots.clone().acquire_owned())
            .await
        {
            let turn = async {
                replica.worker_breaker.ready().await;
                replica.sweeper_breaker.ready().await;
                self.turn(slot, cancel).await
            };
            let Some(began) = cancel.run_until_cancelled(turn).await else {
                return;
            };
            let began = self.note(began, "claim a room to sweep");
            if began != Some(true)
                && cancel
                    .run_until_cancelled(replica.wake_sweeper.wait(LONGEST_SLEEP))
                    .await
                    .is_none()
            {
                return;
            }
        }
    }

    /// Begins one sweep if one is due. True if it did.
    async fn turn(
        &self,
        slot: OwnedSemaphorePermit,
        cancel: &CancellationToken,
    ) -> Result<bool, sqlx::Error> {
        let SweeperSettings {
            replica, interval, ..
        } = &*self.settings;
        let claimed = claim(&replica.db, interval.is_none()).await?;
        let Some(claim) = claimed else {
            return Ok(false);
        };
        let pass = replica.sweeper_breaker.pass();
        let (settings, cancel) = (self.settings.clone(), cancel.clone());
        self.sweeps.spawn(async move {
            let swept = cancel.run_until_cancelled(settings.sweep(&claim)).await;
            if swept.is_none() {
                settings.give_up(&claim).await;
            }
            drop((pass, slot));
        });
        Ok(true)
    }

    /// The value of a statement; an error is logged.
    fn note<T>(&self, result: Result<T, sqlx::Error>, task: &'static str) -> Option<T> {
        if let Err(error) = &result {
            warn_seldom!(%error, task, "statement failed; trying again");
        }
        result.ok()
    }
}

/// Deletes rooms that are over. Where no room is swept regularly, members without a rule go here too.
async fn clean_up(
    db: &Db,
    no_sweeps: bool,
    keep_absent: Option<Duration>,
) -> Result<(), sqlx::Error> {
    let rooms = db.run(delete_rooms(db)).await?;
    forget_retired_marks(db).await?;
    if no_sweeps {
        delete_unmatched_somewhere(db, keep_absent).await?;
    }
    tracing::debug!(rooms, "deleted rooms that are over");
    Ok(())
}
