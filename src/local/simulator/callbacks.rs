//! The callbacks that the simulated Chat sends, and the queue that sends them.
//!
//! Requests start in the order of the queue; up to [`SENDERS`] run at once, so they may arrive in
//! another order, as Chat's may. The queue is bounded; a callback that does not fit is counted as
//! failed, since Chat's documents do not promise delivery. None is sent a second time.
//!
//! Sources: <https://www.tencentcloud.com/document/product/1047/34354> (general form),
//! <https://www.tencentcloud.com/document/product/1047/34372> (join),
//! <https://www.tencentcloud.com/document/product/1047/34373> (exit),
//! <https://www.tencentcloud.com/document/product/1047/48734> (online and offline),
//! <https://www.tencentcloud.com/document/product/1047/34377> (destroyed),
//! <https://www.tencentcloud.com/document/product/1047/60256> (over limit).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use chrono::Utc;
use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use super::log::Api;
use crate::domain::{Account, GroupId};

/// Requests that run at once.
const SENDERS: usize = 64;
/// Callbacks that wait at once.
const QUEUE: usize = 500_000;
/// What Chat grants the receiver for its answer.
const TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    NewMemberJoin,
    MemberExit,
    MemberStateChange,
    GroupDestroyed,
    RequestOverLimit,
}

impl Kind {
    /// The value of `CallbackCommand`, and the key of the members.
    fn form(self) -> (&'static str, &'static str) {
        match self {
            Self::NewMemberJoin => ("Group.CallbackAfterNewMemberJoin", "NewMemberList"),
            Self::MemberExit => ("Group.CallbackAfterMemberExit", "ExitMemberList"),
            Self::MemberStateChange => ("Group.CallbackOnMemberStateChange", "MemberList"),
            Self::GroupDestroyed => ("Group.CallbackAfterGroupDestroyed", ""),
            Self::RequestOverLimit => ("Alert.RequestOverLimit", ""),
        }
    }

    /// `OptPlatform`, which some callbacks do not have; nor do they have `ClientIP`.
    fn platform(self) -> Option<&'static str> {
        match self {
            Self::NewMemberJoin | Self::MemberExit => Some("Android"),
            Self::GroupDestroyed => Some("RESTAPI"),
            Self::MemberStateChange | Self::RequestOverLimit => None,
        }
    }
}

/// Something that Chat reports. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub kind: Kind,
    /// `None` for alerts.
    pub group: Option<GroupId>,
    pub accounts: Vec<Account>,
    body: String,
}

impl Event {
    /// Completes the body with command, room and members.
    pub(super) fn new(
        kind: Kind,
        group: Option<&GroupId>,
        accounts: Vec<Account>,
        mut body: Value,
    ) -> Self {
        let (command, list) = kind.form();
        body["CallbackCommand"] = command.into();
        if let Some(group) = group {
            body["GroupId"] = group.as_str().into();
        }
        if !accounts.is_empty() {
            let member = |account: &Account| json!({ "Member_Account": account });
            body[list] = accounts.iter().map(member).collect();
        }
        Self {
            kind,
            group: group.cloned(),
            accounts,
            body: body.to_string(),
        }
    }

    pub(super) fn over_limit(api: Api, request: usize, limit: usize) -> Self {
        let body = json!({
            "ServiceName": api.service(), "Command": api.command(),
            "Request": request, "Limit": limit,
        });
        Self::new(Kind::RequestOverLimit, None, Vec::new(), body)
    }
}

#[derive(Debug)]
pub(super) struct Target {
    pub sdk_app_id: u32,
    pub url: Url,
    pub token: Option<SecretString>,
}

impl Target {
    /// The receiver's address with the query that Chat appends.
    fn address(&self, kind: Kind, now: i64) -> Url {
        let mut url = self.url.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("SdkAppid", &self.sdk_app_id.to_string())
            .append_pair("CallbackCommand", kind.form().0)
            .append_pair("contenttype", "json")
            // Not documented, but real requests have it.
            .append_pair("RequestID", &Uuid::new_v4().to_string());
        if let Some(platform) = kind.platform() {
            query
                .append_pair("ClientIP", "203.0.113.7")
                .append_pair("OptPlatform", platform);
        }
        if let Some(token) = &self.token {
            query
                .append_pair("Sign", &sign(token, now))
                .append_pair("RequestTime", &now.to_string());
        }
        drop(query);
        url
    }
}

/// The SHA-256 of the token followed by the time in seconds.
fn sign(token: &SecretString, now: i64) -> String {
    hex::encode(Sha256::digest(format!("{}{now}", token.expose_secret())))
}

/// What became of the callbacks of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    pub queued: u64,
    /// Answered in time with HTTP 200 and JSON.
    pub delivered: u64,
    /// Refused, not reachable, not answered in time, or answered with anything else.
    pub failed: u64,
}

type Counts = BTreeMap<Kind, KindCount>;

/// Receives for each callback of one command whether it was delivered.
pub(super) type Report = Option<mpsc::UnboundedSender<bool>>;

#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub target: Arc<Target>,
    pub event: Event,
    pub report: Report,
}

#[derive(Debug, Clone)]
pub(super) struct Outbox {
    queue: mpsc::Sender<Delivery>,
    counts: Arc<Mutex<Counts>>,
}

impl Outbox {
    /// Starts the senders; they end when `stop` is cancelled.
    pub(super) fn start(stop: CancellationToken) -> reqwest::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(SENDERS)
            .timeout(TIMEOUT)
            .build()?;
        let outbox = Self {
            queue,
            counts: Arc::default(),
        };
        let sending = send_all(outbox.clone(), waiting, http);
        tokio::spawn(stop.run_until_cancelled_owned(sending));
        Ok(outbox)
    }

    /// Queues callbacks.
    pub(super) fn take(&self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let kind = delivery.event.kind;
            self.count(kind, |count| count.queued += 1);
            if self.queue.try_send(delivery).is_err() {
                self.count(kind, |count| count.failed += 1);
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.lock().clone()
    }

    fn count(&self, kind: Kind, add: impl FnOnce(&mut KindCount)) {
        add(self.counts.lock().entry(kind).or_default());
    }
}

async fn send_all(outbox: Outbox, mut waiting: mpsc::Receiver<Delivery>, http: reqwest::Client) {
    let senders = Arc::new(Semaphore::new(SENDERS));
    while let Some(delivery) = waiting.recv().await {
        let Ok(permit) = senders.clone().acquire_owned().await else {
            return;
        };
        let (http, outbox) = (http.clone(), outbox.clone());
        tokio::spawn(async move {
            let sent = post(&http, &delivery).await;
            outbox.count(delivery.event.kind, |count| match sent {
                Ok(()) => count.delivered += 1,
                Err(_) => count.failed += 1,
            });
            if let Err(error) = &sent {
                crate::telemetry::warn_seldom!(%error, "callback not delivered; it is not sent again");
            }
            if let Some(report) = &delivery.report {
                // The caller may have gone away.
                let _gone = report.send(sent.is_ok());
            }
            drop(permit);
        });
    }
}

async fn post(http: &reqwest::Client, delivery: &Delivery) -> anyhow::Result<()> {
    let Delivery { target, event, .. } = delivery;
    let answer = http
        .post(target.address(event.kind, Utc::now().timestamp()))
        .header(CONTENT_TYPE, "application/json")
        .body(event.body.clone())
        .send()
        .await
        // The address contains `Sign` and perhaps a secret path.
        .map_err(reqwest::Error::without_url)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
    let text = String::from_utf8_lossy(&body);
    ensure!(
        status == StatusCode::OK,
        "receiver answered {status}: {text}"
    );
    ensure!(
        serde_json::from_slice::<Value>(&body).is_ok(),
        "receiver's answer is not JSON: {text}"
    );
    Ok(())
}
