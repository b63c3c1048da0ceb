//! A simulated Tencent Cloud Chat, for the demo and for tests.
//!
//! It takes Chat's place over real HTTP: it keeps rooms, members, presence and marks, answers the
//! REST calls with Chat's limits, checks every UserSig, and sends signed callbacks. It shares no
//! code with the service's own Chat client, so that one misreading cannot hide the other, and it
//! is stricter than Chat where Chat's documents are silent.
//!
//! Limits: 500 accounts in a call (10005), 10 distinct marks in a room (10004), 1000 members with a
//! mark (one more is omitted from the answer), 200 calls of an API in any second (60007). Members
//! who are not online are omitted; if no member can be served, the call fails.
//!
//! `POST /control/{command}` (see `control`) moves members, injects faults and shows everything. A
//! movement answers when the state has changed and the callbacks are queued; with `"wait": true`
//! when they are delivered or failed.
//!
//! All state is in memory, behind one lock that no task keeps across an await. Callbacks enter the
//! queue under that lock, so their order is the order of the changes.

mod callbacks;
mod control;
mod faults;
mod log;
mod program;
mod rest;
mod rooms;
#[cfg(test)]
mod tests;
mod user_sig;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use parking_lot::Mutex;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use callbacks::{Delivery, Event, Outbox, Report, Target};
pub use callbacks::{Kind, KindCount};
pub use control::{ControlError, MemberView, Moved, Result, Simulated, Stats};
pub use faults::{Effect, Fault, LostAnswer};
pub use log::{Api, ApiCount, CallRecord, CalledMember};
pub use program::{Command, run};
pub use rooms::Movement;

pub const SAMPLE_SDK_APP_ID: u32 = 1_400_000_000;

/// A public key: the sample of <https://github.com/tencentyun/tls-sig-api-v2-python>.
pub const SAMPLE_SECRET_KEY: &str =
    "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";

// A doc comment would replace the description of the command that has these options.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// SDKAppID of the simulated application.
    #[arg(long, env = "STICKYMARK_SIMULATE_SDK_APP_ID", default_value_t = SAMPLE_SDK_APP_ID)]
    pub sdk_app_id: u32,
    /// Key that UserSigs are checked with; the default is a published sample.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_SECRET_KEY",
        hide_env_values = true,
        default_value = SAMPLE_SECRET_KEY
    )]
    pub secret_key: SecretString,
    /// The account that may call.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_ADMIN_ACCOUNT",
        default_value = "administrator"
    )]
    pub admin_account: String,
    /// Where callbacks go, e.g. http://127.0.0.1:8080/callback; without it none are sent.
    #[arg(long, env = "STICKYMARK_SIMULATE_CALLBACK_URL", value_parser = callback_url)]
    pub callback_url: Option<Url>,
    /// Token that callbacks are signed with; without it they have no `Sign`.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_CALLBACK_TOKEN",
        hide_env_values = true
    )]
    pub callback_token: Option<SecretString>,
    #[command(flatten)]
    pub settings: Settings,
}

// Behaviour where Chat's documents leave a choice, or where a test needs another pace. As above, no doc
// comment.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds between a call and its answer.
    #[arg(long, env = "STICKYMARK_SIMULATE_LATENCY_MS", default_value_t = 5)]
    pub latency_ms: u64,
    /// Calls of one API that are admitted in any one second.
    #[arg(skip = 200_usize)]
    pub calls_per_second: usize,
    /// Members in one answer of `get_members`.
    #[arg(skip = 250_usize)]
    pub page_size: usize,
    /// Error code when none of the accounts of `modify_user_info` is online.
    #[arg(skip = 10004_i64)]
    pub all_offline_code: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sdk_app_id: SAMPLE_SDK_APP_ID,
            secret_key: SecretString::from(SAMPLE_SECRET_KEY),
            admin_account: "administrator".to_owned(),
            callback_url: None,
            callback_token: None,
            settings: Settings::default(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            latency_ms: 5,
            calls_per_second: 200,
            page_size: 250,
            all_offline_code: 10004,
        }
    }
}

/// Reads a receiver's address as Chat's console does
/// (<https://www.tencentcloud.com/document/product/1047/34520>).
fn callback_url(text: &str) -> std::result::Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("the callback URL is invalid: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the callback URL must begin with http:// or https://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "the callback URL must have no query and no fragment; put a secret in its path".into(),
        );
    }
    Ok(url)
}

/// A simulated Chat that serves in the background. Dropped, it stops.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
    stop: DropGuard,
}

/// Starts a simulated Chat on a bound listener.
pub fn start(options: Options, listener: TcpListener) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(options, listener, stop.clone()));
    Ok(Running {
        address,
        task,
        stop: stop.drop_guard(),
    })
}

/// Serves a simulated Chat until `stop` is cancelled.
async fn serve(options: Options, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
    let world = World {
        settings: options.settings.clone(),
        callback: (options.callback_url.clone(), options.callback_token.clone()),
        ..World::default()
    };
    let shared = Arc::new(Shared {
        options,
        outbox: Outbox::start(stop.clone()).map_err(io::Error::other)?,
        stop: stop.clone(),
        world: Mutex::new(world),
    });
    let app = Router::new()
        .merge(rest::routes())
        .merge(control::routes())
        .with_state(shared);
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot turn off Nagle's algorithm for a connection");
        }
    });
    axum::serve(listener, app)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for `chat.base_url` and for the control API, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn client(&self) -> Result<Simulated> {
        Simulated::new(&self.url())
    }

    /// Stops it and waits until the last call is answered.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.task.await.map_err(io::Error::other)?
    }
}

#[derive(Debug)]
struct Shared {
    options: Options,
    stop: CancellationToken,
    outbox: Outbox,
    world: Mutex<World>,
}

#[derive(Debug, Default)]
struct World {
    rooms: rooms::Rooms,
    faults: faults::Faults,
    log: log::CallLog,
    settings: Settings,
    /// Where callbacks go, and the token that signs them.
    callback: (Option<Url>, Option<SecretString>),
}

impl Shared {
    /// Sends callbacks for what just happened. Returns how many were queued.
    fn emit(&self, world: &mut World, events: Vec<Event>, report: &Report) -> usize {
        let (Some(url), token) = world.callback.clone() else {
            return 0;
        };
        let target = Arc::new(Target {
            sdk_app_id: self.options.sdk_app_id,
            url,
            token,
        });
        let delivery = |event| Delivery {
            target: target.clone(),
            event,
            report: report.clone(),
        };
        let routed = world
            .faults
            .route(events.into_iter().map(delivery).collect());
        let queued = routed.len();
        self.outbox.take(routed);
        queued
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // The maps of all answers have text as keys, so writing them cannot fail.
    let mut body = serde_json::to_vec(body).unwrap_or_default();
    body.push(b'\n');
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, body).into_response()
}
