//! The stage as a page of the demo's admin listener: `/stage` shows the rooms of the simulated Chat
//! with all members' marks, and lets a visitor move members and make Chat fail.
//!
//! What it shows comes from the looks that the demo takes anyway, and from the service's own rules;
//! what it orders goes to the simulated Chat's control API, like any other client's. It takes no token: it
//! exists in the demo alone, whose listener is on loopback, and lets in only requests for this
//! machine and none of other sites (see `guard`). All that it keeps or sends is bounded.

mod assets;
mod cast;
mod guard;
mod live;
mod news;
mod orders;
mod picture;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::middleware;
use axum::routing::{get, post, put};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::ledger::{Change, Look};
use super::operator::Operator;
use crate::database::Db;
use crate::local::simulator::Simulated;

/// Where the page is.
pub(super) const PATH: &str = "/stage";
/// Looks that may wait to be drawn; while so many wait, newer ones are left out.
const WAITING: usize = 16;
/// Browsers that may watch at once.
const SEATS: usize = 32;

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
        let drawn = live::draw(shared.clone(), db, operator, waiting);
        let drawing = tokio::spawn(drawn);
        Self {
            shared,
            looks,
            drawing,
        }
    }

    /// Page, pictures and orders.
    pub(super) fn router(&self) -> Router {
        let orders = Router::new()
            .route("/stage/move", post(orders::move_members))
            .route("/stage/open", post(orders::open))
            .route("/stage/close", post(orders::close))
            .route("/stage/trouble", put(orders::trouble))
            .route("/stage/events", get(live::events))
            .layer(middleware::from_fn(guard::same_origin));
        guard::guarded(orders.merge(assets::routes())).with_state(self.shared.clone())
    }

    /// Shows a look and what became different.
    pub(super) fn show(&self, look: &Look, changes: &[Change]) {
        // The next look is a fifth of a second away; a page that cannot follow shows that one.
        let _full = self.looks.try_send((look.clone(), changes.to_vec()));
    }

    /// The screenplay is over; from now on visitors move the members.
    pub(super) fn hand_over(&self) {
        self.shared.playing.store(false, Ordering::Relaxed);
    }

    /// Waits for the last picture, once the page is closing.
    pub(super) async fn close(self) {
        if let Err(error) = self.drawing.await {
            tracing::error!(%error, "the drawing of the stage ended badly");
        }
    }

    /// Waits until a visitor did something.
    pub(super) async fn moved(&self) {
        self.shared.moved.notified().await;
    }
}
