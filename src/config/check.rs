//! Limits of values, how values must relate to each other, and what `serve` needs beyond that.

use std::collections::HashSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use humantime::{Duration as Shown, format_duration};
use secrecy::ExposeSecret;

use super::{ConfigError, Settings};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Settings {
    /// Checks what `serve` needs beyond correct settings: an application to serve, and a management
    /// API that is not open to every machine.
    ///
    /// # Errors
    /// With everything that is missing.
    pub fn validate_for_serve(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if self.chat.sdk_app_id.is_none() {
            problems.push(
                "chat.sdk_app_id: not set; give the SDKAppID of the Chat console \
                (STICKYMARK__CHAT__SDK_APP_ID)"
                    .to_owned(),
            );
        }
        if self.chat.secret_key.is_none() {
            problems.push(
                "chat.secret_key: not set; give the key of the Chat console \
                (STICKYMARK__CHAT__SECRET_KEY, or …_FILE for a file that holds it)"
                    .to_owned(),
            );
        }
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

    /// Keys with values outside of their limits, or with values that do not fit those of other keys.
    pub(super) fn contradictions(&self) -> Vec<Problem> {
        let (chat, callback, admin) = (&self.chat, &self.callback, &self.admin);
        let reapply = &self.reapply;
        let interval = self.resync.interval.unwrap_or(DAY);
        let history = self.retention.history.unwrap_or(DAY);
        let members = self.retention.members.unwrap_or(DAY);
        let duration = |key, value: Duration, low: Duration, high: Duration| {
            limits(key, Shown::from(value), low.into(), high.into())
        };
        let (zero, second) = (Duration::ZERO, Duration::from_secs(1));
        let mut problems: Vec<Problem> = [
            limits("chat.calls_per_second", chat.calls_per_second, 1, 200),
            limits(
                "database.max_connections",
                self.database.max_connections,
                2,
                1000,
            ),
            duration(
                "chat.request_timeout",
                chat.request_timeout,
                second / 10,
                second * 60,
            ),
            duration("callback.max_age", callback.max_age, second, DAY),
            duration("reapply.settle", reapply.settle, zero, second * 10),
            duration("reapply.max_wait", reapply.max_wait, zero, second * 10),
            duration("reapply.lease", reapply.lease, second, second * 600),
            duration("resync.interval", interval, second, DAY)
                .map(|(key, problem)| (key, problem + ", or 0s for off")),
            duration("retention.members", members, second * 3600, DAY * 36_500)
                .map(|(key, problem)| (key, problem + ", or 0s for no limit")),
            duration("retention.history", history, DAY, DAY * 36_500)
                .map(|(key, problem)| (key, problem + ", or 0s for no limit")),
        ]
        .into_iter()
        .flatten()
        .collect();
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

type Problem = (&'static str, String);

fn limits<T: PartialOrd + Display>(
    key: &'static str,
    value: T,
    low: T,
    high: T,
) -> Option<Problem> {
    let problem = format!("{value} is out of range; give {low} to {high}");
    (value < low || value > high).then_some((key, problem))
}

/// Whether two listeners cannot both have their address. Port 0 means any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip().to_canonical() == b.ip().to_canonical();
    let takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (same_ip || takes_all)
}
