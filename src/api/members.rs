//! Members over REST: the list that support staff look into, and another try for those given up.

use axum::extract::{FromRef, State};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{BodyProblems, CommonProblems, JsonBody, PageQuery, Parameters, Problem};
use crate::domain::{Account, GroupId, RequestId};
use crate::members::{
    MemberFilter, MemberRow, MemberState, Presence, WakeUp, list_members, retry_failed,
};
use crate::rules::wire::MarkNumber;

/// The members as the handlers need them. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Members {
    pool: PgPool,
    wake: WakeUp,
}

impl Members {
    /// Members in this database; `wake` is rung when some become due.
    pub fn new(pool: PgPool, wake: WakeUp) -> Self {
        Self { pool, wake }
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

/// A member of a room whom some rule names, or named until lately.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Member)]
pub struct MemberView {
    /// The room.
    pub group: String,
    /// The member.
    pub account: String,
    /// In one word.
    pub state: MemberState,
    /// Where he is believed to be.
    pub presence: Presence,
    /// The event that this comes from: `join`, `online`, `exit`, `offline` or `destroyed`; null if
    /// none was heard.
    #[schema(required = true)]
    pub event: Option<String>,
    /// Chat's time of the event.
    #[schema(required = true)]
    pub event_at: Option<DateTime<Utc>>,
    /// When it was heard here.
    #[schema(required = true)]
    pub heard_at: Option<DateTime<Utc>>,
    /// The request that last concerned him: a callback (by Chat's `RequestID`, or by an id made here),
    /// or a write to this API (by its `X-Request-Id`). Null: none that is known; a comparison with
    /// Chat found him, for example.
    #[schema(required = true)]
    pub request_id: Option<String>,
    /// The marks that the member carries as far as is known, ascending.
    #[schema(value_type = Vec<MarkNumber>)]
    pub marks: Vec<u32>,
    /// When Chat last confirmed a call for this member; null: never.
    #[schema(required = true)]
    pub confirmed_at: Option<DateTime<Utc>>,
    /// The marks that the member carried then. Chat removes them when the member leaves or drops.
    #[schema(value_type = Vec<MarkNumber>)]
    pub confirmed_marks: Vec<u32>,
    /// True while Chat may hold marks that it has not confirmed: a call is under way, or its answer
    /// was lost.
    pub in_doubt: bool,
    /// Marks he should carry for which the room has no place: a thousand others carry them.
    #[schema(value_type = Vec<MarkNumber>)]
    pub waits_for: Vec<u32>,
    /// Since when something has to be done for him; null: nothing has.
    #[schema(required = true)]
    pub pending_since: Option<DateTime<Utc>>,
    /// When somebody looks at him next; null: when something happens.
    #[schema(required = true)]
    pub due_at: Option<DateTime<Utc>>,
    /// Answers in a row that left him out.
    pub omissions: i32,
    /// Failed calls in a row.
    pub attempts: i32,
    /// Why the last call failed, or what he waits for.
    #[schema(required = true)]
    pub last_error: Option<String>,
    /// When he was given up.
    #[schema(required = true)]
    pub failed_at: Option<DateTime<Utc>>,
}

impl From<MemberRow> for MemberView {
    fn from(row: MemberRow) -> Self {
        Self {
            group: row.group.to_string(),
            account: row.account.to_string(),
            state: row.state,
            presence: row.presence,
            event: row.event,
            event_at: row.event_at,
            heard_at: row.heard_at,
            request_id: row.request,
            marks: row.marks.iter().map(|mark| mark.get()).collect(),
            confirmed_at: row.confirmed_at,
            confirmed_marks: row.confirmed_marks.iter().map(|mark| mark.get()).collect(),
            in_doubt: row.in_doubt,
            waits_for: row.waits_for.iter().map(|mark| mark.get()).collect(),
            pending_since: row.pending_since,
            due_at: row.due_at,
            omissions: row.omissions,
            attempts: row.attempts,
            last_error: row.last_error,
            failed_at: row.failed_at,
        }
    }
}

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
struct MemberPage {
    /// In the order of rooms and accounts.
    items: Vec<MemberView>,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// Filters of the list of members, for the document. An empty parameter counts as absent.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters")]
struct ListQuery {
    /// Members of exactly this room.
    #[param(pattern = "^[ -~]{1,48}$")]
    group: Option<String>,
    /// Exactly this account, in every room.
    #[param(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,32}$")]
    account: Option<String>,
    /// Members in this state.
    state: Option<MemberState>,
}

/// Whose turn it is to be tried again. Without any field: everybody's.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RetryInput {
    /// Only members of this room.
    #[schema(pattern = "^[ -~]{1,48}$")]
    group: Option<String>,
    /// Only this account, at most 32 bytes.
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,32}$")]
    account: Option<String>,
}

/// What a retry did.
#[derive(Debug, Serialize, ToSchema)]
struct Retried {
    /// Members who were given up and are due now.
    retried: u64,
}

/// List members whom rules name, in the order of rooms and accounts.
#[utoipa::path(
    get, path = "/members", operation_id = "listMembers", tag = "members", params(ListQuery, PageQuery),
    responses((status = 200, description = "A page of members.", body = MemberPage), CommonProblems)
)]
async fn list(
    State(members): State<Members>,
    mut parameters: Parameters,
) -> Result<Json<MemberPage>, Problem> {
    let filter = MemberFilter {
        group: parameters.take("group", group_id),
        account: parameters.take("account", account_id),
        state: parameters.take("state", state),
    };
    let page = parameters.page("members", read_key);
    parameters.finish()?;
    let after = page.after.as_ref().map(|(group, account)| (group, account));
    let rows = list_members(&members.pool, &filter, after, i64::from(page.rows())).await?;
    let (rows, next) = page.cut(rows, write_key);
    let items = rows.into_iter().map(MemberView::from).collect();
    Ok(Json(MemberPage { items, next }))
}

/// Try members who were given up again: those of a room, of an account, or all.
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
    let mut wrong = Vec::new();
    let group = field(&mut wrong, "/group", input.group.as_deref(), group_id);
    let account = field(&mut wrong, "/account", input.account.as_deref(), account_id);
    if !wrong.is_empty() {
        return Err(Problem::fields(wrong));
    }
    let retried = retry_failed(&members.pool, group.as_ref(), account.as_ref(), &request).await?;
    members.wake.now();
    Ok(Json(Retried { retried }))
}

fn field<T>(
    wrong: &mut Vec<(String, String)>,
    pointer: &str,
    text: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    match text.map(read)? {
        Ok(value) => Some(value),
        Err(detail) => {
            wrong.push((pointer.to_owned(), detail));
            None
        }
    }
}

fn group_id(text: &str) -> Result<GroupId, String> {
    GroupId::parse(text).map_err(|invalid| invalid.to_string())
}

fn account_id(text: &str) -> Result<Account, String> {
    Account::parse(text).map_err(|invalid| invalid.to_string())
}

fn state(text: &str) -> Result<MemberState, String> {
    match text {
        "pending" => Ok(MemberState::Pending),
        "applied" => Ok(MemberState::Applied),
        "offline" => Ok(MemberState::Offline),
        "failed" => Ok(MemberState::Failed),
        _ => Err("must be pending, applied, offline or failed".to_owned()),
    }
}

/// Neither ids nor accounts have control characters, so a line break keeps the two apart.
fn write_key(row: &MemberRow) -> String {
    format!("{}\n{}", row.group, row.account)
}

fn read_key(key: &str) -> Option<(GroupId, Account)> {
    let (group, account) = key.split_once('\n')?;
    Some((GroupId::parse(group).ok()?, Account::parse(account).ok()?))
}
