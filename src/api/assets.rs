//! Files that are compiled in and change with the program only. A browser keeps them and asks each time
//! whether they changed, so an upgrade shows at once.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum_extra::TypedHeader;
use axum_extra::headers::{ETag, IfNoneMatch};
use tower_http::set_header::SetResponseHeaderLayer;

use super::AdminState;

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Each file at its path, beside other routes; `name` says of which type it is, `policy` what a page of them
/// may load and do.
pub(super) fn routes<'a>(
    files: impl Iterator<Item = (String, &'a str, Bytes)>,
    others: Router<AdminState>,
    policy: &'static str,
) -> Router<AdminState> {
    let routes = files.fold(others, |router, (path, name, content)| {
        let content_type = content_type(name);
        // Of the same program it is the same everywhere.
        let mut hash = DefaultHasher::new();
        content.hash(&mut hash);
        let etag = format!("\"{:016x}\"", hash.finish());
        let answer = move |known: Option<TypedHeader<IfNoneMatch>>| {
            let is_known = etag.parse::<ETag>().is_ok_and(|etag| {
                known.is_some_and(|TypedHeader(known)| !known.precondition_passes(&etag))
            });
            let kept = [
                (header::ETAG, etag),
                (header::CACHE_CONTROL, "no-cache".to_owned()),
            ];
            let content_type = [(header::CONTENT_TYPE, content_type)];
            std::future::ready(match is_known {
                true => (StatusCode::NOT_MODIFIED, kept).into_response(),
                false => (kept, content_type, content).into_response(),
            })
        };
        router.route(&path, get(answer))
    });
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (OPENER_POLICY, "same-origin"),
        (RESOURCE_POLICY, "same-origin"),
    ];
    fixed.into_iter().fold(routes, |routes, (name, value)| {
        let value = HeaderValue::from_static(value);
        routes.layer(SetResponseHeaderLayer::overriding(name, value))
    })
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "application/octet-stream",
    }
}
