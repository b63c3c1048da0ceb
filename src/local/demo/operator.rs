//! The operator of the show: writes rules through the management API.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::script::RuleText;

/// An operator with a token.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    http: reqwest::Client,
    api: SocketAddr,
    token: SecretString,
}

/// What the service says of a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pause {
    /// What Chat said last, as the API says it: with its code and parameters.
    pub message: Option<Value>,
    /// What a person has to do.
    pub advice: Option<String>,
}

impl Operator {
    pub(super) fn new(api: SocketAddr, token: SecretString) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http, api, token })
    }

    /// Writes a rule whose window counts from `now`, Unix milliseconds.
    pub(super) async fn write(&self, rule: &RuleText, now: i64) -> anyhow::Result<()> {
        let time = |offset: u64| {
            let moment = DateTime::from_timestamp_millis(now.saturating_add_unsigned(offset));
            moment.map(|moment| moment.to_rfc3339_opts(SecondsFormat::Millis, true))
        };
        let body = json!({
            "group": rule.group,
            "account": rule.account,
            "marks": rule.marks,
            "starts_at": rule.window.and_then(|(from, _)| time(from)),
            "ends_at": rule.window.and_then(|(_, to)| time(to)),
            "label": "demo",
            "note": rule.note,
        });
        self.send(Method::PUT, rule.id, Some(&body)).await
    }

    /// Gives a rule other marks.
    pub(super) async fn edit(&self, id: &str, marks: &[u32]) -> anyhow::Result<()> {
        let body = json!({ "marks": marks });
        self.send(Method::PATCH, id, Some(&body)).await
    }

    /// Deletes a rule.
    pub(super) async fn delete(&self, id: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, id, None).await
    }

    /// Why the service makes no calls that set marks; `None` while it makes them.
    pub(super) async fn pause(&self) -> anyhow::Result<Option<Pause>> {
        #[derive(Deserialize)]
        struct Status {
            chat: Chat,
        }
        #[derive(Deserialize)]
        struct Chat {
            paused: bool,
            #[serde(flatten)]
            pause: Pause,
        }
        let url = format!("http://{}/v1/status", self.api);
        let request = self.http.get(url).bearer_auth(self.token.expose_secret());
        let answer = request.send().await?.error_for_status()?;
        let Chat { paused, pause } = answer.json::<Status>().await?.chat;
        Ok(paused.then_some(pause))
    }

    async fn send(&self, method: Method, id: &str, body: Option<&Value>) -> anyhow::Result<()> {
        let what = format!("{method} /v1/rules/{id}");
        let url = format!("http://{}/v1/rules/{id}", self.api);
        let mut request = self.http.request(method, url);
        request = request.bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| what.clone())?;
        let status = answer.status();
        if !status.is_success() {
            let text = answer.text().await.unwrap_or_default();
            bail!("{what} was answered with {status}: {text:?}");
        }
        Ok(())
    }
}
