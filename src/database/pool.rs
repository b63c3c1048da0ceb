//! The pool of connections. It replaces a connection that is silent, or that can no longer write after
//! a failover.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Executor, PgConnection, PgPool, Row};

/// How long a caller waits for a connection of the pool. Above any pause of a healthy database,
/// below the patience of a person who waits for an answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was used more recently than this is not tested before it is used again: a test
/// costs a round trip, and every caller retries after a broken connection anyway.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);

/// A connection that takes longer for an empty statement is dead. Nothing else shows it: the driver
/// sets no keepalive, and TCP waits for an answer without limit.
pub(super) const TEST_LIMIT: Duration = Duration::from_secs(1);

/// What the server ends by itself, so that a statement that timed out here leaves no session behind
/// that keeps locks. Longer than any statement of ours, imports included. No statement waits long for a
/// lock that a person at a prompt may hold. Nothing is compiled: that takes a second where the planner
/// guesses too high, and our statements take milliseconds. And statements are planned once: to plan those of
/// a single callback takes four times as long as to execute them, and there is one good plan for each,
/// which uses an index; planned while a table is empty, it would read the whole table from then on.
/// Those for which that is not so begin with [`super::Db::begin_reading`].
const SESSION: &str = "set statement_timeout = '60s'; \
                       set lock_timeout = '500ms'; \
                       set idle_in_transaction_session_timeout = '60s'; \
                       set jit = off; \
                       set plan_cache_mode = force_generic_plan; \
                       set enable_seqscan = off";

/// Statements that one connection keeps prepared; more than the program has.
const PREPARED_STATEMENTS: usize = 256;

pub(super) fn options(options: PgConnectOptions) -> PgConnectOptions {
    // The driver would log each slow statement with its whole text, thousands of times in an outage.
    // PostgreSQL's own log_min_duration_statement does it better. `extra_float_digits` is an old
    // default of PostgreSQL, which PgBouncer refuses as a parameter unless it is told to ignore it.
    let options = options
        .statement_cache_capacity(PREPARED_STATEMENTS)
        .extra_float_digits(None)
        .disable_statement_logging();
    match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("stickymark"),
    }
}

/// A pool that connects when the first connection is asked for.
pub(super) fn pool(max_connections: u32, options: PgConnectOptions) -> (PgPool, Doubt) {
    let doubt = Doubt::default();
    let tested = doubt.clone();
    let pool = PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(drop) })
        })
        .before_acquire(move |connection, used| {
            let doubt = tested.clone();
            Box::pin(async move { doubt.is_usable(connection, used).await })
        })
        .connect_lazy_with(options);
    (pool, doubt)
}

/// The result of a statement, or an I/O error if there is none in time. What became of the statement
/// is then unknown. The driver has no limits: a server that is frozen, or a machine that is gone without a
/// word, would be waited for until TCP gives up, which it need not do.
pub async fn in_time<T>(
    limit: Duration,
    statement: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, statement).await {
        Ok(result) => result,
        Err(_) => Err(sqlx::Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            "the database does not answer",
        ))),
    }
}

/// When a connection was last found broken or silent. All older ones are replaced too: most
/// often they are broken as well, and testing each would take longer than callers wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Doubt {
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
        let since = *self.since.lock();
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
            Err(error) => {
                self.cast();
                Err(error)
            }
        }
    }

    pub(super) fn cast(&self) {
        *self.since.lock() = Some(Instant::now());
    }
}
