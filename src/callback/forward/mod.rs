//! Forwarding: an existing backend goes on receiving the callbacks, and Chat gets its answer.
//!
//! The backend sees what Chat sent, byte for byte, so that it can check `Sign` as ever. It has
//! until 1.7 s after the callback came; whatever it does, Chat is answered within its 2 s and our
//! own recording goes its own way. A call is made once: a "before" event must not happen twice. It
//! runs in a task of its own, so that it ends well when Chat hangs up. What waits for a dead
//! backend is bounded, in number and in bytes.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

mod counts;
mod failure;
mod own_address;
mod reply;
mod request;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::response::Response;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::config::ForwardFailure;
use crate::metrics::{ForwardResult, Metrics};
use crate::telemetry::warn_seldom;
pub use counts::{ForwardCounts, ForwardOutcome};
use failure::Failure;
pub use own_address::leads_to;
use request::Target;
pub(super) use request::has_been_forwarded;

/// How long the backend may take, from the moment the callback came: Chat waits 2 s, and our own
/// work is waited for until 1.8 s.
pub const FORWARD_WITHIN: Duration = Duration::from_millis(1700);

/// How many callbacks may wait for the backend at once. One longer than 64 KiB counts as several,
/// so they never hold more than 64 MiB.
pub const FORWARDS_AT_ONCE: u32 = 1024;

const BYTES_OF_ONE: usize = 64 * 1024;

/// Shorter than the keep-alive of common backends (5 s and more), which would otherwise close a
/// connection in the moment it is used again.
const IDLE_CONNECTION: Duration = Duration::from_secs(4);

/// Within the time of one callback, so that an address that swallows packets counts as down.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// Where callbacks go on to.
#[derive(Clone)]
pub struct ForwardSettings {
    /// The backend: http or https, without a query. Its path may hold a secret.
    pub url: Url,
    /// What Chat is told when the backend gives no proper answer.
    pub on_failure: ForwardFailure,
    /// How long the backend may take; [`FORWARD_WITHIN`] outside tests.
    pub answer_within: Duration,
    /// How many callbacks may wait at once; [`FORWARDS_AT_ONCE`] outside tests.
    pub at_once: u32,
}

impl ForwardSettings {
    /// With the limits that hold outside tests.
    pub fn new(url: Url, on_failure: ForwardFailure) -> Self {
        Self {
            url,
            on_failure,
            answer_within: FORWARD_WITHIN,
            at_once: FORWARDS_AT_ONCE,
        }
    }
}

/// Why nothing can be forwarded.
#[derive(Debug, thiserror::Error)]
pub enum InvalidForward {
    /// No address to call.
    #[error("callback.forward_url must be http:// or https:// with a host and without a query")]
    Url,
    /// TLS could not be set up.
    #[error("callbacks cannot be forwarded: {0}")]
    Tls(std::io::Error),
}

/// Passes callbacks on. Clones share connections, limits and counts.
#[derive(Clone)]
pub struct Forward {
    shared: Arc<Shared>,
}

struct Shared {
    target: Target,
    client: Client<HttpsConnector<HttpConnector>, Body>,
    room: Semaphore,
    on_failure: ForwardFailure,
    answer_within: Duration,
    counts: Arc<ForwardCounts>,
    metrics: Metrics,
}

impl Forward {
    /// Opens no connection yet.
    ///
    /// # Errors
    /// When the URL cannot be called, or TLS finds no certificates to trust.
    pub fn new(settings: ForwardSettings) -> Result<Self, InvalidForward> {
        Self::with_metrics(settings, Metrics::default())
    }

    /// The same, telling these metrics how callbacks fare.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_metrics(
        settings: ForwardSettings,
        metrics: Metrics,
    ) -> Result<Self, InvalidForward> {
        let shared = Shared {
            target: Target::of(&settings.url).ok_or(InvalidForward::Url)?,
            client: client().map_err(InvalidForward::Tls)?,
            room: Semaphore::new(settings.at_once as usize),
            on_failure: settings.on_failure,
            answer_within: settings.answer_within,
            counts: Arc::default(),
            metrics,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// How forwarding went so far.
    pub fn counts(&self) -> Arc<ForwardCounts> {
        Arc::clone(&self.shared.counts)
    }

    /// A callback had been forwarded before.
    pub(super) fn note_loop(&self) {
        self.shared.metrics.forwarded(ForwardResult::Loop);
    }

    /// What Chat is to be answered: the backend's answer, or ours in its place.
    pub(super) async fn answer(&self, head: Parts, body: Bytes, arrived: Instant) -> Response {
        let shared = Arc::clone(&self.shared);
        let asking = tokio::spawn(async move {
            let asked = shared.ask(head, body, arrived).await;
            shared.settle(asked)
        });
        asking.await.unwrap_or_else(|_| {
            let failure = Failure::broken("the call ended badly");
            self.shared.settle(Err(failure))
        })
    }
}

impl Shared {
    async fn ask(&self, head: Parts, body: Bytes, arrived: Instant) -> Result<Response, Failure> {
        let places = body.len().div_ceil(BYTES_OF_ONE).max(1);
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        let _place = self.room.try_acquire_many(places).map_err(|_| Failure {
            outcome: ForwardOutcome::Busy,
            reason: "too many callbacks wait for the backend".to_owned(),
        })?;
        let deadline = arrived + self.answer_within;
        let began = Instant::now();
        let asked = timeout_at(deadline, self.call(head, body)).await;
        self.metrics.forward_took(began.elapsed());
        asked.unwrap_or_else(|_| {
            Err(Failure {
                outcome: ForwardOutcome::Slow,
                reason: format!("no whole answer within {:?}", self.answer_within),
            })
        })
    }

    async fn call(&self, head: Parts, body: Bytes) -> Result<Response, Failure> {
        let request = self.target.request(head, body)?;
        let response = self.client.request(request).await?;
        reply::read(response.map(Body::new)).await
    }

    fn settle(&self, asked: Result<Response, Failure>) -> Response {
        let (outcome, reason) = match &asked {
            Ok(answer) if answer.status().is_success() => (ForwardOutcome::Ok, String::new()),
            Ok(answer) => {
                let reason = format!("status {}", answer.status().as_u16());
                (ForwardOutcome::Refused, reason)
            }
            Err(failure) => (failure.outcome, failure.reason.clone()),
        };
        self.counts.add(outcome);
        self.metrics.forwarded(outcome.into());
        if outcome != ForwardOutcome::Ok {
            let outcome = outcome.name();
            warn_seldom!(outcome, ?reason, "the callback backend did not help");
        }
        asked.unwrap_or_else(|_| self.on_failure.answer(outcome))
    }
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

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("to", &self.shared.target)
            .field("on_failure", &self.shared.on_failure)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ForwardSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardSettings")
            .field("url", &self.url.origin().ascii_serialization())
            .field("on_failure", &self.on_failure)
            .field("answer_within", &self.answer_within)
            .field("at_once", &self.at_once)
            .finish()
    }
}
