//! The listener for operators: the management API below `/v1`, probes, the API's document, as JSON
//! and as a page, and the console.
//!
//! Every error is a [`Problem`]. Requests below `/v1` pass `auth` first, unknown paths too. Bodies
//! have a limit, requests a deadline, and a panic becomes a 500 without details.

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, middleware, routing};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AdminState, MAX_BODY, Problem, ProblemType, authorize};
use super::{
    chat, console, docs, erase, explain, log, marks, members, probes, request, rooms, rules, status,
};

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
    let mut document = document.nest("/v1", api);
    super::openapi::require_what_may_be_null(&mut document);
    document
}

/// What takes a token.
fn api() -> OpenApiRouter<AdminState> {
    rules::routes()
        .routes(routes!(members::list))
        .routes(routes!(members::retry))
        .routes(routes!(rooms::list))
        .routes(routes!(rooms::resync))
        .routes(routes!(explain::explain))
        .routes(routes!(erase::erase))
        .routes(routes!(marks::names))
        .routes(routes!(chat::probe))
        .routes(routes!(status::status))
        .routes(routes!(log::log, log::set_log))
}

/// What takes none.
fn open() -> OpenApiRouter<AdminState> {
    OpenApiRouter::new()
        .routes(routes!(probes::livez))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
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
    use crate::api::status::Readiness;
    use crate::chat::CallRate;
    use crate::database::Db;
    use crate::replica::Replica;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_becomes_a_problem_without_details_and_has_a_request_id() {
        let db = Db::new_lazy("postgres://nowhere/none".parse().unwrap(), 1);
        let readiness = Readiness::new(db.clone());
        let replica = Replica::new(db, CallRate::new(1));
        let state = AdminState::new(replica, readiness, &[]);
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
