//! The control side: commands to the room's members, faults, and a look at everything.
//!
//! Requests and answers are JSON; a refused command answers `{"error": …}` with a 4xx status.

mod faults;
mod moves;
mod reads;
mod settings;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde::de::DeserializeOwned;

use super::rooms::RoomError;
use super::shared::Shared;
use super::wire::Problem;

/// Room for two million short accounts in one command.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// A command that is refused.
#[derive(Debug)]
struct Refused(StatusCode, String);

/// The routes of the control side.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/create", post(moves::create))
        .route("/control/join", post(moves::join))
        .route("/control/leave", post(moves::leave))
        .route("/control/drop", post(moves::drop_offline))
        .route("/control/back", post(moves::come_back))
        .route("/control/expire", post(moves::expire))
        .route("/control/destroy", post(moves::destroy))
        .route("/control/callback", put(settings::set_callback))
        .route(
            "/control/settings",
            get(settings::read).patch(settings::change),
        )
        .route("/control/reset", post(settings::reset))
        .route(
            "/control/faults",
            get(faults::list)
                .post(faults::inject)
                .delete(faults::clear_all),
        )
        .route("/control/faults/{id}", delete(faults::clear))
        .route("/control/callback-faults", post(faults::inject_callback))
        .route("/control/rooms", get(reads::rooms))
        .route("/control/room", get(reads::room))
        .route("/control/calls", get(reads::calls))
        .route("/control/moment", get(reads::moment))
        .route("/control/stats", get(reads::stats))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

impl Refused {
    fn bad(reason: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, reason.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

impl From<RoomError> for Refused {
    fn from(error: RoomError) -> Self {
        let status = match error {
            RoomError::Unknown(_) => StatusCode::NOT_FOUND,
            RoomError::Destroyed(_) | RoomError::Exists(_) => StatusCode::CONFLICT,
            RoomError::Full => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self(status, error.to_string())
    }
}

/// Reads a command; the error names the field.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(Refused::bad)
}
