//! What a trial needs and production does without: a private PostgreSQL, a simulated Chat, and the
//! demo that shows the product with both.

pub mod demo;
pub mod postgres;
pub mod simulator;

use std::io;

use tokio_util::sync::CancellationToken;

use crate::service::Signals;

/// Cancelled by the first signal; the second ends the process at once.
fn stop_on_signal() -> io::Result<CancellationToken> {
    let (stop, signals) = (CancellationToken::new(), Signals::listen()?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        signals.first().await;
        stopped.cancel();
    });
    Ok(stop)
}
