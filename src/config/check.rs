//! What settings must be to each other, what `serve` needs beyond that, and what is risky.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use humantime::format_duration;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url};

use crate::callback::ForwardFailure;

use super::{ConfigError, Problems, Settings};
#[cfg(not(feature = "local"))]
use crate::database::local::LocalError;

impl Settings {
    /// Checks what `serve` needs beyond settings that are right: an application to serve, and no
    /// management API open to everybody.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is missing.
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
        #[cfg(not(feature = "local"))]
        if self.database.url.is_none() {
            problems.push(LocalError::NotInThisBuild.to_string());
        }
        if !self.admin.is_loopback() && self.admin.tokens.is_empty() {
            problems.push(format!(
                "admin.tokens: empty, while admin.listen {} can be reached from other machines; \
                 add a token (STICKYMARK__ADMIN__TOKENS=name:editor:secret) or listen on 127.0.0.1",
                self.admin.listen
            ));
        }
        Problems::none(problems)
    }

    /// Settings that are right one by one, but not together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (reapply, timeout) = (&self.reapply, self.chat.request_timeout);
        if reapply.settle > reapply.max_wait {
            problems.push(format!(
                "reapply.settle: {} is longer than reapply.max_wait, {}; give at most that",
                format_duration(reapply.settle),
                format_duration(reapply.max_wait)
            ));
        }
        if reapply.lease <= timeout {
            problems.push(format!(
                "reapply.lease: {} is not longer than chat.request_timeout, {}, so a member could \
                 be claimed twice during one call; give more",
                format_duration(reapply.lease),
                format_duration(timeout)
            ));
        }
        if collide(self.callback.listen, self.admin.listen) {
            problems.push(format!(
                "admin.listen: {} collides with callback.listen, {}; give another port",
                self.admin.listen, self.callback.listen
            ));
        }
        problems.extend(self.repeated_tokens());
        problems
    }

    fn repeated_tokens(&self) -> Vec<String> {
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        let mut problems = Vec::new();
        for token in &self.admin.tokens {
            if !names.insert(&token.name) {
                problems.push(format!(
                    "admin.tokens: the name {:?} stands there twice; give each token its own",
                    token.name
                ));
            }
            if !secrets.insert(token.secret.expose_secret()) {
                problems.push(format!(
                    "admin.tokens: {:?} has the secret of another token; give it its own",
                    token.name
                ));
            }
        }
        problems
    }

    /// What is allowed but risky, one sentence each, to be logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.exposure_warnings();
        let mut warn = |risky: bool, sentence: &str| {
            if risky {
                warnings.push(sentence.to_owned());
            }
        };
        warn(
            self.database.url.is_none(),
            "database.url is not set: a private PostgreSQL on this machine holds everything; fit \
             for trials, not for several replicas",
        );
        warn(
            self.resync
                .interval
                .is_none_or(|interval| interval > Duration::from_secs(3600)),
            "resync.interval is off or above 1h: marks whose callback was lost stay away that long",
        );
        warn(
            self.chat.calls_per_second > 190,
            "chat.calls_per_second is close to Chat's limit of 200, which all callers of the \
             application share",
        );
        warn(
            self.reapply.lease < 2 * self.chat.request_timeout,
            "reapply.lease is shorter than two calls of chat.request_timeout: a slow delete and set \
             of one room would be broken off and done again",
        );
        warn(
            self.reapply.max_wait > Duration::from_secs(1),
            "reapply.max_wait is above 1s: marks cannot be back within 2s of a callback",
        );
        warn(
            self.database.max_connections < 8,
            "database.max_connections is below 8: callbacks, calls, sweeps and the management API \
             wait for each other",
        );
        warn(
            self.database
                .url
                .as_ref()
                .is_some_and(|url| may_be_clear_text_elsewhere(url.expose_secret())),
            "database.url leads to another machine and does not insist on TLS: the password may \
             travel in clear text; add sslmode=require, or verify-full to know the server too",
        );
        let hex = |key: &str| key.len() == 64 && key.bytes().all(|c| c.is_ascii_hexdigit());
        warn(
            self.chat
                .secret_key
                .as_ref()
                .is_some_and(|key| !hex(key.expose_secret())),
            "chat.secret_key is not 64 hexadecimal digits, as keys in the Chat console are",
        );
        warnings
    }

    fn exposure_warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |risky: bool, sentence: String| {
            if risky {
                warnings.push(sentence);
            }
        };
        let callback = &self.callback;
        warn(
            callback.tokens.is_empty(),
            "callback.tokens is empty: whoever finds the callback URL can post events; switch on \
             callback authentication in the Chat console and set its token here"
                .into(),
        );
        warn(
            callback
                .tokens
                .iter()
                .any(|token| token.expose_secret().len() < 8),
            "callback.tokens has a token of fewer than 8 characters, which can be guessed".into(),
        );
        warn(
            callback.max_age > Duration::from_secs(300),
            "callback.max_age is above 5m: a callback that somebody overheard can be repeated \
             that long"
                .into(),
        );
        warn(
            callback.forward_url.is_none() && callback.forward_failure != ForwardFailure::Ok,
            "callback.forward_failure has no effect without callback.forward_url".into(),
        );
        for token in &self.admin.tokens {
            warn(
                token.secret.expose_secret().len() < 16,
                format!(
                    "admin.tokens: the secret of {:?} has fewer than 16 characters",
                    token.name
                ),
            );
        }
        warn(
            self.chat
                .base_url
                .as_ref()
                .is_some_and(is_clear_text_elsewhere),
            "chat.base_url is http to another machine: UserSig travels in clear text".into(),
        );
        warnings
    }
}

/// Whether two listeners cannot both have their address. Port 0 means any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip().to_canonical() == b.ip().to_canonical();
    let takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (same_ip || takes_all)
}

/// Whether a server on another machine is taken at its word when it offers no TLS. A host without a
/// dot, or a service of a cluster (`name.namespace`, `name.namespace.svc…`), is a name of a network of
/// containers, where that is the rule; so is what an operator of PostgreSQL puts into its secrets. That
/// a public name of two labels is not told from these is the lesser evil.
fn may_be_clear_text_elsewhere(url: &str) -> bool {
    let Ok(options) = PgConnectOptions::from_str(url) else {
        return false;
    };
    let host = options.get_host();
    let here = match host.parse::<IpAddr>() {
        Ok(ip) => ip.to_canonical().is_loopback(),
        Err(_) => host.starts_with('/') || is_in_a_cluster(host),
    };
    let optional = matches!(
        options.get_ssl_mode(),
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer
    );
    options.get_socket().is_none() && !here && optional
}

fn is_in_a_cluster(host: &str) -> bool {
    let mut labels = host.split('.').skip(2);
    matches!(labels.next(), None | Some("svc"))
}

fn is_clear_text_elsewhere(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !here
}
