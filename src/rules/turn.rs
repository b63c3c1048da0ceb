//! The turn to write rules: one writer at a time, over all replicas.
//!
//! A turn lasts from before the rules are read until the commit. Writers of one replica queue in
//! memory, in the order in which they came, and only the first of them waits for those of other
//! replicas, in the database. So a long import costs the others patience, but never a connection
//! each, which callbacks need. A dry run waits for nobody, and nobody waits for it: it reads one state of
//! the rules, and cannot write.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::database::{Db, Transaction, is_lock_timeout};
use sqlx::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::store::WriteError;

/// The advisory lock of rule writes: the bytes of "sm.rules". Taken for a transaction, by nobody
/// else.
const RULES_LOCK: i64 = i64::from_be_bytes(*b"sm.rules");

/// How long a write of a few rules waits: longer than an import takes, and less than requests may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long an import waits.
pub(super) const IMPORT_PATIENCE: Duration = Duration::from_secs(50);

/// The queue of this replica. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<Semaphore>);

/// A transaction that may write rules. Dropped without [`Self::commit`], it is undone.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    // Undone before the place is given away.
    transaction: Transaction,
    /// `None`: a dry run.
    place: Option<SemaphorePermit<'a>>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl Turns {
    /// Waits for the turn.
    ///
    /// # Errors
    /// [`WriteError::Busy`] when patience is over, and those of the database.
    pub(super) async fn begin(&self, db: &Db, patience: Duration) -> Result<Turn<'_>, WriteError> {
        let began = Instant::now();
        let place = match tokio::time::timeout(patience, self.0.acquire()).await {
            Ok(Ok(place)) => place,
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => return Err(WriteError::Busy),
        };
        // Read committed, whatever the server's default: what is read after the wait must include
        // what the others wrote.
        let mut transaction = db
            .begin_with("begin isolation level read committed")
            .await?;
        let left = patience.saturating_sub(began.elapsed());
        lock(&mut transaction, left).await?;
        Ok(Turn {
            transaction,
            place: Some(place),
        })
    }

    /// That of a dry run, which only reads.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn dry(db: &Db) -> Result<Turn<'static>, WriteError> {
        let begin = "begin isolation level repeatable read read only";
        Ok(Turn {
            transaction: db.begin_with(begin).await?,
            place: None,
        })
    }
}

async fn lock(transaction: &mut PgConnection, patience: Duration) -> Result<(), WriteError> {
    // Zero would mean for ever.
    let patience = format!("{}ms", patience.as_millis().max(1));
    sqlx::query!("select set_config('lock_timeout', $1, true)", patience)
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", RULES_LOCK)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| match is_lock_timeout(&error) {
            true => WriteError::Busy,
            false => error.into(),
        })?;
    // Members are locked later, and only for moments.
    sqlx::query!("set local lock_timeout = '5s'")
        .execute(transaction)
        .await?;
    Ok(())
}

impl Turn<'_> {
    /// Commits what was written, and ends the turn.
    ///
    /// # Errors
    /// Those of the database.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    pub(super) fn is_dry(&self) -> bool {
        self.place.is_none()
    }
}

impl Deref for Turn<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}
