//! What the backend gets: the callback as Chat sent it, on a connection of ours.
//!
//! Path and host are the backend's. Query and body go on untouched; a query in the backend's URL goes
//! before Chat's. Headers go on except those of one connection only. The proxy headers are
//! continued, and a header of our own makes a callback that comes back recognisable.

use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use axum::http::request::Parts;
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{Request, Uri};
use url::Url;

/// On every callback that was forwarded.
const FORWARDED: HeaderName = HeaderName::from_static("x-stickymark-forwarded");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Those of one connection (<https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>), and those that
/// the client sets itself. The answer must not be compressed, hence no `Accept-Encoding` of Chat's.
const NOT_PASSED_ON: [HeaderName; 13] = [
    ACCEPT_ENCODING,
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Whether a Stickymark forwarded this callback before.
pub(in crate::callback) fn has_been_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Where the backend is. Its path and query may contain a secret, hence no `Debug`.
pub(super) struct Target {
    scheme: Scheme,
    authority: Authority,
    path_and_query: String,
}

impl Target {
    /// `None` when the URL cannot be called.
    pub fn of(url: &Url) -> Option<Self> {
        let uri: Uri = url.as_str().parse().ok()?;
        let (scheme, authority) = (uri.scheme()?.clone(), uri.authority()?.clone());
        let path_and_query = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Some(Self {
            scheme,
            authority,
            path_and_query: path_and_query.to_owned(),
        })
    }

    /// The callback for the backend; `None` when both queries together are too long.
    pub fn request(&self, mut head: Parts, body: Bytes) -> Option<Request<Body>> {
        let uri = self.uri(head.uri.query().unwrap_or_default())?;
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().copied();
        pass_on(&mut head.headers, peer);
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = head.headers;
        Some(request)
    }

    /// The query goes in as text: parsing it, even well, would rewrite some of its characters.
    fn uri(&self, query: &str) -> Option<Uri> {
        let own = &self.path_and_query;
        let separator = if own.contains('?') { '&' } else { '?' };
        let path_and_query = PathAndQuery::try_from(format!("{own}{separator}{query}"));
        Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path_and_query.ok()?)
            .build()
            .ok()
    }
}

fn pass_on(headers: &mut HeaderMap, peer: Option<ConnectInfo<SocketAddr>>) {
    let host = headers.get(HOST).cloned();
    for name in named_in_connection(headers) {
        headers.remove(name);
    }
    for name in NOT_PASSED_ON {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(FORWARDED, HeaderValue::from_static("1"));
    if let Some(ConnectInfo(peer)) = peer
        && let Some(way) = with_peer(headers, peer)
    {
        headers.insert(FORWARDED_FOR, way);
    }
    // A proxy that ends TLS before us knows the outer host and protocol.
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    let proto = HeaderValue::from_static("http");
    headers.entry(FORWARDED_PROTO).or_insert(proto);
}

fn named_in_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// The hops that came with the callback, and the one that it came from.
fn with_peer(headers: &HeaderMap, peer: SocketAddr) -> Option<HeaderValue> {
    let mut way = Vec::new();
    for hops in headers.get_all(FORWARDED_FOR) {
        way.extend_from_slice(hops.as_bytes());
        way.extend_from_slice(b", ");
    }
    way.extend_from_slice(peer.ip().to_canonical().to_string().as_bytes());
    HeaderValue::from_bytes(&way).ok()
}
