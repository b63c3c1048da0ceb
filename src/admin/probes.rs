//! Whether this process lives, and whether it should get requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sqlx::PgPool;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::database::is_read_only;

/// How long an answer of the database is believed, so that probes never become a load.
const BELIEVED: Duration = Duration::from_secs(1);
/// How long the database may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Says whether the service is ready. Clones share one state.
#[derive(Debug, Clone)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    draining: AtomicBool,
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
    /// The database.
    pub database: DatabaseState,
}

impl Readiness {
    /// Ready as long as the database of this pool takes writes.
    pub fn new(pool: PgPool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                draining: AtomicBool::new(false),
                last: Mutex::new(None),
            }),
        }
    }

    /// From now on not ready: the process is about to end.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests should come here, and if not, why.
    pub async fn check(&self) -> Ready {
        let database = self.database().await;
        let draining = self.shared.draining.load(Ordering::Relaxed);
        Ready {
            ready: !draining && database == DatabaseState::Ok,
            draining,
            database,
        }
    }

    async fn database(&self) -> DatabaseState {
        let mut last = self.shared.last.lock().await;
        match *last {
            Some((at, state)) if at.elapsed() < BELIEVED => state,
            _ => {
                let state = ask(&self.shared.pool).await;
                *last = Some((Instant::now(), state));
                state
            }
        }
    }
}

async fn ask(pool: &PgPool) -> DatabaseState {
    match tokio::time::timeout(PATIENCE, is_read_only(pool)).await {
        Ok(Ok(false)) => DatabaseState::Ok,
        Ok(Ok(true)) => DatabaseState::ReadOnly,
        Ok(Err(error)) => {
            tracing::debug!(?error, "the database does not answer the probe");
            DatabaseState::Unreachable
        }
        Err(_) => DatabaseState::Unreachable,
    }
}

/// Whether the process lives: if it answers, it does.
#[utoipa::path(
    get, path = "/livez", operation_id = "getLiveness", tag = "probes", security(()),
    responses((status = 200, description = "The process lives.", body = str, content_type = "text/plain"))
)]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests should come here.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "probes", security(()),
    responses(
        (status = 200, description = "Ready.", body = Ready),
        (status = 503, description = "Not ready; the fields say why.", body = Ready),
    )
)]
pub(super) async fn readyz(State(readiness): State<Readiness>) -> Response {
    let ready = readiness.check().await;
    let status = if ready.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}
