//! The stage as a page of the demo's admin listener: `/stage` shows the rooms of the simulated Chat
//! with all members' marks, and lets a visitor move members and make Chat fail.
//!
//! What it shows comes from the looks that the demo takes anyway, and from the service's own rules;
//! its orders go to the simulated Chat's control API, like any other client's. It takes no token: it
//! exists in the demo alone, whose listener is on loopback, and lets in only requests for this
//! machine and none of other sites. All that it keeps or sends is bounded.

mod news;
mod orders;
mod painter;
mod rooms;

use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::{Stream, StreamExt, stream};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::ledger::{Change, Look};
use super::stage::Operator;
use crate::api::this_machine_only;
use crate::database::Db;
use crate::local::simulator::Simulated;

/// Where the page is.
pub(super) const PATH: &str = "/stage";
/// Looks that may wait to be drawn; while so many wait, newer ones are left out.
const WAITING: usize = 16;
/// Browsers that may watch at once.
const SEATS: usize = 32;
/// Enough for the accounts of the largest order.
const LARGEST_BODY: usize = 64 * 1024;
/// The least time between two pictures for one browser.
const PAUSE: Duration = Duration::from_millis(40);
/// A browser that receives nothing for longer asks again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
/// Compiled in. Frame, colours and small parts are the console's.
const FILES: [(&str, &str, &str); 7] = [
    (PATH, HTML, include_str!("assets/stage.html")),
    ("/stage/stage.css", CSS, include_str!("assets/stage.css")),
    ("/stage/stage.js", JS, include_str!("assets/stage.js")),
    ("/stage/room.js", JS, include_str!("assets/room.js")),
    ("/stage/frame.js", JS, include_str!("assets/frame.js")),
    ("/stage/dom.js", JS, include_str!("assets/dom.js")),
    ("/stage/words.js", JS, include_str!("assets/words.js")),
];

/// The page, as the show sees it.
#[derive(Debug)]
pub(super) struct Page {
    shared: Arc<Shared>,
    looks: mpsc::Sender<(Look, Vec<Change>)>,
    drawing: JoinHandle<()>,
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    chat: Simulated,
    /// The latest picture as JSON; empty before the first.
    pictures: watch::Sender<Arc<str>>,
    seats: Arc<Semaphore>,
    /// True while only the script may move the members.
    playing: AtomicBool,
    moved: Notify,
    closing: CancellationToken,
}

impl Page {
    /// Opens the page. `closing` ends what is still being watched.
    pub(super) fn open(
        chat: Simulated,
        db: Db,
        operator: Operator,
        closing: CancellationToken,
    ) -> Self {
        let (looks, waiting) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            chat,
            pictures: watch::Sender::new("".into()),
            seats: Arc::new(Semaphore::new(SEATS)),
            playing: AtomicBool::new(true),
            moved: Notify::new(),
            closing,
        });
        let drawing = tokio::spawn(painter::draw(shared.clone(), db, operator, waiting));
        Self {
            shared,
            looks,
            drawing,
        }
    }

    /// Page, pictures and orders.
    pub(super) fn router(&self) -> Router {
        let always =
            |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
        let orders = Router::new()
            .route("/stage/move", post(orders::move_members))
            .route("/stage/open", post(orders::open))
            .route("/stage/close", post(orders::close))
            .route("/stage/trouble", put(orders::trouble))
            .route("/stage/events", get(events));
        let all = FILES
            .into_iter()
            .fold(orders, |router, (path, kind, text)| {
                let answer = move || future::ready(([(header::CONTENT_TYPE, kind)], text));
                router.route(path, get(answer))
            });
        all.layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(CatchPanicLayer::new())
            .layer(middleware::from_fn(guard))
            .layer(always(header::CONTENT_SECURITY_POLICY, POLICY))
            .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(always(header::REFERRER_POLICY, "no-referrer"))
            .layer(always(header::CACHE_CONTROL, "no-cache"))
            .with_state(self.shared.clone())
    }

    /// Shows a look and what became different.
    pub(super) fn show(&self, look: Look, changes: Vec<Change>) {
        // The next look is a fifth of a second away; a page that cannot follow shows that one.
        let _full = self.looks.try_send((look, changes));
    }

    /// The screenplay is over; from now on visitors move the members.
    pub(super) fn hand_over(&self) {
        self.shared.playing.store(false, Ordering::Relaxed);
    }

    /// Waits for the last picture, once the page is closing.
    pub(super) async fn close(self) {
        if let Err(error) = self.drawing.await {
            tracing::error!(%error, "drawing the stage failed");
        }
    }

    /// Waits until a visitor did something.
    pub(super) async fn moved(&self) {
        self.shared.moved.notified().await;
    }
}

async fn guard(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match this_machine_only(&head) {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(problem) => problem.into_response(),
    }
}

/// An order that is not carried out, as RFC 9457 problem details.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let problem = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
        });
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, problem.to_string()).into_response()
    }
}

/// Pictures as they come, the present one first. A browser that is slow misses pictures, never the
/// last one: each picture is whole, so nothing queues up.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(seat) = shared.seats.clone().try_acquire_owned() else {
        let detail = "too many pages watch the stage; close one";
        return Refused(StatusCode::SERVICE_UNAVAILABLE, detail.to_owned()).into_response();
    };
    let pictures = pictures(shared.pictures.subscribe()).map(move |event| {
        let _seat = &seat;
        Ok::<_, Infallible>(event)
    });
    let pictures = pictures.take_until(shared.closing.clone().cancelled_owned());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(pictures).keep_alive(keep_alive).into_response()
}

fn pictures(mut shown: watch::Receiver<Arc<str>>) -> impl Stream<Item = Event> {
    shown.mark_changed();
    stream::unfold((shown, false), async |(mut shown, later)| {
        if later {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            shown.changed().await.ok()?;
            let picture = shown.borrow_and_update().clone();
            if !picture.is_empty() {
                return Some((Event::default().data(&*picture), (shown, true)));
            }
        }
    })
}
