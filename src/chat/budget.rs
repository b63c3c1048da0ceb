//! The budget of calls: one row per Chat API in Postgres, shared by all replicas.
//!
//! A generic cell rate algorithm without burst: the row holds the slot of the latest call, and the
//! next one is an interval later. Slots are granted as delays, so replicas need no common
//! clock. A slot may be used late but never early; one that is too late is dropped and another taken.
//! The interval is a little longer than the rate says, so that neither lateness nor a pause lets more
//! calls into one second than configured. When Chat says that calls come too fast, the rate is halved for
//! all replicas and recovers by itself within a minute. All arithmetic on time happens in Postgres, whose
//! clock is the one that all replicas share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ChatError;
use super::recent::RecentCalls;
use crate::database::{Db, interval};
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
/// A slot that would be used later than this is dropped.
const LATEST_USE: Duration = Duration::from_millis(40);
/// Calls are prepared while the slots that others of this replica wait for are within this time.
const PREPARED_AHEAD: Duration = Duration::from_millis(60);
/// Smallest share of the rate, also while the clock of Postgres is before the last halving.
const LOWEST_SHARE: f64 = 0.02;
/// Slots at the lowest rate that are granted ahead, at most. A larger backlog can only come from a step
/// back of Postgres' clock; it is cut.
const MOST_AHEAD: f64 = 16.0;
/// Share regained per second.
const RECOVERY: f64 = 0.02;

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
    /// The last slot granted to this replica.
    last: Arc<Mutex<Option<Instant>>>,
    metrics: Metrics,
}

/// The budget of one Chat API.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = CallBudget)]
pub struct BudgetState {
    /// The API, named as in its URL.
    pub api: &'static str,
    /// Calls a second allowed now.
    pub per_second: f64,
    /// Their share of the configured rate; below 1 after Chat reported too many calls.
    pub share: f64,
}

impl Budget {
    pub fn new(db: Db, api: Api, rate: CallRate) -> Self {
        Self {
            db,
            api,
            rate,
            last: Arc::default(),
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
            let Some(slot) = self.reserve().await? else {
                continue;
            };
            tokio::time::sleep_until(slot.into()).await;
            if slot.elapsed() <= LATEST_USE {
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
            let last = *self.last.lock();
            match last.and_then(|last| last.checked_sub(PREPARED_AHEAD)) {
                Some(soon) if soon > Instant::now() => tokio::time::sleep_until(soon.into()).await,
                _ => return,
            }
        }
    }

    /// Takes the next slot. It is counted from the arrival of the answer, which is later than Postgres
    /// counted: never early. `None`: the answer took too long.
    async fn reserve(&self) -> Result<Option<Instant>, sqlx::Error> {
        let asked = Instant::now();
        // A slot that is lost in a crash of the database is older than its restart, so the commit does not
        // wait for a flush.
        let seconds = sqlx::query_scalar!(
            r#"
            insert into chat_budgets as b (api, last_at, share, slowed_at)
            select $1, clock_timestamp(), 1, clock_timestamp()
            from (select set_config('synchronous_commit', 'off', true)) unflushed
            on conflict on constraint chat_budgets_pkey do update set
                last_at = greatest(clock_timestamp(), least(
                    clock_timestamp() + $5::float8 * $2::interval / $4,
                    b.last_at + $2::interval / greatest($4, least(1, b.share
                        + $3 * extract(epoch from clock_timestamp() - b.slowed_at)::float8))))
            returning extract(epoch from last_at - clock_timestamp())::float8 as "seconds!"
            "#,
            self.api(),
            interval(self.rate.interval()),
            RECOVERY,
            LOWEST_SHARE,
            MOST_AHEAD,
        )
        .fetch_one(&self.db)
        .await?;
        if asked.elapsed() > LATEST_GRANT {
            return Ok(None);
        }
        let slot = Instant::now() + Duration::from_secs_f64(seconds.max(0.0));
        *self.last.lock() = Some(slot);
        Ok(Some(slot))
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
        let api = self.api();
        let halved = sqlx::query!(
            r#"
            update chat_budgets set
                share = greatest($2, 0.5 * least(1, share
                    + $3 * extract(epoch from clock_timestamp() - slowed_at)::float8)),
                slowed_at = clock_timestamp()
            where api = $1 and (share = 1 or slowed_at < clock_timestamp() - interval '1 second')
            "#,
            api,
            LOWEST_SHARE,
            RECOVERY,
        );
        match halved.execute(&self.db).await {
            Ok(halved) if halved.rows_affected() > 0 => {
                warn_seldom!(
                    api,
                    reason = reason.text(),
                    "halving the rate of calls for a while"
                );
                self.metrics.slowed_down(self.api, reason);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, api, "cannot halve the rate of calls"),
        }
    }

    /// What is in force now.
    pub async fn state(&self) -> Result<BudgetState, sqlx::Error> {
        let share = sqlx::query_scalar!(
            r#"
            select greatest($3, least(1, share
                + $2 * extract(epoch from clock_timestamp() - slowed_at)::float8)) as "share!"
            from chat_budgets where api = $1
            "#,
            self.api(),
            RECOVERY,
            LOWEST_SHARE,
        );
        let share = share.fetch_optional(&self.db).await?.unwrap_or(1.0);
        Ok(BudgetState {
            api: self.api(),
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
