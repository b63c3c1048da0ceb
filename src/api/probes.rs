//! What takes no token: liveness, readiness and metrics.
//!
//! A scrape reads what this replica counted. Only the probe's answer, which is kept for a second, may come
//! from the database; the figures that all replicas share are read by a task of their own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::status::Ready;
use crate::api::{AdminState, Json, ProbeProblems, Problem, Query};
use crate::database::Connections;
use crate::metrics::{self, CallbackCommand, ConnectionState};
use crate::telemetry::dropped_lines;

/// Liveness probe.
///
/// It asks no other system, so an unreachable database restarts nothing.
#[utoipa::path(
    get, path = "/livez", operation_id = "getLiveness", tag = "probes", security(()),
    responses(
        (status = 200, description = "The process and all its tasks run.", body = str, content_type = "text/plain"),
        (status = 503, description = "A task has ended; the process is about to end.", body = str, content_type = "text/plain"),
    )
)]
pub(super) async fn livez(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    match state.readiness.is_live() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "a task has ended\n"),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyQuery {
    /// Leaves the database out: not ready only while the process is about to end.
    #[param(inline)]
    exclude: Option<Exclude>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Exclude {
    Database,
}

/// Readiness probe.
///
/// With `exclude=database`, replicas stay ready while the database is away: callbacks then wait in
/// memory for it, instead of being refused by a load balancer without replicas.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "probes", security(()),
    params(ReadyQuery),
    responses(
        (status = 200, description = "Ready.", body = Ready),
        (status = 503, description = "Not ready; the fields say why.", body = Ready),
        ProbeProblems,
    )
)]
pub(super) async fn readyz(
    State(state): State<AdminState>,
    Query(query): Query<ReadyQuery>,
) -> Result<Response, Problem> {
    let with_database = !matches!(query.exclude, Some(Exclude::Database));
    let ready = state.readiness.check(with_database).await;
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(ready)).into_response())
}

/// Metrics of this replica.
///
/// In Prometheus' text format; `deploy/metrics.md` explains them.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "probes", security(()),
    responses((status = 200, description = "The metrics.", body = str, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(state): State<AdminState>) -> Response {
    let ready = state.readiness.check(true).await.ready;
    let metrics = &state.replica.metrics;
    metrics.ready.set(f64::from(u8::from(ready)));
    read_gauges(&state);
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

fn read_gauges(state: &AdminState) {
    let replica = &state.replica;
    let gauges = &replica.metrics;
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
        let gauge = gauges.callback_last.of(CallbackCommand::named(command));
        gauge.set(at.timestamp() as f64);
    }
    let Connections { used, idle, most } = replica.db.connections();
    for (state, count) in [(ConnectionState::Used, used), (ConnectionState::Idle, idle)] {
        gauges.connections.of(state).set(count as f64);
    }
    gauges.connections_max.set(f64::from(most));
}
