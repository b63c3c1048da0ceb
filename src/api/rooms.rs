//! Rooms: the list, and the request to compare one with Chat now.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::{
    AdminState, BodyProblems, CommonProblems, Json, JsonBody, Listed, Paging, Problem,
};
use crate::domain::GroupId;
use crate::members::store::rooms::{RoomFilter, RoomRow, RoomsByState, count_rooms, list_rooms};
use crate::resync::request;

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomPage {
    /// In the order of their ids.
    items: Vec<RoomRow>,
    /// All rooms, or the one asked for, in every state, whatever `state` is asked for.
    counts: RoomsByState,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

/// The room to compare with Chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResyncInput {
    /// The room; it need not be known yet.
    #[schema(
        value_type = String,
        min_length = 1,
        max_length = 48,
        pattern = "^[ -~]+$",
        example = "class-7"
    )]
    group: GroupId,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResyncRequested {
    /// The room. Its entry in the list of rooms shows when it was compared and what was found.
    #[schema(value_type = String)]
    group: GroupId,
}

/// List rooms.
///
/// Rooms known from callbacks or rules, in the order of their ids, each with its members by state and
/// its last comparison with Chat.
#[utoipa::path(
    get, path = "/rooms", operation_id = "listRooms", tag = "rooms", params(RoomFilter, Paging),
    responses((status = 200, description = "A page of rooms.", body = RoomPage), CommonProblems)
)]
pub(super) async fn list(
    State(state): State<AdminState>,
    Listed(filter, paging): Listed<RoomFilter, Paging>,
) -> Result<Json<RoomPage>, Problem> {
    let after: Option<GroupId> = paging.after()?;
    let after = after.as_ref().map_or("", GroupId::as_str);
    let mut reading = state.replica.db.begin_reading().await?;
    let found = list_rooms(&mut reading, &filter, after, i64::from(paging.rows())).await?;
    let counts = count_rooms(&mut reading, filter.group.as_ref()).await?;
    let (items, next) = paging.cut(found, |row| row.group.clone());
    Ok(Json(RoomPage {
        items,
        counts,
        next,
    }))
}

/// Compare a room with Chat now.
///
/// The request is stored, and some replica compares the room as soon as the budget of calls allows.
/// Missing marks are set, extra ones removed. The entry of the room in the list then shows what was
/// found.
#[utoipa::path(
    post, path = "/rooms/resync", operation_id = "resyncRoom", tag = "rooms", request_body = ResyncInput,
    responses(
        (status = 202, description = "Requested.", body = ResyncRequested),
        CommonProblems, BodyProblems,
    )
)]
pub(super) async fn resync(
    State(state): State<AdminState>,
    JsonBody(input): JsonBody<ResyncInput>,
) -> Result<(StatusCode, Json<ResyncRequested>), Problem> {
    let group = input.group;
    request(&state.replica.db, &state.replica.wake_sweeper, &group).await?;
    Ok((StatusCode::ACCEPTED, Json(ResyncRequested { group })))
}
