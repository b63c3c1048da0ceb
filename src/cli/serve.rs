//! `stickymark serve`: configuration, database, service, signals.

use std::process;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::Settings;
use crate::database::Database;
use crate::service::{Service, TURN_AWAY};
use crate::telemetry::Telemetry;
use crate::version;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not apply pending migrations; fail if any is pending.
    #[arg(long)]
    no_migrate: bool,
}

pub(super) async fn run(settings: Settings, arguments: Arguments) -> anyhow::Result<()> {
    settings.validate_for_serve()?;
    let telemetry = Telemetry::start(&settings.log, &settings.telemetry)?;
    for (section, settings) in &settings.described {
        tracing::info!(section, settings, "in force");
    }
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    let signals = Signals::listen()?;
    let database = Database::connect(
        settings.database.server(),
        &settings.database.path,
        settings.database.max_connections,
    )
    .await?;
    for warning in database.warnings() {
        tracing::warn!("{warning}");
    }
    match arguments.no_migrate {
        true => database.require_migrated().await?,
        false => database.migrate().await?,
    }
    let service = Service::build(&settings, database.db().clone()).await?;
    tracing::info!(
        callbacks = %service.callback_address(),
        admin = %service.admin_address(),
        console = %format_args!("http://{}/", service.admin_address()),
        version = version::FULL,
        "listening"
    );
    let ended = service.run(signals.first()).await;
    database.close().await?;
    telemetry.close().await;
    Ok(ended?)
}

/// SIGTERM, SIGHUP and SIGINT. The first stops the service in order, the second ends the process at once.
struct Signals {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
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

    async fn first(mut self) -> Duration {
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
