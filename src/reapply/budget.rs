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

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::PgPool;

use crate::database::in_time;
use crate::members::interval;
use crate::metrics::{Api, DatabasePart, Metrics, SlowdownReason};
use crate::telemetry::warn_seldom;

/// Calls per second that the configuration grants, at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRate(u32);

/// A slot used later than this is given up.
const LATEST_USE: Duration = Duration::from_millis(40);
/// A grant that took longer to arrive is given up: database or process stood still, and all who
/// waited would call at once. It counts against slots of a time long gone.
const LATEST_GRANT: Duration = Duration::from_secs(1);
/// Room for that lateness and as much again on the way to Chat: the calls of one second are granted
/// over 1.1 s.
const SPACING: f64 = 1.1;
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(5);
/// Slots that are taken at once, at most, in number and in time: what one replica holds, the others
/// wait for.
const LARGEST_BLOCK: u32 = 8;
const LONGEST_BLOCK: Duration = Duration::from_millis(60);
/// Smallest share of the rate, also while the clock of Postgres stands before the last halving.
const LOWEST_SHARE: f64 = 0.02;
/// Slots at the lowest rate that are reserved ahead, at most. More are only seen after the clock of
/// Postgres has stepped back, and nobody shall wait until it is where it was.
const MOST_AHEAD: f64 = 16.0;
/// Share regained per second.
const RECOVERY: f64 = 0.02;

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

/// Slots taken and not yet used.
#[derive(Debug)]
struct Reserved {
    slots: VecDeque<Slot>,
    /// How many to take the next time: more while all are used, one when some were not.
    block: u32,
    /// Time between two of them when they were taken last.
    apart: Duration,
}

impl Reserved {
    fn none_yet(apart: Duration) -> Self {
        Self {
            slots: VecDeque::new(),
            block: 1,
            apart,
        }
    }

    /// The next slot that can still be used.
    fn next(&mut self) -> Option<Slot> {
        while let Some(slot) = self.slots.pop_front() {
            if slot.is_fresh() {
                if self.slots.is_empty() {
                    self.block = (self.block * 2).min(LARGEST_BLOCK);
                }
                return Some(slot);
            }
            self.block = 1;
        }
        None
    }

    /// How many to take now. Where calls are slow a second slot would be a long time away.
    fn wanted(&self) -> u32 {
        (1..=self.block)
            .rev()
            .find(|slots| self.apart * *slots <= LONGEST_BLOCK)
            .unwrap_or(1)
    }
}

/// Leave for one call, now.
#[derive(Debug)]
pub struct Slot(Instant);

impl Slot {
    fn is_fresh(&self) -> bool {
        self.0.elapsed() <= LATEST_USE
    }
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
            let reserved = self.reserved().next();
            let Some(slot) = reserved else {
                self.noted(self.reserve().await)?;
                continue;
            };
            tokio::time::sleep_until(slot.0.into()).await;
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
        let asked = Instant::now();
        // A reservation that is lost in a crash of the database is older than its restart: no
        // flush is waited for.
        let row = sqlx::query!(
            r#"
            insert into chat_budgets as b (api, next_at, share, slowed_at)
            select $1, clock_timestamp() + $4::float8 * $2::interval, 1, clock_timestamp()
            from (select set_config('synchronous_commit', 'off', true)) unflushed
            on conflict on constraint chat_budgets_pkey do update set
                next_at = greatest(least(b.next_at, clock_timestamp() + $6::float8 * $2::interval / $5),
                                   clock_timestamp())
                    + $4::float8 * $2::interval / greatest($5, least(1, b.share
                        + $3 * extract(epoch from clock_timestamp() - b.slowed_at)::float8))
            returning extract(epoch from next_at - clock_timestamp())::float8 as "until_after!",
                greatest($5, least(1, share
                    + $3 * extract(epoch from clock_timestamp() - slowed_at)::float8)) as "share!"
            "#,
            self.api,
            interval(self.rate.interval()),
            RECOVERY,
            f64::from(block),
            LOWEST_SHARE,
            MOST_AHEAD,
        )
        .fetch_one(&self.pool);
        let row = in_time(LONGEST_STATEMENT, row).await?;
        if asked.elapsed() > LATEST_GRANT {
            return Ok(());
        }
        let apart = self.rate.interval().div_f64(row.share);
        let now = Instant::now();
        let slots = (1..=block).rev().map(|before_end| {
            let seconds = row.until_after - f64::from(before_end) * apart.as_secs_f64();
            Slot(now + Duration::from_secs_f64(seconds.max(0.0)))
        });
        let mut reserved = self.reserved();
        reserved.slots.extend(slots);
        reserved.apart = apart;
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
        self.reserved().slots.clear();
        let slower = sqlx::query!(
            r#"
            update chat_budgets set
                share = greatest($2, 0.5 * least(1, share
                    + $3 * extract(epoch from clock_timestamp() - slowed_at)::float8)),
                slowed_at = clock_timestamp()
            where api = $1 and (share = 1 or slowed_at < clock_timestamp() - interval '1 second')
            "#,
            self.api,
            LOWEST_SHARE,
            RECOVERY,
        )
        .execute(&self.pool);
        let halved = self.noted(in_time(LONGEST_STATEMENT, slower).await)?;
        if halved.rows_affected() > 0 {
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
        let share = sqlx::query_scalar!(
            r#"
            select greatest($3, least(1, share
                + $2 * extract(epoch from clock_timestamp() - slowed_at)::float8)) as "share!"
            from chat_budgets where api = $1
            "#,
            self.api,
            RECOVERY,
            LOWEST_SHARE,
        )
        .fetch_optional(&self.pool)
        .await?
        .unwrap_or(1.0);
        Ok(BudgetState {
            per_second: share * f64::from(self.rate.0),
            share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(reserved: &mut Reserved) -> u32 {
        let slots = reserved.wanted();
        let fresh = (0..slots).map(|_| Slot(Instant::now() + LATEST_GRANT));
        reserved.slots.extend(fresh);
        slots
    }

    fn use_up(reserved: &mut Reserved) {
        while reserved.next().is_some() {}
    }

    #[test]
    fn blocks_grow_while_all_slots_are_used_and_begin_anew_when_one_was_not() {
        let mut reserved = Reserved::none_yet(CallRate::new(160).interval());
        let taken: Vec<u32> = (0..5)
            .map(|_| {
                let slots = take(&mut reserved);
                use_up(&mut reserved);
                slots
            })
            .collect();
        assert_eq!(taken, [1, 2, 4, 8, 8]);
        take(&mut reserved);
        let old = Instant::now().checked_sub(LATEST_USE * 2).unwrap();
        reserved.slots.back_mut().unwrap().0 = old;
        use_up(&mut reserved);
        assert_eq!(take(&mut reserved), 1);
    }

    #[test]
    fn at_a_slow_rate_nobody_holds_what_others_wait_for() {
        let mut reserved = Reserved::none_yet(CallRate::new(1).interval());
        for _ in 0..5 {
            assert_eq!(take(&mut reserved), 1);
            use_up(&mut reserved);
        }
        let slowed = CallRate::new(160).interval() * 4;
        let mut reserved = Reserved {
            block: LARGEST_BLOCK,
            ..Reserved::none_yet(slowed)
        };
        assert_eq!(take(&mut reserved), 2);
    }
}
