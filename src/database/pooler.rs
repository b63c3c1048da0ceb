//! Finds out whether a pooler such as PgBouncer gives each transaction another session.
//!
//! Prepared statements, settings and `listen` belong to a session, and this program uses all three.
//! A pooler that shares sessions loses them, and may run a statement of another client.
//! Source: <https://www.pgbouncer.org/features.html>.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, Row};

use super::in_time;

/// Another client of the pooler may take a session in the middle of a look.
const LOOKS: usize = 5;
/// A pooler that has no session left lets a client wait for minutes.
const LIMIT: Duration = Duration::from_secs(3);

/// Whether two connections were seen to share a session. False if that cannot be found out.
pub(super) async fn shares_sessions(first: &mut PgConnection, options: &PgConnectOptions) -> bool {
    let shared = in_time(LIMIT, are_shared(first, options)).await;
    shared.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot find out whether a pooler shares sessions");
        false
    })
}

/// While the second connection is within a transaction, the first must still have its own session.
async fn are_shared(
    first: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<bool, sqlx::Error> {
    let mut second = PgConnection::connect_with(options).await?;
    for _ in 0..LOOKS {
        let own = session(first).await?;
        match second.execute("begin").await {
            // With `pool_mode = statement` there are no transactions at all.
            Err(sqlx::Error::Database(_)) => return Ok(true),
            begun => begun?,
        };
        if session(&mut second).await? == own || session(first).await? != own {
            return Ok(true);
        }
        second.execute("rollback").await?;
    }
    second.close().await?;
    Ok(false)
}

/// A text without parameters is not prepared, so this works with every pooler.
async fn session(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let row = connection.fetch_one("select pg_backend_pid()").await?;
    row.try_get(0)
}
