//! The API's document as a page to read and to try requests on: Swagger UI, compiled in.
//!
//! Nothing is fetched from outside: no script, style, font, nor a validator, and the policy sent with
//! each file holds the browser to that. The page reads `/openapi.json` like everybody.

use std::io::Read;
use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, routing};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

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

async fn page(headers: HeaderMap) -> Result<Response, Problem> {
    answer("index.html", &headers)
}

async fn file(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    answer(&name, &headers)
}

fn answer(name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    if !FILES.contains(&name) {
        return Err(super::router::not_found_here());
    }
    let file = serve(name, Arc::clone(&CONFIG)).map_err(|error| Problem::internal(&error))?;
    let file = file.ok_or_else(|| Problem::internal(&("no such file of Swagger UI", name)))?;
    let form = Form::of(file, headers).map_err(|error| Problem::internal(&error))?;
    // Made anew for each answer, at a fraction of what sending would cost.
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&form.bytes)[..12]));
    let known = headers.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|line| line.to_str().ok());
    let is_known = known
        .flat_map(|line| line.split(','))
        .any(|tag| tag.trim().trim_start_matches("W/") == etag);
    let fixed = [
        (header::ETAG, etag),
        (header::CONTENT_SECURITY_POLICY, POLICY.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
        (header::VARY, "accept-encoding".to_owned()),
    ];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, fixed).into_response());
    }
    Ok((fixed, form).into_response())
}

/// A file as this client takes it.
struct Form {
    content_type: String,
    gzip: bool,
    bytes: Vec<u8>,
}

impl Form {
    /// The library keeps most files compressed. Every browser takes them so; curl does not by itself.
    fn of(file: SwaggerFile<'static>, headers: &HeaderMap) -> std::io::Result<Self> {
        let content_type = match file.content_type.as_str() {
            text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
            other => other.to_owned(),
        };
        let gzip = file.gzpipped && takes_gzip(headers);
        let bytes = if file.gzpipped && !gzip {
            let mut plain = Vec::new();
            GzDecoder::new(&*file.bytes).read_to_end(&mut plain)?;
            plain
        } else {
            file.bytes.into_owned()
        };
        Ok(Self {
            content_type,
            gzip,
            bytes,
        })
    }
}

impl IntoResponse for Form {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, self.content_type)];
        let mut response = (content_type, self.bytes).into_response();
        if self.gzip {
            let gzip = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, gzip);
        }
        response
    }
}

/// Whether a client says that it takes gzip; `*` speaks of what is not named.
/// Source: <https://www.rfc-editor.org/rfc/rfc9110#section-12.5.3>.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    let codings: Vec<(&str, bool)> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, "q=1"));
            let weight = weight.trim().trim_start_matches("q=").parse::<f32>();
            (name.trim(), weight.is_ok_and(|weight| weight > 0.0))
        })
        .collect();
    let said_of = |wanted: &str| codings.iter().find(|(name, _)| *name == wanted);
    said_of("gzip")
        .or_else(|| said_of("*"))
        .is_some_and(|(_, taken)| *taken)
}
