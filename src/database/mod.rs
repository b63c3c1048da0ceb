//! The way to PostgreSQL: a pool of connections, the migrations, and the private PostgreSQL that
//! stands in when no URL is given.
//!
//! Callers see one [`Database`] and need not know which kind they have. Connections come with
//! PostgreSQL's own `synchronous_commit`, because an answered callback must be on disk.

mod db;
mod error;
#[cfg(not(feature = "local"))]
mod no_local;
mod pool;
mod pooler;
mod store;

use std::path::Path;
use std::time::Duration;

use chrono::TimeDelta;
use secrecy::ExposeSecret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

pub use db::{Connections, Db, Transaction};
pub(crate) use db::{interval, is_lock_timeout};
pub use error::DatabaseError;

#[cfg(feature = "local")]
use crate::local::postgres::LocalPostgres;
use crate::version::OLDEST_POSTGRES;
#[cfg(not(feature = "local"))]
use no_local::LocalPostgres;
pub use pool::in_time;
use store::Server;
pub use store::{is_read_only, table_sizes};

/// The migrations in `migrations/`, compiled in.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// A migration may take as long as it needs.
const MIGRATING_SESSION: &str = "set statement_timeout = 0; set lock_timeout = 0; \
                                 set idle_in_transaction_session_timeout = 0";

/// How long a server may take to accept a connection, and to answer the first question.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Half of the default of `callback.max_age`.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// Closing waits so long for connections in use. One whose server is silent never comes back.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How the schema of a database compares with the migrations of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// All of them were applied, and no others.
    Current,
    Behind(usize),
    /// A newer program migrated it.
    Ahead,
}

/// A reachable PostgreSQL of a version that works.
#[derive(Debug)]
pub struct Database {
    db: Db,
    server: Server,
    local: Option<LocalPostgres>,
}

impl Database {
    /// Connects to a server, or starts the private PostgreSQL in `path` and connects to that. One
    /// connection is opened at once, so that a wrong URL or a wrong server is known at start.
    pub async fn connect(
        server: Option<&PgConnectOptions>,
        path: &Path,
        max_connections: u32,
    ) -> Result<Self, DatabaseError> {
        let (options, local) = match server {
            Some(options) => (options.clone(), None),
            None => {
                let local = LocalPostgres::start(path).await;
                let local = local.map_err(DatabaseError::Local)?;
                let options = local.url().expose_secret().parse();
                (options.map_err(|_| DatabaseError::InvalidUrl)?, Some(local))
            }
        };
        let options = pool::options(options);
        let server = inspect(&options, local.is_none()).await?;
        Ok(Self {
            db: Db::new_lazy(options, max_connections),
            server,
            local,
        })
    }

    /// What works but is risky, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.server.synchronous_commit == "off" {
            warnings.push(
                "synchronous_commit is off in PostgreSQL: callbacks that were answered are lost when it \
                 crashes; turn it on for this role or database"
                    .to_owned(),
            );
        }
        let apart = self.server.clock_difference.abs();
        if apart > CLOCK_TOLERANCE {
            warnings.push(format!(
                "the clocks of this machine and of PostgreSQL differ by {} s: callbacks are refused while \
                 this machine's clock is wrong; synchronise both",
                apart.num_seconds()
            ));
        }
        warnings
    }

    /// To execute statements on.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The private PostgreSQL, if this is one.
    pub fn local(&self) -> Option<&LocalPostgres> {
        self.local.as_ref()
    }

    /// Applies the migrations that are pending. Replicas that start together do so one after the
    /// other, by an advisory lock.
    ///
    /// A schema that a newer version made is left as it is: this version can work on it
    /// (`migrations/README.md`), and must, when it is rolled back to or starts during a rollout.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        if !self.server.may_create {
            return self.require_migrated().await;
        }
        let mut connection = self.db.connection().await.map_err(not_migrated)?;
        connection
            .execute(MIGRATING_SESSION)
            .await
            .map_err(not_migrated)?;
        match MIGRATIONS.run(&mut *connection).await {
            Err(MigrateError::VersionMissing(newer))
                if self.schema().await? == SchemaState::Ahead =>
            {
                tracing::warn!(
                    newer,
                    "the database was migrated by a newer version; it is left as it is"
                );
                Ok(())
            }
            done => done.map_err(DatabaseError::Migration),
        }
    }

    /// Makes sure that nothing is left to migrate.
    pub async fn require_migrated(&self) -> Result<(), DatabaseError> {
        match self.schema().await? {
            SchemaState::Behind(pending) if !self.server.may_create => {
                Err(DatabaseError::MayNotCreate {
                    pending,
                    role: self.server.role.clone(),
                    schema: self.server.schema.clone().unwrap_or_default(),
                })
            }
            SchemaState::Behind(pending) => Err(DatabaseError::Behind(pending)),
            SchemaState::Current | SchemaState::Ahead => Ok(()),
        }
    }

    /// How the schema compares with the migrations of this program.
    pub async fn schema(&self) -> Result<SchemaState, DatabaseError> {
        let applied = store::applied(&self.db).await;
        let applied = applied.map_err(DatabaseError::Unreadable)?;
        let known: Vec<i64> = MIGRATIONS.iter().map(|known| known.version).collect();
        let pending = known.iter().filter(|version| !applied.contains(version));
        Ok(match pending.count() {
            0 if applied.iter().any(|version| !known.contains(version)) => SchemaState::Ahead,
            0 => SchemaState::Current,
            pending => SchemaState::Behind(pending),
        })
    }

    /// Closes the pool, waits a little for connections in use, and stops the private PostgreSQL.
    pub async fn close(self) -> Result<(), DatabaseError> {
        if tokio::time::timeout(CLOSE_LIMIT, self.db.close())
            .await
            .is_err()
        {
            tracing::warn!("connections to the database are left behind");
        }
        if let Some(local) = self.local {
            local.stop().await.map_err(DatabaseError::Local)?;
        }
        Ok(())
    }
}

fn not_migrated(reason: sqlx::Error) -> DatabaseError {
    DatabaseError::Migration(reason.into())
}

/// Asks the server what it is, and refuses one that cannot serve. On a connection of its own: the pool
/// retries a refused connection until its time limit, and then does not say why.
async fn inspect(options: &PgConnectOptions, may_be_pooled: bool) -> Result<Server, DatabaseError> {
    let unreachable = |reason| DatabaseError::Unreachable {
        target: target(options),
        reason,
    };
    let connecting = PgConnection::connect_with(options);
    let mut connection = in_time(CONNECT_LIMIT, connecting)
        .await
        .map_err(unreachable)?;
    // 150014 is version 15.14. Poolers may hide it; then the migrations fail.
    let version = connection.server_version_num();
    if let Some(major) = version.map(|number| number / 10_000)
        && major < OLDEST_POSTGRES
    {
        return Err(DatabaseError::TooOld { major });
    }
    if may_be_pooled && pooler::shares_sessions(&mut connection, options).await {
        return Err(DatabaseError::SharedSessions {
            target: target(options),
        });
    }
    let server = in_time(CONNECT_LIMIT, store::server(&mut connection))
        .await
        .map_err(unreachable)?;
    // The answers are here; a connection that does not end changes nothing.
    let _closed = in_time(CLOSE_LIMIT, connection.close()).await;
    if server.encoding != "UTF8" {
        return Err(DatabaseError::Encoding(server.encoding));
    }
    if server.read_only {
        return Err(DatabaseError::ReadOnly);
    }
    if !server.denied.is_empty() {
        return Err(DatabaseError::Rights {
            role: server.role,
            tables: server.denied.join(", "),
        });
    }
    Ok(server)
}

/// A database as it may appear in a message: without the password.
fn target(options: &PgConnectOptions) -> String {
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    let (host, port) = (options.get_host(), options.get_port());
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None if host.contains(':') => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    };
    format!("{place}, database {database:?}, user {user:?}")
}
