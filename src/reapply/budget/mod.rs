//! The budget of calls: one row per Chat API in Postgres, shared by all replicas.
//!
//! A generic cell rate algorithm without burst: the row holds the earliest moment of the next call,
//! and whoever calls moves it on by one interval. Slots are granted as delays, so replicas need no
//! common clock. A grant may be used late but never early; one that is used too late is given up
//! and another taken, and the interval is a little longer than the rate says, so that neither
//! lateness nor a pause lets more calls into one second than configured. A replica with much to do
//! takes a few slots at once; those it does not use in their time are lost, not saved. When Chat says
//! that calls come too fast the rate is halved for all replicas and recovers by itself within a
//! minute.

mod slots;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use self::slots::Reserved;
pub use self::slots::Slot;
use crate::database::in_time;
use crate::metrics::{Api, DatabasePart, Metrics, SlowdownReason};
use crate::telemetry::warn_seldom;

/// Calls per second that the configuration grants, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRate(u32);

/// A grant that took longer to arrive is given up: database or process stood still, and all who
/// waited would call at once. It counts against slots of a time long gone.
const LATEST_GRANT: Duration = Duration::from_secs(1);
/// Room for that lateness and as much again on the way to Chat: the calls of one second are granted
/// over 1.1 s.
const SPACING: f64 = 1.1;
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);

impl CallRate {
    /// A rate; 0 counts as 1.
    pub fn new(per_second: u32) -> Self {
        Self(per_second.max(1))
    }

    fn interval(self) -> Duration {
        Duration::from_secs_f64(SPACING / f64::from(self.0))
    }
}

/// The budget of one Chat API.
#[derive(Debug, Clone)]
pub struct Budget {
    pool: PgPool,
    api: &'static str,
    rate: CallRate,
    reserved: Arc<Mutex<Reserved>>,
    metrics: Metrics,
}

/// State of a budget for people.
#[derive(Debug, Clone, Copy)]
pub struct BudgetState {
    /// Calls per second in force now.
    pub per_second: f64,
    /// Share of the configured rate in force now, above 0 to 1.
    pub share: f64,
}

impl Budget {
    /// The budget of an API, named as in its URL.
    pub fn new(pool: PgPool, api: &'static str, rate: CallRate) -> Self {
        let reserved = Reserved::none_yet(rate.interval());
        Self {
            pool,
            api,
            rate,
            reserved: Arc::new(Mutex::new(reserved)),
            metrics: Metrics::default(),
        }
    }

    /// The same, telling these metrics of waits, slow-downs and faults of the database.
    #[must_use]
    pub fn measured_by(self, metrics: &Metrics) -> Self {
        let metrics = metrics.clone();
        Self { metrics, ..self }
    }

    /// The API, named as in its URL.
    pub fn api(&self) -> &'static str {
        self.api
    }

    /// Whether an API as Chat's alerts name it is the one of this budget.
    pub fn covers(&self, service: &str, command: &str) -> bool {
        service == "group_open_avchatroom_http_svc" && command == self.api
    }

    /// Waits for the next free slot. The call belongs right behind it.
    pub async fn take(&self) -> Result<Slot, sqlx::Error> {
        let began = Instant::now();
        loop {
            let next = self.reserved().next();
            let Some(slot) = next else {
                self.noted(self.reserve().await)?;
                continue;
            };
            tokio::time::sleep_until(slot.at().into()).await;
            if slot.is_fresh() {
                self.on_metrics(|metrics, api| metrics.budget_waited(api, began.elapsed()));
                return Ok(slot);
            }
        }
    }

    fn reserved(&self) -> MutexGuard<'_, Reserved> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot if it is still fresh, else the next one: for a call that was prepared in between.
    pub async fn fresh(&self, slot: Option<Slot>) -> Result<Slot, sqlx::Error> {
        match slot.filter(Slot::is_fresh) {
            Some(slot) => Ok(slot),
            None => self.take().await,
        }
    }

    /// Takes the next slots. They are counted from when the answer is here, which is later than
    /// Postgres counted: never early. An answer that took too long brings none.
    async fn reserve(&self) -> Result<(), sqlx::Error> {
        let block = self.reserved().wanted();
        let length = self.rate.interval();
        let asked = Instant::now();
        let granted = store::reserve(&self.pool, self.api, block, length);
        let granted = in_time(LONGEST_STATEMENT, granted).await?;
        if asked.elapsed() <= LATEST_GRANT {
            let apart = length.div_f64(granted.share);
            let first = granted.until_end - f64::from(block) * apart.as_secs_f64();
            self.reserved().granted(first, block, apart);
        }
        Ok(())
    }

    /// Halves the rate: Chat refused a call because calls come too fast. Once a second counts,
    /// since calls already under way will say the same.
    pub async fn slow_down(&self) -> Result<(), sqlx::Error> {
        self.halve(SlowdownReason::Answer).await
    }

    /// The same after a warning of Chat's.
    pub async fn heed_alert(&self) -> Result<(), sqlx::Error> {
        self.halve(SlowdownReason::Alert).await
    }

    async fn halve(&self, reason: SlowdownReason) -> Result<(), sqlx::Error> {
        self.reserved().drop_all();
        let halved = store::halve(&self.pool, self.api);
        if self.noted(in_time(LONGEST_STATEMENT, halved).await)? {
            warn_seldom!(
                api = self.api,
                ?reason,
                "calls are slowed down to half their rate, for a while"
            );
            self.on_metrics(|metrics, api| metrics.slowed_down(api, reason));
        }
        Ok(())
    }

    fn on_metrics(&self, note: impl FnOnce(&Metrics, Api)) {
        if let Some(api) = Api::named(self.api) {
            note(&self.metrics, api);
        }
    }

    fn noted<T>(&self, answer: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        answer.inspect_err(|_| self.metrics.database_error(DatabasePart::Budget))
    }

    /// What is in force now.
    pub async fn state(&self) -> Result<BudgetState, sqlx::Error> {
        let share = store::share(&self.pool, self.api).await?;
        Ok(BudgetState {
            per_second: share * f64::from(self.rate.0),
            share,
        })
    }
}
