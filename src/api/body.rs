//! JSON bodies.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemType};
use crate::rules::json::{self, Unreadable};

/// Longest body in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

/// A body declared and read as JSON. Whatever is wrong becomes a [`Problem`].
///
/// The declaration is demanded: a web page can send other types to any site without asking.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                "send the body uncompressed with Content-Type: application/json \
                 (or application/merge-patch+json)",
            ));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
                    let detail = format!("a body has at most {MAX_BODY} bytes");
                    return Problem::new(ProblemType::BodyTooLarge, detail);
                }
                Problem::new(
                    ProblemType::MalformedJson,
                    "the body ended before its announced length",
                )
            })?;
        read(&bytes).map(Self)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    json::read(bytes).map_err(|unreadable| match unreadable {
        Unreadable::Field(field) => Problem::fields([field]),
        Unreadable::Malformed(reason) => {
            let detail = format!("the body is not JSON: {reason}");
            Problem::new(ProblemType::MalformedJson, detail)
        }
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = match text(header::CONTENT_ENCODING) {
        Some(encoding) => encoding.eq_ignore_ascii_case("identity"),
        None => !headers.contains_key(header::CONTENT_ENCODING),
    };
    let declared = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = declared
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    plain && ["application/json", "application/merge-patch+json"].contains(&essence.as_str())
}
