//! The way to PostgreSQL: a pool of connections, the migrations, and the private PostgreSQL that
//! stands in when no URL is given.
//!
//! Callers see one [`Database`] and need not know which kind they have. Connections come with
//! PostgreSQL's own `synchronous_commit`, because an answered callback must be on disk.

mod error;
mod limit;
#[cfg(not(feature = "local"))]
mod no_local;
mod pool;
mod pooler;
mod store;

use std::path::Path;
use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Executor, PgPool};

pub use error::DatabaseError;
pub use limit::in_time;

#[cfg(feature = "local")]
use crate::local::postgres::LocalPostgres;
#[cfg(not(feature = "local"))]
use no_local::LocalPostgres;
pub use store::is_read_only;

/// The migrations in `migrations/`, compiled in.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Oldest major version of PostgreSQL that works.
pub const OLDEST_MAJOR: u32 = 14;

/// A migration may take as long as it needs.
const MIGRATING_SESSION: &str = "set statement_timeout = 0; \
                                 set idle_in_transaction_session_timeout = 0";

/// Closing waits so long for connections in use. One whose server is silent never comes back.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// How the schema of a database stands to the migrations of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// All of them were applied, and no others.
    Current,
    /// So many are pending.
    Behind(usize),
    /// A newer program migrated it.
    Ahead,
}

/// A reachable PostgreSQL of a version that works.
#[derive(Debug)]
pub struct Database {
    pool: PgPool,
    local: Option<LocalPostgres>,
}

impl Database {
    /// Connects to a server, or starts the private PostgreSQL in `path` and connects to that. One
    /// connection is opened at once, so that a wrong URL is known at start.
    ///
    /// # Errors
    /// When the private PostgreSQL cannot be started, the database does not answer, is too old, or is
    /// behind a pooler that shares sessions.
    pub async fn connect(
        server: Option<&PgConnectOptions>,
        path: &Path,
        max_connections: u32,
    ) -> Result<Self, DatabaseError> {
        let (options, local) = match server {
            Some(options) => (options.clone(), None),
            None => {
                let local = LocalPostgres::start(path).await?;
                let options = local.url().expose_secret().parse();
                (options.map_err(|_| DatabaseError::InvalidUrl)?, Some(local))
            }
        };
        let options = pool::options(options);
        let target = Target::of(&options);
        let pool = pool::pool(max_connections, options.clone());
        let mut connection = pool
            .acquire()
            .await
            .map_err(|reason| DatabaseError::Unreachable {
                target: target.0.clone(),
                reason,
            })?;
        refuse_old(&connection)?;
        if local.is_none() && pooler::shares_sessions(&mut connection, &options).await {
            return Err(DatabaseError::SharedSessions { target: target.0 });
        }
        drop(connection);
        Ok(Self { pool, local })
    }

    /// The pool. Cheap to clone.
    pub fn pool(&self) -> &PgPool {
        &self.pool
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
    ///
    /// # Errors
    /// When a migration fails, or the schema is one of another version that lacks migrations of ours.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        let mut connection = self.pool.acquire().await.map_err(not_migrated)?;
        connection.close_on_drop();
        connection
            .execute(MIGRATING_SESSION)
            .await
            .map_err(not_migrated)?;
        match MIGRATIONS.run(&mut *connection).await {
            Err(MigrateError::VersionMissing(newer))
                if self.schema().await.map_err(not_migrated)? == SchemaState::Ahead =>
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
    ///
    /// # Errors
    /// When something is, or the database does not answer.
    pub async fn require_migrated(&self) -> Result<(), DatabaseError> {
        match self.schema().await.map_err(not_migrated)? {
            SchemaState::Behind(pending) => Err(DatabaseError::Behind(pending)),
            SchemaState::Current | SchemaState::Ahead => Ok(()),
        }
    }

    /// How the schema stands to the migrations of this program.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn schema(&self) -> Result<SchemaState, sqlx::Error> {
        let applied = match store::has_schema(&self.pool).await? {
            true => store::applied(&self.pool).await?,
            false => Vec::new(),
        };
        let known: Vec<i64> = MIGRATIONS.iter().map(|known| known.version).collect();
        let pending = known.iter().filter(|version| !applied.contains(version));
        Ok(match pending.count() {
            0 if applied.iter().any(|version| !known.contains(version)) => SchemaState::Ahead,
            0 => SchemaState::Current,
            pending => SchemaState::Behind(pending),
        })
    }

    /// Closes the pool, waits a little for connections in use, and stops the private PostgreSQL.
    ///
    /// # Errors
    /// When the private PostgreSQL does not end.
    pub async fn close(self) -> Result<(), DatabaseError> {
        if tokio::time::timeout(CLOSE_LIMIT, self.pool.close())
            .await
            .is_err()
        {
            tracing::warn!("connections to the database are left behind");
        }
        if let Some(local) = self.local {
            local.stop().await?;
        }
        Ok(())
    }
}

fn not_migrated(reason: sqlx::Error) -> DatabaseError {
    DatabaseError::Migration(reason.into())
}

fn refuse_old(connection: &PoolConnection<sqlx::Postgres>) -> Result<(), DatabaseError> {
    // 150014 is version 15.14. Poolers may hide it, then the migrations tell.
    match connection
        .server_version_num()
        .map(|number| number / 10_000)
    {
        Some(major) if major < OLDEST_MAJOR => Err(DatabaseError::TooOld { major }),
        _ => Ok(()),
    }
}

/// A database as it may stand in a message: without the password.
struct Target(String);

impl Target {
    fn of(options: &PgConnectOptions) -> Self {
        let user = options.get_username();
        let database = options.get_database().unwrap_or(user);
        let place = match options.get_socket() {
            Some(socket) => format!("{}", socket.display()),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Self(format!("{place}, database {database:?}, user {user:?}"))
    }
}
