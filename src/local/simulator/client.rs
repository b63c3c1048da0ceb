//! A client of the control API, for tests and for the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::Settings;
use super::control::{Command, MemberView, Move, Moved, RoomSummary, RoomView, Stats};
use super::faults::Fault;
use super::log::{Api, CallRecord};
use super::rooms::Movement;

/// The time between two looks at marks that are waited for.
const PAUSE: Duration = Duration::from_millis(5);

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

pub type Result<T> = std::result::Result<T, ControlError>;

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
        let group = group.to_owned();
        self.order(Command::Create { group }).await
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
        let accounts = accounts.iter().map(|account| account.as_ref().to_owned());
        let members = Move {
            group: group.to_owned(),
            accounts: accounts.collect(),
            wait: self.waiting,
            members_per_callback: Some(self.per_callback),
        };
        let command = match movement {
            Movement::Join => Command::Join,
            Movement::Leave => Command::Leave,
            Movement::Drop => Command::Drop,
            Movement::Back => Command::Back,
        };
        self.ask(&command(members)).await
    }

    pub async fn destroy(&self, group: &str) -> Result<Moved> {
        let (group, wait) = (group.to_owned(), self.waiting);
        self.ask(&Command::Destroy { group, wait }).await
    }

    /// Sets where callbacks go; `None` = nowhere.
    pub async fn set_callback(&self, url: Option<&str>, token: Option<SecretString>) -> Result<()> {
        let url = url.map(str::to_owned);
        let token = token.map(|token| token.expose_secret().to_owned());
        self.order(Command::Callback { url, token }).await
    }

    /// Injects a fault and returns its id.
    pub async fn inject(&self, fault: &Fault) -> Result<u64> {
        let answer: Value = self.ask(&Command::Fault(fault.clone())).await?;
        Ok(answer["id"].as_u64().unwrap_or_default())
    }

    pub async fn faults(&self) -> Result<BTreeMap<u64, Fault>> {
        self.ask(&Command::Faults {}).await
    }

    /// Ends a fault; callbacks that it held are sent.
    pub async fn clear(&self, fault: u64) -> Result<()> {
        self.order(Command::Clear { id: Some(fault) }).await
    }

    pub async fn clear_all(&self) -> Result<()> {
        self.order(Command::Clear { id: None }).await
    }

    pub async fn configure(&self, settings: &Settings) -> Result<()> {
        self.order(Command::Settings(json!(settings))).await
    }

    /// Every remembered call, oldest first.
    pub async fn calls(&self) -> Result<Vec<CallRecord>> {
        self.calls_after(0).await
    }

    /// Every remembered call with a greater `seq`, oldest first.
    pub async fn calls_after(&self, seq: u64) -> Result<Vec<CallRecord>> {
        self.ask(&Command::Calls {
            after: seq,
            api: None,
            group: None,
        })
        .await
    }

    /// Every remembered call of one API for one room, oldest first.
    pub async fn calls_of(&self, api: Api, group: &str) -> Result<Vec<CallRecord>> {
        self.ask(&Command::Calls {
            after: 0,
            api: Some(api),
            group: Some(group.to_owned()),
        })
        .await
    }

    pub async fn rooms(&self) -> Result<Vec<RoomSummary>> {
        self.ask(&Command::Rooms {}).await
    }

    pub async fn room(&self, group: &str) -> Result<RoomView> {
        let group = group.to_owned();
        self.ask(&Command::Room { group }).await
    }

    /// The marks of each member of a room; an empty set for members without marks.
    pub async fn marks(&self, group: &str) -> Result<BTreeMap<String, BTreeSet<u32>>> {
        let members = self.room(group).await?.members;
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
        self.ask(&Command::Stats {}).await
    }

    async fn order(&self, command: Command) -> Result<()> {
        self.ask(&command).await.map(|_: Value| ())
    }

    /// Sends a command and reads its answer.
    pub(in crate::local) async fn ask<T: DeserializeOwned>(
        &self,
        command: &impl Serialize,
    ) -> Result<T> {
        let url = self.base.join("/control")?;
        let answer = self.http.post(url).json(command).send().await?;
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
