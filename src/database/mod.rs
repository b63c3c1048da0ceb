//! The way to PostgreSQL: a pool of connections, the migrations, and the private PostgreSQL that
//! stands in when no URL is given.
//!
//! Callers see one [`Database`] and need not know which kind they have. Connections come with
//! PostgreSQL's own `synchronous_commit`, because an answered callback must be on disk. A connection
//! that fell silent, or that a failover left without the right to write, is replaced by itself.

mod error;
mod limit;
#[cfg_attr(not(feature = "local"), path = "no_local.rs")]
pub mod local;
mod store;

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool, Row};

pub use error::DatabaseError;
pub use limit::in_time;
use local::LocalPostgres;
pub use store::is_read_only;

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

/// A connection that takes longer for an empty statement has nobody at its other end. Nothing else
/// tells: the driver sets no keepalive, and TCP waits for an answer for ever.
const TEST_LIMIT: Duration = Duration::from_secs(1);

/// What the server gives up by itself, so that whoever waited here in vain does not leave sessions
/// behind that hold locks. Longer than any statement of ours, imports included. And nothing is to be
/// compiled: that takes a second where planners guess too high, and our statements take milliseconds.
const SESSION: &str = "set statement_timeout = '60s'; \
                       set idle_in_transaction_session_timeout = '60s'; \
                       set jit = off";

/// A migration may take as long as it needs.
const MIGRATING_SESSION: &str = "set statement_timeout = 0; \
                                 set idle_in_transaction_session_timeout = 0";

/// Closing waits so long for connections in use. One whose server is silent never comes back.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Statements that one connection keeps prepared; more than the program has.
const PREPARED_STATEMENTS: usize = 256;

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

fn pool(max_connections: u32, options: PgConnectOptions) -> PgPool {
    // The driver would tell of each slow statement with its whole text, thousands of times in an outage.
    // PostgreSQL's own log_min_duration_statement does it better.
    let mut options = options
        .statement_cache_capacity(PREPARED_STATEMENTS)
        .disable_statement_logging();
    if options.get_application_name().is_none() {
        options = options.application_name("stickymark");
    }
    let doubt = Doubt::default();
    let returned = doubt.clone();
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(drop) })
        })
        .before_acquire(move |connection, used| {
            let doubt = doubt.clone();
            Box::pin(async move { doubt.is_usable(connection, used).await })
        })
        // The pool tests what comes back, but without a limit: a connection whose statement was
        // given up would never come back, nor leave its place to another.
        .after_release(move |connection, _| {
            let doubt = returned.clone();
            Box::pin(async move { doubt.is_whole(connection).await })
        })
        .connect_lazy_with(options)
}

fn not_migrated(reason: sqlx::Error) -> DatabaseError {
    DatabaseError::Migration(reason.into())
}

/// When a connection was last found broken or silent. All that were made before go with it: most
/// often they are no better, and to find out for each would take longer than callers wait.
#[derive(Debug, Clone, Default)]
struct Doubt {
    since: Arc<Mutex<Option<Instant>>>,
}

impl Doubt {
    /// Whether a connection from the pool still leads to a database that can be written to. After a
    /// failover old sessions may stay with a server that has become a standby.
    async fn is_usable(
        &self,
        connection: &mut PgConnection,
        used: PoolConnectionMetadata,
    ) -> Result<bool, sqlx::Error> {
        let made = Instant::now().checked_sub(used.age);
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some_and(|since| made.is_none_or(|made| made < since)) {
            tracing::debug!("a connection is replaced because another one broke");
            return Ok(false);
        }
        if used.idle_for < TRUSTED_IDLE {
            return Ok(true);
        }
        let answer = connection.fetch_one("show transaction_read_only");
        match in_time(TEST_LIMIT, answer).await {
            Ok(row) => Ok(row.try_get::<&str, _>(0)? == "off"),
            Err(error) => Err(self.cast(error)),
        }
    }

    /// Whether a connection that comes back is fit for another use.
    async fn is_whole(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        match in_time(TEST_LIMIT, connection.ping()).await {
            Ok(()) => Ok(true),
            Err(error) => Err(self.cast(error)),
        }
    }

    fn cast(&self, error: sqlx::Error) -> sqlx::Error {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        error
    }
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
