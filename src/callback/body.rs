//! Reading a body that may be long, slow, or without a stated length.

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use futures::StreamExt;

use super::answer::Refusal;

/// Longest body of a callback. No page states one; a list of 500 members takes some 30 KiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How much of a body that is too long is read and dropped. Without that, the sender of a body
/// just over the limit would meet a closed connection instead of the answer.
const DRAINED_BYTES: usize = 8 * MAX_BODY_BYTES;

/// The whole body. Nearly always it comes in one piece and is not copied.
pub(super) async fn read(body: Body) -> Result<Bytes, Refusal> {
    let stated = body.size_hint().lower();
    if stated > DRAINED_BYTES as u64 {
        return Err(Refusal::TooLong);
    }
    let mut pieces = body.into_data_stream();
    if stated > MAX_BODY_BYTES as u64 {
        return Err(drained(pieces, 0).await);
    }
    let Some(first) = next(&mut pieces).await? else {
        return Ok(Bytes::new());
    };
    let mut whole = Vec::new();
    while let Some(piece) = next(&mut pieces).await? {
        if whole.is_empty() {
            whole.extend_from_slice(&first);
        }
        if whole.len() + piece.len() > MAX_BODY_BYTES {
            return Err(drained(pieces, whole.len() + piece.len()).await);
        }
        whole.extend_from_slice(&piece);
    }
    match whole.is_empty() {
        true if first.len() > MAX_BODY_BYTES => Err(Refusal::TooLong),
        true => Ok(first),
        false => Ok(whole.into()),
    }
}

async fn next(pieces: &mut BodyDataStream) -> Result<Option<Bytes>, Refusal> {
    pieces
        .next()
        .await
        .transpose()
        .map_err(|_| Refusal::BrokenOff)
}

async fn drained(mut pieces: BodyDataStream, mut read: usize) -> Refusal {
    while read < DRAINED_BYTES {
        match next(&mut pieces).await {
            Ok(Some(piece)) => read += piece.len(),
            Ok(None) | Err(_) => break,
        }
    }
    Refusal::TooLong
}
