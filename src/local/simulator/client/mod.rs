//! A client of the simulator's control API, for tests and for the demo.

mod reads;

use std::time::Duration;

use reqwest::{Method, StatusCode};
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::callback::{CallbackFault, Kind};
use super::fault::Fault;
use super::options::Settings;
use super::wire::{CreateRoom, FaultId, FaultList, MoveMembers, Moved, Problem, Receiver, Token};

/// A simulated Chat, seen from outside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Simulated {
    base: Url,
    http: reqwest::Client,
    waiting: bool,
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The address of the simulator is no address.
    #[error("the simulator's address is wrong: {0}")]
    Address(#[from] url::ParseError),
    /// No answer, or one that cannot be read.
    #[error("the simulator did not answer as it should")]
    Http(#[from] reqwest::Error),
    /// The simulator refused the command.
    #[error("the simulator refused the command with {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// What is wrong.
        reason: String,
    },
    /// What was waited for did not come.
    #[error("after {0:?} it is still {1}")]
    TimedOut(Duration, String),
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, ControlError>;

impl Simulated {
    /// A client of the simulator at `base`, e.g. `http://127.0.0.1:9100`.
    pub fn new(base: &str) -> Result<Self> {
        let base = Url::parse(base)?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self {
            base,
            http,
            waiting: false,
        })
    }

    /// The same client, whose commands return when their callbacks have been delivered.
    pub fn waiting(&self) -> Self {
        Self {
            waiting: true,
            ..self.clone()
        }
    }

    /// Opens a room.
    pub async fn create(&self, group: &str, owner: &str, name: &str) -> Result<()> {
        let [group, owner, name] = [group, owner, name].map(str::to_owned);
        let command = CreateRoom { group, owner, name };
        let _echo: CreateRoom = self.send(Method::POST, "create", &command).await?;
        Ok(())
    }

    /// Members enter; a room that never existed is opened for it.
    pub async fn join(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("join", self.command(group, accounts))
            .await
    }

    /// Members leave in order.
    pub async fn leave(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("leave", self.command(group, accounts))
            .await
    }

    /// Members are thrown out.
    pub async fn kick(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        let command = self.command(group, accounts);
        let command = MoveMembers {
            kicked: true,
            ..command
        };
        self.move_members("leave", command).await
    }

    /// Members lose their connections.
    pub async fn drop_offline(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("drop", self.command(group, accounts))
            .await
    }

    /// Members who lost their connections return.
    pub async fn come_back(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("back", self.command(group, accounts))
            .await
    }

    /// The three days of mark 500 are over for members.
    pub async fn expire(&self, group: &str, accounts: &[impl AsRef<str>]) -> Result<Moved> {
        self.move_members("expire", self.command(group, accounts))
            .await
    }

    /// Closes a room.
    pub async fn destroy(&self, group: &str) -> Result<Moved> {
        self.move_members("destroy", self.command(group, &[] as &[&str]))
            .await
    }

    /// A movement (`join`, `leave`, `drop`, `back`, `expire`, `destroy`) in full detail.
    pub async fn move_members(&self, movement: &str, command: MoveMembers) -> Result<Moved> {
        self.send(Method::POST, movement, &command).await
    }

    /// Sets where callbacks go; none = nowhere. All kinds are switched on.
    pub async fn set_callback(&self, url: Option<&str>, token: Option<SecretString>) -> Result<()> {
        self.set_callback_kinds(url, token, Kind::ALL).await
    }

    /// Sets where callbacks go, and which.
    pub async fn set_callback_kinds(
        &self,
        url: Option<&str>,
        token: Option<SecretString>,
        kinds: impl IntoIterator<Item = Kind>,
    ) -> Result<()> {
        let receiver = Receiver {
            url: url.map(str::to_owned),
            token: token.map(Token),
            kinds: Some(kinds.into_iter().collect()),
        };
        self.order(Method::PUT, "callback", Some(&receiver)).await
    }

    /// Injects a fault of REST calls and gives its number.
    pub async fn inject(&self, fault: &Fault) -> Result<u64> {
        let fault: FaultId = self.send(Method::POST, "faults", fault).await?;
        Ok(fault.id)
    }

    /// Injects a fault of callbacks and gives its number.
    pub async fn inject_callback(&self, fault: &CallbackFault) -> Result<u64> {
        let fault: FaultId = self.send(Method::POST, "callback-faults", fault).await?;
        Ok(fault.id)
    }

    /// The faults in force.
    pub async fn faults(&self) -> Result<FaultList> {
        self.get("faults", &[]).await
    }

    /// Ends a fault; callbacks that it held are sent.
    pub async fn clear(&self, fault: u64) -> Result<()> {
        let path = format!("faults/{fault}");
        self.order(Method::DELETE, &path, None::<&()>).await
    }

    /// Ends every fault.
    pub async fn clear_all(&self) -> Result<()> {
        self.order(Method::DELETE, "faults", None::<&()>).await
    }

    /// The settings in force.
    pub async fn settings(&self) -> Result<Settings> {
        self.get("settings", &[]).await
    }

    /// Replaces the settings.
    pub async fn configure(&self, settings: &Settings) -> Result<()> {
        let _echo: Settings = self.send(Method::PATCH, "settings", settings).await?;
        Ok(())
    }

    /// Forgets rooms, faults, calls, figures and waiting callbacks; settings and the callback's
    /// receiver stay.
    pub async fn reset(&self) -> Result<()> {
        self.order(Method::POST, "reset", None::<&()>).await
    }

    fn command(&self, group: &str, accounts: &[impl AsRef<str>]) -> MoveMembers {
        MoveMembers {
            group: group.to_owned(),
            accounts: accounts
                .iter()
                .map(|account| account.as_ref().to_owned())
                .collect(),
            wait: self.waiting,
            members_per_callback: 1,
            kicked: false,
        }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T> {
        let mut url = self.base.join("/control/")?.join(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let answer = checked(self.http.get(url).send().await?).await?;
        Ok(answer.json().await?)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        let url = self.base.join("/control/")?.join(path)?;
        let answer = self.http.request(method, url).json(body).send().await?;
        Ok(checked(answer).await?.json().await?)
    }

    async fn order(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<()> {
        let url = self.base.join("/control/")?.join(path)?;
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        checked(request.send().await?).await?;
        Ok(())
    }
}

async fn checked(answer: reqwest::Response) -> Result<reqwest::Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await?;
    let reason = serde_json::from_str(&text).map_or(text, |problem: Problem| problem.error);
    Err(ControlError::Refused { status, reason })
}
