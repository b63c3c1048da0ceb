//! Members: the list, and the retry of failed ones.

use axum::Extension;
use axum::extract::{FromRef, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{BodyProblems, CommonProblems, Json, JsonBody, Limit, Page, Problem, Query};
use crate::database::Db;
use crate::domain::{Account, GroupId, RequestId};
use crate::members::{
    MemberFilter, MemberRow, MemberState, MembersByState, count_members, list_members, retry_failed,
};
use crate::wake::WakeUp;

#[derive(Debug, Clone)]
pub struct Members {
    db: Db,
    wake: WakeUp,
}

impl Members {
    pub fn new(db: Db, wake: WakeUp) -> Self {
        Self { db, wake }
    }
}

/// The routes below `/v1`.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Members: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(retry))
}

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
struct MemberPage {
    /// In the order of rooms and accounts.
    items: Vec<MemberRow>,
    /// Members of this room and account in every state, whatever `state` is asked for.
    counts: MembersByState,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// An empty parameter counts as absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Members of exactly this room.
    #[param(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    group: Option<GroupId>,
    /// Exactly this account, in every room.
    #[param(value_type = Option<String>, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Option<Account>,
    /// Members in this state.
    state: Option<MemberState>,
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// Which failed members to retry. Without any field: all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"group": "class-7"}))]
struct RetryInput {
    /// Only members of this room.
    #[schema(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    group: Option<GroupId>,
    /// Only this account, at most 64 bytes.
    #[schema(value_type = Option<String>, pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    account: Option<Account>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Retried {
    /// Failed members that are due now.
    retried: u64,
}

/// List members.
///
/// Members that a rule matches, in the order of rooms and accounts. `counts` says how many are in each
/// state.
#[utoipa::path(
    get, path = "/members", operation_id = "listMembers", tag = "members", params(ListQuery),
    responses((status = 200, description = "A page of members.", body = MemberPage), CommonProblems)
)]
async fn list(
    State(members): State<Members>,
    Query(query): Query<ListQuery>,
) -> Result<Json<MemberPage>, Problem> {
    let page = Page::new("members", query.limit, query.after.as_deref(), read_key)?;
    let (group, account) = (query.group.as_ref(), query.account.as_ref());
    let counts = count_members(&members.db, group, account).await?;
    let filter = MemberFilter {
        few: query.state.is_some_and(|state| counts.are_few(state)),
        group: query.group,
        account: query.account,
        state: query.state,
    };
    let after = page.after.as_ref().map(|(group, account)| (group, account));
    let rows = list_members(&members.db, &filter, after, i64::from(page.rows())).await?;
    let (items, next) = page.cut(rows, write_key);
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
async fn retry(
    State(members): State<Members>,
    Extension(request): Extension<RequestId>,
    JsonBody(input): JsonBody<RetryInput>,
) -> Result<Json<Retried>, Problem> {
    let retried = retry_failed(
        &members.db,
        input.group.as_ref(),
        input.account.as_ref(),
        &request,
    )
    .await?;
    members.wake.now();
    Ok(Json(Retried { retried }))
}

/// Neither ids nor accounts have control characters, so a line break keeps the two apart.
fn write_key(row: &MemberRow) -> String {
    format!("{}\n{}", row.group, row.account)
}

fn read_key(key: &str) -> Option<(GroupId, Account)> {
    let (group, account) = key.split_once('\n')?;
    Some((GroupId::parse(group).ok()?, Account::parse(account).ok()?))
}
