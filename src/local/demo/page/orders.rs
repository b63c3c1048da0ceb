//! What visitors order: members who move, rooms that open and close, a Chat that fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::cast::{MOST_MEMBERS, MOST_ROOMS};
use super::guard::Refused;
use super::trouble::Trouble;
use crate::domain::{Account, GroupId};
use crate::local::simulator::ControlError;

type At = State<Arc<Shared>>;

/// Members of one room move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    movement: Movement,
    group: String,
    accounts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Movement {
    Join,
    Drop,
    Back,
    Leave,
}

/// A room.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    group: String,
}

/// What should be wrong with Chat.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    trouble: Trouble,
}

/// How many members an order moved; the others were there already, or not at all.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    changed: usize,
}

pub(super) async fn move_members(
    State(shared): At,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Done>, Refused> {
    let order: Move = read(&shared, &headers, &body)?;
    let group = group(&order.group)?;
    let accounts = accounts(&order.accounts)?;
    if order.movement == Movement::Join {
        room_for(&shared, &group, accounts.len()).await?;
    }
    let chat = &shared.chat;
    let moved = match order.movement {
        Movement::Join => chat.join(&group, &accounts).await,
        Movement::Drop => chat.drop_offline(&group, &accounts).await,
        Movement::Back => chat.come_back(&group, &accounts).await,
        Movement::Leave => chat.leave(&group, &accounts).await,
    };
    let changed = done(&shared, moved)?.changed;
    Ok(Json(Done { changed }))
}

pub(super) async fn open(
    State(shared): At,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let order: Room = read(&shared, &headers, &body)?;
    let group = group(&order.group)?;
    room_for(&shared, &group, 0).await?;
    done(&shared, shared.chat.create(&group).await)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn close(
    State(shared): At,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let order: Room = read(&shared, &headers, &body)?;
    done(&shared, shared.chat.destroy(&group(&order.group)?).await)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn trouble(
    State(shared): At,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let Wish { trouble } = read(&shared, &headers, &body)?;
    if trouble == Trouble::Other {
        return Err(bad("`trouble` is one that the page offers, not `other`"));
    }
    done(&shared, trouble.bring(&shared.chat).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads an order, unless the screenplay still has the members.
fn read<T: DeserializeOwned>(
    shared: &Shared,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<T, Refused> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // Required, since browsers let pages of any site send other types.
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let detail = "send the order with Content-Type: application/json";
        return Err(Refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            detail.to_owned(),
        ));
    }
    if shared.playing.load(Ordering::Relaxed) {
        let detail = "the show is still playing; take over when it has ended";
        return Err(Refused(StatusCode::CONFLICT, detail.to_owned()));
    }
    serde_json::from_slice(body).map_err(|error| bad(&format!("the order is not right: {error}")))
}

fn group(text: &str) -> Result<String, Refused> {
    match GroupId::parse(text) {
        Ok(group) => Ok(group.as_str().to_owned()),
        Err(error) => Err(bad(&format!("`group`: {error}"))),
    }
}

fn accounts(texts: &[String]) -> Result<Vec<&str>, Refused> {
    if !(1..=MOST_MEMBERS).contains(&texts.len()) {
        return Err(bad(&format!(
            "`accounts` names 1 to {MOST_MEMBERS} members"
        )));
    }
    let parsed = texts.iter().map(|text| match Account::parse(text) {
        Ok(_) => Ok(text.as_str()),
        Err(error) => Err(bad(&format!("`accounts`: {error}"))),
    });
    parsed.collect()
}

/// Whether so many members more fit into a room, and the room itself among the others.
async fn room_for(shared: &Shared, group: &str, more: usize) -> Result<(), Refused> {
    let rooms = shared.chat.rooms().await.map_err(refused)?;
    let room = rooms.iter().find(|room| room.group == group);
    let members = room.map_or(0, |room| room.members);
    if room.is_none() && rooms.len() >= MOST_ROOMS || members + more > MOST_MEMBERS {
        let detail =
            format!("the stage has place for {MOST_ROOMS} rooms of {MOST_MEMBERS} members");
        return Err(Refused(StatusCode::CONFLICT, detail));
    }
    Ok(())
}

/// Makes the stage look again, if the order was carried out.
fn done<T>(shared: &Shared, result: Result<T, ControlError>) -> Result<T, Refused> {
    shared.moved.notify_one();
    result.map_err(refused)
}

fn refused(error: ControlError) -> Refused {
    match error {
        ControlError::Refused { status, reason } => Refused(status, reason),
        error => {
            tracing::warn!(?error, "the simulated Chat takes no orders");
            let detail = "the simulated Chat does not answer";
            Refused(StatusCode::BAD_GATEWAY, detail.to_owned())
        }
    }
}

fn bad(detail: &str) -> Refused {
    Refused(StatusCode::BAD_REQUEST, detail.to_owned())
}
