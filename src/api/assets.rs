//! Files that are compiled in and change with the program only.

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::TypedHeader;
use axum_extra::headers::{ETag, IfNoneMatch};
use sha2::{Digest, Sha256};

/// The file, or 304 if the client has it.
pub(super) fn tagged(
    known: Option<TypedHeader<IfNoneMatch>>,
    content_type: &str,
    content: impl Into<Bytes>,
) -> Response {
    let content = content.into();
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&content)[..12]));
    let is_known = etag.parse::<ETag>().is_ok_and(|etag| {
        known.is_some_and(|TypedHeader(known)| !known.precondition_passes(&etag))
    });
    let etag = [(header::ETAG, etag)];
    match is_known {
        true => (StatusCode::NOT_MODIFIED, etag).into_response(),
        false => {
            let content_type = [(header::CONTENT_TYPE, content_type.to_owned())];
            (etag, content_type, content).into_response()
        }
    }
}
