//! The operator of the show, who writes rules through the management API, with a token.

use anyhow::{Context, bail};
use chrono::DateTime;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::script::RuleText;

#[derive(Debug)]
pub(super) struct Operator {
    pub http: reqwest::Client,
    /// The URL of `/v1`.
    pub api: String,
    pub token: SecretString,
}

impl Operator {
    /// Creates or replaces a rule whose window counts from `now`, Unix milliseconds.
    pub(super) async fn write(&self, rule: &RuleText, now: i64) -> anyhow::Result<()> {
        let time = |offset: i64| DateTime::from_timestamp_millis(now + offset);
        let body = json!({
            "group": rule.group,
            "account": rule.account,
            "marks": rule.marks,
            "starts_at": rule.window.and_then(|(from, _)| time(from)),
            "ends_at": rule.window.and_then(|(_, to)| time(to)),
            "label": "demo",
            "note": rule.note,
        });
        let path = format!("rules/{}", rule.id);
        self.send(Method::PUT, &path, Some(&body)).await.map(drop)
    }

    pub(super) async fn delete(&self, id: &str) -> anyhow::Result<()> {
        let path = format!("rules/{id}");
        self.send(Method::DELETE, &path, None).await.map(drop)
    }

    /// Why the service makes no calls that set marks; `None` while it makes them.
    pub(super) async fn pause(&self) -> anyhow::Result<Option<Value>> {
        let answer = self.send(Method::GET, "status", None).await?;
        let chat = answer.json::<Value>().await?["chat"].take();
        let pause = json!({ "message": chat["message"], "advice": chat["advice"] });
        Ok((chat["paused"] == true).then_some(pause))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<reqwest::Response> {
        let what = format!("{method} /v1/{path}");
        let mut request = self.http.request(method, format!("{}/{path}", self.api));
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
        Ok(answer)
    }
}
