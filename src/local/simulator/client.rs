//! A client of the control API, for tests and for the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use url::Url;

use super::control::{MOST_CALLS, MemberView, Moved, RoomSummary, RoomView, Stats};
use super::faults::Fault;
use super::log::{Api, CallRecord};
use super::options::Settings;

/// How long one wait for a moment lasts before the next one.
const ONE_WAIT: Duration = Duration::from_secs(10);

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
        self.order("create", json!({ "group": group })).await
    }

    /// Members enter; a room that never existed is created.
    pub async fn join(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("join", group, accounts).await
    }

    pub async fn leave(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("leave", group, accounts).await
    }

    /// Members lose their connections.
    pub async fn drop_offline(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("drop", group, accounts).await
    }

    /// Members who lost their connections return.
    pub async fn come_back(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("back", group, accounts).await
    }

    /// The three days of mark 500 are over for members.
    pub async fn expire(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("expire", group, accounts).await
    }

    pub async fn destroy(&self, group: &str) -> Result<Moved> {
        let command = json!({ "group": group, "wait": self.waiting });
        self.ask("destroy", command).await
    }

    async fn move_members(
        &self,
        movement: &str,
        group: &str,
        accounts: &[impl AsRef<str>],
    ) -> Result<Moved> {
        let accounts: Vec<&str> = accounts.iter().map(AsRef::as_ref).collect();
        let command = json!({
            "group": group, "accounts": accounts, "wait": self.waiting,
            "members_per_callback": self.per_callback,
        });
        self.ask(movement, command).await
    }

    /// Sets where callbacks go; `None` = nowhere.
    pub async fn set_callback(&self, url: Option<&str>, token: Option<SecretString>) -> Result<()> {
        let token = token.as_ref().map(ExposeSecret::expose_secret);
        let command = json!({ "url": url, "token": token });
        self.order("callback", command).await
    }

    /// Injects a fault and returns its id.
    pub async fn inject(&self, fault: &Fault) -> Result<u64> {
        let answer: Value = self.ask("fault", fault).await?;
        Ok(answer["id"].as_u64().unwrap_or_default())
    }

    /// The faults in effect.
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

    pub async fn settings(&self) -> Result<Settings> {
        self.ask("settings", json!({})).await
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
        self.read_calls(seq, json!({})).await
    }

    /// Every remembered call of one API for one room, oldest first.
    pub async fn calls_of(&self, api: Api, group: &str) -> Result<Vec<CallRecord>> {
        let filter = json!({ "api": api, "group": group });
        self.read_calls(0, filter).await
    }

    async fn read_calls(&self, mut after: u64, mut filter: Value) -> Result<Vec<CallRecord>> {
        let mut calls = Vec::new();
        loop {
            filter["after"] = after.into();
            let page: Vec<CallRecord> = self.ask("calls", &filter).await?;
            let full = page.len() == MOST_CALLS;
            after = page.last().map_or(after, |call| call.seq);
            calls.extend(page);
            if !full {
                return Ok(calls);
            }
        }
    }

    pub async fn rooms(&self) -> Result<Vec<RoomSummary>> {
        self.ask("rooms", json!({})).await
    }

    pub async fn room(&self, group: &str) -> Result<RoomView> {
        self.ask("room", json!({ "group": group })).await
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
            let moment = self.moment().await?;
            let marks = self.marks(group).await?;
            if done(&marks) {
                return Ok(());
            }
            let left = within.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(ControlError::TimedOut(within, format!("{marks:?}")));
            }
            self.moment_after(moment, left.min(ONE_WAIT)).await?;
        }
    }

    /// How many calls began or ended so far.
    pub async fn moment(&self) -> Result<u64> {
        self.ask("moment", json!({})).await
    }

    /// Waits until a call began or ended after `moment`, or for `wait` (at most 30 s), and returns
    /// the moment then.
    pub async fn moment_after(&self, moment: u64, wait: Duration) -> Result<u64> {
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let command = json!({ "after": moment, "wait_ms": wait_ms });
        self.ask("moment", command).await
    }

    pub async fn stats(&self) -> Result<Stats> {
        self.ask("stats", json!({})).await
    }

    async fn order(&self, command: &str, fields: impl Serialize) -> Result<()> {
        self.ask(command, fields).await.map(|_: Value| ())
    }

    async fn ask<T: DeserializeOwned>(&self, command: &str, fields: impl Serialize) -> Result<T> {
        let url = self.base.join("/control/")?.join(command)?;
        let answer = self.http.post(url).json(&fields).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.json().await?);
        }
        let text = answer.text().await?;
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = problem["error"]
            .as_str()
            .map_or(text.clone(), str::to_owned);
        Err(ControlError::Refused { status, reason })
    }
}
