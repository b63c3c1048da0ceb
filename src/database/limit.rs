//! Limits for statements. The driver has none: a server that is frozen, or a machine that is gone
//! without a word, would be waited for until TCP gives up, which it need not do.

use std::io;
use std::time::Duration;

use sqlx::postgres::types::PgInterval;

/// The result of a statement, or an I/O error if there is none in time. What became of the statement
/// is then unknown.
///
/// # Errors
/// Those of the statement, and [`io::ErrorKind::TimedOut`].
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

/// Whether a statement gave up because a lock did not come free.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
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
