//! Every request has an id and a deadline, and one log line if it writes.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument;

use crate::api::{Caller, Problem, is_write};
use crate::domain::RequestId;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Above the longest wait for a connection and for the turn to write, so that only what hangs ends.
const DEADLINE: Duration = Duration::from_secs(25);

/// An import brings up to 64 MiB over a line that may be slow, and writes as much.
const IMPORT_DEADLINE: Duration = Duration::from_secs(300);

/// The client's own id, or a new one.
fn request_id(request: &Request) -> RequestId {
    let given = request.headers().get(REQUEST_ID);
    let given = given.and_then(|value| value.to_str().ok());
    given
        .and_then(RequestId::parse)
        .unwrap_or_else(RequestId::generate)
}

/// Gives the request an id, answers it, and logs a write.
pub(super) async fn identify(mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    request.extensions_mut().insert(id.clone());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    let span = tracing::info_span!("admin", request_id = id.as_str());
    let mut response = next.run(request).instrument(span.clone()).await;
    if is_write(&method) {
        let caller = response
            .extensions()
            .get::<Caller>()
            .map(|caller| caller.name.clone());
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        tracing::info!(
            parent: &span,
            method = method.as_str(),
            path,
            location,
            status = response.status().as_u16(),
            actor = caller.as_deref(),
            micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            "write request"
        );
    }
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Ends what takes too long; only a database that hangs does.
pub(super) async fn deadline(request: Request, next: Next) -> Response {
    let limit = match request.uri().path() {
        "/v1/rules/import" => IMPORT_DEADLINE,
        _ => DEADLINE,
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::database_unavailable().into_response(),
    }
}
