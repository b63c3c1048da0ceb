//! `stickymark serve`: configuration, database, service, signals.

use crate::config::Settings;
use crate::database::Database;
use crate::service::{Service, Signals};
use crate::telemetry::Telemetry;
use crate::version;

pub(super) async fn run(settings: Settings, no_migrate: bool) -> anyhow::Result<()> {
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
    match no_migrate {
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
