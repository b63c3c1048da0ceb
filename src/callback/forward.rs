//! Forwarding: an existing backend goes on receiving the callbacks, and Chat gets its answer.
//!
//! The backend sees what Chat sent, byte for byte, so that it can check `Sign` as before. It has
//! until 1.7 s after the callback came. Whatever it does, Chat is answered within its 2 s, and our
//! own recording does not depend on it. A callback is sent once, because a "before" event must not
//! happen twice; the client sends it again only if it finds its kept connection closed before a byte
//! was sent. The call runs in a task of its own, so that it is completed when Chat hangs up.
//!
//! Path and host are the backend's. A query in its URL goes before Chat's. Headers go on except those
//! of one connection only. The proxy headers are continued, and a header of our own makes a callback
//! that comes back recognisable.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::IgnoredAny;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::answer;
use crate::config::ForwardFailure;
use crate::metrics::{ForwardResult, Label, Metrics};
use crate::telemetry::{warn_seldom, with_causes};

/// A body, and its place among all that are held.
pub(super) struct Held {
    pub bytes: Bytes,
    #[expect(dead_code, reason = "free again when it is dropped")]
    pub room: OwnedSemaphorePermit,
}

/// How long the backend may take, from the moment the callback came: Chat waits 2 s, and our own
/// work is waited for until 1.8 s.
const FORWARD_WITHIN: Duration = Duration::from_millis(1700);

/// How many callbacks may wait for the backend at once.
const FORWARDS_AT_ONCE: usize = 1024;

/// Longest answer. The largest that Chat uses replaces a message, which has at most 12 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Shorter than the keep-alive of common backends (gunicorn 2 s, Apache and Node.js 5 s), which could
/// otherwise close a connection in the moment it is used again.
const IDLE_CONNECTION: Duration = Duration::from_millis(1500);

/// Within the time of one callback, so that an address that swallows packets counts as unreachable.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

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

/// Whether Chat acts upon the answer to a command.
pub(super) fn is_before(command: &str) -> bool {
    command.contains("Before") || command.contains("Prev")
}

/// Whether a Stickymark forwarded this callback before.
pub(super) fn has_been_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
}

/// Passes callbacks on.
pub struct Forward {
    /// The backend's URL up to Chat's query. Path and query may hold secrets.
    target: String,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    pub(super) places: Semaphore,
    on_failure: ForwardFailure,
    pub(super) answer_within: Duration,
    metrics: Metrics,
}

/// The backend's answer, or none and the reason.
type Asked = (ForwardResult, Result<Response, String>);

fn failed(result: ForwardResult, reason: impl Into<String>) -> Asked {
    (result, Err(reason.into()))
}

impl Forward {
    /// Passes callbacks on to a backend at an http or https URL. Opens no connection yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(url: &Url, on_failure: ForwardFailure, metrics: Metrics) -> std::io::Result<Self> {
        let separator = if url.query().is_some() { '&' } else { '?' };
        Ok(Self {
            target: format!("{url}{separator}"),
            client: client()?,
            places: Semaphore::new(FORWARDS_AT_ONCE),
            on_failure,
            answer_within: FORWARD_WITHIN,
            metrics,
        })
    }

    /// What Chat is to be answered: the backend's answer, or ours in its place.
    pub(super) async fn answer(
        self: Arc<Self>,
        head: Parts,
        body: Held,
        before: bool,
        arrived: Instant,
    ) -> Response {
        let asker = Arc::clone(&self);
        let asking = tokio::spawn(async move {
            let asked = asker.ask(head, body, arrived).await;
            asker.log(&asked);
            asked
        });
        let asked = asking.await;
        let (result, answer) = asked.unwrap_or((ForwardResult::BadAnswer, Err(String::new())));
        answer.unwrap_or_else(|_| self.in_its_place(result, before))
    }

    fn in_its_place(&self, result: ForwardResult, before: bool) -> Response {
        let fails = match self.on_failure {
            ForwardFailure::Auto => before,
            ForwardFailure::Ok => false,
            ForwardFailure::Fail => true,
        };
        if !fails {
            return answer::ok();
        }
        let status = match result {
            ForwardResult::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ForwardResult::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        answer::fail(
            status,
            format!("callback backend failed: {}", result.text()),
        )
    }

    async fn ask(&self, head: Parts, body: Held, arrived: Instant) -> Asked {
        let Ok(_place) = self.places.try_acquire() else {
            return failed(
                ForwardResult::Overloaded,
                "too many callbacks wait for the backend",
            );
        };
        let began = Instant::now();
        let asked = timeout_at(arrived + self.answer_within, self.call(head, body.bytes)).await;
        let took = began.elapsed().as_secs_f64();
        self.metrics.forward_duration.observe(took);
        asked.unwrap_or_else(|_| {
            let reason = format!("no complete answer within {:?}", self.answer_within);
            failed(ForwardResult::Timeout, reason)
        })
    }

    async fn call(&self, head: Parts, body: Bytes) -> Asked {
        // The query goes in as text: parsing it, even well, would rewrite some of its characters.
        let query = head.uri.query().unwrap_or_default();
        let Ok(uri) = Uri::try_from(format!("{}{query}", self.target)) else {
            return failed(ForwardResult::BadAnswer, "the query is too long");
        };
        let peer = head.extensions.get::<ConnectInfo<SocketAddr>>().copied();
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = passed_on(head.headers, peer);
        match self.client.request(request).await {
            Ok(response) => read(response.map(Body::new)).await,
            Err(error) if error.is_connect() => {
                failed(ForwardResult::Unreachable, with_causes(&error))
            }
            Err(error) => failed(ForwardResult::BadAnswer, with_causes(&error)),
        }
    }

    fn log(&self, (result, answer): &Asked) {
        self.metrics.forward.of(*result).inc();
        let outcome = result.text();
        match answer {
            Ok(_) if *result == ForwardResult::Answered => {}
            Ok(_) if *result == ForwardResult::NotJson => warn_seldom!(
                "passing on an answer of the callback backend that is not JSON; Chat counts it as a \
                 failure; let the backend answer {{\"ActionStatus\":\"OK\",\"ErrorCode\":0,\"ErrorInfo\":\"\"}}"
            ),
            Ok(answer) => {
                let status = answer.status().as_u16();
                warn_seldom!(
                    outcome,
                    status,
                    "passing on a refusal of the callback backend"
                );
            }
            Err(reason) => warn_seldom!(outcome, reason, "callback backend failed"),
        }
    }
}

fn passed_on(mut headers: HeaderMap, peer: Option<ConnectInfo<SocketAddr>>) -> HeaderMap {
    let host = headers.get(HOST).cloned();
    for name in named_in_connection(&headers) {
        headers.remove(name);
    }
    for name in NOT_PASSED_ON {
        headers.remove(name);
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert(FORWARDED, HeaderValue::from_static("1"));
    if let Some(ConnectInfo(peer)) = peer
        && let Some(way) = with_peer(&headers, peer)
    {
        headers.insert(FORWARDED_FOR, way);
    }
    // A proxy that ends TLS before us knows the outer host and protocol.
    if let Some(host) = host {
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    let proto = HeaderValue::from_static("http");
    headers.entry(FORWARDED_PROTO).or_insert(proto);
    headers
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

/// Judges the backend's answer. What is below 500 goes on to Chat as it came, so that Chat hears from
/// us what it would hear from the backend.
async fn read(response: Response) -> Asked {
    let (head, body) = response.into_parts();
    if head.status.is_server_error() || head.status.is_informational() {
        let reason = format!("status {}", head.status.as_u16());
        return failed(ForwardResult::BadStatus, reason);
    }
    let body = match Limited::new(body, MAX_ANSWER_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failed(ForwardResult::Oversized, "the answer is longer than 64 KiB");
        }
        Err(_) => return failed(ForwardResult::BadAnswer, "the answer broke off"),
    };
    let result = match head.status {
        status if status.is_redirection() => ForwardResult::Redirect,
        status if status.is_client_error() => ForwardResult::BadStatus,
        _ if is_json_object(&head.headers, &body) => ForwardResult::Answered,
        _ => ForwardResult::NotJson,
    };
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = head.status;
    for name in [CONTENT_TYPE, CONTENT_ENCODING, LOCATION] {
        if let Some(value) = head.headers.get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    (result, Ok(answer))
}

fn is_json_object(headers: &HeaderMap, body: &[u8]) -> bool {
    !headers.contains_key(CONTENT_ENCODING)
        && body.trim_ascii_start().first() == Some(&b'{')
        && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

/// HTTP/1.1, as Chat itself speaks. Redirects are not followed, and no proxy of the environment is
/// asked: the backend is a neighbour.
fn client() -> std::io::Result<Client<HttpsConnector<HttpConnector>, Body>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    let tls = HttpsConnectorBuilder::new()
        .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())?
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(tls))
}
