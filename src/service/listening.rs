//! The listeners of the service: how they begin and how they end.

use std::future::IntoFuture;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::part::Running;

/// Requests in progress may take so long to end. All that were read whole are answered by then; a client
/// that has not sent its whole request may be hostile.
const ANSWER_LAST_WITHIN: Duration = Duration::from_secs(3);

/// Binds the address of a key. `[::]` also takes IPv4; a machine without IPv6 gets `0.0.0.0`.
pub(crate) async fn listen(
    key: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |reason| StartError::Listen {
        key,
        address,
        reason,
    };
    let bound = match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && !is_refused(&error) => {
            tracing::info!(key, %error, "cannot listen on IPv6, listening on IPv4 only");
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    let listener = bound.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Whether another address of this port would be refused too.
fn is_refused(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    matches!(error.kind(), AddrInUse | PermissionDenied)
}

/// Answers until stopped and every request under way has ended.
pub(super) async fn serve(
    (listener, router): (TcpListener, axum::Router),
    stop: CancellationToken,
) {
    // Forwarded callbacks tell their backend whom they came from.
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = server.into_future().await {
        tracing::error!(%error, "a listener ended");
    }
}

/// Asks the sender to come back on another connection, and so to another replica.
pub(super) async fn say_goodbye(
    State(leaving): State<CancellationToken>,
    mut response: Response,
) -> Response {
    if leaving.is_cancelled() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    response
}

/// Waits for a listener that was stopped, within a limit.
pub(super) async fn answered(listener: Running) {
    let name = listener.name;
    if tokio::time::timeout(ANSWER_LAST_WITHIN, listener.ended())
        .await
        .is_err()
    {
        tracing::warn!(
            listener = name,
            "closing connections whose request is still incomplete"
        );
    }
}
