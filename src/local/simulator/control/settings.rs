//! Commands that change how the simulator behaves.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use super::Refused;
use crate::local::simulator::callback::Kind;
use crate::local::simulator::options::{CallbackOptions, Settings, check_callback_url};
use crate::local::simulator::shared::Shared;
use crate::local::simulator::wire::Receiver;

pub(super) async fn read(State(shared): State<Arc<Shared>>) -> Json<Settings> {
    Json(shared.world().settings.clone())
}

/// Changes the settings that the body names and keeps the others.
pub(super) async fn change(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<Settings>, Refused> {
    let changes: Map<String, Value> = super::read(&body)?;
    let mut world = shared.world();
    let Ok(Value::Object(mut all)) = serde_json::to_value(&world.settings) else {
        return Err(Refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "unreadable settings".into(),
        ));
    };
    all.extend(changes);
    let changed: Settings = serde_json::from_value(all.into()).map_err(Refused::bad)?;
    changed.check().map_err(Refused::bad)?;
    world.settings = changed.clone();
    Ok(Json(changed))
}

pub(super) async fn set_callback(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let receiver: Receiver = super::read(&body)?;
    let url = receiver.url.as_deref().map(Url::parse).transpose();
    let url = url.map_err(|error| Refused::bad(format!("`url` is no address: {error}")))?;
    if let Some(url) = &url {
        check_callback_url(url).map_err(Refused::bad)?;
    }
    shared.world().callback = CallbackOptions {
        url,
        token: receiver.token.map(|token| token.0),
        kinds: receiver.kinds.unwrap_or_else(|| Kind::ALL.into()),
    };
    Ok(StatusCode::NO_CONTENT)
}

/// Forgets rooms, faults, calls and figures, and callbacks not yet sent.
pub(super) async fn reset(State(shared): State<Arc<Shared>>) -> StatusCode {
    let mut world = shared.world();
    world.reset();
    shared.outbox.reset();
    StatusCode::NO_CONTENT
}
