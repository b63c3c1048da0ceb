//! The state of a simulated Chat, and its start and end.
//!
//! All state is behind one lock that is never held across an await. Callbacks enter the queue under
//! that lock, so their order is the order of the changes.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use secrecy::SecretString;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_http::catch_panic::CatchPanicLayer;

use super::callbacks::{Delivery, Event, Outbox, Report, Target};
use super::client::{self, Simulated};
use super::connection::{Cut, CuttableListener};
use super::faults::Faults;
use super::log::CallLog;
use super::options::{CallbackOptions, Options, Settings, check_callback_url};
use super::rooms::Rooms;
use super::{control, rest};

/// How often the simulator looks for members whose mark 500 has expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

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
pub(super) async fn serve(
    options: Options,
    listener: TcpListener,
    stop: CancellationToken,
) -> io::Result<()> {
    options.settings.check().map_err(io::Error::other)?;
    if let Some(url) = &options.callback.url {
        check_callback_url(url).map_err(io::Error::other)?;
    }
    let shared = Shared::new(options, stop.clone()).map_err(io::Error::other)?;
    let app = Router::new()
        .merge(rest::routes())
        .merge(control::routes())
        .layer(CatchPanicLayer::new())
        .with_state(shared.clone());
    let expiry = async move {
        let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
        loop {
            ticks.tick().await;
            let mut world = shared.world();
            let events = world.rooms.expire(Utc::now().timestamp_millis());
            shared.emit(&mut world, events, &None);
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(expiry));
    let service = app.into_make_service_with_connect_info::<Cut>();
    axum::serve(CuttableListener(listener), service)
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

    pub fn client(&self) -> client::Result<Simulated> {
        Simulated::new(&self.url())
    }

    /// Stops it and waits until the last call is answered.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.task.await.map_err(io::Error::other)?
    }
}

/// What every request handler shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub sdk_app_id: u32,
    pub secret_key: SecretString,
    pub admin_account: String,
    pub stop: CancellationToken,
    pub outbox: Outbox,
    world: Mutex<World>,
    moment: watch::Sender<u64>,
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct World {
    pub rooms: Rooms,
    pub faults: Faults,
    pub log: CallLog,
    pub settings: Settings,
    pub callback: CallbackOptions,
}

impl Shared {
    fn new(options: Options, stop: CancellationToken) -> reqwest::Result<Arc<Self>> {
        let world = World {
            rooms: Rooms::default(),
            faults: Faults::default(),
            log: CallLog::default(),
            settings: options.settings,
            callback: options.callback,
        };
        Ok(Arc::new(Self {
            sdk_app_id: options.sdk_app_id,
            secret_key: options.secret_key,
            admin_account: options.admin_account,
            outbox: Outbox::start(stop.clone())?,
            stop,
            world: Mutex::new(world),
            moment: watch::Sender::new(0),
        }))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends callbacks for what just happened. Returns how many were queued.
    pub(super) fn emit(&self, world: &mut World, events: Vec<Event>, report: &Report) -> usize {
        let Some(url) = world.callback.url.clone() else {
            return 0;
        };
        let target = Arc::new(Target {
            sdk_app_id: self.sdk_app_id,
            url,
            token: world.callback.token.clone(),
        });
        let delivery = |event| Delivery {
            target: target.clone(),
            event,
            report: report.clone(),
        };
        let deliveries = events.into_iter().map(delivery).collect();
        let routed = world.faults.route(deliveries);
        let queued = routed.len();
        self.outbox.take(routed);
        queued
    }

    /// Wakes those who wait for the begin or end of a call.
    pub(super) fn announce(&self, world: &World) {
        self.moment.send_replace(world.log.moment());
    }

    pub(super) fn moments(&self) -> watch::Receiver<u64> {
        self.moment.subscribe()
    }
}

pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    // The maps of all answers have text as keys, so writing them cannot fail.
    let mut body = serde_json::to_vec(body).unwrap_or_default();
    body.push(b'\n');
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, body).into_response()
}
