//! What this replica counts, for `/metrics` and for pictures drawn within the process.
//!
//! One [`Metrics`] belongs to one service; clones share it. Parts of the service tell it what
//! happened, each by a method of its own; nothing is named by text, so no label can hold what came
//! from outside. Names, types, labels and meanings stand in `deploy/metrics.md`, and a test holds a
//! real scrape against that page. Counting a callback takes no lock and no allocation. What has to
//! be read anew for each scrape (ages, the pool) is set by whoever answers it, through
//! [`Metrics::gauges`]; what all replicas share is read by a task, [`figures`].

mod call;
mod family;
mod labels;
mod made;
mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Encoder, TextEncoder};

pub use call::Calling;
pub use family::{Counters, Counters2, Gauges, Histograms, Label};
pub use labels::{
    Api, CallOutcome, CallbackCommand, CallbackOutcome, ConnectionState, DatabasePart, DriftKind,
    FilterDecision, ForwardResult, MarkResult, QueueState, ResyncOutcome, SlowdownReason,
};
pub use made::GaugeSet;
use made::Made;
pub use snapshot::{DelaySnapshot, Rates, Snapshot};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of one service. The default is a set that nobody reads, for parts used alone.
#[derive(Debug, Clone)]
pub struct Metrics {
    made: Arc<Made>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            made: Arc::new(Made::new()),
        }
    }
}

impl Metrics {
    /// A callback was answered. `took` is counted from the request's head; `None` leaves it out.
    pub fn callback(
        &self,
        command: CallbackCommand,
        outcome: CallbackOutcome,
        took: Option<Duration>,
    ) {
        self.made.callbacks.add_one(command, outcome);
        if let Some(took) = took {
            let durations = &self.made.callback_durations;
            durations.observe(command, took.as_secs_f64());
        }
    }

    /// An event was committed this long after it was handed in.
    pub fn inbox_waited(&self, waited: Duration) {
        self.made.inbox_wait.observe(waited.as_secs_f64());
    }

    /// A statement of the inbox wrote so many members.
    pub fn inbox_batch(&self, members: usize) {
        self.made.inbox_batch.observe(members as f64);
    }

    /// The filter decided so about some events.
    pub fn filtered(&self, decision: FilterDecision, events: u64) {
        self.made.filter.add(decision, events);
    }

    /// A callback that was to be forwarded fared so.
    pub fn forwarded(&self, result: ForwardResult) {
        self.made.forward.add(result, 1);
    }

    /// The backend was waited for so long.
    pub fn forward_took(&self, took: Duration) {
        self.made.forward_duration.observe(took.as_secs_f64());
    }

    /// A member's marks were confirmed so many seconds after his callback.
    pub fn mark_delay(&self, seconds: f64) {
        self.made.mark_delay.observe(seconds);
    }

    /// Members of a call that sets or deletes marks.
    pub fn marked(&self, result: MarkResult, members: usize) {
        let members = u64::try_from(members).unwrap_or(u64::MAX);
        self.made.marked.add(result, members);
    }

    /// A call to Chat begins; `members` if it names some. Tell the handle how it ended.
    pub fn call(&self, api: Api, members: Option<usize>) -> Calling<'_> {
        Calling::begin(&self.made, api, members)
    }

    /// A call waited so long for its slot.
    pub fn budget_waited(&self, api: Api, waited: Duration) {
        self.made.budget_wait.observe(api, waited.as_secs_f64());
    }

    /// A budget was halved.
    pub fn slowed_down(&self, api: Api, reason: SlowdownReason) {
        self.made.slowdowns.add_one(api, reason);
    }

    /// The comparison of a room ended.
    pub fn resynced(&self, outcome: ResyncOutcome) {
        self.made.resync_rooms.add(outcome, 1);
    }

    /// A member was found in one or more ways other than he should be; his marks were last
    /// confirmed that long ago.
    pub fn drifted(&self, kinds: &[DriftKind], age: Duration) {
        for kind in kinds {
            self.made.drift.add(*kind, 1);
            self.made.drift_age.observe(age.as_secs_f64());
        }
    }

    /// A statement failed.
    pub fn database_error(&self, part: DatabasePart) {
        self.made.database_errors.add(part, 1);
    }

    /// What is set rather than counted.
    pub fn gauges(&self) -> &GaugeSet {
        &self.made.gauges
    }

    /// All of it in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric is not well formed, which no metric here can be.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&self.made.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// The counts at this moment, for whoever draws them. Cheap: some hundred atomic reads.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.made)
    }
}
