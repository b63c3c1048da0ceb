//! Rules. See [`crate::rules::document`] for their JSON.

mod bulk;
mod extract;
mod problems;

use axum::Json;
use axum::extract::{FromRef, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    BodyProblems, CommonProblems, JsonBody, Limit, Page, Problem, ProblemDetails, Query,
};
use crate::domain::{Account, GroupId, Mark, Pattern, Rule, RuleId};
use crate::rules::document::{RuleInput, RulePatch, RuleView, patched};
use crate::rules::{Author, Filter, HistoryEntry, Rules, WriteError};
pub(crate) use bulk::MAX_IMPORT;
use extract::{Conditions, Label, NamedRule, tag};

/// The routes below `/v1`.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Rules: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get, put, patch, delete))
        .routes(routes!(history))
        .routes(routes!(bulk::import))
        .routes(routes!(bulk::export))
}

/// A page of rules.
#[derive(Debug, Serialize, ToSchema)]
struct RulePage {
    /// In the order of their ids.
    items: Vec<RuleView>,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// A page of changes.
#[derive(Debug, Serialize, ToSchema)]
struct HistoryPage {
    /// Oldest first.
    items: Vec<HistoryEntry>,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// An empty parameter counts as absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Rules with exactly this pattern of rooms, as written in the rule.
    #[param(value_type = Option<String>, pattern = r"^(?:[ -)+-~]|\\\*){0,48}\*?$")]
    group: Option<Pattern<GroupId>>,
    /// Rules with exactly this pattern of accounts, as written in the rule.
    #[param(
        value_type = Option<String>,
        pattern = r"^(?:[^*\u0000-\u001f\u007f-\u009f]|\\\*){0,64}\*?$"
    )]
    account: Option<Pattern<Account>>,
    /// Rules with this mark, among others.
    mark: Option<Mark>,
    /// Rules of this label.
    #[param(value_type = Option<String>, max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    label: Option<Label>,
    /// Enabled or disabled rules.
    enabled: Option<bool>,
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
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

/// List rules, in the order of their ids.
#[utoipa::path(
    get, path = "/rules", operation_id = "listRules", tag = "rules", params(ListQuery),
    responses((status = 200, description = "A page of rules.", body = RulePage), CommonProblems)
)]
async fn list(
    State(rules): State<Rules>,
    Query(query): Query<ListQuery>,
) -> Result<Json<RulePage>, Problem> {
    let read = |key: &str| RuleId::parse(key).ok();
    let page = Page::new("rules", query.limit, query.after.as_deref(), read)?;
    let filter = Filter {
        group: query.group,
        account: query.account,
        mark: query.mark,
        label: query.label.map(|Label(label)| label),
        enabled: query.enabled,
    };
    let found = rules
        .list(&filter, page.after.as_ref(), page.rows())
        .await?;
    let (found, next) = page.cut(found, |rule| rule.id.to_string());
    let items = found.iter().map(RuleView::from).collect();
    Ok(Json(RulePage { items, next }))
}

/// Create a rule. The id is the client's, or generated.
#[utoipa::path(
    post, path = "/rules", operation_id = "createRule", tag = "rules", request_body = RuleInput,
    responses(
        (status = 201, description = "Created.", body = RuleView, headers(
            ("Location" = String, description = "The path of the rule."),
            ("ETag" = String, description = "Its version."),
        )),
        (status = 409, description = "`rule-exists` or `mark-limit-exceeded`.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems, BodyProblems,
    )
)]
async fn create(
    State(rules): State<Rules>,
    author: Author,
    JsonBody(input): JsonBody<RuleInput>,
) -> Result<Response, Problem> {
    let (id, draft) = input.parse().map_err(WriteError::Invalid)?;
    let id = id.unwrap_or_else(RuleId::generate);
    let rule = rules.create(&id, draft, &author).await?;
    Ok(created(&rule))
}

/// Read a rule.
#[utoipa::path(
    get, path = "/rules/{id}", operation_id = "getRule", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfNoneMatch),
    responses(
        (status = 200, description = "The rule.", body = RuleView,
         headers(("ETag" = String, description = "Its version."))),
        (status = 304, description = "The client has this version."),
        (status = 404, description = "No such rule.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems,
    )
)]
async fn get(
    State(rules): State<Rules>,
    NamedRule(id): NamedRule,
    precondition: Conditions,
) -> Result<Response, Problem> {
    let rule = rules.get(&id).await?.ok_or(WriteError::NotFound)?;
    if precondition.is_known(rule.version) {
        return Ok((StatusCode::NOT_MODIFIED, etag(&rule)).into_response());
    }
    Ok(found(&rule))
}

/// Create or replace a rule.
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
        (status = 409, description = "`mark-limit-exceeded`.", body = ProblemDetails,
         content_type = "application/problem+json"),
        (status = 412, description = "The rule is at another version.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems, BodyProblems,
    )
)]
async fn put(
    State(rules): State<Rules>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
    JsonBody(input): JsonBody<RuleInput>,
) -> Result<Response, Problem> {
    let draft = input.draft_named(&id).map_err(WriteError::Invalid)?;
    let written = rules.put(&id, draft, &precondition, &author).await?;
    Ok(if written.created {
        created(&written.rule)
    } else {
        found(&written.rule)
    })
}

/// Change some fields of a rule.
#[utoipa::path(
    patch, path = "/rules/{id}", operation_id = "patchRule", tag = "rules",
    request_body(content((RulePatch = "application/merge-patch+json"), (RulePatch = "application/json"))),
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfMatch),
    responses(
        (status = 200, description = "Changed, or unchanged.", body = RuleView,
         headers(("ETag" = String, description = "Its version."))),
        (status = 404, description = "No such rule.", body = ProblemDetails,
         content_type = "application/problem+json"),
        (status = 409, description = "`mark-limit-exceeded`.", body = ProblemDetails,
         content_type = "application/problem+json"),
        (status = 412, description = "The rule is at another version.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems, BodyProblems,
    )
)]
async fn patch(
    State(rules): State<Rules>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
    JsonBody(body): JsonBody<Map<String, Value>>,
) -> Result<Response, Problem> {
    let edit = |rule: &Rule| patched(rule, &body);
    let rule = rules.patch(&id, edit, &precondition, &author).await?;
    Ok(found(&rule))
}

/// Delete a rule. Marks that only this rule required are removed from members now online.
#[utoipa::path(
    delete, path = "/rules/{id}", operation_id = "deleteRule", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), IfMatch),
    responses(
        (status = 204, description = "Deleted."),
        (status = 404, description = "No such rule.", body = ProblemDetails,
         content_type = "application/problem+json"),
        (status = 412, description = "The rule is at another version.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems,
    )
)]
async fn delete(
    State(rules): State<Rules>,
    author: Author,
    NamedRule(id): NamedRule,
    precondition: Conditions,
) -> Result<StatusCode, Problem> {
    rules.delete(&id, &precondition, &author).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the changes of a rule, oldest first; also of a deleted one.
#[utoipa::path(
    get, path = "/rules/{id}/history", operation_id = "listRuleHistory", tag = "rules",
    params(("id" = String, Path, description = "The rule.", pattern = "^[A-Za-z0-9._-]{1,64}$"), HistoryQuery),
    responses(
        (status = 200, description = "A page of changes.", body = HistoryPage),
        (status = 404, description = "No rule had this id.", body = ProblemDetails,
         content_type = "application/problem+json"),
        CommonProblems,
    )
)]
async fn history(
    State(rules): State<Rules>,
    NamedRule(id): NamedRule,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<HistoryPage>, Problem> {
    let read = |key: &str| key.parse::<i64>().ok();
    let page = Page::new("history", query.limit, query.after.as_deref(), read)?;
    let after = page.after.unwrap_or(0);
    let entries = rules.history(&id, after, page.rows()).await?;
    if entries.is_empty() && after == 0 {
        return Err(WriteError::NotFound.into());
    }
    let (items, next) = page.cut(entries, |entry| entry.sequence.to_string());
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
