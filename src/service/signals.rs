//! What asks a process to end.

use std::process;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::TURN_AWAY;

/// SIGTERM, SIGHUP and SIGINT. The first stops the service in order, the second ends the process at once.
pub(crate) struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        // By default these two end the process, and some tools send them to every process they manage.
        for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            let _handled = signal(ignored)?;
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the first; then load balancers are waited for so long.
    pub(crate) async fn first(mut self) -> Duration {
        let turn_away = self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("second signal: ending at once");
            process::exit(1);
        });
        turn_away
    }

    /// A person who presses Ctrl-C does not wait for load balancers.
    async fn next(&mut self) -> Duration {
        tokio::select! {
            _ = self.terminate.recv() => TURN_AWAY,
            _ = self.hang_up.recv() => TURN_AWAY,
            _ = self.interrupt.recv() => Duration::ZERO,
        }
    }
}
