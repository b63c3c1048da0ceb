//! The sweep of one room from claim to result.
//!
//! A failed sweep is retried with a backoff. It counts as a failure of the room only if the cause is
//! neither the database nor a configuration error. A result counts only if the lease is still held when it
//! is written.

use std::time::{Duration, Instant};

use rand::Rng;

use super::Sweeper;
use super::room::{RoomSweep, SweepError};
use super::schedule::{LEASE, SweepClaim, finish, put_off};
use crate::chat::{ChatError, ErrorClass};
use crate::database::in_time;
use crate::members::store::cleanup::delete_unmatched;
use crate::members::{Ended, Found, room_gone};
use crate::metrics::ResyncOutcome;
use crate::telemetry::warn_seldom;

/// First and longest backoff of a failed sweep.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// The same if the database failed, which says nothing about the room.
const DATABASE_RETRY: Duration = Duration::from_secs(1);
/// A replica that stops waits so long for the database.
const LAST_STATEMENT: Duration = Duration::from_secs(2);

/// What became of a sweep.
enum Outcome {
    Found(Found),
    /// The room does not exist in Chat.
    Gone,
    PutOff {
        error: String,
        /// Whether it is a failure of this room.
        counts: bool,
        delay: Duration,
    },
}

impl Sweeper {
    /// Sweeps a room and records the result. If the database is unreachable at the end, this retries until
    /// the lease ends, so that the room need not wait for that.
    pub(super) async fn sweep(&self, claim: &SweepClaim) {
        let outcome = match RoomSweep::new(self, claim).run().await {
            Ok(found) => {
                self.replica.sweeper_breaker.succeeded();
                self.note_found(claim, &found);
                Outcome::Found(found)
            }
            Err(SweepError::LeaseLost) => return,
            Err(SweepError::Chat(error)) if error.class() == ErrorClass::RoomGone => {
                tracing::info!(
                    group = claim.group.as_str(),
                    "room no longer exists in Chat"
                );
                Outcome::Gone
            }
            Err(error) => self.put_off(claim, error),
        };
        let lease_ends = Instant::now() + LEASE;
        while let Err(error) = self.write(claim, &outcome).await {
            // The end of a room must not be recorded late: a new room of the same id may exist by then.
            if matches!(outcome, Outcome::Gone) || Instant::now() >= lease_ends {
                tracing::warn!(%error, group = claim.group.as_str(), "could not write the result of a sweep; the room is swept again when the lease expires");
                return;
            }
            tokio::time::sleep(DATABASE_RETRY).await;
        }
    }

    /// Records the result. It counts only while the lease is held.
    async fn write(&self, claim: &SweepClaim, outcome: &Outcome) -> Result<(), sqlx::Error> {
        let (db, interval) = (&self.replica.db, self.interval);
        match outcome {
            Outcome::Found(found) => {
                delete_unmatched(db, &claim.group, self.keep_absent).await?;
                let spread = rand::rng().random_range(0.9..1.1);
                let next = interval.map(|every| every.mul_f64(spread));
                finish(db, claim, found, next).await
            }
            Outcome::Gone => {
                room_gone(db, &claim.group, Ended::Answered(claim.at)).await?;
                finish(db, claim, &Found::default(), None).await
            }
            Outcome::PutOff {
                error,
                counts,
                delay,
            } => put_off(db, claim, Some(error), *counts, Some(*delay)).await,
        }
    }

    /// Releases a room for other replicas at once.
    pub(super) async fn give_up(&self, claim: &SweepClaim) {
        let given = put_off(&self.replica.db, claim, None, false, None);
        if let Err(error) = in_time(LAST_STATEMENT, given).await {
            tracing::warn!(%error, group = claim.group.as_str(), "could not write the result of a sweep; the room is swept again when the lease expires");
        }
    }

    fn note_found(&self, claim: &SweepClaim, found: &Found) {
        let mut totals = self.totals.lock();
        totals.rooms += 1;
        totals.found += *found;
        drop(totals);
        self.replica
            .metrics
            .resync_rooms
            .of(ResyncOutcome::Ok)
            .inc();
        let Found {
            missing,
            surplus,
            unheard,
            vanished,
        } = found;
        if found.is_nothing() {
            tracing::debug!(group = claim.group.as_str(), "in sync");
        } else {
            tracing::info!(
                group = claim.group.as_str(),
                missing,
                surplus,
                unheard,
                vanished,
                "drift found"
            );
        }
    }

    /// Counts a failure, and sets the time of the next try.
    fn put_off(&self, claim: &SweepClaim, error: SweepError) -> Outcome {
        self.totals.lock().failed += 1;
        self.replica
            .metrics
            .resync_rooms
            .of(ResyncOutcome::Failed)
            .inc();
        warn_seldom!(group = claim.group.as_str(), %error, "sweep failed; it is retried");
        let (counts, delay) = match &error {
            SweepError::Database(_) | SweepError::Chat(ChatError::NoSlot(_)) => {
                (false, DATABASE_RETRY)
            }
            _ => {
                let doublings = claim.failures.clamp(0, 10).unsigned_abs();
                let delay = (RETRY.0 * 2u32.pow(doublings)).min(RETRY.1);
                // If calls for other rooms would fail as well, they are paused.
                let breaker = &self.replica.sweeper_breaker;
                let of_the_app = matches!(&error, SweepError::Chat(error) if breaker.refused(&claim.group, error));
                (!of_the_app, delay)
            }
        };
        let delay = delay.mul_f64(rand::rng().random_range(0.5..1.0));
        Outcome::PutOff {
            error: error.to_string(),
            counts,
            delay: self.interval.map_or(delay, |every| delay.min(every)),
        }
    }
}
