//! The listener for operators: the management API below `/v1`, probes, the API's document, as JSON
//! and as a page, and the console.
//!
//! Every error is a [`Problem`]. Requests below `/v1` pass `auth` first, unknown paths too. Bodies
//! have a limit, requests a deadline, and a panic becomes a 500 without details.

use axum::extract::{DefaultBodyLimit, FromRef};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware, routing};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::chat::{self, Circuits};
use super::console::{self, Live};
use super::explain::{self, Explanations};
use super::marks::{self, MarkNames};
use super::members::{self, Members};
use super::rooms::{self, Rooms};
use super::status::{self, Readiness, StatusSource, Watched};
use super::{MAX_BODY, Problem, ProblemType, Tokens, authorize};
use super::{docs, erase, log, metrics, probes, request, rules};
use crate::config::AdminToken;
use crate::database::Db;
use crate::members::WakeUp;
use crate::rules::Rules;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AdminState {
    rules: Rules,
    db: Db,
    wake: WakeUp,
    readiness: Readiness,
    tokens: Tokens,
    watched: Watched,
    live: Live,
    mark_names: MarkNames,
}

impl AdminState {
    /// `wake` wakes this replica's worker. Without tokens everyone who reaches the listener from this
    /// machine may do everything; the settings allow that on loopback alone.
    pub fn new(db: Db, wake: WakeUp, readiness: Readiness, tokens: &[AdminToken]) -> Self {
        let watched = Watched::default();
        Self {
            rules: Rules::new(db.clone(), watched.propagation_wake.clone()),
            live: live(&watched),
            watched,
            db,
            wake,
            readiness,
            tokens: Tokens::new(tokens),
            mark_names: MarkNames::default(),
        }
    }

    /// The same with the parts of a replica that runs.
    #[must_use]
    pub fn watching(self, watched: Watched) -> Self {
        Self {
            live: live(&watched),
            tokens: self.tokens.measured_by(&watched.metrics),
            rules: Rules::new(self.db.clone(), watched.propagation_wake.clone()),
            watched,
            ..self
        }
    }

    /// The same with names for marks.
    #[must_use]
    pub fn naming(self, mark_names: MarkNames) -> Self {
        Self { mark_names, ..self }
    }
}

fn live(watched: &Watched) -> Live {
    Live::new(watched.pulse.clone(), watched.restorations.clone())
}

impl FromRef<AdminState> for Live {
    fn from_ref(state: &AdminState) -> Self {
        state.live.clone()
    }
}

impl FromRef<AdminState> for Rules {
    fn from_ref(state: &AdminState) -> Self {
        state.rules.clone()
    }
}

impl FromRef<AdminState> for Members {
    fn from_ref(state: &AdminState) -> Self {
        Self::new(state.db.clone(), state.wake.clone())
    }
}

impl FromRef<AdminState> for Rooms {
    fn from_ref(state: &AdminState) -> Self {
        Self::new(state.db.clone(), state.watched.sweeper_wake.clone())
    }
}

impl FromRef<AdminState> for Explanations {
    fn from_ref(state: &AdminState) -> Self {
        let breaker = state.watched.worker_breaker.clone();
        Self::new(state.db.clone(), breaker, state.mark_names.clone())
    }
}

impl FromRef<AdminState> for MarkNames {
    fn from_ref(state: &AdminState) -> Self {
        state.mark_names.clone()
    }
}

impl FromRef<AdminState> for Circuits {
    fn from_ref(state: &AdminState) -> Self {
        let watched = &state.watched;
        Self {
            marks: (watched.worker_breaker.clone(), state.wake.clone()),
            comparisons: (
                watched.sweeper_breaker.clone(),
                watched.sweeper_wake.clone(),
            ),
        }
    }
}

impl FromRef<AdminState> for StatusSource {
    fn from_ref(state: &AdminState) -> Self {
        Self {
            db: state.db.clone(),
            readiness: state.readiness.clone(),
            watched: state.watched.clone(),
        }
    }
}

impl FromRef<AdminState> for Tokens {
    fn from_ref(state: &AdminState) -> Self {
        state.tokens.clone()
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
            authorize,
        ));
    let console = console::routes(&state.tokens);
    let open = open
        .route(
            "/openapi.json",
            routing::get(move || std::future::ready(document.clone())),
        )
        .merge(console)
        .nest("/v1", api)
        .merge(docs::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed);
    guarded(open).with_state(state)
}

/// The layers of every request. The last one is the outermost.
fn guarded(router: Router<AdminState>) -> Router<AdminState> {
    let no_cache = HeaderValue::from_static("private, no-cache");
    let no_sniff = HeaderValue::from_static("nosniff");
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(request::deadline))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            no_cache,
        ))
        .layer(SetResponseHeaderLayer::overriding(
            header::X_CONTENT_TYPE_OPTIONS,
            no_sniff,
        ))
        .layer(middleware::from_fn(request::identify))
}

/// The OpenAPI document of the listener.
pub fn openapi() -> OpenApi {
    let (_, open) = open().split_for_parts();
    let (_, api) = api().split_for_parts();
    let mut document = super::openapi::frame();
    document.merge(open);
    document.nest("/v1", api)
}

/// What takes a token.
fn api() -> OpenApiRouter<AdminState> {
    rules::routes()
        .merge(members::routes())
        .merge(rooms::routes())
        .merge(explain::routes())
        .routes(routes!(erase::erase))
        .merge(marks::routes())
        .merge(chat::routes())
        .routes(routes!(status::status))
        .routes(routes!(log::log, log::set_log))
}

/// What takes none.
fn open() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(probes::livez))
        .routes(routes!(probes::readyz))
        .routes(routes!(metrics::metrics))
}

/// The document as an answer, written once.
fn document_json() -> ([(header::HeaderName, &'static str); 1], axum::body::Bytes) {
    let json = openapi().to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "cannot write the OpenAPI document");
        "{}".to_owned()
    });
    (
        [(header::CONTENT_TYPE, "application/json")],
        (json + "\n").into(),
    )
}

async fn not_found() -> Problem {
    not_found_here()
}

pub(super) fn not_found_here() -> Problem {
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
    let text = text.unwrap_or("without a text");
    Problem::internal(&format_args!("panic: {text}")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use sqlx::PgPool;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_becomes_a_problem_without_details_and_has_a_request_id() {
        let db = Db::from(PgPool::connect_lazy("postgres://nowhere/none").unwrap());
        let readiness = Readiness::new(db.clone());
        let state = AdminState::new(db, WakeUp::default(), readiness, &[]);
        let fails = routing::get(|| async {
            if true {
                panic!("the inside")
            }
        });
        let router = guarded(Router::new().route("/fails", fails)).with_state(state);
        let request = Request::get("/fails").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key("x-request-id"));
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("urn:stickymark:problem:internal"));
        assert!(!body.contains("the inside"));
    }
}
