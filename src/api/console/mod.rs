//! The console: pages for people, at `/` of the admin listener.
//!
//! One HTML page, one style sheet and plain modules of script below `assets`, compiled in and served
//! as they are; nothing is built and nothing comes from elsewhere, which the Content-Security-Policy
//! makes the browser enforce. The script shows what `/v1` answers, and writes through it alone, with
//! a session in place of the token (see `src/api/session.rs`).
//!
//! The part of the address behind `#` names the page: `#/overview`, `#/rules`, `#/rules/new`, `#/rules/{id}/edit`,
//! `#/rules/{id}/history`, `#/import`, `#/explain`, `#/rooms`, `#/members`; filters follow as a query.
//! Besides the files there are `GET`, `POST` and `DELETE /console/session` and
//! `GET /console/now`. They belong to the page and change with it, so they are no part of the
//! OpenAPI document.

mod assets;
mod live;
mod sign_in;

#[cfg(feature = "local")]
pub(crate) use sign_in::Stage;

use axum::Router;
use axum::body::Bytes;

use crate::api::{AdminState, Tokens};
pub use live::Live;

/// Only what this listener serves. Scripts and styles are files of their own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; \
                      base-uri 'none'";

/// The routes of the console.
pub(crate) fn routes(tokens: &Tokens) -> Router<AdminState> {
    let files = assets::FILES.iter().map(|(name, content)| {
        let path = match *name {
            "index.html" => "/".to_owned(),
            name => format!("/console/assets/{name}"),
        };
        (path, *name, Bytes::from_static(content))
    });
    let others = sign_in::routes().merge(live::routes(tokens));
    crate::api::assets::routes(files, others, POLICY)
}
