//! What a trial needs and production does without: a private PostgreSQL, a simulated Chat, and the
//! demo that shows the product with both.

pub mod demo;
pub mod postgres;
pub mod simulator;

use std::{io, process};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Cancelled by the first signal; the second ends the process at once.
fn stop_on_signal() -> io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match first {
                true => stopped.cancel(),
                false => process::exit(1),
            }
        }
    });
    Ok(stop)
}
