//! The way of one request: path and method, size, application, signature, body, intake, answer.
//!
//! Chat waits 2 s. What is not stored 1.8 s after the request came is answered with 503, while the
//! intake goes on storing it. This is the hot path: the query is read without building a map and
//! the body in place, and without forwarding nothing is spawned.
//!
//! With forwarding, the backend gets every callback that proved its origin and is JSON, while we
//! store what it says. Chat is answered when both are done: with the backend's answer, unless we
//! must refuse, for a 503 of ours says that an event is not safe, while the backend's answer to a
//! member event moves nothing in Chat.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::answer::{self, Refusal};
use super::body;
use super::forward::{self, Forward};
use super::intake::{Intake, NotStored, Recorded};
use super::query::Query;
use super::signature::Signatures;
use super::wire::{self, Callback, Receipt, Unreadable};
use crate::clock::Clock;
use crate::domain::RequestId;
use crate::metrics::{CallbackCommand, CallbackOutcome, Label, Metrics};
use crate::telemetry::warn_seldom;

/// When a callback is answered at the latest. Chat waits 2 s:
/// <https://www.tencentcloud.com/document/product/1047/34354>.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(1800);

/// What the listener is told by the configuration.
#[derive(Debug, Clone)]
pub struct CallbackSettings {
    /// The path that callbacks go to; begins with a slash, may carry a secret.
    pub path: String,
    /// The application whose callbacks are taken.
    pub sdk_app_id: u64,
    /// How they prove their origin.
    pub signatures: Signatures,
    /// When a callback is answered at the latest; [`ANSWER_WITHIN`] outside tests.
    pub answer_within: Duration,
    /// Passes callbacks on to an existing backend.
    pub forward: Option<Forward>,
}

/// A path that no request can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "callback.path must begin with / and hold only printable ASCII without spaces, ? and #, as it \
     stands in the URL"
)]
pub struct InvalidPath;

/// All that a request is judged by and handed to. Clones share it.
pub struct CallbackState<I> {
    shared: Arc<Shared<I>>,
}

struct Shared<I> {
    path: String,
    sdk_app_id: String,
    signatures: Signatures,
    answer_within: Duration,
    forward: Option<Forward>,
    intake: I,
    clock: Clock,
    metrics: Metrics,
}

impl<I> Clone for CallbackState<I> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<I: Intake> CallbackState<I> {
    /// A state that tells metrics of its own, which nobody sees.
    pub fn new(settings: CallbackSettings, intake: I, clock: Clock) -> Result<Self, InvalidPath> {
        Self::with_metrics(settings, intake, clock, Metrics::default())
    }

    /// The same, telling these metrics of every answer.
    pub fn with_metrics(
        settings: CallbackSettings,
        intake: I,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, InvalidPath> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'?' && byte != b'#';
        if !settings.path.starts_with('/') || !settings.path.bytes().all(fits) {
            return Err(InvalidPath);
        }
        let shared = Shared {
            path: settings.path,
            sdk_app_id: settings.sdk_app_id.to_string(),
            signatures: settings.signatures,
            answer_within: settings.answer_within,
            forward: settings.forward,
            intake,
            clock,
            metrics,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }
}

/// The routes of the callback listener: one path, everything else is refused in the same shape.
pub fn router<I: Intake>(state: CallbackState<I>) -> Router {
    // A fallback alone: the path is whatever the operator chose, not a pattern of the router's.
    Router::new().fallback(handle::<I>).with_state(state)
}

async fn handle<I: Intake>(State(state): State<CallbackState<I>>, request: Request) -> Response {
    let span = tracing::debug_span!(
        "callback",
        request_id = Empty,
        command = Empty,
        outcome = Empty
    );
    answer(state, request).instrument(span).await
}

async fn answer<I: Intake>(state: CallbackState<I>, request: Request) -> Response {
    let arrived = Instant::now();
    let mut known = Known::default();
    let answer = state.shared.take(request, arrived, &mut known).await;
    let outcome = match &answer {
        Ok((_, Recorded::Stored)) => CallbackOutcome::Stored,
        Ok((_, Recorded::NotNeeded)) => CallbackOutcome::Ignored,
        Err(refusal) => refusal.outcome(),
    };
    let took = (outcome != CallbackOutcome::NotFound).then(|| arrived.elapsed());
    state.shared.metrics.callback(known.command, outcome, took);
    let span = Span::current();
    span.record("command", known.command.text());
    span.record("outcome", outcome.text());
    tracing::debug!(took = ?arrived.elapsed(), "answered");
    match answer {
        Ok((answer, _)) => answer,
        Err(refusal) => {
            tell(&refusal, known.request.as_ref());
            refusal.into_response()
        }
    }
}

/// What is known of a request, also of one that is refused.
struct Known {
    /// Until it has proved its origin, it may say anything.
    command: CallbackCommand,
    request: Option<RequestId>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            command: CallbackCommand::Other,
            request: None,
        }
    }
}

impl<I: Intake> Shared<I> {
    async fn take(
        &self,
        request: Request,
        arrived: Instant,
        known: &mut Known,
    ) -> Result<(Response, Recorded), Refusal> {
        let deadline = arrived + self.answer_within;
        let (head, body) = request.into_parts();
        self.check_place(&head)?;
        let body = timeout_at(deadline, body::read(body))
            .await
            .map_err(|_| Refusal::TooSlow)??;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let request = known
            .request
            .insert(request_id(query.request_id.as_deref()));
        let now = (self.clock)();
        self.check_origin(&query, now)?;
        self.check_loop(&head)?;
        let receipt = Receipt { request, now };
        let url_command = query.command.as_deref().unwrap_or_default();
        let callback = wire::parse(&body, url_command, receipt);
        if let Err(unreadable @ (Unreadable::NotJson(_) | Unreadable::CommandsDiffer)) = callback {
            return Err(unreadable.into());
        }
        known.command = CallbackCommand::named(url_command);
        // A field that we cannot read may well mean something to the backend.
        let Some(forward) = &self.forward else {
            drop(body);
            let recorded = self.hand_over(callback?, deadline).await?;
            return Ok((answer::ok(), recorded));
        };
        let taking = async { self.hand_over(callback?, deadline).await };
        let (taken, answer) = tokio::join!(taking, forward.answer(head, body, arrived));
        taken.map(|recorded| (answer, recorded))
    }

    fn check_place(&self, head: &Parts) -> Result<(), Refusal> {
        if !bool::from(head.uri.path().as_bytes().ct_eq(self.path.as_bytes())) {
            return Err(Refusal::OtherPath);
        }
        match head.method {
            Method::POST => Ok(()),
            _ => Err(Refusal::OtherMethod),
        }
    }

    fn check_origin(&self, query: &Query<'_>, now: DateTime<Utc>) -> Result<(), Refusal> {
        if query.sdk_app_id.as_deref() != Some(&self.sdk_app_id) {
            return Err(Refusal::OtherApp);
        }
        let (sign, time) = (query.sign.as_deref(), query.request_time.as_deref());
        Ok(self.signatures.check(sign, time, now)?)
    }

    /// Behind the proof of origin, so that strangers cannot feign loops.
    fn check_loop(&self, head: &Parts) -> Result<(), Refusal> {
        match &self.forward {
            Some(forward) if forward::has_been_forwarded(&head.headers) => {
                forward.note_loop();
                Err(Refusal::Loop)
            }
            _ => Ok(()),
        }
    }

    async fn hand_over(&self, callback: Callback, deadline: Instant) -> Result<Recorded, Refusal> {
        match callback {
            Callback::Members(events) if !events.is_empty() => {
                stored(self.intake.record(events), deadline).await
            }
            Callback::RoomDestroyed(end) => {
                stored(self.intake.room_destroyed(end), deadline).await?;
                Ok(Recorded::Stored)
            }
            Callback::RequestOverLimit(alert) => {
                self.intake.over_limit(alert);
                Ok(Recorded::NotNeeded)
            }
            Callback::Members(_) | Callback::Other(_) => Ok(Recorded::NotNeeded),
        }
    }
}

/// A wrong token loses every event in silence, so refusals are told, though seldom: strangers can cause
/// them too, and must not hide what else goes wrong. Who misses the path is not Chat and costs no
/// warning.
fn tell(refusal: &Refusal, request: Option<&RequestId>) {
    let (status, reason) = (refusal.status().as_u16(), refusal.to_string());
    let request_id = request.map(RequestId::as_str);
    match refusal {
        Refusal::OtherPath | Refusal::OtherMethod => {
            tracing::debug!(status, reason, "refused a callback");
        }
        Refusal::TooLong
        | Refusal::TooSlow
        | Refusal::BrokenOff
        | Refusal::OtherApp
        | Refusal::NotSigned(_) => {
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

/// Chat's own id of the request, else one of ours; from here on it goes with the events, into the
/// log and into the trace.
fn request_id(given: Option<&str>) -> RequestId {
    let id = given.and_then(RequestId::parse);
    let id = id.unwrap_or_else(RequestId::generate);
    Span::current().record("request_id", id.as_str());
    id
}

async fn stored<T>(
    storing: impl Future<Output = Result<T, NotStored>>,
    deadline: Instant,
) -> Result<T, Refusal> {
    let in_time = timeout_at(deadline, storing)
        .await
        .map_err(|_| Refusal::NotStoredYet)?;
    Ok(in_time?)
}
