//! Members: the list, and the retry of failed ones.

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{
    AdminState, BodyProblems, CommonProblems, Json, JsonBody, Listed, Paging, Problem,
};
use crate::domain::{Account, GroupId, RequestId};
use crate::members::{
    MemberFilter, MemberRow, MembersByState, count_members, list_members, retry_failed,
};

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberPage {
    /// In the order of rooms and accounts.
    items: Vec<MemberRow>,
    /// Members of this room and account in every state, whatever `state` is asked for.
    counts: MembersByState,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

/// Which failed members to retry. Without any field: all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"group": "class-7"}))]
pub(super) struct RetryInput {
    /// Only members of this room.
    #[schema(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    group: Option<GroupId>,
    /// Only this account, at most 64 bytes.
    #[schema(value_type = Option<String>, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Option<Account>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Retried {
    /// Failed members that are due now.
    retried: u64,
}

/// List members.
///
/// Members that a rule matches, in the order of rooms and accounts. `counts` says how many are in each
/// state.
#[utoipa::path(
    get, path = "/members", operation_id = "listMembers", tag = "members", params(MemberFilter, Paging),
    responses((status = 200, description = "A page of members.", body = MemberPage), CommonProblems)
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Listed(filter, paging): Listed<MemberFilter, Paging>,
) -> Result<Json<MemberPage>, Problem> {
    let after = paging.after::<(GroupId, Account)>()?;
    let (group, account) = (filter.group.as_ref(), filter.account.as_ref());
    let mut reading = state.replica.db.begin_reading().await?;
    let counts = count_members(&mut reading, group, account).await?;
    let few = filter.state.is_some_and(|state| counts.are_few(state));
    let filter = MemberFilter { few, ..filter };
    let after = after.as_ref().map(|(group, account)| (group, account));
    let rows = list_members(&mut reading, &filter, after, i64::from(paging.rows())).await?;
    let (items, next) = paging.cut(rows, |row| (row.group.clone(), row.account.clone()));
    Ok(Json(MemberPage {
        items,
        counts,
        next,
    }))
}

/// Retry failed members.
///
/// Those of a room, of an account, or all. They become due now and are served within the budget of
/// calls.
#[utoipa::path(
    post, path = "/members/retry", operation_id = "retryMembers", tag = "members", request_body = RetryInput,
    responses(
        (status = 200, description = "How many are due now.", body = Retried),
        CommonProblems, BodyProblems,
    )
)]
pub(super) async fn retry(
    State(state): State<AdminState>,
    Extension(request): Extension<RequestId>,
    JsonBody(input): JsonBody<RetryInput>,
) -> Result<Json<Retried>, Problem> {
    let retried = retry_failed(
        &state.replica.db,
        input.group.as_ref(),
        input.account.as_ref(),
        &request,
    )
    .await?;
    state.replica.wake_worker.now();
    Ok(Json(Retried { retried }))
}
