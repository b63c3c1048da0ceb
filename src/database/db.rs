//! The one way to statements. Each has a time limit, a failure is counted for the part of the service
//! that asked, and a connection that falls silent never keeps its place in the pool.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use sqlx::pool::PoolConnection;
use sqlx::postgres::types::PgInterval;
use sqlx::postgres::{PgConnectOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Error, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr};

use super::pool::{self, Doubt, TEST_LIMIT, in_time};
use crate::metrics::{DatabasePart, Metrics};

/// How long a statement may take that reads or writes much, or for which a person waits.
const LONG: Duration = Duration::from_secs(30);

/// The same for the small statements of callbacks and calls.
const SHORT: Duration = Duration::from_secs(5);

/// A database, to execute statements on. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    doubt: Doubt,
    limit: Duration,
    counted: Option<(Metrics, DatabasePart)>,
}

impl Db {
    /// Connects when the first connection is needed.
    pub fn new_lazy(options: PgConnectOptions, max_connections: u32) -> Self {
        let (pool, doubt) = pool::pool(max_connections, pool::options(options));
        Self {
            pool,
            doubt,
            limit: LONG,
            counted: None,
        }
    }

    /// The same for one part of the service, under whose name failures are counted.
    pub(crate) fn part(&self, part: DatabasePart, metrics: &Metrics) -> Self {
        let limit = match part {
            DatabasePart::Rules | DatabasePart::Resync => LONG,
            _ => SHORT,
        };
        Self {
            limit,
            counted: Some((metrics.clone(), part)),
            ..self.clone()
        }
    }

    /// Waits for statements as long as this part of the service may, and counts a failure. For work in
    /// a transaction; single statements are executed on the [`Db`] itself, which does the same.
    pub async fn run<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let done = in_time(self.limit, work).await;
        if let Err(error) = &done {
            if let Some((metrics, part)) = &self.counted {
                metrics.database_errors.of(*part).inc();
            }
            if matches!(error, Error::Io(error) if error.kind() != io::ErrorKind::TimedOut) {
                self.doubt.cast();
            }
        }
        done
    }

    /// Begins a transaction. Its statements have no limit of their own; see [`Self::run`].
    pub async fn begin(&self) -> Result<Transaction, Error> {
        self.begin_with("begin").await
    }

    /// The same with a statement that says how.
    pub async fn begin_with(&self, begin: &'static str) -> Result<Transaction, Error> {
        let mut connection = self.lend().await?;
        connection.undo = true;
        connection.execute(begin).await?;
        Ok(Transaction(connection))
    }

    /// Begins a transaction that sees one state and writes nothing. Its statements are planned for their
    /// parameters: lists leave most filters out, and planned for all of them, a search for one row could
    /// walk the whole table.
    pub async fn begin_reading(&self) -> Result<Transaction, Error> {
        self.begin_with(
            "begin isolation level repeatable read read only; \
             set local plan_cache_mode = force_custom_plan; \
             set local enable_seqscan = on",
        )
        .await
    }

    /// A connection that is closed after its use, not used again.
    pub(super) async fn connection(&self) -> Result<PoolConnection<Postgres>, Error> {
        let mut connection = self.pool.acquire().await?;
        connection.close_on_drop();
        Ok(connection)
    }

    pub fn connections(&self) -> Connections {
        let idle = self.pool.num_idle();
        Connections {
            used: (self.pool.size() as usize).saturating_sub(idle),
            idle,
            most: self.pool.options().get_max_connections(),
        }
    }

    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.pool.connect_options()
    }

    /// Closes it, and waits for connections in use.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn lend(&self) -> Result<Lent, Error> {
        Ok(Lent {
            connection: Some(self.pool.acquire().await?),
            doubt: self.doubt.clone(),
            undo: false,
        })
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Connections {
    pub used: usize,
    pub idle: usize,
    /// As the settings allow.
    pub most: u32,
}

impl<'p> Executor<'p> for &Db {
    type Database = Postgres;

    /// All rows at once. To read more than memory holds, read in a transaction.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        let rows = async move {
            let rows = async {
                let mut connection = db.lend().await?;
                connection.fetch_many(query).try_collect::<Vec<_>>().await
            };
            let rows = db.run(rows).await?;
            Ok(stream::iter(rows.into_iter().map(Ok)))
        };
        rows.try_flatten_stream().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let db = self.clone();
        async move {
            let row = async { db.lend().await?.fetch_optional(query).await };
            db.run(row).await
        }
        .boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let db = self.clone();
        async move {
            let prepared = async { db.lend().await?.prepare_with(sql, parameters).await };
            db.run(prepared).await
        }
        .boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let db = self.clone();
        async move { db.run(async { db.lend().await?.describe(sql).await }).await }.boxed()
    }
}

/// A transaction. Dropped without [`Self::commit`], it is undone.
#[derive(Debug)]
pub struct Transaction(Lent);

impl Transaction {
    pub async fn commit(self) -> Result<(), Error> {
        self.end("commit").await
    }

    pub async fn rollback(self) -> Result<(), Error> {
        self.end("rollback").await
    }

    async fn end(mut self, end: &'static str) -> Result<(), Error> {
        self.execute(end).await?;
        self.0.undo = false;
        Ok(())
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// A connection of the pool. The pool would test it when it comes back, without a limit of time, and
/// keep its place taken forever if the server has fallen silent.
#[derive(Debug)]
struct Lent {
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<Postgres>>,
    doubt: Doubt,
    /// A transaction is open.
    undo: bool,
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let (doubt, undo) = (self.doubt.clone(), self.undo);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(give_back(connection, doubt, undo))),
            // The process ends.
            Err(_) => drop(connection.detach()),
        }
    }
}

async fn give_back(mut connection: PoolConnection<Postgres>, doubt: Doubt, undo: bool) {
    if undo
        && in_time(TEST_LIMIT, connection.execute("rollback"))
            .await
            .is_err()
    {
        doubt.cast();
        drop(connection.detach());
        return;
    }
    let returned = tokio::time::timeout(TEST_LIMIT, connection.return_to_pool());
    if returned.await.is_err() {
        doubt.cast();
    }
}

#[expect(clippy::expect_used, reason = "it is there until it is dropped")]
impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect("a connection")
    }
}

#[expect(clippy::expect_used, reason = "it is there until it is dropped")]
impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("a connection")
    }
}

/// Whether a statement gave up because a lock did not come free.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) fn is_lock_timeout(error: &Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some("55P03")
}

/// A duration as Postgres takes it.
pub(crate) fn interval(duration: Duration) -> PgInterval {
    let microseconds = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    PgInterval {
        months: 0,
        days: 0,
        microseconds,
    }
}
