//! The loop that finds work: waits for somebody to be due, takes a slot, claims a room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::{Budget, Slot};
use super::pause::Pause;
use super::restored::Restorations;
use super::round::Round;
use crate::chat::ChatClient;
use crate::database::in_time;
use crate::members::{Claim, WakeUp, claim, until_next_due};
use crate::metrics::{DatabasePart, Metrics};

/// Rooms in flight at once in one replica.
const ROOMS_IN_FLIGHT: usize = 32;
/// Without a wake-up the database is asked this often: other replicas may have died. With the rule
/// filter, which asks as often, an idle replica costs the database one cheap query a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

/// What the worker works with.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The database.
    pub pool: PgPool,
    /// The client for calls.
    pub chat: ChatClient,
    /// The budget of `modify_user_info`.
    pub budget: Budget,
    /// The budget of `check_members`, which tells who is in a room when a call is refused.
    pub checks: Budget,
    /// The alarm clock that recorders and rule changes ring.
    pub wake: WakeUp,
    /// The pause shared with whoever reports on it.
    pub pause: Pause,
    /// How long a claim stays with a worker that fell silent.
    pub lease: Duration,
    /// Told of members marked, delays, and faults of the database.
    pub metrics: Metrics,
    /// Where restored members are shown.
    pub restorations: Restorations,
}

pub(super) type Shared = WorkerSettings;

/// Finds due members and has their marks set. One per replica.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    rounds: TaskTracker,
}

impl Worker {
    /// A worker; [`Self::run`] starts it, or [`Self::step`] moves it by hand.
    pub fn new(settings: WorkerSettings) -> Self {
        Self {
            shared: Arc::new(settings),
            places: Arc::new(Semaphore::new(ROOMS_IN_FLIGHT)),
            rounds: TaskTracker::new(),
        }
    }

    /// Works until cancelled, then finishes the rounds in flight. Only waiting is cut short, never a
    /// claim: a claim that nobody carries out would hold its members until the lease ends.
    pub async fn run(self, cancel: CancellationToken) {
        let mut failures = 0;
        while let Some(Ok(place)) = cancel
            .run_until_cancelled(self.places.clone().acquire_owned())
            .await
        {
            let Some(due) = cancel.run_until_cancelled(self.somebody_due()).await else {
                break;
            };
            let began = Instant::now();
            match self.claim_if(due).await {
                Ok(None) => {}
                Ok(Some((claim, slot))) => {
                    failures = 0;
                    let probe = self.shared.pause.probe();
                    let round = Round::new(self.shared.clone(), claim, began);
                    let lease_ends = began + self.shared.lease;
                    self.rounds.spawn(async move {
                        within_lease(round, slot, lease_ends).await;
                        drop((place, probe));
                    });
                }
                Err(error) => {
                    failures = (failures + 1).min(5);
                    tracing::warn!(%error, "the queue cannot be read");
                    let pause = Duration::from_millis(50) * 2u32.pow(failures);
                    cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
        self.rounds.close();
        self.rounds.wait().await;
    }

    /// Does one round if somebody is due now, and waits for its end. For tests.
    pub async fn step(&self) -> Result<bool, sqlx::Error> {
        let slot = self.shared.budget.take().await?;
        let began = Instant::now();
        let Some(claim) = claim(&self.shared.pool, self.shared.lease).await? else {
            return Ok(false);
        };
        Round::new(self.shared.clone(), claim, began)
            .run(slot)
            .await;
        Ok(true)
    }

    /// Waits until somebody is due and a slot for a call has come. A hint given while the database is
    /// asked ends the wait that follows, so none is lost.
    async fn somebody_due(&self) -> Result<Slot, sqlx::Error> {
        let shared = &self.shared;
        loop {
            shared.pause.passed().await;
            let wait = in_time(LONGEST_STATEMENT, until_next_due(&shared.pool)).await;
            let wait = shared.noted(wait)?;
            let wait = wait.unwrap_or(LONGEST_SLEEP);
            if wait.is_zero() {
                let slot = shared.budget.take().await?;
                // A pause may have begun while the slot was waited for; the slot is lost then.
                if shared.pause.passed().now_or_never().is_some() {
                    return Ok(slot);
                }
                continue;
            }
            shared.wake.wait(wait.min(LONGEST_SLEEP)).await;
        }
    }

    async fn claim_if(
        &self,
        due: Result<Slot, sqlx::Error>,
    ) -> Result<Option<(Claim, Slot)>, sqlx::Error> {
        let slot = due?;
        let claim = claim(&self.shared.pool, self.shared.lease);
        let claim = self.shared.noted(in_time(LONGEST_STATEMENT, claim).await)?;
        Ok(claim.map(|claim| (claim, slot)))
    }
}

impl Shared {
    /// The answer of the database, counted if it is a fault.
    pub(super) fn noted<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        answer.inspect_err(|_| self.metrics.database_error(DatabasePart::Worker))
    }
}

/// A round that outlives its lease is broken off, whatever it waits for: from then on another
/// replica may call for the same room. The lease is counted from before it was asked for, and the
/// process may have been frozen meanwhile, so the time is looked at before each step.
async fn within_lease(round: Round, slot: Slot, lease_ends: Instant) {
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(lease_ends.into()) => {
            tracing::warn!("a round took longer than its lease and is left to others");
        }
        () = round.run(slot) => {}
    }
}
