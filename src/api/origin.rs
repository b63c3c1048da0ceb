//! Which requests come from a page of this service, and which from a page of another site.
//!
//! Browsers send `Host`, `Origin` and `Sec-Fetch-Site`, and pages cannot forge them. Proxies replace
//! `Host`, so a session does not depend on it: its writes carry a header of the console. A page of
//! another origin can send that only if a preflight allows it (<https://fetch.spec.whatwg.org/#cors-preflight-fetch>),
//! and no path of this listener does.

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, header};

use super::{Problem, ProblemType};

/// On every request of the console's pages.
const PAGE_HEADER: HeaderName = HeaderName::from_static("x-stickymark-console");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn refused(detail: String) -> Problem {
    Problem::new(ProblemType::ForeignOrigin, detail)
}

/// Lets only the pages of the console itself pass.
pub(super) fn console_only(headers: &HeaderMap) -> Result<(), Problem> {
    if text(headers, &PAGE_HEADER) != Some("1") {
        return Err(refused(
            "a session of the console writes only from its own pages, with the header \
             X-Stickymark-Console: 1; elsewhere send Authorization: Bearer"
                .to_owned(),
        ));
    }
    same_site(headers, &["same-origin"])
}

/// Lets only programs and pages of this machine pass, none of another origin: a name that a stranger
/// owns may lead to a loopback address (DNS rebinding), and any page may send simple requests.
pub(crate) fn this_machine_only(head: &Parts) -> Result<(), Problem> {
    let headers = &head.headers;
    let host = match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => text(headers, &header::HOST).unwrap_or_default(),
    };
    if !is_loopback(host) {
        return Err(refused(format!(
            "the header Host: {host} does not name this machine; without admin.tokens, call as localhost \
             or 127.0.0.1, or set admin.tokens to allow others"
        )));
    }
    if headers.contains_key(&FETCH_SITE) {
        // `none`: a person typed the address.
        return same_site(headers, &["same-origin", "none"]);
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return Ok(());
    };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    match origin.split_once("://") {
        Some((_, authority)) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(refused(format!(
            "the header Origin: {origin} is not of this service, which the request calls {host}"
        ))),
    }
}

fn same_site(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Problem> {
    let Some(site) = headers.get(&FETCH_SITE) else {
        return Ok(());
    };
    let site = String::from_utf8_lossy(site.as_bytes());
    if allowed.contains(&&*site) {
        return Ok(());
    }
    Err(refused(format!(
        "the header Sec-Fetch-Site: {site} shows that a page of another origin sent this request"
    )))
}

/// Whether `host` or `host:port` means this machine.
fn is_loopback(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<Authority>() else {
        return false;
    };
    let host = authority.host().trim_matches(['[', ']']);
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost"
        || host.ends_with(".localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
