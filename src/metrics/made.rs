//! Every metric by its name. `deploy/metrics.md` explains them.

use prometheus::{Gauge, Histogram, IntCounterVec, Registry};

use super::family::{Counters, Counters2, Gauges, Histograms, Label, Maker};
use super::labels::{
    Api, CallOutcome, CallbackCommand, CallbackOutcome, ConnectionState, DatabasePart, DriftKind,
    FilterDecision, ForwardResult, MarkResult, QueueState, ResyncOutcome, SlowdownReason,
};
use crate::version;

const ANSWER: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.8, 2.5,
];
const COMMIT: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.8, 2.5, 10.0, 60.0,
];
const STATEMENT: [f64; 11] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0,
];
const MARK: [f64; 12] = [
    0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];
const CALL: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
const CALL_MEMBERS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
const SLOT: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const DRIFT: [f64; 10] = [
    1.0, 10.0, 30.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0,
];

/// The calls whose body names members.
const NAMES_MEMBERS: [Api; 2] = [Api::ModifyUserInfo, Api::CheckMembers];

/// The calls that the service makes again and again, which have a budget.
const BUDGETED: [Api; 3] = [Api::ModifyUserInfo, Api::GetMembers, Api::CheckMembers];

/// The metrics themselves.
#[derive(Debug)]
pub(super) struct Made {
    pub registry: Registry,
    pub callbacks: Counters2<CallbackCommand, CallbackOutcome>,
    pub callback_durations: Histograms<CallbackCommand>,
    pub inbox_wait: Histogram,
    pub inbox_batch: Histogram,
    pub filter: Counters<FilterDecision>,
    pub forward: Counters<ForwardResult>,
    pub forward_duration: Histogram,
    pub mark_delay: Histogram,
    pub marked: Counters<MarkResult>,
    /// By API, outcome and class.
    pub calls: IntCounterVec,
    pub call_duration: Histograms<Api>,
    pub call_members: Histograms<Api>,
    pub budget_wait: Histograms<Api>,
    pub slowdowns: Counters2<Api, SlowdownReason>,
    pub resync_rooms: Counters<ResyncOutcome>,
    pub drift: Counters<DriftKind>,
    pub drift_age: Histogram,
    pub database_errors: Counters<DatabasePart>,
    pub gauges: GaugeSet,
}

/// Metrics that are set: by those who answer a scrape, or by the task that reads shared figures.
#[derive(Debug)]
pub struct GaugeSet {
    /// 1 while `/readyz` would answer 200.
    pub ready: Gauge,
    /// Members whose events wait in memory.
    pub inbox_members: Gauge,
    /// Seconds since the filter last agreed with the rules.
    pub filter_age: Gauge,
    /// Rules in the filter.
    pub filter_rules: Gauge,
    /// Shared: members with something to do.
    pub queue_members: Gauges<QueueState>,
    /// Shared: seconds that the member due longest has waited.
    pub queue_oldest_due: Gauge,
    /// Unix time of the last look at the shared figures.
    pub queue_read: Gauge,
    /// Shared: live rooms.
    pub rooms_live: Gauge,
    /// 1 while calls are held back.
    pub chat_paused: Gauge,
    /// `chat.calls_per_second`.
    pub budget_configured: Gauge,
    /// Shared: calls a second in force.
    pub budget: Gauges<Api>,
    /// Shared: seconds since the comparison that is longest ago.
    pub resync_oldest: Gauge,
    /// `resync.interval` in seconds.
    pub resync_interval: Gauge,
    /// Connections of the pool.
    pub connections: Gauges<ConnectionState>,
    /// Most connections of the pool.
    pub connections_max: Gauge,
}

impl Made {
    pub(super) fn new() -> Self {
        let make = Maker::default();
        let labels = ["version", "commit"];
        let build = make.gauge_family("stickymark_build_info", "always 1", &labels);
        let this = [version::VERSION, version::COMMIT];
        build.with_label_values(&this).set(1.0);
        Self {
            callbacks: make.counters2(
                "stickymark_callbacks_total",
                "requests on the callback listener",
                CallbackCommand::ALL,
            ),
            callback_durations: make.histograms(
                "stickymark_callback_duration_seconds",
                "from a request's head to its answer",
                &ANSWER,
                CallbackCommand::ALL,
            ),
            inbox_wait: make.histogram(
                "stickymark_inbox_wait_seconds",
                "from handing in an event to its commit",
                &COMMIT,
            ),
            inbox_batch: make.histogram(
                "stickymark_inbox_batch_members",
                "members in one statement of the inbox",
                &STATEMENT,
            ),
            filter: make.counters(
                "stickymark_filter_decisions_total",
                "events by what the rule filter said",
            ),
            forward: make.counters(
                "stickymark_forward_requests_total",
                "callbacks to be forwarded, by how they fared",
            ),
            forward_duration: make.histogram(
                "stickymark_forward_duration_seconds",
                "from sending to the backend's whole answer, or to giving up",
                &ANSWER,
            ),
            mark_delay: make.histogram(
                "stickymark_mark_delay_seconds",
                "from a member's callback to Chat's confirmation of his marks",
                &MARK,
            ),
            marked: make.counters(
                "stickymark_marked_members_total",
                "members in modify_user_info calls by what became of them",
            ),
            calls: calls(&make),
            call_duration: make.histograms(
                "stickymark_chat_call_duration_seconds",
                "from sending to Chat's whole answer",
                &CALL,
                Api::ALL,
            ),
            call_members: make.histograms(
                "stickymark_chat_call_members",
                "members in one call",
                &CALL_MEMBERS,
                &NAMES_MEMBERS,
            ),
            budget_wait: make.histograms(
                "stickymark_budget_wait_seconds",
                "how long a call waited for its slot",
                &SLOT,
                &BUDGETED,
            ),
            slowdowns: make.counters2(
                "stickymark_budget_slowdowns_total",
                "halvings of a budget",
                &BUDGETED,
            ),
            resync_rooms: make.counters(
                "stickymark_resync_rooms_total",
                "comparisons of a room with Chat that ended",
            ),
            drift: make.counters(
                "stickymark_resync_drift_members_total",
                "members found other than they should be",
            ),
            drift_age: make.histogram(
                "stickymark_resync_drift_age_seconds",
                "time since the marks of such a member were last confirmed",
                &DRIFT,
            ),
            database_errors: make
                .counters("stickymark_database_errors_total", "statements that failed"),
            gauges: GaugeSet::new(&make),
            registry: make.registry,
        }
    }
}

/// Calls by API, outcome and class: of the latter two only the pairs that exist.
fn calls(make: &Maker) -> IntCounterVec {
    let family = make.counter_family(
        "stickymark_chat_calls_total",
        "calls to Chat that ended",
        &[Api::NAME, CallOutcome::NAME, "class"],
    );
    for api in Api::ALL {
        for outcome in CallOutcome::ALL {
            let series = |class| {
                let _there = family.with_label_values(&[api.text(), outcome.text(), class]);
            };
            match outcome.classes() {
                [] => series(NO_CLASS),
                classes => classes.iter().for_each(|class| series(class.as_str())),
            }
        }
    }
    family
}

/// The class of a call that succeeded.
pub(super) const NO_CLASS: &str = "none";

impl GaugeSet {
    fn new(make: &Maker) -> Self {
        Self {
            ready: make.gauge("stickymark_ready", "1 while /readyz would answer 200"),
            inbox_members: make.gauge(
                "stickymark_inbox_members",
                "members whose events wait for their commit",
            ),
            filter_age: make.gauge(
                "stickymark_filter_age_seconds",
                "time since the filter last agreed with the rules in PostgreSQL",
            ),
            filter_rules: make.gauge("stickymark_filter_rules", "rules in the filter"),
            queue_members: make.gauges(
                "stickymark_queue_members",
                "shared: members with something to do",
                QueueState::ALL,
            ),
            queue_oldest_due: make.gauge(
                "stickymark_queue_oldest_due_seconds",
                "shared: how long the member due longest has waited",
            ),
            queue_read: make.gauge(
                "stickymark_queue_read_timestamp_seconds",
                "Unix time at which the shared figures were last read",
            ),
            rooms_live: make.gauge("stickymark_rooms_live", "shared: live rooms"),
            chat_paused: make.gauge(
                "stickymark_chat_paused",
                "1 while calls wait for a human to mend something",
            ),
            budget_configured: make.gauge(
                "stickymark_budget_configured_calls_per_second",
                "chat.calls_per_second",
            ),
            budget: make.gauges(
                "stickymark_budget_calls_per_second",
                "shared: calls a second in force for all replicas",
                &BUDGETED,
            ),
            resync_oldest: make.gauge(
                "stickymark_resync_oldest_seconds",
                "shared: time since the comparison that is longest ago",
            ),
            resync_interval: make.gauge(
                "stickymark_resync_interval_seconds",
                "resync.interval; 0 = off",
            ),
            connections: make.gauges(
                "stickymark_database_connections",
                "connections of the pool",
                ConnectionState::ALL,
            ),
            connections_max: make.gauge(
                "stickymark_database_connections_max",
                "database.max_connections",
            ),
        }
    }
}
