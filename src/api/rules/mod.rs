//! Rules. See [`crate::rules::document`] for their JSON.

mod bulk;
mod extract;
mod problems;

use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::query::invalid_cursor;
use crate::api::{
    AdminState, BodyProblems, CommonProblems, Json, JsonBody, Limit, Listed, Paging, Problem,
    ProblemType, Query, RuleChanged, RuleConflict, RuleUnknown,
};
use crate::domain::{Rule, RuleId};
use crate::rules::document::{RuleInput, RulePatch, RuleView, patched};
use crate::rules::import::Imported;
use crate::rules::{After, Author, Deed, Filter, HistoryEntry, Order, WriteError};
pub(crate) use bulk::MAX_IMPORT;
use extract::{Conditions, NamedRule, tag};

/// Most rules of one change.
const MAX_CHANGED: usize = 1000;

/// The routes below `/v1`.
pub fn routes() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(list, create, change_many))
        .routes(routes!(get, put, patch, delete))
        .routes(routes!(history))
        .routes(routes!(bulk::import))
        .routes(routes!(bulk::export))
}

/// A page of rules.
#[derive(Debug, Serialize, ToSchema)]
struct RulePage {
    items: Vec<RuleView>,
    /// Rules on all pages.
    total: i64,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

/// A page of changes.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryPage {
    /// Oldest first.
    items: Vec<HistoryEntry>,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

/// An empty parameter counts as absent.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RulePaging {
    /// The order: by id (if absent), or the latest change first.
    #[param(inline)]
    sort: Option<Order>,
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// What is done to several rules.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleChange {
    /// The rules, 1 to 1000.
    #[schema(
        value_type = Vec<NamedId>,
        min_items = 1,
        max_items = 1000,
        example = json!(["class-7-teacher"])
    )]
    ids: Vec<RuleId>,
    action: Deed,
}

/// The id of a rule, for the document.
#[derive(ToSchema)]
#[schema(as = RuleId, value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$")]
#[allow(dead_code, reason = "describes an id")]
struct NamedId(String);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ChangeQuery {
    /// Check everything and answer the changes, but write nothing. Waits for no other write.
    dry_run: Option<bool>,
}

/// The condition of a write, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes parameters")]
struct IfMatch {
    /// ETags of the versions that may be changed; `*`: any, but there must be such a rule.
    #[param(
        rename = "If-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[ !#-~]*"( ?, ?(W/)?"[ !#-~]*")*)$"#
    )]
    if_match: Option<String>,
}

/// What the client has, for the document.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "describes parameters")]
struct IfNoneMatch {
    /// ETags that the client has, which a read need not answer again. With PUT, `*`: only make, never
    /// replace.
    #[param(
        rename = "If-None-Match",
        nullable = false,
        pattern = r#"^(\*|(W/)?"[ !#-~]*"( ?, ?(W/)?"[ !#-~]*")*)$"#
    )]
    if_none_match: Option<String>,
}

/// List rules.
///
/// `q` searches as one types; `matches_group` and `matches_account` find the rules that cover a member;
/// the other filters compare whole values. Filters are combined. `total` counts all pages.
#[utoipa::path(
    get, path = "/rules", operation_id = "listRules", tag = "rules", params(Filter, RulePaging),
    responses((status = 200, description = "A page of rules.", body = RulePage), CommonProblems)
)]
async fn list(
    State(state): State<AdminState>,
    Listed(filter, RulePaging { sort, limit, after }): Listed<Filter, RulePaging>,
) -> Result<Json<RulePage>, Problem> {
    let order = sort.unwrap_or_default();
    let paging = Paging { limit, after };
    let by_time = order == Order::Updated;
    let after: Option<After> = paging.after()?;
    if let Some(After { updated_at, .. }) = &after
        && updated_at.is_some() != by_time
    {
        return Err(invalid_cursor());
    }
    let total = state.rules.count(&filter).await?;
    let found = state
        .rules
        .list(&filter, order, after.as_ref(), paging.rows())
        .await?;
    let (found, next) = paging.cut(found, |rule| After {
        id: rule.id.clone(),
        updated_at: by_time.then_some(rule.updated_at),
    });
    let items = found.iter().map(RuleView::from).collect();
    Ok(Json(RulePage { items, total, next }))
}

/// Enable, disable or delete several rules.
///
/// All or none; if some do not exist, `errors` names them. `dry_run=true` answers the changes without making
/// them.
#[utoipa::path(
    patch, path = "/rules", operation_id = "changeRules", tag = "rules", params(ChangeQuery),
    request_body = RuleChange,
    responses(
        (status = 200, description = "Done, or what would be.", body = Imported),
        RuleUnknown, RuleConflict, CommonProblems, BodyProblems,
    )
)]
async fn change_many(
    State(state): State<AdminState>,
    author: Author,
    Query(query): Query<ChangeQuery>,
    JsonBody(change): JsonBody<RuleChange>,
) -> Result<Json<Imported>, Problem> {
    let RuleChange { mut ids, action } = change;
    if ids.is_empty() {
        return Err(Problem::field("/ids", "is required"));
    }
    if ids.len() > MAX_CHANGED {
        let detail = format!("has at most {MAX_CHANGED} ids, this one has {}", ids.len());
        return Err(Problem::field("/ids", detail));
    }
    ids.sort_unstable();
    ids.dedup();
    let dry_run = query.dry_run.unwrap_or(false);
    let changed = state
        .rules
        .change_many(&ids, action, dry_run, &author)
        .await;
    changed.map(Json).map_err(|error| match error {
        WriteError::Invalid(unknown) => Problem::fields(ProblemType::NotFound, unknown),
        error => error.into(),
    })
}

/// Create a rule.
///
/// The id is the client's, or generated. Members in the room get their marks within seconds. To create
/// or replace a rule with a known id, use PUT.
#[utoipa::path(
    post, path = "/rules", operation_id = "createRule", tag = "rules", request_body = RuleInput,
    responses(
        (status = 201, description = "Created.", body = RuleView, headers(
            ("Location" = String, description = "The path of the rule."),
            ("ETag" = String, description = "Its version."),
        )),
        RuleConflict, CommonProblems, BodyProblems,
    )
)]
async fn create(
    State(state): State<AdminState>,
    author: Author,
    JsonBody(input): JsonBody<RuleInput>,
) -> Result<Response, Problem> {
    let (id, draft) = input.parse().map_err(WriteError::Invalid)?;
    let id = id.unwrap_or_else(RuleId::generate);
    let rule = state.rules.create(&id, draft, &author).await?;
    Ok(created(&rule))
}

/// Read a rule.
///
/// Its `ETag` is its version, for `If-Match` of a later write.
#[utoipa::path(
    get, path = "/rules/{id}", operation_id = "getRule", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfNoneMatch),
    responses(
        (status = 200, description = "The rule.", body = RuleView,
         headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "The client has this version."),
        RuleUnknown, CommonProblems,
    )
)]
async fn get(
    State(state): State<AdminState>,
    NamedRule(id): NamedRule,
    precondition: Conditions,
) -> Result<Response, Problem> {
    let rule = state.rules.get(&id).await?;
    let rule = rule.ok_or(WriteError::NotFound(id))?;
    if precondition.is_known(rule.version) {
        return Ok((StatusCode::NOT_MODIFIED, etag(&rule)).into_response());
    }
    Ok(found(&rule))
}

/// Create or replace a rule.
///
/// Fields that are left out get their defaults. PUT of an unchanged rule changes nothing, not even its
/// version. With `If-Match`, only the version that was read is replaced.
#[utoipa::path(
    put, path = "/rules/{id}", operation_id = "putRule", tag = "rules", request_body = RuleInput,
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfMatch, IfNoneMatch),
    responses(
        (status = 200, description = "Replaced, or unchanged.", body = RuleView,
         headers(("ETag" = String, description = "Its version."))),
        (status = 201, description = "Created.", body = RuleView, headers(
            ("Location" = String, description = "The path of the rule."),
            ("ETag" = String, description = "Its version."),
        )),
        RuleConflict, RuleChanged, CommonProblems, BodyProblems,
    )
)]
async fn put(
    State(state): State<AdminState>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
    JsonBody(input): JsonBody<RuleInput>,
) -> Result<Response, Problem> {
    let draft = input.draft_named(&id).map_err(WriteError::Invalid)?;
    let permits = |current| precondition.permits(current);
    let written = state.rules.put(&id, draft, permits, &author).await?;
    Ok(if written.created {
        created(&written.rule)
    } else {
        found(&written.rule)
    })
}

/// Change some fields of a rule.
///
/// A JSON Merge Patch (RFC 7396): fields that are left out stay, and null resets a field to its
/// default.
#[utoipa::path(
    patch, path = "/rules/{id}", operation_id = "patchRule", tag = "rules",
    request_body(content((RulePatch = "application/merge-patch+json"), (RulePatch = "application/json"))),
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfMatch),
    responses(
        (status = 200, description = "Changed, or unchanged.", body = RuleView,
         headers(("ETag" = String, description = "Its version."))),
        RuleUnknown, RuleConflict, RuleChanged, CommonProblems, BodyProblems,
    )
)]
async fn patch(
    State(state): State<AdminState>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    let edit = |rule: &Rule| patched(rule, &body);
    let permits = |current| precondition.permits(current);
    let rule = state.rules.patch(&id, edit, permits, &author).await?;
    Ok(found(&rule))
}

/// Delete a rule.
///
/// Its marks are removed from members who get them from no other rule. The history is kept.
#[utoipa::path(
    delete, path = "/rules/{id}", operation_id = "deleteRule", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        RuleUnknown, RuleChanged, CommonProblems,
    )
)]
async fn delete(
    State(state): State<AdminState>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
) -> Result<StatusCode, Problem> {
    let permits = |current| precondition.permits(current);
    state.rules.delete(&id, permits, &author).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the changes of a rule.
///
/// Oldest first, with who made them and the id of the request; also of a deleted rule.
#[utoipa::path(
    get, path = "/rules/{id}/history", operation_id = "listRuleHistory", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), Paging),
    responses(
        (status = 200, description = "A page of changes.", body = HistoryPage),
        RuleUnknown, CommonProblems,
    )
)]
async fn history(
    State(state): State<AdminState>,
    NamedRule(id): NamedRule,
    Query(paging): Query<Paging>,
) -> Result<Json<HistoryPage>, Problem> {
    let after = paging.after()?.unwrap_or(0);
    let entries = state.rules.history(&id, after, paging.rows()).await?;
    if entries.is_empty() && after == 0 {
        return Err(WriteError::NotFound(id).into());
    }
    let (items, next) = paging.cut(entries, |entry| entry.sequence);
    Ok(Json(HistoryPage { items, next }))
}

fn etag(rule: &Rule) -> [(HeaderName, String); 1] {
    [(header::ETAG, tag(rule.version))]
}

fn found(rule: &Rule) -> Response {
    (etag(rule), Json(RuleView::from(rule))).into_response()
}

fn created(rule: &Rule) -> Response {
    // An id stands in a path as it is: see RuleId.
    let location = [(header::LOCATION, format!("/v1/rules/{}", rule.id))];
    (StatusCode::CREATED, location, found(rule)).into_response()
}
