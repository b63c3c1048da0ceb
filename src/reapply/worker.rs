//! The loop that finds work: waits for somebody to be due, takes a slot, claims a room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::budget::Slot;
use super::pause::Leave;
use super::round::Round;
use super::settings::WorkerSettings;
use crate::database::in_time;
use crate::domain::RequestId;
use crate::members::{Claim, claim, until_next_due};
use crate::telemetry::warn_seldom;

/// Rooms in flight at once in one replica.
const ROOMS_IN_FLIGHT: usize = 32;
/// Without a wake-up the database is asked this often: other replicas may have died. With the rule
/// filter, which asks as often, an idle replica costs the database one cheap query a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

/// Finds due members and has their marks set. One per replica.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<WorkerSettings>,
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
        // Where somebody was due, somebody else often is: only after a claim in vain is it asked who
        // comes next.
        let mut busy = false;
        while let Some(Ok(place)) = cancel
            .run_until_cancelled(self.places.clone().acquire_owned())
            .await
        {
            let Some(due) = cancel.run_until_cancelled(self.somebody_due(busy)).await else {
                break;
            };
            let began = Instant::now();
            let claimed = self.claim_if(due).await;
            busy = matches!(claimed, Ok(Some(_)));
            match claimed {
                Ok(None) => {}
                Ok(Some((claim, slot, leave))) => {
                    failures = 0;
                    let span = round_span(&claim);
                    let round = Round::new(self.shared.clone(), claim, began);
                    let lease_ends = began + self.shared.lease;
                    let round = async move {
                        match within_lease(round, slot, lease_ends).await {
                            true => leave.used().await,
                            false => leave.unused().await,
                        }
                        drop(place);
                    };
                    self.rounds.spawn(round.instrument(span));
                }
                Err(error) => {
                    failures = (failures + 1).min(5);
                    warn_seldom!(%error, "the queue cannot be read");
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
        let Some(claim) = self.claim().await? else {
            return Ok(false);
        };
        Round::new(self.shared.clone(), claim, began)
            .run(slot)
            .await;
        Ok(true)
    }

    /// Waits until somebody is due, or `perhaps` is, and a slot for a call has come. A hint given while
    /// the database is asked ends the wait that follows, so none is lost.
    async fn somebody_due(&self, mut perhaps: bool) -> Result<(Slot, Leave), sqlx::Error> {
        let shared = &self.shared;
        loop {
            shared.pause.passed().await;
            let wait = if std::mem::take(&mut perhaps) {
                Duration::ZERO
            } else {
                let next = in_time(LONGEST_STATEMENT, until_next_due(&shared.pool)).await;
                shared.noted(next)?.unwrap_or(LONGEST_SLEEP)
            };
            if wait.is_zero() {
                let slot = shared.budget.take().await?;
                // A pause may have begun while the slot was waited for; the slot is lost then.
                if let Some(leave) = shared.pause.leave().await {
                    return Ok((slot, leave));
                }
                continue;
            }
            shared.wake.wait(wait.min(LONGEST_SLEEP)).await;
        }
    }

    async fn claim_if(
        &self,
        due: Result<(Slot, Leave), sqlx::Error>,
    ) -> Result<Option<(Claim, Slot, Leave)>, sqlx::Error> {
        let (slot, leave) = due?;
        let claim = in_time(LONGEST_STATEMENT, self.claim()).await;
        match self.shared.noted(claim) {
            Ok(Some(claim)) => Ok(Some((claim, slot, leave))),
            nobody => {
                leave.unused().await;
                nobody.map(|_| None)
            }
        }
    }

    async fn claim(&self) -> Result<Option<Claim>, sqlx::Error> {
        let shared = &self.shared;
        claim(&shared.pool, shared.lease, shared.settling).await
    }
}

/// The context of all that is said in a round: its room, and the requests that led to it. As a span
/// of this level it stands before warnings whatever the filter.
fn round_span(claim: &Claim) -> Span {
    let requests = claim.members.iter().filter_map(|m| m.request.as_ref());
    tracing::warn_span!(
        "round",
        group = ?claim.group.as_str(),
        members = claim.members.len(),
        request_ids = RequestId::list(requests),
    )
}

/// A round that outlives its lease is broken off, whatever it waits for: from then on another
/// replica may call for the same room. The lease is counted from before it was asked for, and the
/// process may have been frozen meanwhile, so the time is looked at before each step. Returns whether
/// Chat may have been called.
async fn within_lease(round: Round, slot: Slot, lease_ends: Instant) -> bool {
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(lease_ends.into()) => {
            tracing::warn!("a round took longer than its lease and is left to others");
            true
        }
        called = round.run(slot) => called,
    }
}
