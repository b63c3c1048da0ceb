//! The budget of calls: one row per Chat API in Postgres, shared by all replicas.
//!
//! A generic cell rate algorithm without burst: the row holds the earliest moment of the next call,
//! and each call moves it on by one interval. Slots are granted as delays, so replicas need no common
//! clock. A slot may be used late but never early; one that is too late is dropped and another taken.
//! The interval is a little longer than the rate says, so that neither lateness nor a pause lets more
//! calls into one second than configured. A busy replica takes a few slots at once; those that it does
//! not use in their time are lost, not saved. When Chat says that calls come too fast, the rate is
//! halved for all replicas and recovers by itself within a minute.

mod slots;
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use self::slots::Reserved;
use super::error::ChatError;
use super::recent::RecentCalls;
use crate::database::Db;
use crate::metrics::{Api, DatabasePart, ErrorClass, Label, Metrics, SlowdownReason};
use crate::telemetry::warn_seldom;

/// Calls per second that the configuration grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRate(u32);

/// A grant that took longer to arrive is dropped: database or process stood still, and all who
/// waited would call at once.
const LATEST_GRANT: Duration = Duration::from_secs(1);
/// Room for that lateness and as much again on the way to Chat: the calls of one second are granted
/// over 1.1 s.
const SPACING: f64 = 1.1;
/// At this rate the calls that go out come to 160 a second. With more Chat sends its alert, which
/// halves the rate. Source: <https://cloud.tencent.com/document/product/269/105418>.
const HIGHEST_RATE: u32 = 176;

impl CallRate {
    /// From 1 to 176; what is outside counts as the nearest.
    pub fn new(per_second: u32) -> Self {
        Self(per_second.clamp(1, HIGHEST_RATE))
    }

    fn interval(self) -> Duration {
        Duration::from_secs_f64(SPACING / f64::from(self.0))
    }
}

/// The budgets of a client, one for each API that has one, and where its calls are counted.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    all: Vec<Budget>,
    pub metrics: Metrics,
    /// How calls ended lately.
    pub recent: RecentCalls,
}

impl Budgets {
    pub fn new(db: &Db, rate: CallRate, metrics: &Metrics) -> Self {
        let apis = [Api::ModifyUserInfo, Api::CheckMembers, Api::GetMembers];
        let db = db.part(DatabasePart::Budget, metrics);
        let budget = |api| Budget {
            metrics: metrics.clone(),
            ..Budget::new(db.clone(), api, rate)
        };
        Self {
            all: apis.map(budget).into(),
            metrics: metrics.clone(),
            recent: RecentCalls::default(),
        }
    }

    /// For a command that a person runs, which makes a few calls and has no database.
    pub fn none() -> Self {
        Self::default()
    }

    pub fn all(&self) -> &[Budget] {
        &self.all
    }

    pub(super) fn of(&self, api: Api) -> Option<&Budget> {
        self.all.iter().find(|budget| budget.api == api)
    }
}

/// The budget of one Chat API.
#[derive(Debug, Clone)]
pub struct Budget {
    db: Db,
    api: Api,
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
    pub fn new(db: Db, api: Api, rate: CallRate) -> Self {
        let reserved = Reserved::none_yet(rate.interval());
        Self {
            db,
            api,
            rate,
            reserved: Arc::new(Mutex::new(reserved)),
            metrics: Metrics::default(),
        }
    }

    /// The API, named as in its URL.
    pub fn api(&self) -> &'static str {
        self.api.text()
    }

    /// Whether this is the budget of an API as Chat's alerts name it.
    pub fn covers(&self, service: &str, command: &str) -> bool {
        service == "group_open_avchatroom_http_svc" && command == self.api()
    }

    /// Waits for the next free slot. The call belongs right behind it.
    pub async fn take(&self) -> Result<(), sqlx::Error> {
        let began = Instant::now();
        loop {
            let next = self.reserved.lock().next();
            let Some(slot) = next else {
                self.reserve().await?;
                continue;
            };
            tokio::time::sleep_until(slot.at().into()).await;
            if slot.is_fresh() {
                let waits = self.metrics.budget_wait.of(self.api);
                waits.observe(began.elapsed().as_secs_f64());
                return Ok(());
            }
        }
    }

    /// Waits until a call that is prepared now would go out soon: until the slots that calls of this
    /// replica wait for are few.
    pub async fn soon(&self) {
        loop {
            let soon = self.reserved.lock().soon();
            if soon <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(soon.into()).await;
        }
    }

    /// Takes the next slots. They are counted from the arrival of the answer, which is later than
    /// Postgres counted: never early. An answer that took too long brings none.
    async fn reserve(&self) -> Result<(), sqlx::Error> {
        let block = self.reserved.lock().wanted();
        let length = self.rate.interval();
        let asked = Instant::now();
        let granted = store::reserve(&self.db, self.api(), block, length).await?;
        if asked.elapsed() <= LATEST_GRANT {
            let apart = length.div_f64(granted.share);
            let first = granted.until_end - f64::from(block) * apart.as_secs_f64();
            self.reserved.lock().granted(first, block, apart);
        }
        Ok(())
    }

    /// Halves the rate if Chat refused a call because calls come too fast.
    pub(super) async fn react_to(&self, error: &ChatError) {
        if error.class() == ErrorClass::SlowDown {
            self.halve(SlowdownReason::Answer).await;
        }
    }

    /// Halves the rate after an alert from Chat.
    pub async fn react_to_alert(&self) {
        self.halve(SlowdownReason::Alert).await;
    }

    /// Once a second counts, since calls already under way say the same.
    async fn halve(&self, reason: SlowdownReason) {
        self.reserved.lock().drop_all();
        let api = self.api();
        match store::halve(&self.db, api).await {
            Ok(true) => {
                warn_seldom!(
                    api,
                    reason = reason.text(),
                    "halving the rate of calls for a while"
                );
                self.metrics.slowed_down(self.api, reason);
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, api, "cannot halve the rate of calls"),
        }
    }

    /// What is in force now.
    pub async fn state(&self) -> Result<BudgetState, sqlx::Error> {
        let share = store::share(&self.db, self.api()).await?;
        Ok(BudgetState {
            per_second: share * f64::from(self.rate.0),
            share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chat sends its alert at 160 calls a second, and the alert halves the rate.
    #[test]
    fn no_rate_that_can_be_configured_makes_chat_send_its_alert() {
        for rate in [1, 160, 177, 200, u32::MAX] {
            let sent = CallRate::new(rate).interval().as_secs_f64().recip();
            assert!(sent < 160.1, "{sent} calls a second of {rate}");
        }
        assert!(CallRate::new(200).interval() < CallRate::new(160).interval());
    }
}
