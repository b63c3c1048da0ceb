//! `/metrics`: what this replica counted, and what it reads for each scrape.
//!
//! Only the probe's answer, which is kept for a second, may come from the database; the figures that
//! all replicas share are read by a task of their own.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use crate::api::AdminState;
use crate::api::Problem;
use crate::database::Connections;
use crate::metrics::{self, CallbackCommand, ConnectionState};
use crate::telemetry::dropped_lines;

/// Metrics of this replica.
///
/// In Prometheus' text format; `deploy/metrics.md` explains them.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "probes", security(()),
    responses((status = 200, description = "The metrics.", body = str, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(state): State<AdminState>) -> Response {
    let ready = state.readiness.check().await.ready;
    let metrics = &state.replica.metrics;
    metrics.gauges().ready.set(f64::from(u8::from(ready)));
    read_gauges(&state);
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

fn read_gauges(state: &AdminState) {
    let replica = &state.replica;
    let gauges = replica.metrics.gauges();
    let paused = [&replica.worker_breaker, &replica.sweeper_breaker];
    let paused = paused.iter().any(|breaker| breaker.paused().is_some());
    gauges.chat_paused.set(f64::from(u8::from(paused)));
    let waiting = state.inbox.as_ref().map_or(0, |inbox| inbox.waiting());
    gauges.inbox_members.set(waiting as f64);
    gauges.log_lines_dropped.set(dropped_lines() as f64);
    if let Some(filter) = &state.filter {
        gauges.filter_age.set(filter.age().as_secs_f64());
        gauges.filter_rules.set(filter.state().rules as f64);
    }
    for (command, at) in &state.arrivals.report().latest {
        let gauge = gauges.callback_last(CallbackCommand::named(command));
        gauge.set(at.timestamp() as f64);
    }
    let Connections { used, idle, most } = replica.db.connections();
    gauges.connections(ConnectionState::Used).set(used as f64);
    gauges.connections(ConnectionState::Idle).set(idle as f64);
    gauges.connections_max.set(f64::from(most));
}
