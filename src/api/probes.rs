//! Liveness and readiness probes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::status::{Readiness, Ready};
use crate::api::{Json, ProbeProblems, Problem, Query};

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
pub(super) async fn livez(State(readiness): State<Readiness>) -> (StatusCode, &'static str) {
    match readiness.is_live() {
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
    State(readiness): State<Readiness>,
    Query(query): Query<ReadyQuery>,
) -> Result<Response, Problem> {
    let ready = match query.exclude {
        Some(Exclude::Database) => readiness.check_without_database(),
        None => readiness.check().await,
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(ready)).into_response())
}
