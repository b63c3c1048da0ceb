//! Erases what is stored about one account.

use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::api::{AdminState, BodyProblems, CommonProblems, Json, JsonBody, Problem, Query};
use crate::domain::{Account, RequestId};
use crate::rules::{Author, Erased};

/// An empty parameter counts as absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EraseQuery {
    /// Only answer what would be erased.
    dry_run: Option<bool>,
}

/// Whose data to erase.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EraseInput {
    /// Exactly this account, at most 64 bytes. A star has no special meaning.
    #[schema(value_type = String, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Account,
}

/// Erase an account.
///
/// Deletes the rules for exactly this account and its member rows, and replaces its name in the history
/// of rules by a pseudonym. Its marks are removed from Chat as after any deletion of a rule. Ids and
/// labels of rules are kept.
#[utoipa::path(
    post, path = "/erase", operation_id = "eraseAccount", tag = "members", params(EraseQuery),
    request_body = EraseInput,
    responses(
        (status = 200, description = "What was erased, or would be.", body = Erased),
        CommonProblems, BodyProblems,
    )
)]
pub(super) async fn erase(
    State(state): State<AdminState>,
    author: Author,
    Query(query): Query<EraseQuery>,
    JsonBody(input): JsonBody<EraseInput>,
) -> Result<Json<Erased>, Problem> {
    let dry_run = query.dry_run.unwrap_or(false);
    let erased = state.rules.erase(&input.account, dry_run, &author).await?;
    // Without the account: the line would outlive the erasure.
    tracing::info!(
        actor = author.name,
        request_id = author.request_id.as_ref().map(RequestId::as_str),
        dry_run,
        rules = erased.rules,
        members = erased.members,
        history = erased.history,
        "erased an account"
    );
    Ok(Json(erased))
}
