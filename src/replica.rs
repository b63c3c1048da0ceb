//! What the parts of a running service share. It is made once and handed to each of them.

use tokio_util::sync::CancellationToken;

use crate::chat::{Breaker, Budgets, CallRate};
use crate::database::Db;
use crate::metrics::{DatabasePart, Metrics};
use crate::wake::WakeUp;

/// One process of the service; clones are the same one.
#[derive(Debug, Clone)]
pub struct Replica {
    /// In the hands of a part, that of the part: see `part`.
    pub db: Db,
    pub metrics: Metrics,
    pub budgets: Budgets,
    /// Ends the worker's sleep when a member is due.
    pub wake_worker: WakeUp,
    /// Ends the sweeper's sleep when a comparison is requested.
    pub wake_sweeper: WakeUp,
    /// Ends the sleep of propagation after a change of rules.
    pub wake_propagation: WakeUp,
    /// Of the calls that set marks. While it is open no room is swept either.
    pub worker_breaker: Breaker,
    /// Of the calls that compare rooms.
    pub sweeper_breaker: Breaker,
    /// Cancelled when the admin listener closes: ends streams.
    pub closing: CancellationToken,
}

impl Replica {
    pub fn new(db: Db, rate: CallRate) -> Self {
        let metrics = Metrics::default();
        Self {
            budgets: Budgets::new(&db, rate, &metrics),
            db,
            metrics,
            wake_worker: WakeUp::default(),
            wake_sweeper: WakeUp::default(),
            wake_propagation: WakeUp::default(),
            worker_breaker: Breaker::new("reapply"),
            sweeper_breaker: Breaker::new("resync"),
            closing: CancellationToken::new(),
        }
    }

    /// The same for one part: its statements have the limit of that part, and failures are counted for it.
    pub(crate) fn part(&self, part: DatabasePart) -> Self {
        Self {
            db: self.db.part(part, &self.metrics),
            ..self.clone()
        }
    }
}
