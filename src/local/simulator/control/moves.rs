//! Commands that open and close rooms and move their members.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use tokio::sync::mpsc;

use super::{Refused, read};
use crate::domain::{Account, GroupId};
use crate::local::simulator::clock;
use crate::local::simulator::rooms::{Movement, Movements, RoomError, Rooms};
use crate::local::simulator::shared::Shared;
use crate::local::simulator::wire::{CreateRoom, MoveMembers, Moved};

type Answer = Result<Json<Moved>, Refused>;

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    body: Bytes,
) -> Result<Json<CreateRoom>, Refused> {
    let command: CreateRoom = read(&body)?;
    let group = GroupId::parse(&command.group).map_err(Refused::bad)?;
    let (owner, name) = (command.owner.clone(), command.name.clone());
    shared.world().rooms.create(group, owner, name)?;
    Ok(Json(command))
}

pub(super) async fn join(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    move_members(&shared, &body, |_| Movement::Join).await
}

pub(super) async fn leave(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    move_members(&shared, &body, |command| Movement::Leave {
        kicked: command.kicked,
    })
    .await
}

pub(super) async fn drop_offline(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    move_members(&shared, &body, |_| Movement::Drop).await
}

pub(super) async fn come_back(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    move_members(&shared, &body, |_| Movement::Back).await
}

pub(super) async fn expire(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    move_members(&shared, &body, |_| Movement::ExpireAlwaysOnline).await
}

pub(super) async fn destroy(State(shared): State<Arc<Shared>>, body: Bytes) -> Answer {
    let command: MoveMembers = read(&body)?;
    if !command.accounts.is_empty() {
        return Err(Refused::bad(
            "`destroy` takes a whole room and no `accounts`",
        ));
    }
    let group = GroupId::parse(&command.group).map_err(Refused::bad)?;
    carry_out(&shared, command.wait, |rooms| {
        rooms.destroy(&group, clock::unix_ms())
    })
    .await
}

async fn move_members(
    shared: &Shared,
    body: &Bytes,
    movement: impl FnOnce(&MoveMembers) -> Movement,
) -> Answer {
    let command: MoveMembers = read(body)?;
    let movement = movement(&command);
    if command.kicked && movement != (Movement::Leave { kicked: true }) {
        return Err(Refused::bad("`kicked` goes with `leave` only"));
    }
    if command.accounts.is_empty() {
        return Err(Refused::bad("`accounts` names one member at least"));
    }
    let group = GroupId::parse(&command.group).map_err(Refused::bad)?;
    let accounts = command
        .accounts
        .iter()
        .map(|account| Account::parse(account));
    let accounts: Vec<Account> = accounts.collect::<Result<_, _>>().map_err(Refused::bad)?;
    let per_callback = command.members_per_callback;
    carry_out(shared, command.wait, |rooms| {
        rooms.apply(movement, &group, &accounts, per_callback, clock::unix_ms())
    })
    .await
}

async fn carry_out(
    shared: &Shared,
    wait: bool,
    command: impl FnOnce(&mut Rooms) -> Result<Movements, RoomError>,
) -> Answer {
    let (report, mut reports) = mpsc::unbounded_channel();
    let report = wait.then_some(report);
    let mut moved = {
        let mut world = shared.world();
        let done = command(&mut world.rooms)?;
        let callbacks = shared.emit(&mut world, done.events, &report);
        Moved {
            changed: done.changed,
            unchanged: done.unchanged,
            at: done.at,
            callbacks,
            delivered: 0,
            failed: 0,
        }
    };
    // Every callback holds a copy; the last one to end closes the channel.
    drop(report);
    if wait {
        let all = async {
            while let Some(delivered) = reports.recv().await {
                moved.delivered += usize::from(delivered);
            }
        };
        shared.stop.run_until_cancelled(all).await;
        moved.failed = moved.callbacks.saturating_sub(moved.delivered);
    }
    Ok(Json(moved))
}
