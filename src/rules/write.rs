//! The one way to change rules: one writer at a time, with the check of the mark limit and the history.
//! [`super::propagation`] carries the change to the members after the commit.
//!
//! A turn lasts from before the rules are read until the commit, so that two writers cannot together break
//! a limit that neither breaks alone, and the history has the order of the changes. Writers of one replica
//! queue in memory, and only the first of them waits for those of other replicas, in the database. So a
//! long import delays the others, but takes no connection from callbacks. A dry run waits for no writer
//! and delays none: it reads one state of the rules, and cannot write.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::SemaphorePermit;

use super::history::{self, Applied, Author};
use super::json::{BadLines, InvalidField};
use super::limits::{self, Conflict, Demand, Unwritten};
use super::store::Rules;
use super::table;
use crate::database::{Transaction, is_lock_timeout};
use crate::domain::{Rule, RuleDraft, RuleId};

/// The advisory lock of rule writes: the bytes of "sm.rules".
const RULES_LOCK: i64 = i64::from_be_bytes(*b"sm.rules");

/// How long a write of a few rules waits: longer than an import takes, and less than requests may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long an import waits.
pub(super) const IMPORT_PATIENCE: Duration = Duration::from_secs(50);

/// So many changes at once make the planner's statistics wrong. Autovacuum would renew them within a
/// minute, but a minute of bad plans is long for the worker.
const MANY: usize = 10_000;

/// A transaction that may write rules, part by part, so that many changes need no more memory than a part.
/// Dropped before [`Rules::end`], it is undone.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    // Undone before the place is given away.
    pub transaction: Transaction,
    /// In the queue of this replica. `None`: a dry run.
    place: Option<SemaphorePermit<'a>>,
    author: &'a Author,
    /// When it began, by the clock of the database.
    now: DateTime<Utc>,
    /// What is required that was not required before; only that can break the limit. Many rules of a room
    /// require the same.
    demands: HashSet<Demand>,
    changed: usize,
    /// Of a dry run.
    unwritten: Unwritten,
}

impl Rules {
    /// Waits for the turn to write rules; [`WriteError::Busy`] when `patience` is over. A dry run only
    /// reads, and waits for none.
    pub(super) async fn turn<'a>(
        &'a self,
        author: &'a Author,
        patience: Duration,
        dry_run: bool,
    ) -> Result<Turn<'a>, WriteError> {
        let (mut transaction, place) = if dry_run {
            (self.db.begin_reading().await?, None)
        } else {
            let began = Instant::now();
            let place = match tokio::time::timeout(patience, self.writing.acquire()).await {
                Ok(Ok(place)) => place,
                // The semaphore is never closed.
                Ok(Err(_)) | Err(_) => return Err(WriteError::Busy),
            };
            // Read committed, whatever the server's default: what is read after the wait must include
            // what the others wrote. Writes differ much in size, so the planner decides for each.
            let begin = "begin isolation level read committed; \
                         set local plan_cache_mode = auto; set local enable_seqscan = on";
            let mut transaction = self.db.begin_with(begin).await?;
            lock(&mut transaction, patience.saturating_sub(began.elapsed())).await?;
            (transaction, Some(place))
        };
        // No other writer of rules is left to wait for, only a person at a prompt.
        let begun = sqlx::query!(
            r#"select clock_timestamp() as "now!", set_config('lock_timeout', '5s', true)"#
        );
        let now = begun.fetch_one(&mut *transaction).await?.now;
        Ok(Turn {
            transaction,
            place,
            author,
            now,
            demands: HashSet::new(),
            changed: 0,
            unwritten: Unwritten::default(),
        })
    }

    /// Ends a turn, if no room needs too many marks after all that was written, and wakes the propagation.
    pub(super) async fn end(&self, mut turn: Turn<'_>) -> Result<(), WriteError> {
        let transaction = &mut turn.transaction;
        if turn.changed >= MANY && turn.place.is_some() {
            // Also those of the small tables of counts, which autovacuum never analyzes.
            let analyze = sqlx::query!("analyze rules, rule_shapes, room_demands");
            analyze.execute(&mut **transaction).await?;
        }
        let checked = limits::check(transaction, turn.demands, turn.now, &turn.unwritten).await?;
        if let Err(conflict) = checked {
            let rules = limits::rules_of(transaction, &conflict, &turn.unwritten).await?;
            return Err(WriteError::MarkLimit { conflict, rules });
        }
        turn.transaction.commit().await?;
        if turn.place.is_some() {
            self.wake.now();
        }
        Ok(())
    }
}

async fn lock(transaction: &mut PgConnection, patience: Duration) -> Result<(), WriteError> {
    // Zero would mean no limit.
    let patience = format!("{}ms", patience.as_millis().max(1));
    let locked = sqlx::query!(
        "select pg_advisory_xact_lock($2) from (select set_config('lock_timeout', $1, true)) impatient",
        patience,
        RULES_LOCK,
    );
    match locked.fetch_one(transaction).await {
        Ok(_) => Ok(()),
        Err(error) if is_lock_timeout(&error) => Err(WriteError::Busy),
        Err(error) => Err(error.into()),
    }
}

/// Why a write was not carried out. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("rule {0} not found")]
    NotFound(RuleId),
    #[error("rule {0} already exists; PUT /v1/rules/{0} replaces it")]
    Exists(RuleId),
    #[error("version conflict: rule {0} is at version {1}")]
    Stale(RuleId, i64),
    #[error("version conflict: rule {0} does not exist")]
    Gone(RuleId),
    #[error("some fields of the rule are wrong")]
    Invalid(Vec<InvalidField>),
    #[error("rooms would need more marks than Chat allows")]
    MarkLimit {
        conflict: Conflict,
        /// Rules that together require the marks, the widest pattern of rooms first.
        rules: Vec<RuleId>,
    },
    #[error("some lines are wrong")]
    Lines(BadLines),
    #[error(
        "this would remove {removed} of {standing} rules, and at most {allowed} may go; \
         max_removals={removed} allows it"
    )]
    Removals {
        /// Rules that would go.
        removed: usize,
        /// Rules that may go.
        allowed: usize,
        /// Rules of the scope.
        standing: usize,
    },
    #[error("other writes of rules take long; nothing was written, try again in a moment")]
    Busy,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One rule as it is, read in the turn, and as it is to be. `None`: no such rule.
#[derive(Debug)]
pub(super) struct Change {
    pub id: RuleId,
    pub before: Option<Rule>,
    pub after: Option<RuleDraft>,
}

impl Turn<'_> {
    /// Applies changes of distinct rules, and answers in their order. What changes nothing leaves version
    /// and history as they are. A dry run writes nothing, but its end checks all the same.
    pub async fn write(&mut self, changes: Vec<Change>) -> Result<Vec<Applied>, sqlx::Error> {
        let (now, dry_run) = (self.now, self.place.is_none());
        let transaction = &mut self.transaction;
        // Versions of deleted rules that come back go on where they ended, so that an ETag never names two
        // states of one id.
        let created = changes.iter().filter(|change| change.before.is_none());
        let created: Vec<&str> = created.map(|change| change.id.as_str()).collect();
        let last_versions = history::last_versions(transaction, &created).await?;
        let applied: Vec<Applied> = changes
            .into_iter()
            .map(|change| change.at(now, &last_versions))
            .collect();
        let changed = applied.iter().filter(|one| one.before != one.after);
        let changed: Vec<&Applied> = changed.collect();
        for Applied { before, after } in &changed {
            let [old, new] = [before, after].map(|rule| {
                let rule = rule.as_ref()?;
                Demand::of(&rule.draft, now)
            });
            if dry_run {
                let by = after.as_ref().map(|rule| &rule.id);
                self.unwritten.add(old.as_ref(), new.as_ref().zip(by));
            }
            let new = new.filter(|new| !old.is_some_and(|old| old.includes(new)));
            self.demands.extend(new);
        }
        if !dry_run {
            let removed = changed.iter().filter(|one| one.after.is_none());
            let removed = removed.filter_map(|one| Some(&one.before.as_ref()?.id));
            table::delete(transaction, removed).await?;
            let put = changed.iter().filter_map(|one| one.after.as_ref());
            table::put(transaction, put).await?;
            history::record(transaction, &changed, self.author, now).await?;
        }
        self.changed += changed.len();
        Ok(applied)
    }
}

impl Change {
    fn at(self, now: DateTime<Utc>, last_versions: &HashMap<RuleId, i64>) -> Applied {
        let Self { id, before, after } = self;
        let after = match (&before, after) {
            (_, None) => None,
            (Some(before), Some(draft)) if before.draft == draft => Some(before.clone()),
            (before, Some(draft)) => Some(Rule {
                version: 1 + match before {
                    Some(before) => before.version,
                    None => last_versions.get(&id).copied().unwrap_or(0),
                },
                created_at: before.as_ref().map_or(now, |before| before.created_at),
                updated_at: now,
                id,
                draft,
            }),
        };
        Applied { before, after }
    }
}
