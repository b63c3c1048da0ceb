//! Stops calling Chat while only a human can help, and tries now and then.
//!
//! A fault of configuration (plan ended, wrong key, feature not switched on) hits every call alike.
//! Nothing is claimed then, so nothing is lost and no attempt is used up. After a while one probe
//! goes out, and only one; the first call that succeeds ends the pause.
//!
//! The pause is a row in Postgres, so all replicas stop, probe and resume as one, and a restart
//! changes nothing. Each looks at it once a second at most: calls that go well cost no statement.
//! Whoever takes the probe moves the time of the next one on; should he die, another goes out then.

mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::sync::Notify;
use uuid::Uuid;

use self::store::Begun;
use crate::chat::ChatError;
use crate::database::in_time;

const FIRST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// What was read of the row counts so long.
const FRESH: Duration = Duration::from_secs(1);
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);
/// So long the row may keep those waiting who only look whether they may call.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The pause of some calls; clones share what this replica knows of it.
#[derive(Debug, Clone)]
pub struct Pause {
    pool: PgPool,
    circuit: &'static str,
    lengths: (Duration, Duration),
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Notify,
}

/// What this replica knows.
#[derive(Debug, Default)]
struct Known {
    paused: Option<Paused>,
    read_at: Option<Instant>,
    fine_at: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Paused {
    shown: PauseState,
    /// Not before; there may be a probe out until then.
    probe_at: Instant,
}

/// Why calls are paused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseState {
    /// What Chat said last.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// Since when, by the clock of Postgres.
    pub since: DateTime<Utc>,
}

/// Leave to call: while calls are paused, as the one probe.
#[derive(Debug)]
#[must_use = "a probe that is not given back keeps the others waiting"]
pub struct Leave {
    pause: Pause,
    probe: Option<Uuid>,
}

impl Pause {
    /// The pause of these calls. All who name the same circuit share it.
    pub fn new(pool: PgPool, circuit: &'static str) -> Self {
        Self::with_lengths(pool, circuit, FIRST, LONGEST)
    }

    /// A pause whose first probe goes out after `first`, each further one after twice the time, at
    /// most after `longest`.
    pub fn with_lengths(
        pool: PgPool,
        circuit: &'static str,
        first: Duration,
        longest: Duration,
    ) -> Self {
        Self {
            pool,
            circuit,
            lengths: (first, longest),
            shared: Arc::default(),
        }
    }

    /// A call failed for a reason that a human must mend. Calls that were under way when the pause
    /// began say the same and change nothing.
    pub async fn begin(&self, error: &ChatError) {
        let least = error.code().and_then(|code| code.least_wait());
        let (reason, advice) = (error.to_string(), error.advice());
        let begun = Begun {
            reason: &reason,
            advice,
            lengths: self.lengths,
            least: least.unwrap_or_default(),
        };
        let written = store::begin(&self.pool, self.circuit, begun);
        match in_time(LONGEST_STATEMENT, written).await {
            Ok(()) => self.refresh().await,
            Err(error) => tracing::warn!(%error, reason, "calls cannot be paused"),
        }
    }

    /// A call succeeded. Costs a statement only if calls are paused.
    pub async fn end(&self) {
        let paused = {
            let mut known = self.known();
            known.fine_at = Some(Instant::now());
            known.paused.is_some()
        };
        if !paused {
            return;
        }
        let ended = store::end(&self.pool, self.circuit);
        match in_time(LONGEST_STATEMENT, ended).await {
            Ok(()) => self.learn(None),
            // The row stays, and the next probe ends the pause.
            Err(error) => tracing::warn!(%error, "the pause of calls cannot be ended"),
        }
    }

    /// Whether a call of this replica succeeded within the given time.
    pub fn was_fine_within(&self, time: Duration) -> bool {
        self.known().fine_at.is_some_and(|at| at.elapsed() < time)
    }

    /// Waits until a call may go out: nothing is paused, or it is time for a probe.
    pub async fn passed(&self) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // From here on no change goes unnoticed.
            changed.as_mut().enable();
            self.look().await;
            let left = {
                let known = self.known();
                let Some(paused) = &known.paused else { return };
                paused.probe_at.saturating_duration_since(Instant::now())
            };
            if left.is_zero() {
                return;
            }
            // Whichever comes first, the row is looked at again: another replica may have ended it.
            let _elapsed = tokio::time::timeout(left.min(FRESH), changed).await;
        }
    }

    /// Leave to call now, to be asked for right before members are claimed. `None`: calls are
    /// paused, and it is not time for a probe or somebody else has it.
    pub async fn leave(&self) -> Option<Leave> {
        let probe_at = self.known().paused.as_ref().map(|paused| paused.probe_at);
        let probe = match probe_at {
            None => None,
            Some(at) if at <= Instant::now() => Some(self.take_probe().await?),
            Some(_) => return None,
        };
        Some(Leave {
            pause: self.clone(),
            probe,
        })
    }

    /// The probe, if nobody else has taken it.
    async fn take_probe(&self) -> Option<Uuid> {
        let probe = Uuid::new_v4();
        let taken = store::take_probe(&self.pool, self.circuit, probe);
        let taken = in_time(LONGEST_STATEMENT, taken).await;
        self.refresh().await;
        match taken {
            Ok(taken) => taken.then_some(probe),
            Err(error) => {
                tracing::warn!(%error, "the probe of a pause cannot be taken");
                None
            }
        }
    }

    /// Why calls are paused, as this replica saw it within the last seconds; `None` if they are not.
    pub fn state(&self) -> Option<PauseState> {
        let known = self.known();
        known.paused.as_ref().map(|paused| paused.shown.clone())
    }

    /// Reads the row if it was not read lately.
    async fn look(&self) {
        let fresh = self.known().read_at.is_some_and(|at| at.elapsed() < FRESH);
        if !fresh {
            self.refresh().await;
        }
    }

    /// Reads the row. Should the database be away, what was known stands: nothing can be claimed.
    pub async fn refresh(&self) {
        match in_time(LONGEST_LOOK, store::read(&self.pool, self.circuit)).await {
            Ok(paused) => self.learn(paused),
            Err(error) => {
                tracing::debug!(%error, "the pause of calls cannot be read");
                self.known().read_at = Some(Instant::now());
            }
        }
    }

    /// Takes note of the row, and says in the log what changed.
    fn learn(&self, paused: Option<Paused>) {
        let mut known = self.known();
        known.read_at = Some(Instant::now());
        let before = std::mem::replace(&mut known.paused, paused.clone());
        drop(known);
        let (before, after) = (before.map(|p| p.shown), paused.map(|p| p.shown));
        match (before, after) {
            (before, Some(after)) if before.as_ref().is_none_or(|b| b.reason != after.reason) => {
                let PauseState { reason, advice, .. } = after;
                let circuit = self.circuit;
                tracing::error!(
                    circuit,
                    reason,
                    advice,
                    "calls to Chat are paused until this is mended"
                );
            }
            (Some(before), None) => {
                let circuit = self.circuit;
                tracing::info!(circuit, reason = before.reason, "calls to Chat are resumed");
            }
            _ => {}
        }
        self.shared.changed.notify_waiters();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.shared
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leave {
    /// Nobody was there to call for: the probe is free for others at once.
    pub async fn unused(self) {
        self.give_back(false).await;
    }

    /// The call was made. If it said nothing about the pause, the next probe comes after a while.
    pub async fn used(self) {
        self.give_back(true).await;
    }

    async fn give_back(self, used: bool) {
        let Some(probe) = self.probe else { return };
        let Pause { pool, circuit, .. } = &self.pause;
        let given = store::give_back(pool, circuit, probe, used);
        let given = in_time(LONGEST_STATEMENT, given).await;
        if let Err(error) = given {
            tracing::warn!(%error, "the probe of a pause is left to its lease");
        }
        self.pause.refresh().await;
    }
}
