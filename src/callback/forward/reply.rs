//! The backend's answer: read whole, judged, and handed on.
//!
//! Chat takes anything but 200 with JSON for a failure. A 4xx is handed on all the same: the
//! backend says no, and Chat shall hear it from us as it would from the backend.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use axum::response::Response;
use futures::StreamExt;
use serde::de::IgnoredAny;

use super::ForwardOutcome;
use super::failure::Failure;

/// Longest answer. The largest that Chat uses replaces a message, which has at most 12 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Status, content type and body, as they came.
pub(super) async fn read(response: Response) -> Result<Response, Failure> {
    let (mut head, body) = response.into_parts();
    let status = head.status;
    if status.is_redirection() {
        return Err(Failure {
            outcome: ForwardOutcome::Redirect,
            reason: format!("redirects are not followed (status {})", status.as_u16()),
        });
    }
    if !status.is_success() && !status.is_client_error() {
        let outcome = match status.is_server_error() {
            true => ForwardOutcome::Faulty,
            false => ForwardOutcome::Broken,
        };
        return Err(Failure {
            outcome,
            reason: format!("status {}", status.as_u16()),
        });
    }
    if is_compressed(&head.headers) {
        return Err(Failure::broken(
            "the answer is compressed without being asked",
        ));
    }
    let body = whole(body).await?;
    if status.is_success() && !is_json_object(&body) {
        return Err(Failure::broken("the answer is not a JSON object"));
    }
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    if let Some(content_type) = head.headers.remove(CONTENT_TYPE) {
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    Ok(answer)
}

async fn whole(body: Body) -> Result<Bytes, Failure> {
    let oversized = || Failure {
        outcome: ForwardOutcome::Oversized,
        reason: "the answer is longer than 64 KiB".to_owned(),
    };
    if body.size_hint().lower() > MAX_ANSWER_BYTES as u64 {
        return Err(oversized());
    }
    let mut pieces = body.into_data_stream();
    let mut whole = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| Failure::broken("the answer broke off"))?;
        if whole.len() + piece.len() > MAX_ANSWER_BYTES {
            return Err(oversized());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

fn is_compressed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).into_iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_json_object(body: &[u8]) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}
