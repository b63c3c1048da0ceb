//! What is allowed but risky, for the log at start and for `stickymark check`.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::PgSslMode;
use url::{Host, Url};

use super::{DatabaseAddress, Settings};
use crate::callback::ForwardFailure;

impl Settings {
    /// What is allowed but risky, one sentence each, to be logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.exposure_warnings();
        warnings.extend(self.ignored_parameters());
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

    /// Parameters of the URL that do nothing; a typing error may be why there is no TLS.
    fn ignored_parameters(&self) -> Option<String> {
        let url = self.database.url.as_ref()?;
        let ignored = DatabaseAddress::read(url.expose_secret())?.ignored;
        let names = ignored.join(", ");
        (!ignored.is_empty()).then(|| {
            format!("database.url has parameters that mean nothing to the driver: {names:?}")
        })
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

/// Whether a server on another machine is taken at its word when it offers no TLS. A host without a
/// dot, or a service of a cluster (`name.namespace`, `name.namespace.svc…`), is a name of a network of
/// containers, where that is the rule; so is what an operator of PostgreSQL puts into its secrets. That
/// a public name of two labels is not told from these is the lesser evil.
fn may_be_clear_text_elsewhere(url: &str) -> bool {
    let Some(DatabaseAddress { options, .. }) = DatabaseAddress::read(url) else {
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
