//! The task that sweeps: finds the room whose sweep is most overdue, claims it, compares.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use rand::Rng;
use sqlx::PgPool;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::beat::{BEAT, beat};
use super::calls::{Calls, SweepError};
use super::fade::{FADE_INTERVAL, clear_unnamed, fade};
use super::found::{Found, SweepTotals};
use super::room::{QUIET, RoomSweep};
use super::schedule::{
    LEASE, LONGEST_STATEMENT, SweepClaim, claim, fail, finish, give_up, schedule_new,
};
use crate::chat::{ChatClient, ChatError, ErrorClass};
use crate::database::in_time;
use crate::members::{WakeUp, room_gone};
use crate::metrics::{DatabasePart, Metrics, ResyncOutcome};
use crate::reapply::{Budget, Pause};
use crate::telemetry::warn_seldom;

/// Rooms that one replica sweeps at once: few, since nobody waits for a sweep.
const ROOMS_AT_ONCE: usize = 4;
/// Without a wake-up the database is asked this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// After a gap every room is swept within this time, or within the interval if that is shorter.
const CATCH_UP: Duration = Duration::from_secs(30);
/// First and longest pause before a sweep that could not be finished is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The same when only the database failed, which says nothing about the room.
const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// A replica that ends waits so long for the database.
const LAST_STATEMENT: Duration = Duration::from_secs(2);
/// If some call succeeded so recently, a refusal that may mean a setting means this room alone.
const FINE_LATELY: Duration = Duration::from_secs(600);

/// What the sweeper works with.
#[derive(Debug, Clone)]
pub struct SweeperSettings {
    /// The database.
    pub pool: PgPool,
    /// The client for calls.
    pub chat: ChatClient,
    /// The budget of `check_members`, shared with the worker.
    pub checks: Budget,
    /// The budget of `get_members`.
    pub lists: Budget,
    /// The worker's alarm clock, rung when members come due.
    pub wake_worker: WakeUp,
    /// The sweeper's own alarm clock, rung by [`super::request`].
    pub wake: WakeUp,
    /// The worker's pause: while it lasts nobody sweeps.
    pub worker_pause: Pause,
    /// The sweeper's own pause, shared with whoever reports on it.
    pub pause: Pause,
    /// Time between two sweeps of a room; `None` = only those that are asked for.
    pub interval: Option<Duration>,
    /// Counts for whoever reports on them.
    pub totals: SweepTotals,
    /// Told of comparisons, drift and faults of the database.
    pub metrics: Metrics,
}

/// Sweeps rooms. One per replica.
#[derive(Debug)]
pub struct Sweeper {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    sweeps: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    settings: SweeperSettings,
    calls: Calls,
}

/// What became of a sweep.
enum Outcome {
    Found(Found),
    /// Chat knows the room no more.
    Gone,
    /// It could not be finished.
    PutOff {
        error: String,
        /// Whether that is a failure of this room.
        counts: bool,
        delay: Duration,
    },
}

impl Sweeper {
    /// A sweeper; [`Self::run`] starts it.
    pub fn new(settings: SweeperSettings) -> Self {
        let SweeperSettings {
            chat,
            checks,
            lists,
            ..
        } = &settings;
        let calls = Calls {
            chat: chat.clone(),
            lists: lists.clone(),
            checks: checks.clone(),
        };
        Self {
            shared: Arc::new(Shared { settings, calls }),
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
                let settings = &self.shared.settings;
                settings.worker_pause.passed().await;
                settings.pause.passed().await;
                self.turn(&mut chores, slot, &cancel).await
            };
            let busy = match cancel.run_until_cancelled(turn).await {
                None => break,
                Some(Ok(busy)) => busy,
                Some(Err(error)) => {
                    let metrics = &self.shared.settings.metrics;
                    metrics.database_error(DatabasePart::Resync);
                    warn_seldom!(%error, "the rooms to sweep cannot be read");
                    false
                }
            };
            let wake = &self.shared.settings.wake;
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
        } = &self.shared.settings;
        in_time(LONGEST_STATEMENT, chores.run(pool, *interval)).await?;
        let Some(leave) = pause.leave().await else {
            return Ok(false);
        };
        let claimed = in_time(LONGEST_STATEMENT, claim(pool, interval.is_none())).await;
        let Ok(Some(claim)) = claimed else {
            leave.unused().await;
            return claimed.map(|_| false);
        };
        let (shared, cancel) = (self.shared.clone(), cancel.clone());
        self.sweeps.spawn(async move {
            let swept = cancel.run_until_cancelled(shared.sweep(&claim)).await;
            if swept.is_none() {
                shared.give_up(&claim).await;
            }
            leave.used().await;
            drop(slot);
        });
        Ok(true)
    }
}

/// What is done now and then beside the sweeps.
#[derive(Debug, Default)]
struct Chores {
    beaten: Option<Instant>,
    faded: Option<Instant>,
}

impl Chores {
    async fn run(&mut self, pool: &PgPool, every: Option<Duration>) -> Result<(), sqlx::Error> {
        if let Some(every) = every {
            if is_time(self.beaten, BEAT) {
                let due = beat(pool, every.min(CATCH_UP)).await?;
                self.beaten = Some(Instant::now());
                if due > 0 {
                    tracing::warn!(
                        rooms = due,
                        "callbacks may have been missed; every room is compared"
                    );
                }
            }
            schedule_new(pool, every).await?;
        }
        if is_time(self.faded, FADE_INTERVAL) {
            self.faded = Some(Instant::now());
            let rooms = fade(pool).await?;
            tracing::debug!(rooms, "silent rooms were cleared away");
        }
        Ok(())
    }
}

fn is_time(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}

impl Shared {
    /// One room from claim to settlement. Should the database be away at the end, it is waited for,
    /// lest the room wait for the end of the lease; from then on the room is anybody's.
    async fn sweep(&self, claim: &SweepClaim) {
        let SweeperSettings {
            pool,
            wake_worker,
            pause,
            ..
        } = &self.settings;
        let quiet = TimeDelta::from_std(QUIET).unwrap_or(TimeDelta::MAX);
        let quiet_since = claim.at - quiet;
        let swept = RoomSweep::new(pool, &self.calls, wake_worker, claim, quiet_since)
            .measured_by(&self.settings.metrics)
            .run()
            .await;
        let outcome = match swept {
            Ok(found) => {
                pause.end().await;
                self.note_found(claim, &found);
                Outcome::Found(found)
            }
            Err(SweepError::LeaseLost) => return,
            Err(SweepError::Chat(error)) if error.class() == ErrorClass::RoomGone => {
                tracing::info!(group = ?claim.group.as_str(), "Chat knows the room no more");
                Outcome::Gone
            }
            Err(error) => self.put_off(claim, error).await,
        };
        let lease_ends = Instant::now() + LEASE;
        while let Err(error) = in_time(LONGEST_STATEMENT, self.write(claim, &outcome)).await {
            self.settings.metrics.database_error(DatabasePart::Resync);
            // That a room is gone must not be said late: another of its id may have begun.
            if matches!(outcome, Outcome::Gone) || Instant::now() >= lease_ends {
                tracing::warn!(%error, group = ?claim.group.as_str(), "a sweep is left to its lease");
                return;
            }
            tokio::time::sleep(DATABASE_RETRY).await;
        }
    }

    /// Writes down what became of a sweep. Counts only while the lease is held.
    async fn write(&self, claim: &SweepClaim, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let SweeperSettings { pool, interval, .. } = &self.settings;
        match outcome {
            Outcome::Found(found) => {
                clear_unnamed(pool, &claim.group).await?;
                let spread = rand::rng().random_range(0.9..1.1);
                let next = interval.map(|every| every.mul_f64(spread));
                finish(pool, claim, found, next).await
            }
            Outcome::Gone => {
                room_gone(pool, &claim.group, None, None).await?;
                finish(pool, claim, &Found::default(), None).await
            }
            Outcome::PutOff {
                error,
                counts,
                delay,
            } => fail(pool, claim, error, *counts, *delay).await,
        }
    }

    /// Leaves a room to others at once.
    async fn give_up(&self, claim: &SweepClaim) {
        let given = in_time(LAST_STATEMENT, give_up(&self.settings.pool, claim)).await;
        if let Err(error) = given {
            tracing::warn!(%error, group = ?claim.group.as_str(), "a sweep is left to its lease");
        }
    }

    fn note_found(&self, claim: &SweepClaim, found: &Found) {
        self.settings.totals.swept(found);
        self.settings.metrics.resynced(ResyncOutcome::Ok);
        let Found {
            missing,
            surplus,
            unheard,
            vanished,
        } = found;
        if found.is_nothing() {
            tracing::debug!(group = ?claim.group.as_str(), "Chat and rules agree");
        } else {
            tracing::info!(group = ?claim.group.as_str(), missing, surplus, unheard, vanished, "drift found");
        }
    }

    /// Notes a failure, pauses if a human must help, and sets the time of the next try.
    async fn put_off(&self, claim: &SweepClaim, error: SweepError) -> Outcome {
        let settings = &self.settings;
        settings.totals.failed();
        settings.metrics.resynced(ResyncOutcome::Failed);
        if matches!(error, SweepError::Database(_)) {
            settings.metrics.database_error(DatabasePart::Resync);
        }
        warn_seldom!(group = ?claim.group.as_str(), %error, "a sweep could not be finished");
        let counts = match &error {
            SweepError::Chat(error) if self.is_for_a_human(error) => {
                settings.pause.begin(error).await;
                false
            }
            SweepError::Database(_) => false,
            _ => true,
        };
        let doublings = claim.failures.clamp(0, 10).unsigned_abs();
        let delay = match error {
            SweepError::Database(_) => DATABASE_RETRY,
            _ => (RETRY.0 * 2u32.pow(doublings)).min(RETRY.1),
        };
        let delay = delay.mul_f64(rand::rng().random_range(0.5..1.0));
        Outcome::PutOff {
            error: error.to_string(),
            counts,
            delay: settings.interval.map_or(delay, |every| delay.min(every)),
        }
    }

    fn is_for_a_human(&self, error: &ChatError) -> bool {
        let this_room = error
            .code()
            .is_some_and(|code| code.may_mean_nobody_online())
            && self.settings.pause.was_fine_within(FINE_LATELY);
        match error.class() {
            ErrorClass::Configuration => !this_room,
            ErrorClass::NewSignature => true,
            _ => false,
        }
    }
}
