//! The listener for operators: the management API below `/v1`, probes, and the API's document.
//!
//! Every answer that is no success is a [`Problem`]. What stands below `/v1` passes `auth` first,
//! unknown paths too. Nothing from outside gets past here unread: bodies have a limit, requests a
//! deadline, and a panic becomes a 500 that tells nothing.

mod auth;
mod body;
mod openapi;
mod parameters;
mod probes;
mod problem;
mod request;

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware, routing};
use sqlx::PgPool;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::Caller;
pub use body::JsonBody;
pub use openapi::{BodyProblems, CommonProblems};
pub use parameters::{PageRequest, Parameters};
pub use probes::{DatabaseState, Readiness, Ready};
pub use problem::{FieldError, Problem, ProblemDetails, ProblemType};
pub use request::RequestId;

use crate::config::AdminToken;
use crate::members::WakeUp;
use crate::rules::{self, Rules};

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    rules: Rules,
    readiness: Readiness,
    tokens: auth::Tokens,
}

impl AdminState {
    /// `wake` is the alarm clock of this replica's worker. Without tokens everybody who reaches
    /// the listener from this machine may do everything; the settings allow that on loopback alone.
    pub fn new(pool: PgPool, wake: WakeUp, readiness: Readiness, tokens: &[AdminToken]) -> Self {
        Self {
            rules: Rules::new(pool, wake),
            readiness,
            tokens: auth::Tokens::new(tokens),
        }
    }
}

impl FromRef<AdminState> for Rules {
    fn from_ref(state: &AdminState) -> Self {
        state.rules.clone()
    }
}

impl FromRef<AdminState> for Readiness {
    fn from_ref(state: &AdminState) -> Self {
        state.readiness.clone()
    }
}

/// The whole listener, ready to serve.
pub fn router(state: AdminState) -> Router {
    let (api, _) = api().split_for_parts();
    let (open, _) = open().split_for_parts();
    let document = document_json();
    let api = api
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(
            state.tokens.clone(),
            auth::authorize,
        ));
    open.route(
        "/openapi.json",
        routing::get(move || std::future::ready(document.clone())),
    )
    .nest("/v1", api)
    .fallback(not_found)
    .method_not_allowed_fallback(method_not_allowed)
    .layer(DefaultBodyLimit::max(body::MAX_BODY))
    .layer(CatchPanicLayer::custom(panicked))
    .layer(middleware::from_fn(request::deadline))
    .layer(SetResponseHeaderLayer::if_not_present(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    ))
    .layer(SetResponseHeaderLayer::overriding(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ))
    .layer(middleware::from_fn(request::identify))
    .with_state(state)
}

/// The OpenAPI document of the listener.
pub fn openapi() -> OpenApi {
    let (_, open) = open().split_for_parts();
    let (_, api) = api().split_for_parts();
    let mut document = openapi::frame();
    document.merge(open);
    document.nest("/v1", api)
}

/// What takes a token.
fn api() -> OpenApiRouter<AdminState> {
    rules::api::routes()
}

/// What takes none.
fn open() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(probes::livez))
        .routes(routes!(probes::readyz))
}

/// The document as an answer, made once.
fn document_json() -> ([(header::HeaderName, &'static str); 1], axum::body::Bytes) {
    let json = openapi().to_json().unwrap_or_else(|error| {
        tracing::error!(?error, "the OpenAPI document cannot be written");
        "{}".to_owned()
    });
    ([(header::CONTENT_TYPE, "application/json")], json.into())
}

async fn not_found() -> Problem {
    Problem::new(
        ProblemType::NotFound,
        "no such path; /openapi.json lists all",
    )
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        ProblemType::MethodNotAllowed,
        "the header Allow names the methods of this path",
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    Problem::internal(&("panic", text)).into_response()
}
