//! What happens now: `GET /console/now`, which the overview asks for once a second.
//!
//! All pages share one look at the database, which is taken the more seldom the longer it takes. Nothing is
//! kept for a page: each answer has all that it shows.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::api::status::{self, BEAT, Status};
use crate::api::{AdminState, Json, Problem, ProblemType, Query, Tokens, authorize};

/// Pages that one replica answers at once: while a look takes long, they wait for it.
const SEATS: usize = 64;
/// A look at the database may take this share of the time at most.
const LOOKING_SHARE: u32 = 5;

/// What the pages that watch share.
#[derive(Debug, Clone)]
pub struct Live {
    seats: Arc<Semaphore>,
    /// Locked while a look is under way, so that pages look together.
    look: Arc<Mutex<Option<Look>>>,
}

/// The last look at the status, and when the next one may begin.
type Look = (Arc<Status>, Instant);

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
    Router::new().route("/console/now", get(now).route_layer(who))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NowQuery {
    range: Range,
}

/// What the charts show.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Range {
    /// The last two minutes, a point a second.
    Short,
    /// The last hour, a point for each half minute.
    Long,
}

async fn now(
    State(state): State<AdminState>,
    Query(query): Query<NowQuery>,
) -> Result<Json<Value>, Problem> {
    let _seat = state.live.seats.try_acquire().map_err(|_| {
        let detail = format!("{SEATS} pages watch this replica already");
        Problem::new(ProblemType::TooManyRequests, detail)
    })?;
    let status = latest_status(&state).await;
    let points = match query.range {
        Range::Short => state.pulse.points(),
        Range::Long => state.pulse.half_minutes(),
    };
    Ok(Json(json!({
        "status": *status,
        "point": state.pulse.latest(),
        // The oldest first.
        "points": points,
        "restored": state.restorations.latest(),
    })))
}

/// The first page that asks after a second reads the status; the others get the same.
async fn latest_status(state: &AdminState) -> Arc<Status> {
    let mut last = state.live.look.lock().await;
    let began = Instant::now();
    if let Some((status, _)) = last.as_ref().filter(|(_, next)| *next > began) {
        return status.clone();
    }
    let status = Arc::new(status::read(state).await);
    // A little less than a second, so that the next beat finds it due.
    let pause = (BEAT * 4 / 5).max(began.elapsed() * (LOOKING_SHARE - 1));
    *last = Some((status.clone(), Instant::now() + pause));
    status
}
