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

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout_at};
use url::form_urlencoded;

use super::answer::{self, Refusal};
use super::body;
use super::forward::{self, Forward};
use super::intake::{Intake, NotStored, Recorded};
use super::signature::Signatures;
use super::wire::{self, Callback, Unreadable};
use crate::clock::Clock;
use crate::metrics::{CallbackCommand, CallbackOutcome, Label, Metrics};

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
    last_warning: AtomicI64,
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
    /// Warns when callbacks need not be signed.
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
        if !settings.signatures.are_required() {
            tracing::warn!("callback.tokens is empty: anybody can post callbacks");
        }
        let shared = Shared {
            path: settings.path,
            sdk_app_id: settings.sdk_app_id.to_string(),
            signatures: settings.signatures,
            answer_within: settings.answer_within,
            forward: settings.forward,
            intake,
            clock,
            last_warning: AtomicI64::new(i64::MIN),
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
    let arrived = Instant::now();
    // Until the request has proved itself, its command may be anything.
    let mut command = CallbackCommand::Other;
    let answer = state.shared.take(request, arrived, &mut command).await;
    let outcome = match &answer {
        Ok((_, Recorded::Stored)) => CallbackOutcome::Stored,
        Ok((_, Recorded::NotNeeded)) => CallbackOutcome::Ignored,
        Err(refusal) => refusal.outcome(),
    };
    let took = (outcome != CallbackOutcome::NotFound).then(|| arrived.elapsed());
    state.shared.metrics.callback(command, outcome, took);
    match answer {
        Ok((answer, _)) => answer,
        Err(refusal) => {
            state.shared.log(&refusal);
            refusal.into_response()
        }
    }
}

impl<I: Intake> Shared<I> {
    async fn take(
        &self,
        request: Request,
        arrived: Instant,
        command: &mut CallbackCommand,
    ) -> Result<(Response, Recorded), Refusal> {
        let deadline = arrived + self.answer_within;
        let (head, body) = request.into_parts();
        if !bool::from(head.uri.path().as_bytes().ct_eq(self.path.as_bytes())) {
            return Err(Refusal::OtherPath);
        }
        if head.method != Method::POST {
            return Err(Refusal::OtherMethod);
        }
        if let Some(forward) = &self.forward
            && forward::has_been_forwarded(&head.headers)
        {
            forward.note_loop();
            return Err(Refusal::Loop);
        }
        let body = timeout_at(deadline, body::read(body))
            .await
            .map_err(|_| Refusal::TooSlow)??;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        if query.sdk_app_id.as_deref() != Some(&self.sdk_app_id) {
            return Err(Refusal::OtherApp);
        }
        let now = (self.clock)();
        self.signatures
            .check(query.sign.as_deref(), query.request_time.as_deref(), now)?;
        let callback = wire::parse(&body, query.command.as_deref().unwrap_or_default(), now);
        if let Err(unreadable @ (Unreadable::NotJson(_) | Unreadable::CommandsDiffer)) = callback {
            return Err(unreadable.into());
        }
        *command = known(query.command.as_deref().unwrap_or_default());
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

    async fn hand_over(&self, callback: Callback, deadline: Instant) -> Result<Recorded, Refusal> {
        match callback {
            Callback::Members(events) if !events.is_empty() => {
                stored(self.intake.record(events), deadline).await
            }
            Callback::RoomDestroyed { group, at } => {
                stored(self.intake.room_destroyed(group, at), deadline).await?;
                Ok(Recorded::Stored)
            }
            Callback::RequestOverLimit(alert) => {
                self.intake.over_limit(alert);
                Ok(Recorded::NotNeeded)
            }
            Callback::Members(_) | Callback::Other(_) => Ok(Recorded::NotNeeded),
        }
    }

    /// A wrong token loses every event in silence, so refusals are told: one a second as a warning,
    /// for strangers can cause them too. Who misses the path is not Chat and costs no warning.
    fn log(&self, refusal: &Refusal) {
        let stranger = matches!(refusal, Refusal::OtherPath | Refusal::OtherMethod);
        let second = (self.clock)().timestamp();
        let status = refusal.status().as_u16();
        if stranger || self.last_warning.swap(second, Ordering::Relaxed) == second {
            tracing::debug!(status, reason = %refusal, "refused a callback");
        } else {
            tracing::warn!(status, reason = %refusal, "refused a callback");
        }
    }
}

/// The command of a request that has proved itself.
fn known(command: &str) -> CallbackCommand {
    let all = CallbackCommand::ALL.iter().copied();
    let mut named = all.filter(|known| known.text() == command);
    named.next().unwrap_or(CallbackCommand::Other)
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

/// The keys of the URL that are looked at; of one that stands twice, the first.
#[derive(Default)]
struct Query<'a> {
    sdk_app_id: Option<Cow<'a, str>>,
    command: Option<Cow<'a, str>>,
    sign: Option<Cow<'a, str>>,
    request_time: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn parse(query: &'a str) -> Self {
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*key {
                "SdkAppid" => &mut found.sdk_app_id,
                "CallbackCommand" => &mut found.command,
                "Sign" => &mut found.sign,
                "RequestTime" => &mut found.request_time,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        found
    }
}
