//! The commands that need no service: `migrate`, `user-sig`, `openapi`.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use secrecy::ExposeSecret;

use super::Usage;
use crate::chat::UserSigKey;
use crate::config::Settings;
use crate::database::Database;
use crate::domain::Account;
use crate::{admin, telemetry};

/// `stickymark migrate`.
pub(super) async fn migrate(settings: &Settings) -> anyhow::Result<()> {
    telemetry::init(&settings.log)?;
    let database = Database::connect(&settings.database).await?;
    database.migrate().await?;
    database.close().await?;
    println!("the database is up to date");
    Ok(())
}

#[derive(Debug, Args)]
pub(super) struct UserSigArguments {
    /// The account it is for; chat.admin_account if not given.
    #[arg(long)]
    account: Option<String>,
    /// How long it is valid, for example 12h or 1d.
    #[arg(long, default_value = "1d", value_parser = humantime::parse_duration)]
    ttl: Duration,
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
    println!("{}", sig.expose_secret());
    Ok(())
}

/// `stickymark openapi`.
pub(super) fn openapi() -> anyhow::Result<()> {
    let document = admin::openapi()
        .to_pretty_json()
        .context("the document cannot be printed")?;
    match writeln!(std::io::stdout(), "{document}") {
        // Whoever reads only the beginning has what he wanted.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
