//! What visitors order: members who move, rooms that open and close, a Chat that fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::rooms::{MOST_MEMBERS, MOST_ROOMS};
use super::{Refused, Shared};
use crate::local::simulator::{ControlError, Effect, Fault, Movement};

type At = State<Arc<Shared>>;

/// An order as JSON, once the screenplay is over.
pub(super) struct Order<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Order<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Self, Refused> {
        if shared.playing.load(Ordering::Relaxed) {
            let detail = "the show is still playing; take over when it has ended";
            return Err(Refused(StatusCode::CONFLICT, detail.to_owned()));
        }
        // It requires the content type: browsers let pages of any site send others.
        match Json::from_request(request, shared).await {
            Ok(Json(order)) => Ok(Self(order)),
            Err(error) => Err(Refused(
                match error.status() {
                    StatusCode::UNPROCESSABLE_ENTITY => StatusCode::BAD_REQUEST,
                    status => status,
                },
                error.body_text(),
            )),
        }
    }
}

/// Members of one room move.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    movement: Movement,
    group: String,
    accounts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Room {
    group: String,
}

/// What should be wrong with Chat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    trouble: Trouble,
}

/// Answers how many members moved; the others were there already, or not at all.
pub(super) async fn move_members(
    State(shared): At,
    Order(order): Order<Move>,
) -> Result<Json<Value>, Refused> {
    let Move {
        movement,
        group,
        accounts,
    } = order;
    if !(1..=MOST_MEMBERS).contains(&accounts.len()) {
        let detail = format!("`accounts` names 1 to {MOST_MEMBERS} members");
        return Err(Refused(StatusCode::BAD_REQUEST, detail));
    }
    if movement == Movement::Join {
        room_for(&shared, &group, accounts.len()).await?;
    }
    let moved = done(
        &shared,
        shared.chat.moves(movement, &group, &accounts).await,
    )?;
    Ok(Json(json!({ "changed": moved.changed })))
}

pub(super) async fn open(
    State(shared): At,
    Order(Room { group }): Order<Room>,
) -> Result<StatusCode, Refused> {
    room_for(&shared, &group, 0).await?;
    done(&shared, shared.chat.create(&group).await)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn close(
    State(shared): At,
    Order(Room { group }): Order<Room>,
) -> Result<StatusCode, Refused> {
    done(&shared, shared.chat.destroy(&group).await)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clears every fault, then injects this one.
pub(super) async fn trouble(
    State(shared): At,
    Order(Wish { trouble }): Order<Wish>,
) -> Result<StatusCode, Refused> {
    done(&shared, shared.chat.clear_all().await)?;
    if let Some(effect) = trouble.effect() {
        done(&shared, shared.chat.inject(&Fault::new(effect)).await)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What a visitor can make go wrong between the service and Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trouble {
    None,
    TooFast,
    PlanEnded,
    BadGateway,
    /// Every answer is late, but within the service's time limit of a call.
    Slow,
    /// No callback is sent.
    Silent,
    /// Faults that were not injected here.
    #[serde(skip_deserializing)]
    Other,
}

impl Trouble {
    /// Error codes: <https://www.tencentcloud.com/document/product/1047/34348>.
    fn effect(self) -> Option<Effect> {
        match self {
            Self::None | Self::Other => None,
            Self::TooFast => Some(Effect::ErrorCode(60007)),
            Self::PlanEnded => Some(Effect::ErrorCode(60020)),
            Self::BadGateway => Some(Effect::HttpStatus(502)),
            Self::Slow => Some(Effect::DelayMs(3_000)),
            Self::Silent => Some(Effect::LoseCallback),
        }
    }

    /// What is wrong, by the faults in effect.
    pub(super) fn of(faults: &BTreeMap<u64, Fault>) -> Self {
        use Trouble::{BadGateway, None, Other, PlanEnded, Silent, Slow, TooFast};
        let faults: Vec<&Fault> = faults.values().collect();
        let known = [None, TooFast, PlanEnded, BadGateway, Slow, Silent].into_iter();
        let fault = |known: Self| known.effect().map(Fault::new);
        let mut is_it = known.filter(|known| faults.iter().copied().eq(&fault(*known)));
        is_it.next().unwrap_or(Other)
    }
}

/// Whether so many more members fit into a room, and the room itself among the others.
async fn room_for(shared: &Shared, group: &str, more: usize) -> Result<(), Refused> {
    let rooms = shared.chat.rooms().await.map_err(refused)?;
    let room = rooms.iter().find(|room| room.group == group);
    let members = room.map_or(0, |room| room.members);
    if room.is_none() && rooms.len() >= MOST_ROOMS || members + more > MOST_MEMBERS {
        let detail =
            format!("the stage has space for {MOST_ROOMS} rooms of {MOST_MEMBERS} members");
        return Err(Refused(StatusCode::CONFLICT, detail));
    }
    Ok(())
}

/// Makes the stage look again.
fn done<T>(shared: &Shared, result: Result<T, ControlError>) -> Result<T, Refused> {
    shared.moved.notify_one();
    result.map_err(refused)
}

fn refused(error: ControlError) -> Refused {
    match error {
        ControlError::Refused { status, reason } => Refused(status, reason),
        error => {
            tracing::warn!(?error, "the simulated Chat does not answer an order");
            let detail = "the simulated Chat does not answer";
            Refused(StatusCode::BAD_GATEWAY, detail.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_the_page_does_not_offer_is_shown_as_other() {
        let lost = Fault::new(Effect::LoseCallback);
        let too_fast = Fault::new(Effect::ErrorCode(60007));
        let of =
            |faults: &[&Fault]| Trouble::of(&(1..).zip(faults.iter().copied().cloned()).collect());
        assert_eq!(of(&[]), Trouble::None);
        assert_eq!(of(&[&too_fast]), Trouble::TooFast);
        assert_eq!(of(&[&lost]), Trouble::Silent);
        assert_eq!(of(&[&too_fast, &lost]), Trouble::Other);
        assert_eq!(of(&[&too_fast.clone().group("gala")]), Trouble::Other);
    }
}
