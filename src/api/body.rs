//! JSON, as it comes and goes.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::{Problem, ProblemType};
use crate::rules::json::{self, Unreadable};

/// Longest body in bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;

const JSON: [&str; 2] = ["application/json", "application/merge-patch+json"];

/// A body declared and read as JSON. Whatever is wrong becomes a [`Problem`].
///
/// The declaration is demanded: a web page can send other types to any site without asking.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_declared(request.headers(), &JSON) {
            return Err(Problem::new(
                ProblemType::UnsupportedMediaType,
                "send the body uncompressed with Content-Type: application/json \
                 (or application/merge-patch+json)",
            ));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
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
        Unreadable::Field(field) => Problem::fields(ProblemType::InvalidInput, [field]),
        Unreadable::Malformed(reason) => {
            let detail = format!("the body is not JSON: {reason}");
            Problem::new(ProblemType::MalformedJson, detail)
        }
    })
}

/// Whether a body comes uncompressed and is declared as one of these types.
pub(super) fn is_declared(headers: &HeaderMap, types: &[&str]) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let plain = text(header::CONTENT_ENCODING);
    let declared = text(header::CONTENT_TYPE).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    plain.is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"))
        && types
            .iter()
            .any(|known| essence.eq_ignore_ascii_case(known))
}

/// An answer as JSON. It ends in a line feed, so that several in a terminal stay apart.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}
