//! The shape of the settings. Durations, addresses and limits are parsed; see
//! `config/default.toml` for the meaning and the default of each.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

use crate::callback::ForwardFailure;
use crate::chat::Region;
use crate::domain::Account;

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How Chat is called.
    pub chat: ChatSettings,
    /// The listener for Chat's callbacks.
    pub callback: CallbackSettings,
    /// The listener for operators.
    pub admin: AdminSettings,
    /// Where rules and members are kept.
    pub database: DatabaseSettings,
    /// How events become calls.
    pub reapply: ReapplySettings,
    /// The comparison with Chat.
    pub resync: ResyncSettings,
    /// Log output.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
}

/// Section `chat`.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// SDKAppID, above 0; `Some` after [`Settings::validate_for_serve`].
    pub sdk_app_id: Option<u64>,
    /// The key for UserSig, used as text; `Some` after [`Settings::validate_for_serve`].
    pub secret_key: Option<SecretString>,
    /// `identifier` of every call.
    pub admin_account: Account,
    /// The region whose address is called when there is no `base_url`.
    pub region: Region,
    /// Address to call in place of the region's: http or https, no query. May end in `/` or not.
    pub base_url: Option<Url>,
    /// Calls a second for each API over all replicas, 1 to 200.
    pub calls_per_second: u32,
    /// Limit of one call.
    pub request_timeout: Duration,
}

/// Section `callback`.
#[derive(Clone)]
pub struct CallbackSettings {
    /// Address that faces the internet.
    pub listen: SocketAddr,
    /// Path of the callback URL.
    pub path: CallbackPath,
    /// Tokens of callback authentication; empty = `Sign` is not required.
    pub tokens: Vec<SecretString>,
    /// Greatest distance between `RequestTime` and now.
    pub max_age: Duration,
    /// A backend that goes on receiving every callback: http or https, no query.
    pub forward_url: Option<Url>,
    /// What Chat is answered when that backend gives no proper answer.
    pub forward_failure: ForwardFailure,
}

/// Path of the callback URL: begins with `/`, made of unreserved characters, so that it needs no
/// escaping in a router or a URL. It may hold a secret segment, hence no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackPath(pub(super) String);

impl CallbackPath {
    /// The path. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Section `admin`.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Address for operators, probes and metrics.
    pub listen: SocketAddr,
    /// Who may use the API; names and secrets are unique.
    pub tokens: Vec<AdminToken>,
}

impl AdminSettings {
    /// True when the listener can be reached from this machine only.
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }
}

/// Who may use the management API.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Shows up in histories: `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// What `Authorization: Bearer` carries.
    pub secret: SecretString,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes.
    Editor,
}

impl Role {
    /// The name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
        }
    }
}

/// Section `database`.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// `postgres://…`; `None` = a private PostgreSQL in `path`.
    pub url: Option<SecretString>,
    /// Directory of the private PostgreSQL.
    pub path: PathBuf,
    /// Size of the pool, 2 to 1000.
    pub max_connections: u32,
}

/// Section `reapply`: `settle <= max_wait`, and `lease` is longer than `chat.request_timeout`.
#[derive(Debug, Clone)]
pub struct ReapplySettings {
    /// How long a member's events settle before the call.
    pub settle: Duration,
    /// Hard limit of that wait.
    pub max_wait: Duration,
    /// How long a claimed member stays with a worker.
    pub lease: Duration,
}

/// Section `resync`.
#[derive(Debug, Clone)]
pub struct ResyncSettings {
    /// Time between two comparisons of a room; `None` = off.
    pub interval: Option<Duration>,
}

/// Section `log`.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// Lines for people or for machines.
    pub format: LogFormat,
    /// Directives that `tracing_subscriber::EnvFilter` takes.
    pub filter: String,
}

/// Section `telemetry`.
#[derive(Clone, Default)]
pub struct TelemetrySettings {
    /// A receiver of OTLP over HTTP, without the path of a signal; `None` = no traces.
    pub otlp_endpoint: Option<Url>,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl fmt::Debug for CallbackPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackPath([REDACTED])")
    }
}

impl fmt::Debug for TelemetrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = self.otlp_endpoint.as_ref();
        f.debug_struct("TelemetrySettings")
            .field(
                "otlp_endpoint",
                &endpoint.map(super::describe::without_path),
            )
            .finish()
    }
}

impl fmt::Debug for CallbackSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forward_url = self.forward_url.as_ref().map(super::describe::without_path);
        f.debug_struct("CallbackSettings")
            .field("listen", &self.listen)
            .field("path", &self.path)
            .field("tokens", &self.tokens)
            .field("max_age", &self.max_age)
            .field("forward_url", &forward_url)
            .field("forward_failure", &self.forward_failure)
            .finish()
    }
}
