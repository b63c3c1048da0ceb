//! What happens now, sent to the pages that watch: `GET /console/events`, server-sent events as in
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! First one event `past` with the points of the last two minutes and of the last hour and the latest restorations, then once a second one event
//! `now`: the status as `GET /v1/status` gives it, the latest point, and who was restored since. All
//! pages share one look at the database, and that look is taken the more seldom the longer it
//! takes. Nothing is kept for a page: one that reads too slowly misses what came in between. A stream
//! ends after an hour at most, so that the session of its page is checked again.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::api::status::{self, BEAT, Point, Status};
use crate::api::{AdminState, Problem, ProblemType, Tokens, authorize};
use crate::domain::{Account, GroupId};
use crate::reapply::{Restoration, Unseen};

/// Pages that may watch one replica at once.
const SEATS: usize = 64;
/// Restorations in one event at most.
const MOST_RESTORED: usize = 12;
/// A look at the database may take this share of the time at most.
const LOOKING_SHARE: u32 = 5;
const LONGEST_STREAM: Duration = Duration::from_secs(3600);

/// What the pages that watch share.
#[derive(Debug, Clone)]
pub struct Live {
    seats: Arc<Semaphore>,
    look: Arc<Mutex<Look>>,
}

/// The last look at the status.
#[derive(Debug, Default)]
struct Look {
    status: Option<Arc<Status>>,
    /// When the next one may begin; `None`: at once.
    next: Option<Instant>,
    /// Whether one is under way.
    looking: bool,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            look: Arc::default(),
        }
    }
}

impl Live {
    /// The latest status. The first page that asks after a second reads it; others get the one before.
    async fn status(&self, state: &AdminState) -> Arc<Status> {
        let known = {
            let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
            let due = look.next.is_none_or(|next| next <= Instant::now());
            match look.status.clone() {
                Some(status) if look.looking || !due => Some(status),
                _ => {
                    look.looking = true;
                    None
                }
            }
        };
        if let Some(status) = known {
            return status;
        }
        // A stream that is dropped while it reads must not leave the others waiting.
        let mut turn = Turn(Some(&self.look));
        let began = Instant::now();
        let status = Arc::new(status::read(state).await);
        turn.end(status.clone(), began);
        status
    }
}

/// One who looks. Dropped before the end, another one may.
struct Turn<'a>(Option<&'a Mutex<Look>>);

impl Turn<'_> {
    fn end(&mut self, status: Arc<Status>, began: Instant) {
        let Some(look) = self.0.take() else { return };
        let now = Instant::now();
        let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
        // A little less than a second, so that the next beat finds it due.
        let pause = (BEAT * 4 / 5).max((now - began) * (LOOKING_SHARE - 1));
        *look = Look {
            status: Some(status),
            next: Some(now + pause),
            looking: false,
        };
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(look) = self.0 {
            look.lock().unwrap_or_else(PoisonError::into_inner).looking = false;
        }
    }
}

/// The route, for all who may read.
pub(super) fn routes(tokens: &Tokens) -> Router<AdminState> {
    let who = middleware::from_fn_with_state(tokens.clone(), authorize);
    Router::new().route("/console/events", get(events).route_layer(who))
}

async fn events(State(state): State<AdminState>) -> Result<Response, Problem> {
    let seat = state.live.seats.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{SEATS} pages watch this replica already");
        Problem::new(ProblemType::TooManyRequests, detail)
    })?;
    let known = state.restorations.after(0, MOST_RESTORED);
    let past = event(
        "past",
        &Past {
            seconds: state.pulse.points(),
            half_minutes: state.pulse.half_minutes(),
            restored: known.latest.iter().map(Restored::from).collect(),
        },
    );
    let closing = state.replica.closing.clone().cancelled_owned();
    let events = watch(Watcher::new(state, seat, known.total));
    let events = stream::iter(past).chain(events);
    let events = events.take_until(closing).map(Ok::<_, Infallible>);
    let stream = Sse::new(events).keep_alive(KeepAlive::default());
    // Proxies that gather answers would hold the events back.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

/// One page that watches.
struct Watcher {
    state: AdminState,
    beats: Interval,
    began: Instant,
    seen: u64,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    fn new(state: AdminState, seat: OwnedSemaphorePermit, seen: u64) -> Self {
        let mut beats = tokio::time::interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            seen,
            state,
            beats,
            began: Instant::now(),
            _seat: seat,
        }
    }
}

fn watch(watcher: Watcher) -> impl Stream<Item = Event> {
    stream::unfold(watcher, |mut watcher| async {
        watcher.beats.tick().await;
        if watcher.began.elapsed() > LONGEST_STREAM {
            return None;
        }
        let status = watcher.state.live.status(&watcher.state).await;
        let Unseen {
            latest,
            missed,
            total,
        } = watcher
            .state
            .restorations
            .after(watcher.seen, MOST_RESTORED);
        watcher.seen = total;
        let now = Now {
            status: &status,
            point: watcher.state.pulse.latest(),
            restored: latest.iter().map(Restored::from).collect(),
            skipped: missed,
        };
        event("now", &now).map(|event| (event, watcher))
    })
}

/// The past; the oldest point first.
#[derive(Serialize)]
struct Past<'a> {
    seconds: Vec<Point>,
    half_minutes: Vec<Point>,
    restored: Vec<Restored<'a>>,
}

/// The data of one event.
#[derive(Serialize)]
struct Now<'a> {
    status: &'a Status,
    point: Option<Point>,
    /// Oldest first.
    restored: Vec<Restored<'a>>,
    /// How many more there were since the last event.
    skipped: u64,
}

#[derive(Serialize)]
struct Restored<'a> {
    at: String,
    group: &'a str,
    account: &'a str,
    marks: Vec<u32>,
    delay_seconds: f64,
}

impl<'a> From<&'a Restoration> for Restored<'a> {
    fn from(one: &'a Restoration) -> Self {
        Self {
            at: written(one.at),
            group: GroupId::as_str(&one.group),
            account: Account::as_str(&one.account),
            marks: one.marks.iter().map(|mark| mark.get()).collect(),
            delay_seconds: one.delay,
        }
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// An event; `None` if it cannot be written, which ends the stream.
fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    match Event::default().event(name).json_data(data) {
        Ok(event) => Some(event),
        Err(error) => {
            tracing::error!(%error, "an event of the console cannot be written");
            None
        }
    }
}
