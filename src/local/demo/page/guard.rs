//! What holds for every request to the stage, and the errors it is answered with.
//!
//! A web page of another site must neither order nor watch: names that lead here by DNS rebinding
//! are recognized by `Host`, requests of other sites by `Origin` and `Sec-Fetch-Site`, which browsers
//! send and pages cannot forge. Programs send neither and pass.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::api::is_loopback;

/// Room for the accounts of the largest order.
const LARGEST_BODY: usize = 64 * 1024;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// An order that is not carried out, as RFC 9457 problem details.
#[derive(Debug)]
pub(super) struct Refused(pub StatusCode, pub String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, problem.to_string()).into_response()
    }
}

/// The layers around everything.
pub(super) fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    let always =
        |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    router
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(this_machine))
        .layer(always(header::CONTENT_SECURITY_POLICY, POLICY))
        .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(always(header::REFERRER_POLICY, "no-referrer"))
        .layer(always(header::CACHE_CONTROL, "no-cache"))
}

/// Lets requests pass that are meant for this machine.
async fn this_machine(request: Request, next: Next) -> Response {
    let asked_for = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => text(request.headers(), header::HOST),
    };
    if asked_for.is_some_and(is_loopback) {
        return next.run(request).await;
    }
    let detail = "the stage is for this machine alone; open it as localhost or 127.0.0.1";
    Refused(StatusCode::FORBIDDEN, detail.to_owned()).into_response()
}

/// Lets requests pass that no other site made.
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = text(headers, header::HOST).unwrap_or_default();
    let own = |origin: &str| origin.strip_prefix("http://") == Some(host);
    let origin = headers.get(header::ORIGIN);
    let origin = origin.is_none_or(|origin| origin.to_str().is_ok_and(own));
    let site = headers.get("sec-fetch-site");
    let site = site.is_none_or(|site| site == "same-origin" || site == "none");
    if origin && site {
        return next.run(request).await;
    }
    let detail = "the stage takes no orders from pages of other sites";
    Refused(StatusCode::FORBIDDEN, detail.to_owned()).into_response()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
