//! Why there is no database to work with. No message contains a password.

use std::io;

use crate::version::OLDEST_POSTGRES;

#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The private PostgreSQL did not start or stop.
    #[error(transparent)]
    Local(anyhow::Error),
    #[error("the URL of the private PostgreSQL cannot be read")]
    InvalidUrl,
    #[error("cannot connect to PostgreSQL at {target}: {}; check database.url", in_words(.reason))]
    Unreachable {
        /// Address, database and user.
        target: String,
        reason: sqlx::Error,
    },
    #[error("PostgreSQL {major} is too old; {OLDEST_POSTGRES} or later is needed")]
    TooOld { major: u32 },
    #[error(
        "PostgreSQL at {target} is behind a pooler that shares sessions between connections; in PgBouncer \
         set pool_mode = session for this database, or connect to PostgreSQL itself"
    )]
    SharedSessions { target: String },
    #[error(
        "PostgreSQL takes no writes: it is a standby, or a failover is in progress; database.url must \
         lead to the primary"
    )]
    ReadOnly,
    #[error(
        "the database has the encoding {0}, which cannot store every account and note; create it with \
         ENCODING 'UTF8' TEMPLATE template0"
    )]
    Encoding(String),
    #[error(
        "the role {role:?} may not select, insert, update and delete in {tables}; grant it these rights"
    )]
    Rights { role: String, tables: String },
    #[error(
        "{pending} migrations are pending, but the role {role:?} may not create tables in the schema \
         {schema:?}; grant it CREATE on this schema, or run stickymark migrate as its owner"
    )]
    MayNotCreate {
        pending: usize,
        role: String,
        schema: String,
    },
    /// Pending migrations where none may be applied.
    #[error("{0} migrations are pending; run stickymark migrate, or start without --no-migrate")]
    Behind(usize),
    #[error("cannot migrate the database: {0}")]
    Migration(sqlx::migrate::MigrateError),
    #[error("cannot read the state of the database: {}", in_words(.0))]
    Unreadable(sqlx::Error),
}

/// The driver's reason without the line of PostgreSQL's own source, and with help where it has none.
pub fn in_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        error if error.to_string().contains("UnknownIssuer") => {
            "the CA that signed the server's certificate is unknown; name its file with sslrootcert"
                .to_owned()
        }
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        sqlx::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    }
}
