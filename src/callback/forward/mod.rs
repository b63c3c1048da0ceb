//! Forwarding: an existing backend goes on receiving the callbacks, and Chat gets its answer.
//!
//! The backend sees what Chat sent, byte for byte, so that it can check `Sign` as before. It has
//! until 1.7 s after the callback came. Whatever it does, Chat is answered within its 2 s, and our
//! own recording does not depend on it. A callback is sent once, because a "before" event must not
//! happen twice; the client sends it again only if it finds its kept connection closed before a byte
//! was sent. The call runs in a task of its own, so that it is completed when Chat hangs up.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

mod request;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::IgnoredAny;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::answer;
use super::listener::Held;
use crate::config::ForwardFailure;
use crate::metrics::{ForwardResult, Label, Metrics};
use crate::telemetry::{warn_seldom, with_causes};
use request::Target;
pub(super) use request::has_been_forwarded;

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

/// Whether Chat acts upon the answer to a command.
pub(super) fn is_before(command: &str) -> bool {
    command.contains("Before") || command.contains("Prev")
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidForward {
    #[error("callback.forward_url must be http:// or https:// with a host and without a user")]
    Url,
    #[error("callbacks cannot be forwarded: cannot set up TLS: {0}")]
    Tls(std::io::Error),
}

/// Passes callbacks on.
pub struct Forward {
    target: Target,
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
    /// Passes callbacks on to a backend at an http or https URL, whose path and query may hold secrets.
    /// Opens no connection yet.
    pub fn new(
        url: &Url,
        on_failure: ForwardFailure,
        metrics: Metrics,
    ) -> Result<Self, InvalidForward> {
        Ok(Self {
            target: Target::of(url).ok_or(InvalidForward::Url)?,
            client: client().map_err(InvalidForward::Tls)?,
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
        let Some(request) = self.target.request(head, body) else {
            return failed(ForwardResult::BadAnswer, "the query is too long");
        };
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
