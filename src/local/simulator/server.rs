//! Binds everything together and serves it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower_http::catch_panic::CatchPanicLayer;

use super::client::Simulated;
use super::connection::{Cut, CuttableListener};
use super::options::{Options, check_callback_url};
use super::shared::Shared;
use super::{control, rest};

/// How often members are looked for whose mark 500 has run out.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(10);

/// A simulated Chat that serves in the background. Dropped, it stops.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
    stop: DropGuard,
}

/// Starts a simulated Chat on a bound listener. Fails when the options or the socket are unusable.
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

/// Serves a simulated Chat until `stop` is cancelled. Fails when the options are unusable.
pub async fn serve(
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
            shared.expire();
        }
    };
    tokio::spawn(stop.clone().run_until_cancelled_owned(expiry));
    let service = app.into_make_service_with_connect_info::<Cut>();
    axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for `chat.base_url` and for the control API, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A client of its control API.
    pub fn client(&self) -> Result<Simulated, super::client::ControlError> {
        Simulated::new(&self.url())
    }

    /// Stops it and waits until the last call is answered.
    pub async fn stop(self) -> io::Result<()> {
        drop(self.stop);
        self.task.await.map_err(io::Error::other)?
    }
}
