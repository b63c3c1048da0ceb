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
//!   reconnect, and when the tables were replaced. It reports lost triggers and confirms nothing then.
//! - Without a confirmation in the last five seconds, while the rules are first read, or with the buffer
//!   of kept events full, every answer is "perhaps" and the event goes to the database.
//!
//! Leaves are treated like arrivals, so that both keep their order. A leave can therefore miss a row
//! whose rules were all deleted. Nothing but the presence is wrong in such a row: its marks are due to
//! be deleted, Chat cleared them with the leave, and a sweep deletes the row later.

mod follower;
mod kept;
mod rule_set;
mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use utoipa::ToSchema;

pub use follower::Follower;
pub(super) use store::forget_account;

use crate::domain::MemberEvent;
use crate::members::{Inbox, Named};
use crate::metrics::{FilterDecision, Metrics};
use crate::replica::Replica;
use crate::telemetry::warn_seldom;
use kept::KeptEvents;
use rule_set::{Hashing, RuleSet};

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
    #[schema(required = true)]
    pub confirmed_seconds_ago: Option<f64>,
    /// True while every event goes to the database.
    pub bypassing: bool,
    /// Events that wait for the next confirmation.
    pub kept: usize,
    /// Why changes of rules cannot be read; null: they are read.
    #[schema(required = true)]
    pub error: Option<String>,
}

/// The filter of this replica. Clones share it; asking it takes no lock.
#[derive(Debug, Clone)]
pub struct RuleFilter {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hashing: Hashing,
    rules: ArcSwapOption<RuleSet>,
    freshness: Freshness,
    error: ArcSwapOption<String>,
    kept: KeptEvents,
    settings: FilterSettings,
    metrics: Metrics,
}

impl RuleFilter {
    /// A filter over the rules in this database that lets everything through until its follower
    /// runs and has read them. Events looked at late go to `inbox`.
    ///
    /// The follower uses one connection of its own, made with the options of the database.
    pub fn new(replica: &Replica, inbox: Inbox, settings: FilterSettings) -> (Self, Follower) {
        let (kept, incoming) = KeptEvents::new(settings.most_kept);
        let shared = Arc::new(Shared {
            hashing: Hashing::default(),
            rules: ArcSwapOption::empty(),
            freshness: Freshness::default(),
            error: ArcSwapOption::empty(),
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
        let rules = shared.rules.load();
        let fresh = shared.freshness.within(shared.settings.stale_after);
        let Some(rules) = rules.as_ref().filter(|_| fresh) else {
            let bypassed = u64::try_from(events.len()).unwrap_or(u64::MAX);
            let bypasses = shared.metrics.filter.of(FilterDecision::Bypassed);
            bypasses.inc_by(bypassed);
            return (events, Named::Unknown);
        };
        let mut named = Named::Perhaps;
        let mut must_go = |event: MemberEvent| {
            let (event, decision) = if rules.may_name(&shared.hashing, &event.group, &event.account)
            {
                (Some(event), FilterDecision::Passed)
            } else {
                match shared.kept.keep(event) {
                    Ok(()) => (None, FilterDecision::Skipped),
                    Err(event) => {
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
        self.shared.freshness.age()
    }

    /// How it does.
    pub fn state(&self) -> FilterState {
        let shared = &*self.shared;
        let rules = shared.rules.load();
        let rules = rules.as_deref();
        let fresh = shared.freshness.within(shared.settings.stale_after);
        FilterState {
            rules: rules.map_or(0, RuleSet::len),
            bytes: rules.map_or(0, RuleSet::bytes),
            revision: rules.map_or(0, |rules| rules.revision),
            confirmed_seconds_ago: shared
                .freshness
                .confirmed_ago()
                .map(|ago| ago.as_secs_f64()),
            bypassing: rules.is_none() || !fresh || shared.kept.is_full(),
            kept: shared.kept.len(),
            error: shared.error.load().as_deref().cloned(),
        }
    }
}

/// How far the filter can be trusted.
#[derive(Debug)]
struct Freshness {
    /// When the last confirmation began, or the filter was created.
    confirmed: ArcSwap<Instant>,
    /// Whether it counts: set after it, and cleared when the rules may be wrong.
    trusted: AtomicBool,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            confirmed: ArcSwap::from_pointee(Instant::now()),
            trusted: AtomicBool::new(false),
        }
    }
}

impl Freshness {
    fn confirm(&self, began: Instant) {
        self.confirmed.store(Arc::new(began));
        self.trusted.store(true, Ordering::Release);
    }

    fn doubt(&self) {
        self.trusted.store(false, Ordering::Release);
    }

    fn age(&self) -> Duration {
        self.confirmed.load().elapsed()
    }

    fn confirmed_ago(&self) -> Option<Duration> {
        let trusted = self.trusted.load(Ordering::Acquire);
        trusted.then(|| self.age())
    }

    fn within(&self, longest: Duration) -> bool {
        self.confirmed_ago().is_some_and(|ago| ago < longest)
    }
}
