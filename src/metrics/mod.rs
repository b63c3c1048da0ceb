//! What this replica counts, for `/metrics` and for the charts of the console.
//!
//! One [`Metrics`] belongs to one service; clones share it. Each metric is a field, which the part that
//! knows of it counts up or sets; labels are closed lists, so nothing from outside becomes one. Names,
//! types, labels and meanings are in `deploy/metrics.md`, and a test compares a real scrape with that
//! page. Ages and the pool are set by the handler of a scrape; figures that all replicas share are read
//! by a task.

mod labels;
#[cfg(target_os = "linux")]
mod process;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::version;
pub use labels::{
    AdminRefusal, Api, CallOutcome, CallbackCommand, CallbackOutcome, ConnectionState,
    DatabasePart, DriftKind, ErrorClass, FilterDecision, ForwardResult, Label, MarkResult,
    QueueState, ResyncOutcome, SlowdownReason, Table,
};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

type Pair = (&'static str, &'static str);
type Gauge = prometheus_client::metrics::gauge::Gauge<f64, AtomicU64>;
type Counters<L> = By<L, Counter>;
type Gauges<L> = By<L, Gauge>;
type Histograms<L> = By<L, Histogram, Buckets>;

/// Metrics by one label.
#[derive(Debug)]
pub struct By<L, M, C = fn() -> M> {
    family: Family<[Pair; 1], M, C>,
    label: PhantomData<L>,
}

impl<L: Label, M: Clone, C: MetricConstructor<M>> By<L, M, C> {
    pub fn of(&self, label: L) -> M {
        self.family.get_or_create_owned(&[label.pair()])
    }
}

/// The upper bounds of a histogram, in seconds or members.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

const ANSWER: Buckets = Buckets(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.8, 2.5,
]);
const COMMIT: Buckets = Buckets(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.8, 2.5, 10.0, 60.0,
]);
const STATEMENT: Buckets = Buckets(&[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0,
]);
const MARK: Buckets = Buckets(&[
    0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
]);
const LAG: Buckets = Buckets(&[
    0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0, 3600.0,
]);
const CALL: Buckets = Buckets(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
]);
const CALL_MEMBERS: Buckets = Buckets(&[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]);
const SLOT: Buckets = Buckets(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]);
const DRIFT: Buckets = Buckets(&[
    1.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0,
]);

/// The calls whose body names members.
const NAMES_MEMBERS: [Api; 2] = [Api::ModifyUserInfo, Api::CheckMembers];

/// The calls that have a budget.
const BUDGETED: [Api; 3] = [Api::ModifyUserInfo, Api::GetMembers, Api::CheckMembers];

/// Delays of marks kept for exact quantiles of the last minute.
const DELAYS_KEPT: usize = 10_000;
const DELAYS_FOR: Duration = Duration::from_secs(60);

/// The metrics of one service.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    registry: Registry,
    all: All,
    recent_delays: Mutex<VecDeque<(Instant, f64)>>,
}

/// The struct of all metrics and its constructor: for each a name, a help text, and what it is made from.
macro_rules! metrics {
    ($($field:ident: $kind:ty = $make:ident($($argument:expr),+);)+) => {
        #[derive(Debug)]
        pub struct All { $(pub $field: $kind,)+ }

        impl All {
            fn new(make: &mut Maker) -> Self {
                Self { $($field: make.$make($($argument),+),)+ }
            }
        }
    };
}

metrics! {
    callbacks: Family<[Pair; 2], Counter> = series(
        "callbacks", "requests on the callback listener",
        all_pairs::<_, CallbackOutcome>(CallbackCommand::ALL));
    callback_duration: Histograms<CallbackCommand> = histograms(
        "callback_duration_seconds", "from a request's head to its answer", ANSWER,
        CallbackCommand::ALL);
    event_lag: Histogram = histogram(
        "callback_event_lag_seconds", "from the EventTime of a callback to its arrival", LAG);
    inbox_wait: Histogram = histogram(
        "inbox_wait_seconds", "from handing in an event to its commit", COMMIT);
    inbox_batch: Histogram = histogram(
        "inbox_batch_members", "members in one statement of the inbox", STATEMENT);
    filter: Counters<FilterDecision> = counters(
        "filter_decisions", "events by the decision of the rule filter",
        FilterDecision::ALL);
    forward: Counters<ForwardResult> = counters(
        "forward_requests", "callbacks to be forwarded, by result", ForwardResult::ALL);
    forward_duration: Histogram = histogram(
        "forward_duration_seconds",
        "from sending to the backend's whole answer, or to the timeout", ANSWER);
    admin_refusals: Counters<AdminRefusal> = counters(
        "admin_refusals", "requests to the admin listener refused for their token or origin",
        AdminRefusal::ALL);
    mark_delay: Histogram = histogram(
        "mark_delay_seconds", "from a member's callback to Chat's confirmation of their marks",
        MARK);
    marked: Counters<MarkResult> = counters(
        "marked_members", "members in modify_user_info calls, by result",
        MarkResult::ALL);
    calls: Family<[Pair; 3], Counter> = series("chat_calls", "calls to Chat that ended", call_labels());
    call_duration: Histograms<Api> = histograms(
        "chat_call_duration_seconds", "from sending to Chat's whole answer", CALL, Api::ALL);
    call_members: Histograms<Api> = histograms(
        "chat_call_members", "members in one call", CALL_MEMBERS, &NAMES_MEMBERS);
    budget_wait: Histograms<Api> = histograms(
        "budget_wait_seconds", "how long a call waited for its slot", SLOT, &BUDGETED);
    slowdowns: Family<[Pair; 2], Counter> = series(
        "budget_slowdowns", "halvings of a budget", all_pairs::<_, SlowdownReason>(&BUDGETED));
    resync_rooms: Counters<ResyncOutcome> = counters(
        "resync_rooms", "comparisons of a room with Chat that ended",
        ResyncOutcome::ALL);
    drift: Counters<DriftKind> = counters(
        "resync_drift_members", "members that a sweep found to differ", DriftKind::ALL);
    drift_age: Histogram = histogram(
        "resync_drift_age_seconds",
        "time since the marks of such a member were last confirmed", DRIFT);
    database_errors: Counters<DatabasePart> = counters(
        "database_errors", "statements that failed", DatabasePart::ALL);

    // From here on metrics that are set: by the handler of a scrape, or by the task that reads shared figures.
    ready: Gauge = gauge("ready", "1 while /readyz would answer 200");
    callback_last: Gauges<CallbackCommand> = gauges(
        "callback_last_timestamp_seconds",
        "Unix time of the latest callback that proved its origin", CallbackCommand::ALL);
    inbox_members: Gauge = gauge(
        "inbox_members", "members whose events wait for their commit");
    log_lines_dropped: Gauge = gauge(
        "log_lines_dropped",
        "lines of the log dropped since the start because their reader was too slow");
    filter_age: Gauge = gauge(
        "filter_age_seconds", "time since the filter last agreed with the rules in PostgreSQL");
    filter_rules: Gauge = gauge("filter_rules", "rules in the filter");
    queue_members: Gauges<QueueState> = gauges(
        "queue_members", "shared: members with something to do", QueueState::ALL);
    queue_oldest_due: Gauge = gauge(
        "queue_oldest_due_seconds", "shared: how long the member due longest has waited");
    propagation_pending: Gauge = gauge(
        "rule_changes_pending",
        "shared: changes of rules that have not reached the members they concern yet");
    queue_read: Gauge = gauge(
        "queue_read_timestamp_seconds",
        "Unix time at which the shared figures were last read");
    rooms_live: Gauge = gauge("rooms_live", "shared: live rooms");
    chat_paused: Gauge = gauge(
        "chat_paused", "1 while calls are paused until an operator acts");
    budget_configured: Gauge = gauge(
        "budget_configured_calls_per_second", "chat.calls_per_second");
    budget: Gauges<Api> = gauges(
        "budget_calls_per_second", "shared: calls a second in force for all replicas",
        &BUDGETED);
    resync_oldest: Gauge = gauge(
        "resync_oldest_seconds", "shared: time since the comparison that is longest ago");
    resync_interval: Gauge = gauge("resync_interval_seconds", "resync.interval; 0 = off");
    connections: Gauges<ConnectionState> = gauges(
        "database_connections", "connections of the pool", ConnectionState::ALL);
    connections_max: Gauge = gauge("database_connections_max", "database.max_connections");
    table_rows: Gauges<Table> = gauges(
        "table_rows", "shared: rows of a table, as PostgreSQL estimates", Table::ALL);
    table_bytes: Gauges<Table> = gauges(
        "table_bytes", "shared: size of a table with its indexes", Table::ALL);
}

/// Counts since the start of the process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Totals {
    /// Callbacks answered; other paths and methods left out.
    pub callbacks: u64,
    /// Calls sent to Chat that ended.
    pub calls: u64,
    /// Members whose marks Chat confirmed.
    pub restored: u64,
    /// Members due, over all replicas; up to 15 s old.
    pub waiting: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut make = Maker::default();
        #[cfg(target_os = "linux")]
        make.0.register_collector(Box::new(process::Process));
        let build: Family<[Pair; 2], Gauge> = make.one("build_info", "always 1", Family::default());
        let this = [("commit", version::COMMIT), ("version", version::VERSION)];
        build.get_or_create(&this).set(1.0);
        Self(Arc::new(Shared {
            all: All::new(&mut make),
            registry: make.0,
            recent_delays: Mutex::default(),
        }))
    }
}

impl Deref for Metrics {
    type Target = All;

    fn deref(&self) -> &All {
        &self.0.all
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
        let labels = [command.pair(), outcome.pair()];
        self.callbacks.get_or_create(&labels).inc();
        if let Some(took) = took {
            let durations = self.callback_duration.of(command);
            durations.observe(took.as_secs_f64());
        }
    }

    /// A member's marks were confirmed so many seconds after their callback.
    pub fn mark_delay(&self, seconds: f64) {
        self.mark_delay.observe(seconds);
        let mut recent = self.0.recent_delays.lock();
        if recent.len() == DELAYS_KEPT {
            recent.pop_front();
        }
        recent.push_back((Instant::now(), seconds));
    }

    /// A call to Chat ended; `members` if it named some.
    pub fn called(&self, api: Api, members: Option<usize>, end: CallEnd, took: Duration) {
        self.calls.get_or_create(&call_pairs(api, end)).inc();
        if end.0 == CallOutcome::NotSent {
            return;
        }
        self.call_duration.of(api).observe(took.as_secs_f64());
        if let Some(members) = members {
            self.call_members.of(api).observe(members as f64);
        }
    }

    pub fn slowed_down(&self, api: Api, reason: SlowdownReason) {
        let labels = [api.pair(), reason.pair()];
        self.slowdowns.get_or_create(&labels).inc();
    }

    /// A sweep found a member to differ in one or more ways; `age` is the time since their marks
    /// were last confirmed.
    pub fn drifted(&self, kinds: &[DriftKind], age: Duration) {
        for kind in kinds {
            self.drift.of(*kind).inc();
            self.drift_age.observe(age.as_secs_f64());
        }
    }

    /// All of it in Prometheus' text format.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(64 * 1024);
        prometheus_text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            restored: self.marked.of(MarkResult::Confirmed).get(),
            waiting: self.queue_members.of(QueueState::Due).get() as u64,
            ..Totals::default()
        };
        for command in CallbackCommand::ALL {
            for outcome in CallbackOutcome::ALL {
                if *outcome != CallbackOutcome::NotFound {
                    let labels = [command.pair(), outcome.pair()];
                    totals.callbacks += self.callbacks.get_or_create(&labels).get();
                }
            }
        }
        for labels in call_labels().filter(|labels| labels[2] != CallOutcome::NotSent.pair()) {
            totals.calls += self.calls.get_or_create(&labels).get();
        }
        totals
    }

    /// Median and 99th percentile, in seconds, of the delays of marks in the last minute.
    pub fn recent_delay(&self) -> Option<(f64, f64)> {
        let mut recent = self.0.recent_delays.lock();
        while recent
            .front()
            .is_some_and(|(at, _)| at.elapsed() > DELAYS_FOR)
        {
            recent.pop_front();
        }
        let mut delays: Vec<f64> = recent.iter().map(|(_, delay)| *delay).collect();
        drop(recent);
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * delays.len() as f64).ceil() as usize;
            delays.get(rank.saturating_sub(1)).copied()
        };
        Some((at(0.5)?, at(0.99)?))
    }
}

/// How a call ended, and the class of its error.
type CallEnd = (CallOutcome, Option<ErrorClass>);

/// Labels are in alphabetical order.
fn call_pairs(api: Api, (outcome, class): CallEnd) -> [Pair; 3] {
    let class = class.map_or((ErrorClass::NAME, "none"), Label::pair);
    [api.pair(), class, outcome.pair()]
}

/// Calls by API, class and outcome: only those that occur.
fn call_labels() -> impl Iterator<Item = [Pair; 3]> {
    let failures = CallOutcome::ALL.iter().flat_map(|outcome| {
        let classes = outcome.classes().iter();
        classes.map(|class| (*outcome, Some(*class)))
    });
    let ends = std::iter::once((CallOutcome::Ok, None)).chain(failures);
    ends.flat_map(|end| Api::ALL.iter().map(move |api| call_pairs(*api, end)))
}

fn all_pairs<A: Label, B: Label>(labels: &[A]) -> impl Iterator<Item = [Pair; 2]> {
    let of = |a: &A| {
        let a = *a;
        B::ALL.iter().map(move |b| [a.pair(), b.pair()])
    };
    labels.iter().flat_map(of)
}

/// Registers metrics and creates every series at once, so that a first failure is an increase.
#[derive(Default)]
struct Maker(Registry);

impl Maker {
    /// The library adds `_total` to the names of counters, and a full stop to `help`.
    fn one<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        let name = format!("stickymark_{name}");
        self.0.register(name, help, metric.clone());
        metric
    }

    fn series<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = [Pair; N]>,
    ) -> Family<[Pair; N], Counter> {
        let family: Family<[Pair; N], Counter> = self.one(name, help, Family::default());
        series.for_each(|labels| drop(family.get_or_create(&labels)));
        family
    }

    fn by<L: Label, M: Clone, C: MetricConstructor<M>>(
        &mut self,
        name: &str,
        help: &str,
        family: Family<[Pair; 1], M, C>,
        labels: &[L],
    ) -> By<L, M, C>
    where
        Family<[Pair; 1], M, C>: Metric + Clone,
    {
        let by = By {
            family: self.one(name, help, family),
            label: PhantomData,
        };
        labels.iter().for_each(|label| drop(by.of(*label)));
        by
    }

    fn counters<L: Label>(&mut self, name: &str, help: &str, labels: &[L]) -> Counters<L> {
        self.by(name, help, Family::default(), labels)
    }

    fn gauge(&mut self, name: &str, help: &str) -> Gauge {
        self.one(name, help, Gauge::default())
    }

    fn gauges<L: Label>(&mut self, name: &str, help: &str, labels: &[L]) -> Gauges<L> {
        self.by(name, help, Family::default(), labels)
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        self.one(name, help, buckets.new_metric())
    }

    fn histograms<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        buckets: Buckets,
        labels: &[L],
    ) -> Histograms<L> {
        let family = Family::new_with_constructor(buckets);
        self.by(name, help, family, labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_leave_out_other_paths_and_calls_that_were_not_sent() {
        let metrics = Metrics::default();
        metrics.callback(CallbackCommand::Join, CallbackOutcome::Stored, None);
        metrics.callback(CallbackCommand::Other, CallbackOutcome::NotFound, None);
        metrics.marked.of(MarkResult::Confirmed).inc_by(20);
        let called = |end| metrics.called(Api::ModifyUserInfo, Some(1), end, Duration::ZERO);
        called((CallOutcome::Ok, None));
        called((CallOutcome::NotSent, Some(ErrorClass::RequestFault)));
        let totals = metrics.totals();
        assert_eq!(
            (totals.callbacks, totals.calls, totals.restored),
            (1, 1, 20)
        );
    }

    #[test]
    fn the_recent_delay_is_exact() {
        let metrics = Metrics::default();
        assert_eq!(metrics.recent_delay(), None);
        for delay in 1..=100 {
            metrics.mark_delay(f64::from(delay));
        }
        assert_eq!(metrics.recent_delay(), Some((50.0, 99.0)));
    }
}
