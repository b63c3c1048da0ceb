//! Whether this process should get requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::database::{Db, is_read_only};

/// How long an answer of the database is believed, so that probes never become a load.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says whether the service is ready. Clones share one state.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Db,
    draining: AtomicBool,
    failed: AtomicBool,
    /// Held while the database is asked, so that probes that come together ask once.
    last: Mutex<Option<(Instant, DatabaseState)>>,
}

/// The state of the database, as the probe sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseState {
    /// It answers and takes writes.
    Ok,
    /// It answers, but takes no writes: a standby, or a failover under way.
    ReadOnly,
    /// It does not answer, or not in time.
    Unreachable,
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ready {
    /// Whether requests should come here.
    pub ready: bool,
    /// True once the process has begun to end.
    pub draining: bool,
    /// The database; null if it was not asked.
    pub database: Option<DatabaseState>,
}

impl Readiness {
    /// Ready as long as the database takes writes.
    pub fn new(db: Db) -> Self {
        Self(Arc::new(Shared {
            db,
            draining: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            last: Mutex::new(None),
        }))
    }

    /// From now on not ready: the process is about to end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// From now on not live: a task of the service has ended by itself.
    pub fn fail(&self) {
        self.0.failed.store(true, Ordering::Relaxed);
    }

    /// Whether all tasks of the service run.
    pub fn is_live(&self) -> bool {
        !self.0.failed.load(Ordering::Relaxed)
    }

    /// Whether requests should come here, and if not, why. The database may be left out: all replicas
    /// share it, so what routes callbacks has no better place for them while it is away. They are kept
    /// here, and those that need no database are answered and forwarded as ever.
    pub async fn check(&self, with_database: bool) -> Ready {
        let draining = self.is_draining();
        let database = match with_database {
            true => Some(self.database().await),
            false => None,
        };
        Ready {
            ready: !draining && matches!(database, None | Some(DatabaseState::Ok)),
            draining,
            database,
        }
    }

    /// The state of the database, not older than a second.
    pub async fn database(&self) -> DatabaseState {
        let mut last = self.0.last.lock().await;
        match *last {
            Some((at, state)) if at.elapsed() < BELIEVED => state,
            before => {
                let state = ask(&self.0.db).await;
                // One line when it goes and one when it is back, however often probes ask.
                if before.map_or(DatabaseState::Ok, |(_, state)| state) != state {
                    match state {
                        DatabaseState::Ok => tracing::info!("database is available again"),
                        DatabaseState::ReadOnly => tracing::warn!("database is read-only"),
                        DatabaseState::Unreachable => tracing::warn!("database is unreachable"),
                    }
                }
                *last = Some((Instant::now(), state));
                state
            }
        }
    }
}

async fn ask(db: &Db) -> DatabaseState {
    match tokio::time::timeout(PATIENCE, is_read_only(db)).await {
        Ok(Ok(false)) => DatabaseState::Ok,
        Ok(Ok(true)) => DatabaseState::ReadOnly,
        Ok(Err(error)) => {
            tracing::debug!(%error, "database did not answer the probe");
            DatabaseState::Unreachable
        }
        Err(_) => DatabaseState::Unreachable,
    }
}
