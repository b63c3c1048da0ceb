//! The commands that need no service: `migrate`, `user-sig`, `openapi`, `completions`.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;

use super::{Usage, output};
use crate::chat::UserSigKey;
use crate::config::Settings;
use crate::database::Database;
use crate::domain::Account;
use crate::{api, telemetry};

/// `stickymark migrate`.
pub(super) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    telemetry::init(&settings.log)?;
    let database = Database::connect(
        settings.database.server(),
        &settings.database.path,
        settings.database.max_connections,
    )
    .await?;
    database.migrate().await?;
    database.close().await?;
    Ok(output::line("the database is up to date")?)
}

#[derive(Debug, Args)]
pub(super) struct UserSigArguments {
    /// The account it is for; chat.admin_account if not given.
    #[arg(long)]
    account: Option<String>,
    /// How long it is valid, for example 12h or 1d.
    #[arg(long, default_value = "1d", value_parser = ttl)]
    ttl: Duration,
}

fn ttl(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ttl) if ttl >= Duration::from_secs(1) => Ok(ttl),
        Ok(_) => Err("must be one second at least, or it would have ended".to_owned()),
        Err(error) => Err(format!("{error}; write it like 12h or 1d")),
    }
}

/// `stickymark user-sig`.
pub(super) fn user_sig(settings: &Settings, arguments: &UserSigArguments) -> anyhow::Result<()> {
    let missing = |key: &str| {
        Usage(format!(
            "{key} is not set; the Chat console shows its value"
        ))
    };
    let app = settings
        .chat
        .sdk_app_id
        .ok_or_else(|| missing("chat.sdk_app_id"))?;
    let key = settings
        .chat
        .secret_key
        .clone()
        .ok_or_else(|| missing("chat.secret_key"))?;
    let account = match &arguments.account {
        Some(text) => Account::parse(text).map_err(|error| Usage(format!("--account: {error}")))?,
        None => settings.chat.admin_account.clone(),
    };
    let now = chrono::Utc::now();
    let sig = UserSigKey::new(app, key).sign(&account, arguments.ttl, now)?;
    Ok(output::line(sig.expose_secret())?)
}

/// `stickymark openapi`.
pub(super) fn openapi() -> anyhow::Result<()> {
    let document = api::openapi()
        .to_pretty_json()
        .context("the document cannot be printed")?;
    Ok(output::line(&document)?)
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArguments {
    /// The shell.
    shell: clap_complete::Shell,
}

/// `stickymark completions`.
pub(super) fn completions(
    arguments: &CompletionsArguments,
    mut command: clap::Command,
) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "stickymark", &mut script);
    Ok(output::text(&String::from_utf8_lossy(&script))?)
}
