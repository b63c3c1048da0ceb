//! How values must relate to each other, and what `serve` needs beyond that.

use std::collections::HashSet;
use std::net::SocketAddr;

use humantime::format_duration;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{ChatSettings, ConfigError, Settings};

impl Settings {
    /// Checks what `serve` needs beyond correct settings: an application to serve, and a management
    /// API that is not open to every machine.
    pub fn validate_for_serve(&self) -> Result<(), ConfigError> {
        let mut problems = match self.chat.app() {
            Ok(_) => Vec::new(),
            Err(ConfigError(problems)) => problems,
        };
        if cfg!(not(feature = "local")) && self.database.url.is_none() {
            problems.push(
                "database.url: not set; give the URL of a PostgreSQL (STICKYMARK__DATABASE__URL, or \
                 …_FILE for a file that holds it): this build has no private one"
                    .to_owned(),
            );
        }
        if !self.admin.is_loopback() && self.admin.tokens.is_empty() {
            problems.push(format!(
                "admin.tokens: empty, while admin.listen {} can be reached from other machines; \
                 add a token (STICKYMARK__ADMIN__TOKENS=name:editor:secret) or listen on 127.0.0.1",
                self.admin.listen
            ));
        }
        ConfigError::none(problems)
    }

    /// Keys with values that do not fit those of other keys.
    pub(super) fn contradictions(&self) -> Vec<Problem> {
        let (chat, callback, admin) = (&self.chat, &self.callback, &self.admin);
        let reapply = &self.reapply;
        let mut problems = Vec::new();
        if reapply.settle > reapply.max_wait {
            let (settle, wait) = (
                format_duration(reapply.settle),
                format_duration(reapply.max_wait),
            );
            let problem =
                format!("{settle} is longer than reapply.max_wait, {wait}; give at most that");
            problems.push(("reapply.settle", problem));
        }
        if reapply.lease <= chat.request_timeout {
            let problem = format!(
                "{} is not longer than chat.request_timeout, {}, so a member could be claimed twice \
                 during one call; give more",
                format_duration(reapply.lease),
                format_duration(chat.request_timeout)
            );
            problems.push(("reapply.lease", problem));
        }
        if collide(callback.listen, admin.listen) {
            let problem = format!(
                "{} collides with callback.listen, {}; give another port",
                admin.listen, callback.listen
            );
            problems.push(("admin.listen", problem));
        }
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        for token in &admin.tokens {
            let name = &token.name;
            if !names.insert(name) {
                let problem = format!("duplicate name {name:?}; token names must be unique");
                problems.push(("admin.tokens", problem));
            }
            if !secrets.insert(token.secret.expose_secret()) {
                let problem = format!("{name:?} has the secret of another token; give it its own");
                problems.push(("admin.tokens", problem));
            }
        }
        problems
    }
}

impl ChatSettings {
    /// The SDKAppID and the key of the app.
    pub fn app(&self) -> Result<(u64, SecretString), ConfigError> {
        let mut problems = Vec::new();
        if self.sdk_app_id.is_none() {
            problems.push(
                "chat.sdk_app_id: not set; give the SDKAppID of the Chat console \
                 (STICKYMARK__CHAT__SDK_APP_ID)",
            );
        }
        if self.secret_key.is_none() {
            problems.push(
                "chat.secret_key: not set; give the key of the Chat console \
                 (STICKYMARK__CHAT__SECRET_KEY, or …_FILE for a file that holds it)",
            );
        }
        let app = self.sdk_app_id.zip(self.secret_key.clone());
        app.ok_or_else(|| ConfigError(problems.into_iter().map(str::to_owned).collect()))
    }

    /// Where calls go: `base_url`, or the host of the region.
    pub fn url(&self) -> Url {
        let given = self.base_url.clone();
        given.unwrap_or_else(|| self.region.base_url())
    }
}

type Problem = (&'static str, String);

/// Whether two listeners cannot both have their address. Port 0 means any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip().to_canonical() == b.ip().to_canonical();
    let takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (same_ip || takes_all)
}
