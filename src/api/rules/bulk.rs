//! Import and export of rules as NDJSON.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt, stream};
use utoipa::ToSchema;

use crate::api::body::is_declared;
use crate::api::{AdminState, CommonProblems, ImportProblems, Json, Problem, ProblemType, Query};
use crate::rules::document::RuleView;
use crate::rules::import::{Brought, ImportOptions, Imported, Lines, MAX_RULES, Mode};
use crate::rules::{After, Author, Filter, Order, Rules, WriteError};

/// Longest body of an import in bytes.
pub(crate) const MAX_IMPORT: usize = 64 * 1024 * 1024;
/// Rules that an export reads at a time.
const EXPORT_PAGE: u16 = 1000;
/// Not text/plain, which a page of another origin may send without asking.
const NDJSON: [&str; 4] = [
    "application/x-ndjson",
    "application/octet-stream",
    "application/ndjson",
    "application/jsonl",
];

/// NDJSON as octets.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "describes a body")]
pub(crate) struct Octets(Vec<u8>);

/// Import many rules.
///
/// NDJSON, one rule with its id a line, at most 64 MiB and 250,000 rules; all or none. `errors` names
/// the lines that are wrong. `dry_run=true` answers the changes without making them.
#[utoipa::path(
    post, path = "/rules/import", operation_id = "importRules", tag = "rules", params(ImportOptions),
    request_body(
        content((inline(Octets) = "application/octet-stream"), (String = "application/x-ndjson", example =
            json!("{\"id\":\"class-7-teacher\",\"group\":\"class-7\",\"account\":\"teacher10\",\"marks\":[1000]}\n"))),
        description = "NDJSON: one rule a line, as RuleInput with an id. Empty lines are skipped. Generated clients \
                       send it as octets; JSON libraries would wrap it.",
    ),
    responses(
        (status = 200, description = "Imported, or what would be.", body = Imported),
        ImportProblems, CommonProblems,
    )
)]
pub(crate) async fn import(
    State(state): State<AdminState>,
    author: Author,
    Query(options): Query<ImportOptions>,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    let rules = state.rules;
    if options.mode == Mode::Merge && options.max_removals.is_some() {
        let detail = "works only with mode=replace";
        return Err(Problem::parameter("max_removals", detail));
    }
    if !is_declared(request.headers(), &NDJSON) {
        return Err(Problem::new(
            ProblemType::UnsupportedMediaType,
            "send the rules uncompressed, one a line, with Content-Type: application/x-ndjson or \
             application/octet-stream",
        ));
    }
    // One import at a time, so that their rules never fill the memory together.
    let _turn = rules.import_turn().await;
    let brought = read_body(request.into_body(), options.label.as_deref()).await?;
    Ok(Json(rules.import(brought, &options, &author).await?))
}

/// Export rules.
///
/// As NDJSON, in the order of their ids, with the filters of the list. Imported again, it changes
/// nothing.
#[utoipa::path(
    get, path = "/rules/export", operation_id = "exportRules", tag = "rules",
    params(Filter),
    responses(
        (status = 200, description = "NDJSON: one rule a line. With `Accept: text/plain` it is declared as \
         text, for clients that take it for JSON otherwise.",
         content((String = "text/plain"), (String = "application/x-ndjson"))),
        CommonProblems,
    )
)]
pub(crate) async fn export(
    State(state): State<AdminState>,
    headers: HeaderMap,
    Query(filter): Query<Filter>,
) -> Result<Response, Problem> {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let as_text =
        accept.is_some_and(|accept| accept.contains("text/plain") && !accept.contains("json"));
    let rules = state.rules;
    // The first page is read before the answer begins, so that a database that is away is a 503.
    let first = page(&rules, &filter, None).await?;
    let rest = stream::try_unfold(first.1.clone(), move |after| {
        let (rules, filter) = (rules.clone(), filter.clone());
        async move {
            let Some(after) = after else { return Ok(None) };
            let (text, next) = page(&rules, &filter, Some(&after)).await?;
            Ok::<_, sqlx::Error>(Some((text, next)))
        }
    });
    let body = stream::iter([Ok(first.0)]).chain(rest);
    let body = Body::from_stream(body.inspect_err(|error| {
        tracing::warn!(%error, "an export is cut short");
    }));
    let declared = match as_text {
        true => "text/plain; charset=utf-8",
        false => NDJSON[0],
    };
    Ok(([(header::CONTENT_TYPE, declared)], body).into_response())
}

/// A piece of an export, and where the next one goes on.
async fn page(
    rules: &Rules,
    filter: &Filter,
    after: Option<&After>,
) -> Result<(Bytes, Option<After>), sqlx::Error> {
    let found = rules.list(filter, Order::Id, after, EXPORT_PAGE).await?;
    let mut text = Vec::with_capacity(found.len() * 256);
    for rule in &found {
        serde_json::to_writer(&mut text, &RuleView::from(rule))
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        text.push(b'\n');
    }
    let whole = found.len() == usize::from(EXPORT_PAGE);
    let next = found.last().filter(|_| whole).map(|rule| After {
        id: rule.id.clone(),
        updated_at: None,
    });
    Ok((text.into(), next))
}

async fn read_body(body: Body, label: Option<&str>) -> Result<Brought, Problem> {
    let too_large = || {
        let detail = format!("an import has at most {MAX_IMPORT} bytes and {MAX_RULES} rules");
        Problem::new(ProblemType::BodyTooLarge, detail)
    };
    let mut pieces = body.into_data_stream();
    let mut lines = Lines::new(label);
    let mut length = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| {
            let detail = "the body ended before its announced length";
            Problem::new(ProblemType::MalformedJson, detail)
        })?;
        length += piece.len();
        if length > MAX_IMPORT {
            return Err(too_large());
        }
        lines.push(&piece);
        if lines.too_many() {
            return Err(too_large());
        }
        // A client on a fast line must not keep others waiting.
        tokio::task::yield_now().await;
    }
    lines.finish().map_err(|bad| WriteError::Lines(bad).into())
}
