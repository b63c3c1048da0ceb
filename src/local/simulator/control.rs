//! The control API, `POST /control/{command}` with the fields of the [`Command`] as JSON, and its client
//! for tests and for the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::any;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use url::Url;

use super::callbacks::{Kind, KindCount};
use super::faults::Fault;
use super::log::{Api, ApiCount, CallRecord};
use super::rooms::{Movement, Movements, Room, RoomError, Rooms};
use super::{Settings, Shared, callback_url, json as body};
use crate::domain::{Account, GroupId};

/// Enough for two million short accounts in one command.
const LARGEST_BODY: usize = 64 * 1024 * 1024;
/// The time between two looks at marks that are waited for.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    Create {
        group: GroupId,
    },
    Join(Move),
    Leave(Move),
    Drop(Move),
    Back(Move),
    Destroy {
        group: GroupId,
        #[serde(default)]
        wait: bool,
    },
    /// Replaces address and token; without `url` no callbacks are sent, without `token` no `Sign`.
    Callback {
        url: Option<String>,
        token: Option<SecretString>,
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
        group: GroupId,
    },
    Calls {
        #[serde(default)]
        after: u64,
        api: Option<Api>,
        group: Option<String>,
    },
    Stats {},
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Move {
    group: GroupId,
    accounts: Vec<Account>,
    /// Answer only when the callbacks are delivered or failed.
    #[serde(default)]
    wait: bool,
    members_per_callback: Option<usize>,
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

/// By account.
pub type Members = BTreeMap<String, MemberView>;

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
        .route("/control/{command}", any(answer))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    fields: Bytes,
) -> Response {
    let fields = match &fields[..] {
        [] => Ok(json!({})),
        fields => serde_json::from_slice(fields),
    };
    let command = fields.and_then(|fields: Value| serde_json::from_value(json!({ name: fields })));
    let done = match command {
        Ok(command) => carry_out(&shared, command).await,
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
            shared.world.lock().rooms.create(group)?;
            json!({})
        }
        Command::Join(it) => move_members(shared, Movement::Join, it).await?,
        Command::Leave(it) => move_members(shared, Movement::Leave, it).await?,
        Command::Drop(it) => move_members(shared, Movement::Drop, it).await?,
        Command::Back(it) => move_members(shared, Movement::Back, it).await?,
        Command::Destroy { group, wait } => {
            change(shared, wait, |rooms, now| rooms.destroy(&group, now)).await?
        }
        Command::Callback { url, token } => {
            let url = url.as_deref().map(callback_url).transpose();
            shared.world.lock().callback = (url.map_err(Refused::bad)?, token);
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
            let id = shared.world.lock().faults.add(fault);
            json!({ "id": id.map_err(Refused::bad)? })
        }
        Command::Faults {} => json!(shared.world.lock().faults.list()),
        Command::Clear { id } => {
            let held = shared.world.lock().faults.clear(id);
            shared.outbox.take(held);
            json!({})
        }
        Command::Rooms {} => {
            let world = shared.world.lock();
            let rooms = world.rooms.iter();
            let rooms = rooms.map(|(group, room)| (group.to_string(), members(room)));
            json!(rooms.collect::<BTreeMap<String, Members>>())
        }
        Command::Room { group } => json!(members(shared.world.lock().rooms.find(&group)?)),
        Command::Calls { after, api, group } => {
            let world = shared.world.lock();
            let calls = world.log.after(after).filter(|call| {
                api.is_none_or(|api| api == call.api) && (group.is_none() || group == call.group)
            });
            json!(calls.collect::<Vec<&CallRecord>>())
        }
        Command::Stats {} => json!(Stats {
            calls: shared.world.lock().log.counts(),
            callbacks: shared.outbox.counts(),
        }),
    })
}

fn members(room: &Room) -> Members {
    let members = room.members.iter().map(|(account, member)| {
        let view = MemberView {
            online: member.online(),
            connected: member.connected,
            arrived_at: member.arrived / 1000,
            marks: member.marks.iter().map(|mark| mark.get()).collect(),
        };
        (account.to_string(), view)
    });
    members.collect()
}

async fn move_members(shared: &Shared, movement: Movement, it: Move) -> Result<Value, Refused> {
    let per_callback = it.members_per_callback.unwrap_or(1);
    change(shared, it.wait, |rooms, now| {
        rooms.apply(movement, &it.group, &it.accounts, per_callback, now)
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

/// A simulated Chat, seen from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Simulated {
    base: Url,
    http: reqwest::Client,
    waiting: bool,
    per_callback: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("wrong address of the simulator: {0}")]
    Address(#[from] url::ParseError),
    #[error("no readable answer from the simulator")]
    Http(#[from] reqwest::Error),
    #[error("the simulator refused the command with {status}: {reason}")]
    Refused { status: StatusCode, reason: String },
    #[error("after {0:?} it is still {1}")]
    TimedOut(Duration, String),
}

pub type Result<T, E = ControlError> = std::result::Result<T, E>;

impl Simulated {
    /// A client of the simulator at `base`, e.g. `http://127.0.0.1:9100`.
    pub fn new(base: &str) -> Result<Self> {
        Ok(Self {
            base: Url::parse(base)?,
            http: reqwest::Client::builder().no_proxy().build()?,
            waiting: false,
            per_callback: 1,
        })
    }

    /// The same client, whose commands return when their callbacks are delivered or failed.
    pub fn waiting(&self) -> Self {
        Self {
            waiting: true,
            ..self.clone()
        }
    }

    /// The same client, whose commands send callbacks with up to so many members.
    pub fn sharing_callbacks(&self, members: usize) -> Self {
        Self {
            per_callback: members,
            ..self.clone()
        }
    }

    pub async fn create(&self, group: &str) -> Result<()> {
        self.order("create", json!({ "group": group })).await
    }

    /// Members enter; a room that never existed is created.
    pub async fn join(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.moves(Movement::Join, group, accounts).await
    }

    pub async fn leave(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.moves(Movement::Leave, group, accounts).await
    }

    /// Members lose their connections.
    pub async fn drop_offline(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.moves(Movement::Drop, group, accounts).await
    }

    /// Members who lost their connections return.
    pub async fn come_back(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.moves(Movement::Back, group, accounts).await
    }

    pub async fn moves(
        &self,
        movement: Movement,
        group: &str,
        accounts: &[impl AsRef<str>],
    ) -> Result<Moved> {
        let accounts: Vec<&str> = accounts.iter().map(AsRef::as_ref).collect();
        let (wait, members) = (self.waiting, self.per_callback);
        let fields = json!({
            "group": group, "accounts": accounts, "wait": wait, "members_per_callback": members,
        });
        let name = match movement {
            Movement::Join => "join",
            Movement::Leave => "leave",
            Movement::Drop => "drop",
            Movement::Back => "back",
        };
        self.ask(name, fields).await
    }

    pub async fn destroy(&self, group: &str) -> Result<Moved> {
        let fields = json!({ "group": group, "wait": self.waiting });
        self.ask("destroy", fields).await
    }

    /// Sets where callbacks go; `None` = nowhere.
    pub async fn set_callback(&self, url: Option<&str>, token: Option<SecretString>) -> Result<()> {
        let token = token.as_ref().map(ExposeSecret::expose_secret);
        let fields = json!({ "url": url, "token": token });
        self.order("callback", fields).await
    }

    /// Injects a fault and returns its id.
    pub async fn inject(&self, fault: &Fault) -> Result<u64> {
        let answer: Value = self.ask("fault", fault).await?;
        Ok(answer["id"].as_u64().unwrap_or_default())
    }

    pub async fn faults(&self) -> Result<BTreeMap<u64, Fault>> {
        self.ask("faults", json!({})).await
    }

    /// Ends a fault; callbacks that it held are sent.
    pub async fn clear(&self, fault: u64) -> Result<()> {
        self.order("clear", json!({ "id": fault })).await
    }

    pub async fn clear_all(&self) -> Result<()> {
        self.order("clear", json!({})).await
    }

    pub async fn configure(&self, settings: &Settings) -> Result<()> {
        self.order("settings", settings).await
    }

    /// Every remembered call, oldest first.
    pub async fn calls(&self) -> Result<Vec<CallRecord>> {
        self.calls_after(0).await
    }

    /// Every remembered call with a greater `seq`, oldest first.
    pub async fn calls_after(&self, seq: u64) -> Result<Vec<CallRecord>> {
        self.ask("calls", json!({ "after": seq })).await
    }

    /// Every remembered call of one API for one room, oldest first.
    pub async fn calls_of(&self, api: Api, group: &str) -> Result<Vec<CallRecord>> {
        let fields = json!({ "api": api, "group": group });
        self.ask("calls", fields).await
    }

    /// The members of every room.
    pub async fn rooms(&self) -> Result<BTreeMap<String, Members>> {
        self.ask("rooms", json!({})).await
    }

    pub async fn room(&self, group: &str) -> Result<Members> {
        self.ask("room", json!({ "group": group })).await
    }

    /// The marks of each member of a room; an empty set for members without marks.
    pub async fn marks(&self, group: &str) -> Result<BTreeMap<String, BTreeSet<u32>>> {
        let members = self.room(group).await?;
        let marks = |(account, member): (String, MemberView)| (account, member.marks);
        Ok(members.into_iter().map(marks).collect())
    }

    /// Waits until a member has exactly these marks.
    pub async fn wait_for_marks(
        &self,
        group: &str,
        account: &str,
        marks: &[u32],
        within: Duration,
    ) -> Result<()> {
        let wanted: BTreeSet<u32> = marks.iter().copied().collect();
        self.wait_until(group, within, |members| {
            members.get(account).is_some_and(|marks| *marks == wanted)
        })
        .await
    }

    /// Waits until `done` is true of the marks of a room.
    pub async fn wait_until(
        &self,
        group: &str,
        within: Duration,
        done: impl Fn(&BTreeMap<String, BTreeSet<u32>>) -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            let marks = self.marks(group).await?;
            if done(&marks) {
                return Ok(());
            }
            if began.elapsed() > within {
                return Err(ControlError::TimedOut(within, format!("{marks:?}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub async fn stats(&self) -> Result<Stats> {
        self.ask("stats", json!({})).await
    }

    async fn order(&self, command: &str, fields: impl Serialize) -> Result<()> {
        self.ask(command, fields).await.map(|_: IgnoredAny| ())
    }

    /// Sends a command and reads its answer.
    pub(in crate::local) async fn ask<T: DeserializeOwned>(
        &self,
        command: &str,
        fields: impl Serialize,
    ) -> Result<T> {
        let mut url = self.base.clone();
        url.set_path(&format!("control/{command}"));
        let answer = self.http.post(url).json(&fields).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let text = answer.text().await?;
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = problem["error"].as_str().unwrap_or(&text).to_owned();
        Err(ControlError::Refused { status, reason })
    }
}
