//! Commands that inject faults and clear them.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Refused, read};
use crate::local::simulator::callback::CallbackFault;
use crate::local::simulator::fault::Fault;
use crate::local::simulator::shared::{Shared, World};
use crate::local::simulator::wire::{FaultId, FaultList};

/// Faults in force at once, of both sorts together.
const MAX_FAULTS: usize = 10_000;

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<FaultList> {
    let world = shared.world();
    Json(FaultList {
        calls: world.faults.list().collect(),
        callbacks: world.routing.list().collect(),
    })
}

pub(super) async fn inject(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<FaultId>, Refused> {
    let fault: Fault = read(&body)?;
    let mut world = shared.world();
    let id = next(&mut world)?;
    world.faults.add(id, fault).map_err(Refused::bad)?;
    Ok(Json(FaultId { id }))
}

pub(super) async fn inject_callback(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<FaultId>, Refused> {
    let fault: CallbackFault = read(&body)?;
    let mut world = shared.world();
    let id = next(&mut world)?;
    world.routing.add(id, fault).map_err(Refused::bad)?;
    Ok(Json(FaultId { id }))
}

/// Ends one fault. A fault that is spent is gone already, and clearing it is no error.
pub(super) async fn clear(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> StatusCode {
    end(&shared, Some(id))
}

pub(super) async fn clear_all(State(shared): State<Arc<Shared>>) -> StatusCode {
    end(&shared, None)
}

fn end(shared: &Shared, id: Option<u64>) -> StatusCode {
    let mut world = shared.world();
    world.faults.clear(id);
    let freed = world.routing.clear(id);
    shared.outbox.send_all(freed);
    StatusCode::NO_CONTENT
}

fn next(world: &mut World) -> Result<u64, Refused> {
    if world.faults.list().count() + world.routing.list().count() >= MAX_FAULTS {
        return Err(Refused::bad(format!(
            "at most {MAX_FAULTS} faults are in force at once"
        )));
    }
    Ok(world.next_fault())
}
