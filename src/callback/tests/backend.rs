//! A callback backend that remembers, and the listener in front of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderMap, Method};
use axum::response::IntoResponse;
use chrono::DateTime;
use reqwest::Response;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use url::Url;

use super::listener::{NOW, PATH, Recorder, settings, signed_query};
use crate::callback::{CallbackState, Forward, ForwardOutcome, ForwardSettings, router};
use crate::config::ForwardFailure;

/// Longer than any test runs: what ends by this time has failed.
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SOON: Duration = Duration::from_millis(50);
/// An answer as of a backend that lets nobody in.
pub(super) const NO: &str =
    r#" {"ActionStatus": "OK", "ErrorInfo":"nicht so, \u00e4h", "ErrorCode":1}"#;

/// What the backend was sent.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub method: Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub peer: SocketAddr,
}

pub(super) struct Backend {
    pub address: SocketAddr,
    received: watch::Receiver<Vec<Received>>,
}

impl Backend {
    /// Answers every callback with what `answer` gives.
    pub async fn start<F, R>(answer: impl Fn() -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let (sender, received) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let handler = move |ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request| {
            let (sender, answer) = (Arc::clone(&sender), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let got = Received {
                    method: head.method,
                    path_and_query: head.uri.to_string(),
                    headers: head.headers,
                    body: to_bytes(body, usize::MAX).await.unwrap(),
                    peer,
                };
                sender.send_modify(|all| all.push(got));
                answer().await
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Router::new()
            .fallback(handler)
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, received }
    }

    pub fn url(&self) -> Url {
        url(self.address)
    }

    /// What has come when `count` callbacks have.
    pub async fn received(&self, count: usize) -> Vec<Received> {
        let mut received = self.received.clone();
        let received = received.wait_for(|all| all.len() >= count).await.unwrap();
        received.clone()
    }

    pub fn was_spared(&self) -> bool {
        self.received.borrow().is_empty()
    }
}

pub(super) fn url(address: SocketAddr) -> Url {
    format!("http://{address}/im/s3cret-path").parse().unwrap()
}

/// Answers with bytes that need not be HTTP, and hangs up.
pub(super) async fn raw_backend(answer: &'static [u8]) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            stream.write_all(answer).await.unwrap();
        }
    });
    url(address)
}

/// The listener in front of a backend.
pub(super) struct Front {
    pub address: SocketAddr,
    pub recorder: Arc<Recorder>,
    pub forward: Forward,
    client: reqwest::Client,
}

impl Front {
    pub async fn of(url: Url) -> Self {
        Self::with(forwarding(url), Recorder::new(true), LONG).await
    }

    pub async fn with(
        forward: ForwardSettings,
        recorder: Arc<Recorder>,
        answer_within: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, forward, recorder, answer_within)
    }

    pub fn on(
        listener: TcpListener,
        forward: ForwardSettings,
        recorder: Arc<Recorder>,
        answer_within: Duration,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let forward = Forward::new(forward).unwrap();
        let mut settings = settings(PATH, &["token"], answer_within);
        settings.forward = Some(forward.clone());
        let clock = Arc::new(|| DateTime::from_timestamp(NOW, 0).unwrap());
        let state = CallbackState::new(settings, Arc::clone(&recorder), clock).unwrap();
        let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            address,
            recorder,
            forward,
            client,
        }
    }

    pub fn request(&self, query: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{PATH}?{query}", self.address);
        self.client.post(url)
    }

    pub async fn post(&self, body: &Value) -> Response {
        let query = signed_query(body["CallbackCommand"].as_str().unwrap());
        let request = self.request(&query).body(body.to_string());
        request.send().await.unwrap()
    }

    /// Every outcome that was counted, with its count.
    pub fn counted(&self) -> Vec<(ForwardOutcome, u64)> {
        let counts = self.forward.counts();
        let all = ForwardOutcome::ALL.into_iter();
        all.map(|outcome| (outcome, counts.get(outcome)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

/// Forwarding with time enough, so that only what a test makes slow is slow.
pub(super) fn forwarding(url: Url) -> ForwardSettings {
    ForwardSettings {
        answer_within: LONG,
        ..ForwardSettings::new(url, ForwardFailure::Ok)
    }
}

/// A body that never ends.
pub(super) fn endless() -> axum::body::Body {
    axum::body::Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>())
}
