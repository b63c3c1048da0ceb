//! The OpenAPI document as a page to read and to try requests on: Swagger UI, compiled in.
//!
//! The page loads nothing from other hosts: no script, style, font or validator. The policy sent
//! with each file makes the browser enforce that.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use axum_extra::TypedHeader;
use axum_extra::headers::IfNoneMatch;
use utoipa_swagger_ui::{Config, serve};

use super::assets::tagged;
use crate::api::Problem;

/// The files that the page needs; the library brings more.
const FILES: [&str; 8] = [
    "favicon-16x16.png",
    "favicon-32x32.png",
    "index.css",
    "index.html",
    "swagger-initializer.js",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-ui.css",
];

/// What the page may load and do. Styles are the exception: Swagger UI writes some into its elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
                      style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One path for all replicas and proxies before them: relative to the page.
static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::new(["../openapi.json"])
        .validator_url("none")
        .display_operation_id(true)
        .display_request_duration(true)
        .deep_linking(true)
        .default_models_expand_depth(0)
        .filter(true);
    Arc::new(config)
});

/// `/docs` and the files below.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/docs", routing::get(to_page))
        .route("/docs/", routing::get(page))
        .route("/docs/{file}", routing::get(file))
}

/// Relative, so that it leads to the right place behind a proxy that adds a path.
async fn to_page() -> impl IntoResponse {
    (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, "docs/")],
    )
}

async fn page(known: Option<TypedHeader<IfNoneMatch>>) -> Result<Response, Problem> {
    answer("index.html", known)
}

async fn file(
    Path(name): Path<String>,
    known: Option<TypedHeader<IfNoneMatch>>,
) -> Result<Response, Problem> {
    answer(&name, known)
}

fn answer(name: &str, known: Option<TypedHeader<IfNoneMatch>>) -> Result<Response, Problem> {
    if !FILES.contains(&name) {
        return Err(super::router::not_found_here());
    }
    let file = serve(name, Arc::clone(&CONFIG)).map_err(|error| Problem::internal(&error))?;
    let file =
        file.ok_or_else(|| Problem::internal(&format_args!("Swagger UI has no file {name}")))?;
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let content_type = match file.content_type.as_str() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    Ok((fixed, tagged(known, &content_type, file.bytes.into_owned())).into_response())
}
