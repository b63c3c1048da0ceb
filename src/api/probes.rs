//! Whether this process lives, and whether it should get requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::{IntoParams, ToSchema};

use crate::api::status::{Readiness, Ready};
use crate::api::{Parameters, ProbeProblems, Problem};

/// Liveness probe.
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

/// What readiness is asked without, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters")]
pub(super) struct ReadyQuery {
    /// Leaves the database out: not ready only while the process is about to end.
    #[param(inline)]
    exclude: Option<Exclude>,
}

/// What readiness need not depend on.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "describes a parameter")]
enum Exclude {
    Database,
}

/// Whether requests should come here.
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
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let excluded = parameters.take("exclude", |name| match name {
        "database" => Ok(()),
        _ => Err("must be database".to_owned()),
    });
    parameters.finish()?;
    let ready = match excluded {
        Some(()) => readiness.check_without_database(),
        None => readiness.check().await,
    };
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(ready)).into_response())
}
