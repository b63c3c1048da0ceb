//! The settings in force, for the log at start: every key, secrets masked.

use humantime::format_duration;
use url::Url;

use super::settings::{LogFormat, Settings};

const MASKED: &str = "(set)";
const ABSENT: &str = "(not set)";

impl Settings {
    /// Every key with its value as an operator would write it. Of a secret one learns only
    /// whether it is set, of a list of them how many; of admin tokens also names and roles.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let mut lines = self.describe_listeners();
        let (chat, database, reapply) = (&self.chat, &self.database, &self.reapply);
        let interval = self.resync.interval.unwrap_or_default();
        lines.extend([
            (
                "chat.sdk_app_id",
                chat.sdk_app_id.map_or(ABSENT.into(), |id| id.to_string()),
            ),
            ("chat.secret_key", masked(chat.secret_key.is_some())),
            ("chat.admin_account", chat.admin_account.to_string()),
            ("chat.region", chat.region.name().to_owned()),
            (
                "chat.base_url",
                chat.base_url.as_ref().map_or(ABSENT.into(), Url::to_string),
            ),
            ("chat.calls_per_second", chat.calls_per_second.to_string()),
            (
                "chat.request_timeout",
                format_duration(chat.request_timeout).to_string(),
            ),
            ("database.url", masked(database.url.is_some())),
            ("database.path", format!("{:?}", database.path)),
            (
                "database.max_connections",
                database.max_connections.to_string(),
            ),
            (
                "reapply.settle",
                format_duration(reapply.settle).to_string(),
            ),
            (
                "reapply.max_wait",
                format_duration(reapply.max_wait).to_string(),
            ),
            ("reapply.lease", format_duration(reapply.lease).to_string()),
            ("resync.interval", format_duration(interval).to_string()),
            (
                "log.format",
                match self.log.format {
                    LogFormat::Text => "text".to_owned(),
                    LogFormat::Json => "json".to_owned(),
                },
            ),
            ("log.filter", format!("{:?}", self.log.filter)),
            (
                "telemetry.otlp_endpoint",
                self.telemetry
                    .otlp_endpoint
                    .as_ref()
                    .map_or(ABSENT.into(), without_path),
            ),
        ]);
        lines.sort_by_key(|(key, _)| *key);
        lines
    }

    /// The same, one line for each section: `key=value key=value`.
    pub fn describe_sections(&self) -> Vec<(&'static str, String)> {
        let mut sections: Vec<(&'static str, String)> = Vec::new();
        for (key, value) in self.describe() {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            let setting = format!("{key}={value}");
            match sections.last_mut() {
                Some((last, settings)) if *last == section => {
                    settings.push(' ');
                    settings.push_str(&setting);
                }
                _ => sections.push((section, setting)),
            }
        }
        sections
    }

    fn describe_listeners(&self) -> Vec<(&'static str, String)> {
        let (callback, admin) = (&self.callback, &self.admin);
        let forward_url = callback
            .forward_url
            .as_ref()
            .map_or(ABSENT.into(), without_path);
        let tokens: Vec<String> = admin
            .tokens
            .iter()
            .map(|token| format!("{} ({})", token.name, token.role.name()))
            .collect();
        vec![
            ("callback.listen", callback.listen.to_string()),
            ("callback.path", masked(true)),
            (
                "callback.tokens",
                format!("({} set)", callback.tokens.len()),
            ),
            (
                "callback.max_age",
                format_duration(callback.max_age).to_string(),
            ),
            ("callback.forward_url", forward_url),
            (
                "callback.forward_failure",
                callback.forward_failure.name().to_owned(),
            ),
            ("admin.listen", admin.listen.to_string()),
            ("admin.tokens", format!("[{}]", tokens.join(", "))),
        ]
    }
}

fn masked(set: bool) -> String {
    if set { MASKED } else { ABSENT }.to_owned()
}

/// Where a URL leads, without its path, in which a secret segment may stand.
pub(super) fn without_path(url: &Url) -> String {
    format!("{}/…", url.origin().ascii_serialization())
}
