//! The OpenAPI document as a page to read and to try requests on: Swagger UI, compiled in.
//!
//! The page loads nothing from other hosts: no script, style, font or validator. The policy sent
//! with each file makes the browser enforce that.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::{Router, routing};
use utoipa_swagger_ui::{Config, serve};

use super::{AdminState, assets};

/// At `/docs/`.
const PAGE: &str = "index.html";

/// The files that the page needs; the library brings more.
const FILES: [&str; 8] = [
    "favicon-16x16.png",
    "favicon-32x32.png",
    "index.css",
    PAGE,
    "swagger-initializer.js",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-ui.css",
];

/// What the page may load and do. Styles are the exception: Swagger UI writes some into its elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; \
                      style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `/docs` and the files below.
pub(super) fn routes() -> Router<AdminState> {
    // One path for all replicas and proxies before them: relative to the page.
    let config = Config::new(["../openapi.json"])
        .validator_url("none")
        .display_operation_id(true)
        .display_request_duration(true)
        .deep_linking(true)
        .default_models_expand_depth(0)
        .filter(true);
    let config = Arc::new(config);
    let files = FILES.into_iter().filter_map(|name| {
        let file = serve(name, config.clone())
            .inspect_err(|error| tracing::error!(%error, "cannot write a file of /docs"));
        let content = match file.ok()??.bytes {
            Cow::Borrowed(content) => Bytes::from_static(content),
            Cow::Owned(content) => content.into(),
        };
        let path = format!("/docs/{}", name.trim_start_matches(PAGE));
        Some((path, name, content))
    });
    let others = Router::new().route("/docs", routing::get(to_page));
    assets::routes(files, others, POLICY)
}

/// Relative, so that it leads to the right place behind a proxy that adds a path.
async fn to_page() -> impl IntoResponse {
    (
        StatusCode::TEMPORARY_REDIRECT,
        [(header::LOCATION, "docs/")],
    )
}
