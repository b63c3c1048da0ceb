//! The task that sweeps: finds the room whose sweep is most overdue, claims it, compares.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::chores::Chores;
use super::schedule::{LONGEST_STATEMENT, claim};
use super::sweep::{RoomSweeper, SweeperSettings};
use crate::database::in_time;
use crate::metrics::DatabasePart;
use crate::telemetry::warn_seldom;

/// Rooms that one replica sweeps at once: few, since nobody waits for a sweep.
const ROOMS_AT_ONCE: usize = 4;
/// Without a wake-up the database is asked this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Sweeps rooms. One per replica.
#[derive(Debug)]
pub struct Sweeper {
    rooms: Arc<RoomSweeper>,
    slots: Arc<Semaphore>,
    sweeps: TaskTracker,
}

impl Sweeper {
    /// A sweeper; [`Self::run`] starts it.
    pub fn new(settings: SweeperSettings) -> Self {
        Self {
            rooms: Arc::new(RoomSweeper::new(settings)),
            slots: Arc::new(Semaphore::new(ROOMS_AT_ONCE)),
            sweeps: TaskTracker::new(),
        }
    }

    /// Sweeps until cancelled. Sweeps under way are then given up: they change no mark, and their
    /// rooms come due again.
    pub async fn run(self, cancel: CancellationToken) {
        let mut chores = Chores::default();
        while let Some(Ok(slot)) = cancel
            .run_until_cancelled(self.slots.clone().acquire_owned())
            .await
        {
            let turn = async {
                let settings = &self.rooms.settings;
                settings.worker_pause.passed().await;
                settings.pause.passed().await;
                self.turn(&mut chores, slot, &cancel).await
            };
            let busy = match cancel.run_until_cancelled(turn).await {
                None => break,
                Some(Ok(busy)) => busy,
                Some(Err(error)) => {
                    let metrics = &self.rooms.settings.metrics;
                    metrics.database_error(DatabasePart::Resync);
                    warn_seldom!(%error, "the rooms to sweep cannot be read");
                    false
                }
            };
            let wake = &self.rooms.settings.wake;
            if !busy
                && cancel
                    .run_until_cancelled(wake.wait(LONGEST_SLEEP))
                    .await
                    .is_none()
            {
                break;
            }
        }
        self.sweeps.close();
        self.sweeps.wait().await;
    }

    /// Does the chores and begins one sweep if one is due. True if it did.
    async fn turn(
        &self,
        chores: &mut Chores,
        slot: OwnedSemaphorePermit,
        cancel: &CancellationToken,
    ) -> Result<bool, sqlx::Error> {
        let SweeperSettings {
            pool,
            pause,
            interval,
            ..
        } = &self.rooms.settings;
        in_time(LONGEST_STATEMENT, chores.run(pool, *interval)).await?;
        let Some(leave) = pause.leave().await else {
            return Ok(false);
        };
        let claimed = in_time(LONGEST_STATEMENT, claim(pool, interval.is_none())).await;
        let Ok(Some(claim)) = claimed else {
            leave.unused().await;
            return claimed.map(|_| false);
        };
        let (rooms, cancel) = (self.rooms.clone(), cancel.clone());
        self.sweeps.spawn(async move {
            let swept = cancel.run_until_cancelled(rooms.sweep(&claim)).await;
            if swept.is_none() {
                rooms.give_up(&claim).await;
            }
            leave.used().await;
            drop(slot);
        });
        Ok(true)
    }
}
