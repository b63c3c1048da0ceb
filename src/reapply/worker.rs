//! The loop that finds work: waits until a room is due and a call may go out, and claims it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::WorkerSettings;
use super::round::Round;
use crate::domain::GroupId;
use crate::members::{Claim, claim, until_next_due};
use crate::metrics::{Api, DatabasePart};
use crate::telemetry::warn_seldom;

/// Rooms in flight at once in one replica.
const ROOMS_IN_FLIGHT: usize = 32;
/// Without a wake-up the database is asked this often: other replicas may have died. With the rule
/// filter, which asks as often, an idle replica costs the database one cheap query a second.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);

/// Finds due members and has their marks set. One per replica.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<WorkerSettings>,
    in_flight: Arc<Semaphore>,
    rounds: TaskTracker,
}

impl Worker {
    pub fn new(settings: WorkerSettings) -> Self {
        let replica = settings.replica.part(DatabasePart::Worker);
        Self {
            shared: Arc::new(WorkerSettings {
                replica,
                ..settings
            }),
            in_flight: Arc::new(Semaphore::new(ROOMS_IN_FLIGHT)),
            rounds: TaskTracker::new(),
        }
    }

    /// Works until cancelled, then finishes the rounds in flight. Only waiting is cut short, never a
    /// claim: a claim without a round would hold its members until the lease ends.
    pub async fn run(self, cancel: CancellationToken) {
        let mut failures = 0;
        // Where one member was due, another often is: only after an empty claim is the database asked
        // who comes next.
        let mut busy = false;
        while let Some(Ok(permit)) = cancel
            .run_until_cancelled(self.in_flight.clone().acquire_owned())
            .await
        {
            let Some(due) = cancel.run_until_cancelled(self.member_due(busy)).await else {
                break;
            };
            let began = Instant::now();
            let claimed = match due {
                Ok(()) => self.claim().await,
                Err(error) => Err(error),
            };
            busy = matches!(claimed, Ok(Some(_)));
            match claimed {
                Ok(None) => failures = 0,
                Ok(Some(claim)) => {
                    failures = 0;
                    let pass = self.shared.replica.worker_breaker.pass();
                    let span = round_span(&claim);
                    let round = Round::new(self.shared.clone(), claim, began);
                    let lease_ends = began + self.shared.lease;
                    let round = async move {
                        within_lease(round, lease_ends).await;
                        drop((pass, permit));
                    };
                    self.rounds.spawn(round.instrument(span));
                }
                Err(error) => {
                    failures = (failures + 1).min(5);
                    warn_seldom!(%error, "cannot read the queue; trying again");
                    let pause = Duration::from_millis(50) * 2u32.pow(failures);
                    cancel.run_until_cancelled(tokio::time::sleep(pause)).await;
                }
            }
        }
        self.rounds.close();
        self.rounds.wait().await;
    }

    /// Does one round if a member is due now, and waits for its end. For tests.
    pub async fn step(&self) -> Result<bool, sqlx::Error> {
        loop {
            let began = Instant::now();
            let Some(claim) = self.claim().await? else {
                return Ok(false);
            };
            if Round::new(self.shared.clone(), claim, began).run().await {
                return Ok(true);
            }
        }
    }

    /// Waits until a member is due, or `perhaps` is, and a call may go out soon. A wake-up that comes
    /// while the database is asked ends the wait that follows, so none is lost.
    async fn member_due(&self, mut perhaps: bool) -> Result<(), sqlx::Error> {
        let shared = &self.shared;
        loop {
            shared.replica.worker_breaker.ready().await;
            let wait = if std::mem::take(&mut perhaps) {
                Duration::ZERO
            } else {
                let next = until_next_due(&shared.replica.db).await?;
                next.unwrap_or(LONGEST_SLEEP)
            };
            if wait.is_zero() {
                // Rooms wait in the queue, not under their leases, and gather more members there.
                shared.chat.soon(Api::ModifyUserInfo).await;
                if shared.replica.worker_breaker.is_ready() {
                    return Ok(());
                }
                continue;
            }
            shared
                .replica
                .wake_worker
                .wait(wait.min(LONGEST_SLEEP))
                .await;
        }
    }

    /// Claims a room; a probe takes one that is known to be refused only if no other is due.
    async fn claim(&self) -> Result<Option<Claim>, sqlx::Error> {
        let avoided = self.shared.replica.worker_breaker.avoided();
        let claimed = self.claim_one(&avoided).await?;
        if claimed.is_none() && !avoided.is_empty() {
            return self.claim_one(&[]).await;
        }
        Ok(claimed)
    }

    async fn claim_one(&self, avoided: &[GroupId]) -> Result<Option<Claim>, sqlx::Error> {
        claim(&self.shared.replica.db, self.shared.lease, avoided).await
    }
}

/// The context of every line of a round: its room, and the requests that led to it, once they are known.
/// At this level the span is part of warnings whatever the filter.
fn round_span(claim: &Claim) -> Span {
    use tracing::field::Empty;
    let group = claim.group.as_str();
    tracing::warn_span!("round", group, members = Empty, request_ids = Empty)
}

/// A round that outlives its lease is abandoned, whatever it waits for: from then on another replica
/// may call for the same room. The lease is counted from before the claim, and the process may have
/// been frozen meanwhile, so the time is checked before each step.
async fn within_lease(round: Round, lease_ends: Instant) {
    tokio::select! {
        biased;
        () = tokio::time::sleep_until(lease_ends.into()) => {
            tracing::warn!("round exceeded its lease; abandoned, another worker will retry");
        }
        _ = round.run() => {}
    }
}
