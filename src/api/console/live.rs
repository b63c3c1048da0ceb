//! What happens now, sent to the pages that watch: `GET /console/events`, server-sent events as in
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
//!
//! First one event `past` with the points of the last two minutes and of the last hour and the latest
//! restorations, then once a second one event `now`: the status as `GET /v1/status` gives it, the latest
//! point, and who was restored since. All pages share one look at the database, which is taken the more
//! seldom the longer it takes. Nothing is kept for a page: one that reads too slowly misses what came in
//! between. A stream
//! ends after an hour at most, so that the session of its page is checked again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, middleware};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::api::status::{self, BEAT, Status};
use crate::api::{AdminState, Problem, ProblemType, Tokens, authorize};
use crate::reapply::Unseen;

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
    /// Locked while a look is under way, so that pages look together.
    look: Arc<Mutex<Option<Look>>>,
}

/// The last look at the status.
#[derive(Debug)]
struct Look {
    status: Arc<Status>,
    /// When the next one may begin.
    next: Instant,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            seats: Arc::new(Semaphore::new(SEATS)),
            look: Arc::default(),
        }
    }
}

/// The route, for all who may read.
pub(super) fn routes(tokens: &Tokens) -> Router<AdminState> {
    let who = middleware::from_fn_with_state(tokens.clone(), authorize);
    Router::new().route("/console/events", get(events).route_layer(who))
}

async fn events(State(state): State<AdminState>) -> Result<Response, Problem> {
    let seats = state.live.seats.clone();
    let seat = seats.try_acquire_owned().map_err(|_| {
        let detail = format!("{SEATS} pages watch this replica already");
        Problem::new(ProblemType::TooManyRequests, detail)
    })?;
    let known = state.restorations.after(0, MOST_RESTORED);
    // The oldest point first.
    let past = json!({
        "seconds": state.pulse.points(),
        "half_minutes": state.pulse.half_minutes(),
        "restored": known.latest,
    });
    let closing = state.replica.closing.clone().cancelled_owned();
    let end = tokio::time::timeout(LONGEST_STREAM, closing);
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        state,
        beats,
        seen: known.total,
        _seat: seat,
    };
    let events = stream::iter(event("past", &past)).chain(watcher.watch());
    let events = events.take_until(end).map(Ok::<_, Infallible>);
    let stream = Sse::new(events).keep_alive(KeepAlive::default());
    // Proxies that gather answers would hold the events back.
    Ok(([("x-accel-buffering", "no")], stream).into_response())
}

/// One page that watches.
struct Watcher {
    state: AdminState,
    beats: Interval,
    seen: u64,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    fn watch(self) -> impl Stream<Item = Event> {
        stream::unfold(self, |mut watcher| async {
            watcher.beats.tick().await;
            let state = &watcher.state;
            let status = latest_status(state).await;
            let Unseen {
                latest,
                missed,
                total,
            } = state.restorations.after(watcher.seen, MOST_RESTORED);
            watcher.seen = total;
            let now = json!({
                "status": *status,
                "point": state.pulse.latest(),
                "restored": latest,
                // How many more there were since the last event.
                "skipped": missed,
            });
            event("now", &now).map(|event| (event, watcher))
        })
    }
}

/// The first page that asks after a second reads the status; the others get the same.
async fn latest_status(state: &AdminState) -> Arc<Status> {
    let mut last = state.live.look.lock().await;
    let began = Instant::now();
    if let Some(look) = last.as_ref().filter(|look| look.next > began) {
        return look.status.clone();
    }
    let status = Arc::new(status::read(state).await);
    // A little less than a second, so that the next beat finds it due.
    let pause = (BEAT * 4 / 5).max(began.elapsed() * (LOOKING_SHARE - 1));
    *last = Some(Look {
        status: status.clone(),
        next: Instant::now() + pause,
    });
    status
}

/// An event; `None` if it cannot be written, which ends the stream.
fn event(name: &str, data: &Value) -> Option<Event> {
    let event = Event::default().event(name).json_data(data);
    event
        .inspect_err(|error| tracing::error!(%error, "an event of the console cannot be written"))
        .ok()
}
