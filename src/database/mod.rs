//! The way to PostgreSQL: a pool of connections, the migrations, and the private PostgreSQL that
//! stands in when no URL is given.
//!
//! Callers see one [`Database`] and need not know which kind they have. Connections come with
//! PostgreSQL's own `synchronous_commit`, because an answered callback must be on disk.

mod error;
#[cfg_attr(not(feature = "local"), path = "no_local.rs")]
pub mod local;

use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool, pool::PoolConnection};

pub use error::DatabaseError;
use local::LocalPostgres;

use crate::config::DatabaseSettings;

/// The migrations in `migrations/`, compiled in.
pub static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// Oldest major version of PostgreSQL that works.
pub const OLDEST_MAJOR: u32 = 14;

/// How long a caller waits for a connection of the pool. Above any pause of a healthy database,
/// below the patience of a person who waits for an answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was used more recently than this is not tested before it is used again: a test
/// costs a round trip, and whoever meets a broken connection tries again anyway.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);

/// Statements that one connection keeps prepared; more than the program has.
const PREPARED_STATEMENTS: usize = 256;

/// A reachable PostgreSQL of a version that works.
#[derive(Debug)]
pub struct Database {
    pool: PgPool,
    url: SecretString,
    local: Option<LocalPostgres>,
}

impl Database {
    /// Connects to `database.url`, or starts the private PostgreSQL in `database.path` and
    /// connects to that. One connection is made at once, so that a wrong URL is known at start.
    ///
    /// # Errors
    /// When the private PostgreSQL cannot be started, the database does not answer, or is too old.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, DatabaseError> {
        let (url, local) = match &settings.url {
            Some(url) => (url.clone(), None),
            None => {
                let local = LocalPostgres::start(&settings.path).await?;
                (local.url().clone(), Some(local))
            }
        };
        let options = PgConnectOptions::from_str(url.expose_secret())
            .map_err(|_| DatabaseError::InvalidUrl)?;
        let target = Target::of(&options);
        let pool = pool(settings.max_connections, options);
        let connection = pool
            .acquire()
            .await
            .map_err(|reason| DatabaseError::Unreachable {
                target: target.0,
                reason,
            })?;
        refuse_old(&connection)?;
        drop(connection);
        Ok(Self { pool, url, local })
    }

    /// The pool. Cheap to clone.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Where the database is, for a process that needs a connection outside the pool.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    /// The private PostgreSQL, if this is one.
    pub fn local(&self) -> Option<&LocalPostgres> {
        self.local.as_ref()
    }

    /// Applies the migrations that are pending. Replicas that start together do so one after the
    /// other, by an advisory lock.
    ///
    /// # Errors
    /// When a migration fails, or the database was migrated by a newer version of the program.
    pub async fn migrate(&self) -> Result<(), DatabaseError> {
        MIGRATIONS
            .run(&self.pool)
            .await
            .map_err(DatabaseError::Migration)
    }

    /// Closes the pool, waits for connections in use, and stops the private PostgreSQL.
    ///
    /// # Errors
    /// When the private PostgreSQL does not end.
    pub async fn close(self) -> Result<(), DatabaseError> {
        self.pool.close().await;
        if let Some(local) = self.local {
            local.stop().await?;
        }
        Ok(())
    }
}

fn pool(max_connections: u32, options: PgConnectOptions) -> PgPool {
    let mut options = options.statement_cache_capacity(PREPARED_STATEMENTS);
    if options.get_application_name().is_none() {
        options = options.application_name("stickymark");
    }
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for >= TRUSTED_IDLE {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(options)
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
