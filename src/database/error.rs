//! Why there is no database. None of the messages holds a password.

use super::OLDEST_MAJOR;
#[cfg(not(feature = "local"))]
use super::no_local::LocalError;
#[cfg(feature = "local")]
use crate::local::postgres::LocalError;

/// Why there is no database to work with.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The private PostgreSQL did not start or stop.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// `database.url` is not understood.
    #[error("database.url is no PostgreSQL URL; give postgres://user:password@host:5432/database")]
    InvalidUrl,
    /// Nobody answers, or one is not let in.
    #[error("cannot connect to PostgreSQL at {target}: {reason}; check database.url")]
    Unreachable {
        /// Address, database and user.
        target: String,
        /// What the driver says.
        reason: sqlx::Error,
    },
    /// The server lacks what the statements need.
    #[error("PostgreSQL {major} is too old; {OLDEST_MAJOR} or later is needed")]
    TooOld {
        /// Its major version.
        major: u32,
    },
    /// A session does not belong to one connection.
    #[error(
        "PostgreSQL at {target} is behind a pooler that shares sessions between connections; in PgBouncer set pool_mode = session for this database, or connect to PostgreSQL itself"
    )]
    SharedSessions {
        /// Address, database and user.
        target: String,
    },
    /// The schema is not that of this version, and nobody shall mend it here.
    #[error(
        "the database lacks migrations of this version: {0}; run stickymark migrate, or leave --no-migrate away"
    )]
    Behind(usize),
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migration(sqlx::migrate::MigrateError),
}
