//! Rooms over REST: the list, and the request to compare one with Chat now.

use axum::Json;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{BodyProblems, CommonProblems, JsonBody, PageQuery, Parameters, Problem};
use crate::domain::GroupId;
use crate::members::Found;
use crate::members::WakeUp;
use crate::members::store::rooms::{MembersByState, RoomFilter, RoomRow, list_rooms};
use crate::resync::request;

/// The rooms as the handlers need them. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Rooms {
    pool: PgPool,
    wake: WakeUp,
}

impl Rooms {
    /// Rooms in this database; `wake` is rung for the sweeper of this replica.
    pub fn new(pool: PgPool, wake: WakeUp) -> Self {
        Self { pool, wake }
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

/// Whether a room exists in Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum RoomState {
    /// As far as is known.
    Live,
    /// It was destroyed.
    Gone,
}

/// A live room.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Room)]
struct RoomView {
    /// The room.
    group: String,
    /// Whether it exists in Chat.
    state: RoomState,
    /// When it was first heard of, or first named by a rule.
    opened_at: DateTime<Utc>,
    /// The last callback of it, to a minute; null: none was heard.
    #[schema(required = true)]
    last_event_at: Option<DateTime<Utc>>,
    /// When it was destroyed.
    #[schema(required = true)]
    gone_at: Option<DateTime<Utc>>,
    /// Its members by state.
    members: MembersByState,
    /// How it was compared with Chat.
    sweep: SweepView,
}

/// How a room was compared with Chat.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sweep)]
struct SweepView {
    /// The last whole sweep; null: there was none yet.
    #[schema(required = true)]
    at: Option<DateTime<Utc>>,
    /// What that one found and mended.
    #[schema(required = true)]
    drift: Option<Found>,
    /// The next one; null: none is set.
    #[schema(required = true)]
    due_at: Option<DateTime<Utc>>,
    /// When somebody asked for one that has not begun yet.
    #[schema(required = true)]
    requested_at: Option<DateTime<Utc>>,
    /// Whether one is under way.
    running: bool,
    /// Sweeps in a row that could not be finished.
    failures: i32,
    /// Why the last one was not.
    #[schema(required = true)]
    last_error: Option<String>,
}

impl From<RoomRow> for RoomView {
    fn from(row: RoomRow) -> Self {
        Self {
            state: match row.gone_at {
                Some(_) => RoomState::Gone,
                None => RoomState::Live,
            },
            group: row.group,
            opened_at: row.opened_at,
            last_event_at: row.last_event_at,
            gone_at: row.gone_at,
            members: row.members,
            sweep: SweepView {
                at: row.swept_at,
                drift: row.found,
                due_at: row.sweep_due_at,
                requested_at: row.sweep_requested_at,
                running: row.sweeping,
                failures: row.sweep_failures,
                last_error: row.sweep_error,
            },
        }
    }
}

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
struct RoomPage {
    /// In the order of their ids.
    items: Vec<RoomView>,
    /// `after` of the next page; null on the last one.
    #[schema(required = true)]
    next: Option<String>,
}

/// Filters of the list of rooms, for the document. An empty parameter counts as absent.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes parameters")]
struct ListQuery {
    /// Exactly this room.
    #[param(pattern = "^[ -~]{1,48}$")]
    group: Option<String>,
    /// Rooms in this state.
    state: Option<RoomState>,
}

/// The room to compare with Chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResyncInput {
    /// The room; it need not be known yet.
    #[schema(
        min_length = 1,
        max_length = 48,
        pattern = "^[ -~]+$",
        example = "class-7"
    )]
    group: String,
}

/// What was asked for.
#[derive(Debug, Serialize, ToSchema)]
struct ResyncRequested {
    /// The room. Its entry in the list of rooms shows when it was compared and what was found.
    group: String,
}

/// List rooms, in the order of their ids.
#[utoipa::path(
    get, path = "/rooms", operation_id = "listRooms", tag = "rooms", params(ListQuery, PageQuery),
    responses((status = 200, description = "A page of rooms.", body = RoomPage), CommonProblems)
)]
async fn list(
    State(rooms): State<Rooms>,
    mut parameters: Parameters,
) -> Result<Json<RoomPage>, Problem> {
    let filter = RoomFilter {
        group: parameters.take("group", |text| {
            GroupId::parse(text).map_err(|invalid| invalid.to_string())
        }),
        gone: parameters.take("state", |text| match text {
            "live" => Ok(false),
            "gone" => Ok(true),
            _ => Err("must be live or gone".to_owned()),
        }),
    };
    let page = parameters.page("rooms", |key| GroupId::parse(key).ok());
    parameters.finish()?;
    let after = page.after.as_ref().map_or("", GroupId::as_str);
    let rows = list_rooms(&rooms.pool, &filter, after, i64::from(page.rows())).await?;
    let (rows, next) = page.cut(rows, |row| row.group.clone());
    let items = rows.into_iter().map(RoomView::from).collect();
    Ok(Json(RoomPage { items, next }))
}

/// Compare a room with Chat as soon as possible, and mend what differs.
#[utoipa::path(
    post, path = "/rooms/resync", operation_id = "resyncRoom", tag = "rooms", request_body = ResyncInput,
    responses(
        (status = 202, description = "Asked for.", body = ResyncRequested),
        CommonProblems, BodyProblems,
    )
)]
async fn resync(
    State(rooms): State<Rooms>,
    JsonBody(input): JsonBody<ResyncInput>,
) -> Result<(StatusCode, Json<ResyncRequested>), Problem> {
    let group = GroupId::parse(&input.group)
        .map_err(|invalid| Problem::fields([("/group".to_owned(), invalid.to_string())]))?;
    request(&rooms.pool, &rooms.wake, &group).await?;
    let group = group.to_string();
    Ok((StatusCode::ACCEPTED, Json(ResyncRequested { group })))
}
