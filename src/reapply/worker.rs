//! The loop that finds work: waits for somebody to be due, takes a slot, claims a room.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::budget::Budget;
use super::pause::Pause;
use super::round::Round;
use crate::chat::ChatClient;
use crate::members::{Claim, WakeUp, claim, until_next_due};

/// Rooms in flight at once in one replica.
const ROOMS_IN_FLIGHT: usize = 32;
/// Without a wake-up the database is asked this often: other replicas may have died. With the rule
/// filter, which asks as often, an idle replica costs the database one cheap query a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);

/// What the worker works with.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The database.
    pub pool: PgPool,
    /// The client for calls.
    pub chat: ChatClient,
    /// The budget of `modify_user_info`.
    pub budget: Budget,
    /// The alarm clock that recorders and rule changes ring.
    pub wake: WakeUp,
    /// The pause shared with whoever reports on it.
    pub pause: Pause,
    /// How long a claim stays with a worker that fell silent.
    pub lease: Duration,
}

pub(super) type Shared = WorkerSettings;

/// Finds due members and has their marks set. One per replica.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    rounds: TaskTracker,
}

impl Worker {
    /// A worker; [`Self::run`] starts it, or [`Self::step`] moves it by hand.
    pub fn new(settings: WorkerSettings) -> Self {
        Self {
            shared: Arc::new(settings),
            slots: Arc::new(Semaphore::new(ROOMS_IN_FLIGHT)),
            rounds: TaskTracker::new(),
        }
    }

    /// Works until cancelled, then finishes the rounds in flight. Only waiting is cut short, never a
    /// claim: a claim that nobody carries out would hold its members until the lease ends.
    pub async fn run(self, cancel: CancellationToken) {
        let mut failures = 0;
        while let Some(Ok(slot)) = cancel
            .run_until_cancelled(self.slots.clone().acquire_owned())
            .await
        {
            let Some(due) = cancel.run_until_cancelled(self.somebody_due()).await else {
                break;
            };
            match self.claim_if(due).await {
                Ok(None) => {}
                Ok(Some(claim)) => {
                    failures = 0;
                    let round = Round::new(self.shared.clone(), claim);
                    self.rounds.spawn(async move {
                        round.run().await;
                        drop(slot);
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
        self.shared.budget.take().await?;
        let Some(claim) = claim(&self.shared.pool, self.shared.lease).await? else {
            return Ok(false);
        };
        Round::new(self.shared.clone(), claim).run().await;
        Ok(true)
    }

    /// Waits until somebody is due and a slot for a call has come. A hint given while the database is
    /// asked ends the wait that follows, so none is lost.
    async fn somebody_due(&self) -> Result<(), sqlx::Error> {
        let shared = &self.shared;
        loop {
            if let Some(pause) = shared.pause.remaining() {
                tokio::time::sleep(pause).await;
            }
            let wait = until_next_due(&shared.pool).await?.unwrap_or(LONGEST_SLEEP);
            if wait.is_zero() {
                return shared.budget.take().await;
            }
            shared.wake.wait(wait.min(LONGEST_SLEEP)).await;
        }
    }

    async fn claim_if(&self, due: Result<(), sqlx::Error>) -> Result<Option<Claim>, sqlx::Error> {
        due?;
        claim(&self.shared.pool, self.shared.lease).await
    }
}
