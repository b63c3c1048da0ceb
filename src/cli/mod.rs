//! The command line. Exit status: 0 done, 2 bad usage or bad configuration, 1 any other failure;
//! errors go to standard error and say what is wrong and how to fix it. `rules diff` says 1 for
//! differences too, as diff does, and so does a dry run that would be rejected. A closed pipe ends a
//! command with 0.

mod output;
mod remote;
mod serve;
mod small;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::chat::ClientError;
use crate::config::{ConfigError, Settings};
use crate::database::DatabaseError;
use crate::domain::Account;
#[cfg(feature = "local")]
use crate::local::{demo, simulator};
use crate::service::StartError;
use crate::version;

/// Keeps member marks of Tencent Cloud Chat live rooms in place.
#[derive(Debug, Parser)]
#[command(name = "stickymark", version = version::FULL, about, propagate_version = true)]
struct Arguments {
    /// TOML file with settings; environment variables STICKYMARK__SECTION__KEY win over it.
    #[arg(long, global = true, env = "STICKYMARK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[cfg_attr(
    not(feature = "local"),
    allow(clippy::large_enum_variant, reason = "one value exists in a process")
)]
enum Command {
    /// Run the service: callback listener, admin listener, worker.
    Serve {
        /// Do not apply pending migrations; fail if any is pending.
        #[arg(long)]
        no_migrate: bool,
    },
    /// Show the whole product at work on this machine, against a simulated Chat.
    #[cfg(feature = "local")]
    Demo(demo::Arguments),
    /// Run only the simulated Chat server.
    #[cfg(feature = "local")]
    Simulate(simulator::Command),
    /// Apply pending database migrations and exit.
    Migrate {
        /// How long to wait for a database that does not answer yet, for example 10m.
        #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
        wait: Duration,
    },
    /// Check that the service on this machine is alive, for images without a shell.
    Healthcheck,
    /// Check configuration, database, UserSig and Chat, and say what to fix.
    Check {
        /// Do not fail for what may pass without a change, such as a Chat that does not answer: for an
        /// init container, which would keep new replicas from starting.
        #[arg(long)]
        passing_ok: bool,
    },
    #[command(flatten)]
    Remote(remote::Command),
    /// Print a UserSig for an account.
    UserSig {
        /// The account to sign for. Default: chat.admin_account.
        #[arg(long, value_parser = Account::parse)]
        account: Option<Account>,
        /// How long it is valid, for example 12h or 1d.
        #[arg(long, default_value = "1d", value_parser = small::ttl)]
        ttl: Duration,
    },
    /// Print the OpenAPI document of the management API.
    Openapi,
    /// Print completions for a shell, for example: source <(stickymark completions bash)
    Completions { shell: clap_complete::Shell },
}

/// What a command found, besides success: exit status 1, and nothing to report.
#[derive(Debug, thiserror::Error)]
#[error("there are differences")]
struct Different;

/// A mistake of the caller's: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Runs the program with the arguments and environment of the process.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(arguments));
    // Tasks that block, such as name resolution, must not hold up the end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Different>() => ExitCode::FAILURE,
        Err(error) => {
            report(&error);
            status(&error)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.config;
    match arguments.command {
        Command::Serve { no_migrate } => serve::run(settings(config)?, no_migrate).await,
        #[cfg(feature = "local")]
        Command::Demo(arguments) => demo::run(arguments).await,
        #[cfg(feature = "local")]
        Command::Simulate(arguments) => simulator::run(arguments).await,
        Command::Migrate { wait } => small::migrate(&settings(config)?, wait).await,
        Command::Healthcheck => small::healthcheck(&settings(config)?).await,
        Command::Check { passing_ok } => small::check(&settings(config)?, passing_ok).await,
        Command::Remote(command) => remote::run(command, || settings(config)).await,
        Command::UserSig { account, ttl } => {
            small::user_sig(&settings(config)?, account.as_ref(), ttl)
        }
        Command::Openapi => small::openapi(),
        Command::Completions { shell } => small::completions(shell, Arguments::command()),
    }
}

fn settings(config: Option<PathBuf>) -> Result<Settings, ConfigError> {
    let options = options_from_environment(&Arguments::command());
    let environment = std::env::vars_os().filter(|(name, _)| !options.contains(name));
    Settings::load(config.as_deref(), environment)
}

/// The variables that options of any command read: they are not settings.
fn options_from_environment(command: &clap::Command) -> HashSet<OsString> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let own = own.map(OsString::from);
    let below = command.get_subcommands().flat_map(options_from_environment);
    own.chain(below).collect()
}

/// One line for each thing that is wrong. Causes follow their effect on the same line.
fn report(error: &anyhow::Error) {
    for line in format!("{error:#}").lines() {
        eprintln!("error: {line}");
    }
}

fn status(error: &anyhow::Error) -> ExitCode {
    let callers = error.is::<ConfigError>()
        || error.is::<Usage>()
        || matches!(error.downcast_ref(), Some(StartError::Config(_)))
        || matches!(error.downcast_ref(), Some(ClientError::Config(_)))
        // A build without a PostgreSQL of its own lacks `database.url`.
        || cfg!(not(feature = "local"))
            && matches!(error.downcast_ref(), Some(DatabaseError::Local(_)));
    match callers {
        true => ExitCode::from(2),
        false => ExitCode::FAILURE,
    }
}
