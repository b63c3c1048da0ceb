//! Rooms: the list, and the request to compare one with Chat now.

use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{BodyProblems, CommonProblems, Json, JsonBody, Limit, Page, Problem, Query};
use crate::database::Db;
use crate::domain::GroupId;
use crate::members::store::rooms::{
    RoomFilter, RoomRow, RoomState, RoomsByState, count_rooms, list_rooms,
};
use crate::resync::request;
use crate::wake::WakeUp;

#[derive(Debug, Clone)]
pub struct Rooms {
    db: Db,
    wake: WakeUp,
}

impl Rooms {
    pub fn new(db: Db, wake: WakeUp) -> Self {
        Self { db, wake }
    }
}

/// The routes below `/v1`.
pub fn routes<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Rooms: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(resync))
}

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
struct RoomPage {
    /// In the order of their ids.
    items: Vec<RoomRow>,
    /// All rooms, or the one asked for, in every state, whatever `state` is asked for.
    counts: RoomsByState,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// An empty parameter counts as absent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    /// Exactly this room.
    #[param(value_type = Option<String>, pattern = "^[ -~]{1,48}$")]
    group: Option<GroupId>,
    /// Rooms in this state.
    state: Option<RoomState>,
    /// Most items of a page; 100 if absent.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<Limit>,
    /// The `next` cursor of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    after: Option<String>,
}

/// The room to compare with Chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResyncInput {
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
struct ResyncRequested {
    /// The room. Its entry in the list of rooms shows when it was compared and what was found.
    #[schema(value_type = String)]
    group: GroupId,
}

/// List rooms.
///
/// Rooms known from callbacks or rules, in the order of their ids, each with its members by state and
/// its last comparison with Chat.
#[utoipa::path(
    get, path = "/rooms", operation_id = "listRooms", tag = "rooms", params(ListQuery),
    responses((status = 200, description = "A page of rooms.", body = RoomPage), CommonProblems)
)]
async fn list(
    State(rooms): State<Rooms>,
    Query(query): Query<ListQuery>,
) -> Result<Json<RoomPage>, Problem> {
    let read = |key: &str| GroupId::parse(key).ok();
    let page = Page::new("rooms", query.limit, query.after.as_deref(), read)?;
    let filter = RoomFilter {
        group: query.group,
        state: query.state,
    };
    let after = page.after.as_ref().map_or("", GroupId::as_str);
    let found = list_rooms(&rooms.db, &filter, after, i64::from(page.rows())).await?;
    let counts = count_rooms(&rooms.db, filter.group.as_ref()).await?;
    let (items, next) = page.cut(found, |row| row.group.to_string());
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
async fn resync(
    State(rooms): State<Rooms>,
    JsonBody(input): JsonBody<ResyncInput>,
) -> Result<(StatusCode, Json<ResyncRequested>), Problem> {
    let group = input.group;
    request(&rooms.db, &rooms.wake, &group).await?;
    Ok((StatusCode::ACCEPTED, Json(ResyncRequested { group })))
}
