//! The log filter of the replica that answers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{BodyProblems, CommonProblems, Json, JsonBody, Problem, ProblemType};
use crate::telemetry::{LogFilter, log_filter};

/// What is logged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LogFilter)]
pub(super) struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`, `off`), or `target=level`, separated by
    /// commas.
    #[schema(example = "info,stickymark::reapply=debug")]
    filter: String,
}

/// Read what this replica logs.
///
/// The filter in force: `log.filter`, or what PUT has set since.
#[utoipa::path(
    get, path = "/log", operation_id = "getLogFilter", tag = "status",
    responses((status = 200, description = "The filter in force.", body = Log), CommonProblems)
)]
pub(super) async fn log() -> Result<Json<Log>, Problem> {
    let filter = in_force()?.text();
    Ok(Json(Log { filter }))
}

/// Change what this replica logs.
///
/// Until it ends: other replicas, and later starts of this one, use `log.filter`. The syntax is that of
/// `log.filter`, for example `info,stickymark=debug`.
#[utoipa::path(
    put, path = "/log", operation_id = "setLogFilter", tag = "status", request_body = Log,
    responses(
        (status = 200, description = "The filter in force.", body = Log),
        CommonProblems, BodyProblems,
    )
)]
pub(super) async fn set_log(JsonBody(wanted): JsonBody<Log>) -> Result<Json<Log>, Problem> {
    let set = in_force()?.set(&wanted.filter);
    set.map_err(|error| Problem::field("/filter", error.to_string()))?;
    log().await
}

fn in_force() -> Result<&'static LogFilter, Problem> {
    let none = "this process writes no logs of its own";
    log_filter().ok_or_else(|| Problem::new(ProblemType::NotFound, none))
}
