//! What is allowed but risky, for the log at start and for `stickymark check`.

use std::time::Duration;

use secrecy::ExposeSecret;
use url::{Host, Url};

use super::{ForwardFailure, Settings};

impl Settings {
    /// What is allowed but risky, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |risky: bool, sentence: &str| {
            if risky {
                warnings.push(sentence.to_owned());
            }
        };
        let (chat, callback, database) = (&self.chat, &self.callback, &self.database);
        warn(
            callback.tokens.is_empty(),
            "callback.tokens is empty: anyone who finds the callback URL can post events; switch on \
             callback authentication in the Chat console and set its token here",
        );
        warn(
            callback
                .tokens
                .iter()
                .any(|token| token.expose_secret().len() < 8),
            "callback.tokens has a token of fewer than 8 characters, which can be guessed",
        );
        warn(
            callback.max_age > Duration::from_secs(300),
            "callback.max_age is above 5m: a copied callback can be repeated for that long",
        );
        warn(
            callback.forward_url.is_none() && callback.forward_failure != ForwardFailure::Auto,
            "callback.forward_failure has no effect without callback.forward_url",
        );
        warn(
            chat.base_url.as_ref().is_some_and(is_clear_text_elsewhere),
            "chat.base_url is http to another machine: UserSig is sent in clear text",
        );
        let hex = |key: &str| key.len() == 64 && key.bytes().all(|c| c.is_ascii_hexdigit());
        warn(
            chat.secret_key
                .as_ref()
                .is_some_and(|key| !hex(key.expose_secret())),
            "chat.secret_key is not 64 hexadecimal digits, unlike the keys in the Chat console",
        );
        warn(
            chat.calls_per_second > 190,
            "chat.calls_per_second is close to Chat's limit of 200, which all callers of the \
             application share",
        );
        warn(
            database.url.is_none(),
            "database.url is not set: a private PostgreSQL on this machine holds everything; use it \
             for trials, not for several replicas",
        );
        warn(
            database
                .url
                .as_ref()
                .is_some_and(|url| url.may_be_clear_text_elsewhere()),
            "database.url leads to another machine and does not require TLS: the password may be \
             sent in clear text; add sslmode=require, or verify-full to verify the server too",
        );
        let ignored = database.url.as_ref().map(|url| url.ignored.join(", "));
        let ignored = ignored.unwrap_or_default();
        warn(
            !ignored.is_empty(),
            &format!("database.url has parameters that the driver ignores: {ignored:?}"),
        );
        warn(
            database.max_connections < 8,
            "database.max_connections is below 8: callbacks, calls, sweeps and the management API \
             wait for each other",
        );
        warn(
            self.reapply.lease < 2 * chat.request_timeout,
            "reapply.lease is shorter than two calls of chat.request_timeout: a slow delete and set \
             of one room would be interrupted and repeated",
        );
        warn(
            self.reapply.max_wait > Duration::from_secs(1),
            "reapply.max_wait is above 1s: marks cannot be restored within 2s of a callback",
        );
        let hour = Duration::from_secs(3600);
        warn(
            self.resync.interval.is_none_or(|interval| interval > hour),
            "resync.interval is off or above 1h: marks whose callback was lost stay missing for that \
             long",
        );
        for token in &self.admin.tokens {
            warn(
                token.secret.expose_secret().len() < 16,
                &format!(
                    "admin.tokens: the secret of {:?} has fewer than 16 characters",
                    token.name
                ),
            );
        }
        for variable in &self.unread_variables {
            warn(
                true,
                &format!(
                    "{variable:?} is set, but nothing reads it; settings are named \
                     STICKYMARK__SECTION__KEY, with two underscores"
                ),
            );
        }
        warnings
    }
}

fn is_clear_text_elsewhere(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

/// Whether a URL leads to this machine, by its words alone.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
