//! The control API: `POST /control/{command}` with the fields of the [`Command`] as JSON, or
//! `POST /control` with `{command: fields}`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::callbacks::{Kind, KindCount};
use super::faults::Fault;
use super::log::{Api, ApiCount, CallRecord};
use super::rooms::{Member, Movement, Movements, RoomError, Rooms};
use super::{Shared, callback_url, json as body};
use crate::domain::{Account, GroupId};

/// Enough for two million short accounts in one command.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Command {
    Create {
        group: String,
    },
    Join(Move),
    Leave(Move),
    Drop(Move),
    Back(Move),
    Destroy {
        group: String,
        #[serde(default)]
        wait: bool,
    },
    /// Replaces address and token; without `url` no callbacks are sent, without `token` no `Sign`.
    Callback {
        url: Option<String>,
        token: Option<String>,
    },
    /// Changes the settings that are named.
    Settings(Value),
    Fault(Fault),
    Faults {},
    /// Ends one fault, or all. A fault that is used up is gone already; that is no error.
    Clear {
        id: Option<u64>,
    },
    Rooms {},
    Room {
        group: String,
    },
    Calls {
        #[serde(default)]
        after: u64,
        api: Option<Api>,
        group: Option<String>,
    },
    Stats {},
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    pub group: String,
    pub accounts: Vec<String>,
    /// Answer only when the callbacks are delivered or failed.
    #[serde(default)]
    pub wait: bool,
    pub members_per_callback: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Members with a change.
    pub changed: usize,
    /// `EventTime` of its callbacks, Unix milliseconds.
    pub at: i64,
    /// Callbacks that were queued for it.
    pub callbacks: usize,
    /// Callbacks of these that were delivered; 0 without `wait`.
    pub delivered: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    pub group: String,
    /// Members who joined and did not leave.
    pub members: usize,
    pub online: usize,
    /// How many members have each mark.
    pub marks: BTreeMap<u32, usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomView {
    pub group: String,
    pub members: BTreeMap<String, MemberView>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    pub online: bool,
    /// Whether the connection is up; with mark 500 a member can be online without one.
    pub connected: bool,
    /// Unix milliseconds of the last arrival.
    pub arrived_at: i64,
    pub marks: BTreeSet<u32>,
}

/// Figures since the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub calls: BTreeMap<Api, ApiCount>,
    pub callbacks: BTreeMap<Kind, KindCount>,
}

struct Refused(StatusCode, String);

impl Refused {
    fn bad(reason: impl ToString) -> Self {
        Self(StatusCode::BAD_REQUEST, reason.to_string())
    }
}

impl From<RoomError> for Refused {
    fn from(error: RoomError) -> Self {
        let status = match error {
            RoomError::Unknown(_) => StatusCode::NOT_FOUND,
            RoomError::Destroyed(_) | RoomError::Exists(_) => StatusCode::CONFLICT,
        };
        Self(status, error.to_string())
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control", any(whole))
        .route("/control/{command}", any(named))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

async fn whole(State(shared): State<Arc<Shared>>, command: Bytes) -> Response {
    answer(&shared, serde_json::from_slice(&command)).await
}

async fn named(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    fields: Bytes,
) -> Response {
    let fields = match &fields[..] {
        [] => Ok(json!({})),
        fields => serde_json::from_slice(fields),
    };
    let command = |fields| serde_json::from_value(json!({ name: fields }));
    answer(&shared, fields.and_then(command)).await
}

async fn answer(shared: &Shared, command: serde_json::Result<Command>) -> Response {
    let done = match command {
        Ok(command) => carry_out(shared, command).await,
        Err(error) => Err(Refused::bad(error)),
    };
    match done {
        Ok(answer) => body(StatusCode::OK, &answer),
        Err(Refused(status, error)) => body(status, &json!({ "error": error })),
    }
}

async fn carry_out(shared: &Shared, command: Command) -> Result<Value, Refused> {
    Ok(match command {
        Command::Create { group } => {
            shared.world.lock().rooms.create(parsed(&group)?)?;
            json!({})
        }
        Command::Join(it) => move_members(shared, Movement::Join, &it).await?,
        Command::Leave(it) => move_members(shared, Movement::Leave, &it).await?,
        Command::Drop(it) => move_members(shared, Movement::Drop, &it).await?,
        Command::Back(it) => move_members(shared, Movement::Back, &it).await?,
        Command::Destroy { group, wait } => {
            let group = parsed(&group)?;
            change(shared, wait, |rooms, now| rooms.destroy(&group, now)).await?
        }
        Command::Callback { url, token } => {
            let url = url.as_deref().map(callback_url).transpose();
            let (url, token) = (url.map_err(Refused::bad)?, token.map(SecretString::from));
            shared.world.lock().callback = (url, token);
            json!({})
        }
        Command::Settings(changes) => {
            let mut world = shared.world.lock();
            let mut all = json!(world.settings);
            for (name, value) in changes.as_object().into_iter().flatten() {
                all[name] = value.clone();
            }
            world.settings = serde_json::from_value(all).map_err(Refused::bad)?;
            json!(world.settings)
        }
        Command::Fault(fault) => {
            let id = shared
                .world
                .lock()
                .faults
                .add(fault)
                .map_err(Refused::bad)?;
            json!({ "id": id })
        }
        Command::Faults {} => json!(shared.world.lock().faults.list()),
        Command::Clear { id } => {
            let held = shared.world.lock().faults.clear(id).into_iter();
            shared.outbox.take(held.map(|held| (held, 0)).collect());
            json!({})
        }
        Command::Rooms {} => rooms(shared),
        Command::Room { group } => {
            let mut world = shared.world.lock();
            let members = world.rooms.find(&parsed(&group)?)?.members.iter();
            let view = |(account, member): (&Account, &Member)| {
                (account.as_str().to_owned(), MemberView::of(member))
            };
            let members = members.map(view).collect();
            json!(RoomView { group, members })
        }
        Command::Calls { after, api, group } => {
            let world = shared.world.lock();
            let calls = world.log.after(after).filter(|call| {
                api.is_none_or(|api| api == call.api) && (group.is_none() || group == call.group)
            });
            json!(calls.collect::<Vec<&CallRecord>>())
        }
        Command::Stats {} => {
            let calls = shared.world.lock().log.counts();
            let callbacks = shared.outbox.counts();
            json!(Stats { calls, callbacks })
        }
    })
}

async fn move_members(
    shared: &Shared,
    movement: Movement,
    command: &Move,
) -> Result<Value, Refused> {
    let group = parsed(&command.group)?;
    let accounts = command.accounts.iter().map(|text| Account::parse(text));
    let accounts: Vec<_> = accounts.collect::<Result<_, _>>().map_err(Refused::bad)?;
    let per_callback = command.members_per_callback.unwrap_or(1);
    change(shared, command.wait, |rooms, now| {
        rooms.apply(movement, &group, &accounts, per_callback, now)
    })
    .await
}

/// Changes rooms, queues the callbacks and, if asked, waits for them.
async fn change(
    shared: &Shared,
    wait: bool,
    change: impl FnOnce(&mut Rooms, i64) -> Result<Movements, RoomError>,
) -> Result<Value, Refused> {
    let (report, mut reports) = mpsc::unbounded_channel();
    let report = wait.then_some(report);
    let mut moved = {
        let mut world = shared.world.lock();
        let now = chrono::Utc::now().timestamp_millis();
        let movements = change(&mut world.rooms, now)?;
        Moved {
            changed: movements.changed,
            at: movements.at,
            callbacks: shared.emit(&mut world, movements.events, &report),
            delivered: 0,
        }
    };
    // Every callback has a copy of it; the last one to end closes the channel.
    drop(report);
    let all = async {
        while let Some(delivered) = reports.recv().await {
            moved.delivered += usize::from(delivered);
        }
    };
    shared.stop.run_until_cancelled(all).await;
    Ok(json!(moved))
}

fn rooms(shared: &Shared) -> Value {
    let world = shared.world.lock();
    let rooms = world.rooms.iter().map(|(group, room)| RoomSummary {
        group: group.as_str().to_owned(),
        members: room.members.len(),
        online: room.online(),
        marks: room
            .marks
            .iter()
            .map(|(mark, n)| (mark.get(), *n))
            .collect(),
    });
    let mut rooms: Vec<RoomSummary> = rooms.collect();
    rooms.sort_unstable_by(|a, b| a.group.cmp(&b.group));
    json!(rooms)
}

impl MemberView {
    fn of(member: &Member) -> Self {
        Self {
            online: member.online(),
            connected: member.connected,
            arrived_at: member.arrived / 1000,
            marks: member.marks.iter().map(|mark| mark.get()).collect(),
        }
    }
}

fn parsed(group: &str) -> Result<GroupId, Refused> {
    GroupId::parse(group).map_err(Refused::bad)
}
