//! The rule filter: says of most members, without the database, that no rule matches them.
//!
//! It keeps one hash for each rule (see `rule_set`). A "perhaps" may be wrong, a "no" never is. It
//! guarantees, for any number of replicas:
//!
//! - A "no" is never final. The event is kept until a confirmation by the database that *began* after
//!   the "no". The event is then checked again, and handed to the inbox late if a rule matches now. So a
//!   rule that is committed through one replica before a member arrives at another still leads to the
//!   member's row, however late the notification of the rule. Only a replica that dies in between (some
//!   milliseconds, two seconds if the notification was lost) loses its kept events; the sweep finds
//!   those members.
//! - Triggers count the rules by a revision that grows in the order of commits, whatever writes them. A
//!   follower is notified of commits, and also asks every two seconds. It reads all rules after each
//!   reconnect. It reports lost triggers and confirms nothing then.
//! - Without a confirmation in the last five seconds, while the rules are first read, or with the buffer
//!   of kept events full, every answer is "perhaps" and the event goes to the database.
//!
//! Leaves are treated like arrivals, so that both keep their order. A leave can therefore miss a row
//! whose rules were all deleted. Nothing but the presence is wrong in such a row: its marks are due to
//! be deleted, Chat cleared them with the leave, and a sweep deletes the row later.

mod follower;
mod rule_set;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::mpsc::{self, error::TrySendError};
use utoipa::ToSchema;

pub use follower::Follower;
pub(super) use follower::forget_account;

use crate::domain::MemberEvent;
use crate::members::{Inbox, Named};
use crate::metrics::{FilterDecision, Metrics};
use crate::replica::Replica;
use crate::telemetry::warn_seldom;
use rule_set::RuleSet;

/// When the filter trusts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterSettings {
    /// The database is asked this often even if it notifies of nothing.
    pub confirm_every: Duration,
    /// A filter that was confirmed longer ago is bypassed.
    pub stale_after: Duration,
    /// Events kept for the next confirmation, about 150 bytes each.
    pub most_kept: usize,
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            confirm_every: Duration::from_secs(2),
            stale_after: Duration::from_secs(5),
            most_kept: 100_000,
        }
    }
}

/// The filter that keeps callbacks about members without a rule from the database.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = RuleFilterStatus)]
pub struct FilterState {
    /// Pairs of patterns in it, including recently deleted ones; 0 until the rules are read.
    pub rules: usize,
    /// Memory of these, in bytes.
    pub bytes: usize,
    /// The revision of the rules that it knows.
    pub revision: i64,
    /// How many seconds ago it last agreed with the database; null: not yet.
    pub confirmed_seconds_ago: Option<f64>,
    /// True while every event goes to the database.
    pub bypassing: bool,
    /// Events that wait for the next confirmation.
    pub kept: usize,
    /// Why changes of rules cannot be read; null: they are read.
    pub error: Option<String>,
}

/// The filter of this replica. Clones share it; asking it takes no lock.
#[derive(Debug, Clone)]
pub struct RuleFilter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    known: ArcSwap<Known>,
    /// Events that were answered with "no" and wait for the next confirmation.
    kept: mpsc::Sender<MemberEvent>,
    settings: FilterSettings,
    metrics: Metrics,
}

/// What is known of the rules, and how far that can be trusted.
#[derive(Debug, Clone)]
struct Known {
    /// `None`: not read yet.
    rules: Option<Arc<RuleSet>>,
    /// When the last confirmation began, or the filter was created.
    confirmed: Instant,
    /// False while the rules may be wrong.
    trusted: bool,
    /// Why changes of rules cannot be read.
    error: Option<String>,
}

impl Known {
    /// The rules, if they were confirmed lately.
    fn fresh(&self, settings: &FilterSettings) -> Option<&RuleSet> {
        let fresh = self.trusted && self.confirmed.elapsed() < settings.stale_after;
        self.rules.as_deref().filter(|_| fresh)
    }
}

impl Shared {
    /// Only the follower changes what is known.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = Known::clone(&self.known.load());
        change(&mut known);
        self.known.store(Arc::new(known));
    }

    /// What is known may be wrong, until the next confirmation.
    fn doubt(&self) {
        self.change(|known| known.trusted = false);
    }
}

impl RuleFilter {
    /// A filter over the rules in this database that lets everything through until its follower
    /// runs and has read them. Events looked at late go to `inbox`.
    ///
    /// The follower uses one connection of its own, made with the options of the database.
    pub fn new(replica: &Replica, inbox: Inbox, settings: FilterSettings) -> (Self, Follower) {
        let (kept, incoming) = mpsc::channel(settings.most_kept);
        let shared = Arc::new(Shared {
            known: ArcSwap::from_pointee(Known {
                rules: None,
                confirmed: Instant::now(),
                trusted: false,
                error: None,
            }),
            kept,
            settings,
            metrics: replica.metrics.clone(),
        });
        let follower = Follower::new(Arc::clone(&shared), incoming, inbox, &replica.db);
        (Self { shared }, follower)
    }

    /// The events that must go to the database: those about members that a rule may match, or all of them
    /// if the filter cannot be trusted now. The others need not be stored.
    pub fn named(&self, events: Vec<MemberEvent>) -> (Vec<MemberEvent>, Named) {
        let shared = &*self.shared;
        let known = shared.known.load();
        let Some(rules) = known.fresh(&shared.settings) else {
            let bypassed = u64::try_from(events.len()).unwrap_or(u64::MAX);
            let bypasses = shared.metrics.filter.of(FilterDecision::Bypassed);
            bypasses.inc_by(bypassed);
            return (events, Named::Unknown);
        };
        let mut named = Named::Perhaps;
        let mut must_go = |event: MemberEvent| {
            let (event, decision) = if rules.may_name(&event.group, &event.account) {
                (Some(event), FilterDecision::Passed)
            } else {
                match shared.kept.try_send(event) {
                    Ok(()) => (None, FilterDecision::Skipped),
                    Err(TrySendError::Full(event) | TrySendError::Closed(event)) => {
                        warn_seldom!("rule filter buffer is full; passing events to the database");
                        named = Named::Unknown;
                        (Some(event), FilterDecision::Bypassed)
                    }
                }
            };
            shared.metrics.filter.of(decision).inc();
            event
        };
        let events = events.into_iter().filter_map(&mut must_go).collect();
        (events, named)
    }

    /// How long ago the last confirmation began; since its creation, if there was none.
    pub fn age(&self) -> Duration {
        self.shared.known.load().confirmed.elapsed()
    }

    pub fn state(&self) -> FilterState {
        let shared = &*self.shared;
        let known = shared.known.load();
        let rules = known.rules.as_deref();
        let kept = &shared.kept;
        FilterState {
            rules: rules.map_or(0, RuleSet::len),
            bytes: rules.map_or(0, RuleSet::bytes),
            revision: rules.map_or(0, |rules| rules.revision),
            confirmed_seconds_ago: known
                .trusted
                .then(|| known.confirmed.elapsed().as_secs_f64()),
            bypassing: known.fresh(&shared.settings).is_none() || kept.capacity() == 0,
            kept: kept.max_capacity() - kept.capacity(),
            error: known.error.clone(),
        }
    }
}
