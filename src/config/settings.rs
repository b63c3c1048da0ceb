//! The shape of the settings; `config/default.toml` documents each key and its default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::values::{self, AdminToken, CallbackPath};
use super::{DatabaseUrl, ForwardFailure, LogFormat, Region};
use crate::domain::{Account, Mark};

/// In milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1_000;
const LONGEST: u64 = 36_500 * DAY;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub chat: ChatSettings,
    pub callback: CallbackSettings,
    pub admin: AdminSettings,
    pub database: DatabaseSettings,
    pub reapply: ReapplySettings,
    pub resync: ResyncSettings,
    pub retention: RetentionSettings,
    #[serde(default)]
    pub marks: MarksSettings,
    pub log: LogSettings,
    #[serde(default)]
    pub telemetry: TelemetrySettings,
    /// Variables `STICKYMARK…` that nothing reads, for a warning.
    #[serde(skip)]
    pub(super) unread_variables: Vec<String>,
    /// What was given, by section: `key=value key=value`. A secret is only said to be set, a list of
    /// them counted; admin tokens also show names and roles.
    #[serde(skip)]
    pub described: BTreeMap<&'static str, String>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.described.fmt(f)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatSettings {
    /// Above 0; see [`Self::app`].
    #[serde(default, deserialize_with = "values::optional")]
    pub sdk_app_id: Option<u64>,
    /// The key for UserSig, used as text.
    #[serde(default, deserialize_with = "values::read_secret")]
    pub secret_key: Option<SecretString>,
    #[serde(deserialize_with = "values::value")]
    pub admin_account: Account,
    /// Its host is called unless there is a `base_url`.
    pub region: Region,
    /// http or https, no query; with or without a `/` at the end. See [`Self::url`].
    #[serde(default, deserialize_with = "values::optional")]
    pub base_url: Option<Url>,
    /// For each API over all replicas, 1 to 200.
    #[serde(deserialize_with = "values::count::<_, 1, 200>")]
    pub calls_per_second: u32,
    /// From the first byte sent to the last one read; should exceed the 3 s of Chat's backend.
    #[serde(deserialize_with = "values::within::<_, 100, 60_000>")]
    pub request_timeout: Duration,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackSettings {
    #[serde(deserialize_with = "values::value")]
    pub listen: SocketAddr,
    #[serde(deserialize_with = "values::value")]
    pub path: CallbackPath,
    /// Tokens of callback authentication; empty = `Sign` is not required.
    #[serde(deserialize_with = "values::read_tokens")]
    pub tokens: Vec<SecretString>,
    #[serde(deserialize_with = "values::within::<_, 1_000, DAY>")]
    pub max_age: Duration,
    /// http or https. Path and query may be secret.
    #[serde(default, deserialize_with = "values::read_forward_url")]
    pub forward_url: Option<Url>,
    pub forward_failure: ForwardFailure,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    #[serde(deserialize_with = "values::value")]
    pub listen: SocketAddr,
    /// Names and secrets are unique.
    pub tokens: Vec<AdminToken>,
}

impl AdminSettings {
    /// True when the listener can be reached from this machine only.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSettings {
    /// `None` = a private PostgreSQL in `path`.
    #[serde(default, deserialize_with = "values::read_secret")]
    pub url: Option<DatabaseUrl>,
    #[serde(deserialize_with = "values::value")]
    pub path: PathBuf,
    /// Size of the pool, 2 to 1000.
    #[serde(deserialize_with = "values::count::<_, 2, 1_000>")]
    pub max_connections: u32,
}

impl DatabaseSettings {
    /// The server of `url`, for the driver.
    pub fn server(&self) -> Option<&PgConnectOptions> {
        self.url.as_ref().map(|url| &url.options)
    }
}

/// `settle <= max_wait`, and `lease` is longer than `chat.request_timeout`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReapplySettings {
    #[serde(deserialize_with = "values::within::<_, 0, 10_000>")]
    pub settle: Duration,
    #[serde(deserialize_with = "values::within::<_, 0, 10_000>")]
    pub max_wait: Duration,
    #[serde(deserialize_with = "values::within::<_, 1_000, 600_000>")]
    pub lease: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResyncSettings {
    /// Time between two comparisons of a room; `None` = off.
    #[serde(deserialize_with = "values::within_or_off::<_, 1_000, DAY>")]
    pub interval: Option<Duration>,
}

/// How long data is kept; `None` = no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionSettings {
    /// Rows of absent members, after their last event.
    #[serde(deserialize_with = "values::within_or_off::<_, 3_600_000, LONGEST>")]
    pub members: Option<Duration>,
    /// Entries of the rules' history.
    #[serde(deserialize_with = "values::within_or_off::<_, DAY, LONGEST>")]
    pub history: Option<Duration>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarksSettings {
    /// What people see beside the number.
    #[serde(default, deserialize_with = "values::read_mark_names")]
    pub names: BTreeMap<Mark, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub format: LogFormat,
    /// Directives that `tracing_subscriber::EnvFilter` accepts.
    #[serde(deserialize_with = "values::log_filter")]
    pub filter: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySettings {
    /// A receiver of OTLP over HTTP, without the path of a signal; `None` = no traces.
    #[serde(default, deserialize_with = "values::optional")]
    pub otlp_endpoint: Option<Url>,
}
