//! One request: path, query, body, recording, answer.
//!
//! The query proves the origin before the body is read, so a stranger's request costs a hash and no
//! memory. Chat waits 2 s. What is not stored 1.8 s after the request came is answered with 503, and
//! stored later. This is the hot path: without forwarding nothing is spawned.
//!
//! With forwarding, the backend gets every callback that proved its origin and is JSON, while its
//! events are stored. Chat is answered when both are done: with the backend's answer, except for a
//! refusal of ours. A 503 says that an event is not safe, while the backend's answer to a member
//! event has no effect in Chat.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::EXPECT;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use http_body_util::BodyExt;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::answer::{self, Refusal};
use super::arrivals::Arrivals;
use super::forward::{self, Forward, Held};
use super::signature::Signatures;
use super::wire::{self, Callback, Query};
use super::{Events, Recorded};
use crate::clock::{self, Clock};
use crate::config::CallbackSettings;
use crate::domain::RequestId;
use crate::metrics::{CallbackCommand, CallbackOutcome, ForwardResult, Label, Metrics};
use crate::telemetry::{attribute, failed, traceparent, warn_seldom};

/// When a callback is answered at the latest. Chat waits 2 s:
/// <https://www.tencentcloud.com/document/product/1047/34354>.
const ANSWER_WITHIN: Duration = Duration::from_millis(1800);

/// Longest body of a callback. No page states one; a list of 500 members takes some 30 KiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// All the bodies that are held at once.
const BODY_BYTES_HELD: usize = 16 * MAX_BODY_BYTES;

/// How much is read and dropped of a refused body. With what the connection has buffered already,
/// a stranger's costs at most 64 KiB of reading. The sender of one that is too long is no stranger.
const DROPPED_OF_A_REFUSED_BODY: usize = 32 * 1024;
const DROPPED_OF_A_LONG_BODY: usize = 8 * MAX_BODY_BYTES;
/// How long the rest of a stranger's body is waited for.
const DROPPED_WITHIN: Duration = Duration::from_millis(200);

/// Longest part of another path that is logged and shown.
const PATH_SHOWN: usize = 100;

/// Takes the callbacks of one application.
pub struct Listener {
    /// Begins with a slash, may carry a secret.
    path: String,
    /// As in the URL of callbacks.
    sdk_app_id: String,
    pub(super) signatures: Signatures,
    pub(super) forward: Option<Arc<Forward>>,
    /// [`ANSWER_WITHIN`] outside tests.
    pub(super) answer_within: Duration,
    /// One permit a byte; [`BODY_BYTES_HELD`] outside tests.
    pub(super) room_for_bodies: Arc<Semaphore>,
    pub(super) clock: Clock,
    events: Events,
    pub(super) arrivals: Arrivals,
    pub(super) metrics: Metrics,
}

async fn handle(State(listener): State<Arc<Listener>>, request: Request) -> Response {
    if is_health_check(&request) {
        return Response::default();
    }
    let span = tracing::debug_span!(
        "callback",
        request_id = Empty,
        command = Empty,
        outcome = Empty
    );
    listener.answer(request).instrument(span).await
}

/// Load balancers ask the port that they route to for a 200.
fn is_health_check(request: &Request) -> bool {
    request.uri().path() == "/" && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// When a request came, by both clocks, and what is known of it, also when it is refused.
struct Arrival {
    now: DateTime<Utc>,
    at: Instant,
    /// Of a callback that proved its origin.
    command: Option<CallbackCommand>,
    request: Option<RequestId>,
}

impl Listener {
    /// # Errors
    /// When TLS for forwarding cannot be set up.
    pub fn new(
        settings: &CallbackSettings,
        sdk_app_id: u64,
        events: Events,
        arrivals: Arrivals,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let forward = settings.forward_url.as_ref();
        let forward =
            forward.map(|url| Forward::new(url, settings.forward_failure, metrics.clone()));
        Ok(Self {
            path: settings.path.as_str().to_owned(),
            sdk_app_id: sdk_app_id.to_string(),
            signatures: Signatures::new(settings.tokens.clone(), settings.max_age),
            forward: forward.transpose()?.map(Arc::new),
            answer_within: ANSWER_WITHIN,
            room_for_bodies: Arc::new(Semaphore::new(BODY_BYTES_HELD)),
            clock: clock::system(),
            events,
            arrivals,
            metrics,
        })
    }

    /// One path, and `/` for the health checks of load balancers.
    pub fn router(self) -> Router {
        // A fallback alone: the path is what the operator chose, not a pattern of the router's.
        Router::new().fallback(handle).with_state(Arc::new(self))
    }

    fn deadline(&self, arrival: &Arrival) -> Instant {
        arrival.at + self.answer_within
    }

    async fn answer(&self, request: Request) -> Response {
        let mut arrival = Arrival {
            now: (self.clock)(),
            at: Instant::now(),
            command: None,
            request: None,
        };
        let (head, mut body) = request.into_parts();
        // Reading any of such a body invites the sender to send all of it.
        let waits_for_continue = head.headers.contains_key(EXPECT);
        let taken = self.take(head, &mut body, &mut arrival).await;
        let (status, outcome) = match &taken {
            Ok((answer, Recorded::Stored)) => (answer.status(), CallbackOutcome::Stored),
            Ok((answer, Recorded::NotNeeded)) => (answer.status(), CallbackOutcome::Ignored),
            Err(refusal) => (refusal.kind().0, refusal.kind().1),
        };
        let took = (outcome != CallbackOutcome::NotFound).then(|| arrival.at.elapsed());
        let command = arrival.command.unwrap_or(CallbackCommand::Other);
        self.metrics.callback(command, outcome, took);
        self.arrivals
            .answered(arrival.now, arrival.command, taken.as_ref().err());
        let span = Span::current();
        span.record("command", command.text());
        span.record("outcome", outcome.text());
        tracing::debug!(seconds = arrival.at.elapsed().as_secs_f64(), "answered");
        attribute("http.response.status_code", i64::from(status.as_u16()));
        // A refused callback is the sender's fault, not one of this server.
        if status.is_server_error() {
            failed(outcome.text());
        }
        match taken {
            Ok((answer, _)) => answer,
            Err(refusal) => {
                log_refusal(&refusal, arrival.request.as_ref());
                let deadline = self.deadline(&arrival);
                let soon = deadline.min(Instant::now() + DROPPED_WITHIN);
                let (most, until) = match refusal {
                    _ if waits_for_continue => (0, soon),
                    Refusal::TooLong => (DROPPED_OF_A_LONG_BODY, deadline),
                    _ => (DROPPED_OF_A_REFUSED_BODY, soon),
                };
                let dropped = timeout_at(until, drop_rest(body, most)).await;
                refusal.answer(dropped.unwrap_or(false))
            }
        }
    }

    async fn take(
        &self,
        head: Parts,
        body: &mut Body,
        arrival: &mut Arrival,
    ) -> Result<(Response, Recorded), Refusal> {
        let query = self.admit(&head, arrival)?;
        let body = timeout_at(self.deadline(arrival), self.read(body))
            .await
            .map_err(|_| Refusal::TooSlow)??;
        let request = arrival.request.get_or_insert_with(RequestId::generate);
        let callback = wire::parse(&body.bytes, &query.command, request, arrival.now);
        // A backend may understand a field that we cannot read.
        if let Err(refusal @ (Refusal::NotJson(_) | Refusal::CommandsDiffer)) = callback {
            return Err(refusal);
        }
        let Some(forward) = &self.forward else {
            drop(body);
            return Ok((answer::ok(), self.record(callback?, arrival).await?));
        };
        let before = forward::is_before(&query.command);
        let recording = async { self.record(callback?, arrival).await };
        let forwarding = Arc::clone(forward).answer(head, body, before, arrival.at);
        let (recorded, answer) = tokio::join!(recording, forwarding);
        recorded.map(|recorded| (answer, recorded))
    }

    /// Whether the head of a request proves that it is a callback of this application.
    fn admit<'a>(&self, head: &'a Parts, arrival: &mut Arrival) -> Result<Query<'a>, Refusal> {
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let is_ours = query.sdk_app_id == self.sdk_app_id;
        let path = head.uri.path();
        if !bool::from(path.as_bytes().ct_eq(self.path.as_bytes())) {
            return Err(match head.method == Method::POST && is_ours {
                true => Refusal::OtherPath(shown(path, &self.path)),
                false => Refusal::NotFound,
            });
        }
        if head.method != Method::POST {
            return Err(Refusal::OtherMethod);
        }
        // Chat's own id of the request, or a new one. From here on it goes with the events, into the
        // log and into the trace.
        let id = query.request_id.as_deref().and_then(RequestId::parse);
        let id = id.unwrap_or_else(RequestId::generate);
        let id = arrival.request.insert(id.in_trace(traceparent()));
        Span::current().record("request_id", id.as_str());
        if !is_ours {
            return Err(Refusal::OtherApp);
        }
        let (sign, time) = (query.sign.as_deref(), query.request_time.as_deref());
        self.signatures.check(sign, time, arrival.now)?;
        // After the proof of origin, so that strangers cannot feign loops.
        if self.forward.is_some() && forward::has_been_forwarded(&head.headers) {
            self.metrics.forward.of(ForwardResult::Loop).inc();
            return Err(Refusal::Loop);
        }
        arrival.command = Some(CallbackCommand::named(&query.command));
        Ok(query)
    }

    async fn read(&self, body: &mut Body) -> Result<Held, Refusal> {
        if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(Refusal::TooLong);
        }
        let mut whole = Vec::new();
        let acquire = |bytes: usize| {
            let room = Arc::clone(&self.room_for_bodies);
            let permit = room.try_acquire_many_owned(bytes as u32);
            permit.map_err(|_| Refusal::NoRoom)
        };
        let mut room = acquire(0)?;
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else {
                continue;
            };
            if whole.len() + piece.len() > MAX_BODY_BYTES {
                return Err(Refusal::TooLong);
            }
            room.merge(acquire(piece.len())?);
            whole.extend_from_slice(&piece);
        }
        Ok(Held {
            bytes: whole.into(),
            room,
        })
    }

    async fn record(&self, callback: Callback, arrival: &Arrival) -> Result<Recorded, Refusal> {
        let deadline = self.deadline(arrival);
        if let Some(at) = callback.event_time() {
            let lag = arrival.now.timestamp_millis() - at.millis();
            // By two clocks, so it may be less than none.
            self.metrics
                .event_lag
                .observe((lag as f64 / 1000.0).max(0.0));
        }
        let stored = match callback {
            Callback::Members(events) if !events.is_empty() => {
                timeout_at(deadline, self.events.record(events)).await
            }
            Callback::RoomDestroyed(end) => {
                timeout_at(deadline, self.events.room_destroyed(end)).await
            }
            Callback::OverLimit(alert) => {
                self.events.over_limit(&alert);
                return Ok(Recorded::NotNeeded);
            }
            Callback::Members(_) | Callback::Other => return Ok(Recorded::NotNeeded),
        };
        Ok(stored.map_err(|_| Refusal::NotStoredYet)??)
    }
}

/// Drops what is left of a refused body, up to a limit, so that its sender meets the answer and not
/// a closed connection. True when nothing is left.
async fn drop_rest(mut body: Body, most: usize) -> bool {
    let mut dropped = 0;
    if body.size_hint().lower() > most as u64 {
        return false;
    }
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => dropped += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return false,
        }
        if dropped > most {
            return false;
        }
    }
    true
}

/// Another path, for the log and for people: printable ASCII, cut, and without the right path, which
/// may hold a secret.
fn shown(path: &str, right: &str) -> String {
    let path = path.replace(right, "{callback.path}");
    let printable = path.chars().map(|letter| match letter {
        ' '..='~' => letter,
        _ => char::REPLACEMENT_CHARACTER,
    });
    printable.take(PATH_SHOWN).collect()
}

/// A wrong token loses every event in silence, so refusals are logged, though seldom: strangers can
/// cause them too, and must not hide what else goes wrong.
fn log_refusal(refusal: &Refusal, request: Option<&RequestId>) {
    let (status, reason) = (refusal.kind().0.as_u16(), refusal.to_string());
    let request_id = request.map(RequestId::as_str);
    match refusal {
        Refusal::NotFound | Refusal::OtherMethod => {
            tracing::debug!(status, reason, "refused a request that is not a callback");
        }
        Refusal::OtherPath(path) => {
            warn_seldom!(
                path,
                "refused a callback to another path; is the callback URL in the console right?"
            );
        }
        Refusal::OtherApp
        | Refusal::NotSigned(_)
        | Refusal::WrongSign
        | Refusal::NoTime
        | Refusal::Stale { .. } => {
            warn_seldom!(
                status,
                reason,
                request_id,
                "refused a callback that does not prove its origin"
            );
        }
        _ => warn_seldom!(status, reason, request_id, "refused a callback"),
    }
}
