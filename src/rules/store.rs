//! Rules as the rest of the service sees them, and the one way to change them: one writer at a time, with
//! the check of the mark limit and the history. `list`, `history`, `import` and `erase` add what concerns
//! many. [`super::propagation`] carries a change to the members after the commit.
//!
//! A turn lasts from before the rules are read until the commit, so that two writers cannot together break
//! a limit that neither breaks alone, and the history has the order of the changes. Writers of one replica
//! queue in memory, and only the first of them waits for those of other replicas, in the database. So a
//! long import delays the others, but takes no connection from callbacks. A dry run waits for no writer
//! and delays none: it reads one state of the rules, and cannot write.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::history::{self, Applied, Author};
use super::json::{BadLines, InvalidField};
use super::limits::{self, Conflict, Demand, Unwritten};
use super::table;
use crate::database::{Db, Transaction, is_lock_timeout};
use crate::domain::{Rule, RuleDraft, RuleId};
use crate::wake::WakeUp;

/// The advisory lock of rule writes: the bytes of "sm.rules".
const RULES_LOCK: i64 = i64::from_be_bytes(*b"sm.rules");

/// How long a write of a few rules waits: longer than an import takes, and less than requests may.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long an import waits.
pub(super) const IMPORT_PATIENCE: Duration = Duration::from_secs(50);

/// So many changes at once make the planner's statistics wrong. Autovacuum would renew them within a
/// minute, but a minute of bad plans is long for the worker.
const MANY: usize = 10_000;

/// The rules. Clones share the pool and the queues.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) db: Db,
    wake: WakeUp,
    /// The queue of writers.
    writing: Arc<Semaphore>,
    importing: Arc<Semaphore>,
}

/// What a write of one rule left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// As it is now; a deleted one as it was.
    pub rule: Rule,
    pub created: bool,
}

impl Rules {
    /// Rules in this database; `wake` wakes the propagation after each write.
    pub fn new(db: Db, wake: WakeUp) -> Self {
        Self {
            db,
            wake,
            writing: Arc::new(Semaphore::new(1)),
            importing: Arc::new(Semaphore::new(1)),
        }
    }

    /// The turn to keep a whole import in memory, until it is dropped.
    pub(crate) async fn import_turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.importing.acquire().await.ok()
    }

    pub async fn get(&self, id: &RuleId) -> Result<Option<Rule>, sqlx::Error> {
        table::fetch(&self.db, id).await
    }

    /// Creates a rule, unless there is one of this id.
    pub async fn create(
        &self,
        id: &RuleId,
        draft: RuleDraft,
        author: &Author,
    ) -> Result<Rule, WriteError> {
        let decide = |current: Option<&Rule>| match current {
            Some(_) => Err(WriteError::Exists(id.clone())),
            None => Ok(Some(draft)),
        };
        Ok(self.write(id, author, decide).await?.rule)
    }

    /// Creates a rule, or replaces the one of this id. Like the other writes, it goes on only if `permits`
    /// says so of the current version (`None`: no rule).
    pub async fn put(
        &self,
        id: &RuleId,
        draft: RuleDraft,
        permits: impl Fn(Option<i64>) -> bool,
        author: &Author,
    ) -> Result<Written, WriteError> {
        let decide = |current: Option<&Rule>| match current.map(|rule| rule.version) {
            current if permits(current) => Ok(Some(draft)),
            Some(version) => Err(WriteError::Stale(id.clone(), version)),
            None => Err(WriteError::Gone(id.clone())),
        };
        self.write(id, author, decide).await
    }

    /// Changes a rule: `edit` gets it as it is when the write has its turn.
    pub async fn patch(
        &self,
        id: &RuleId,
        edit: impl FnOnce(&Rule) -> Result<RuleDraft, Vec<InvalidField>>,
        permits: impl Fn(Option<i64>) -> bool,
        author: &Author,
    ) -> Result<Rule, WriteError> {
        let decide = |current: Option<&Rule>| {
            let edited = edit(existing(id, current, permits)?);
            edited.map(Some).map_err(WriteError::Invalid)
        };
        Ok(self.write(id, author, decide).await?.rule)
    }

    pub async fn delete(
        &self,
        id: &RuleId,
        permits: impl Fn(Option<i64>) -> bool,
        author: &Author,
    ) -> Result<(), WriteError> {
        let decide = |current: Option<&Rule>| existing(id, current, permits).map(|_| None);
        self.write(id, author, decide).await.map(drop)
    }

    /// Reads one rule, lets `decide` say what is to become of it, and carries that out.
    async fn write(
        &self,
        id: &RuleId,
        author: &Author,
        decide: impl FnOnce(Option<&Rule>) -> Result<Option<RuleDraft>, WriteError>,
    ) -> Result<Written, WriteError> {
        let mut turn = self.turn(author, PATIENCE, false).await?;
        let before = table::fetch(&mut *turn.transaction, id).await?;
        let after = decide(before.as_ref())?;
        let change = Change {
            id: id.clone(),
            before,
            after,
        };
        let applied = turn.write(vec![change]).await?;
        self.end(turn).await?;
        let written = applied.into_iter().find_map(|Applied { before, after }| {
            let created = before.is_none();
            let rule = after.or(before)?;
            Some(Written { rule, created })
        });
        written.ok_or_else(|| WriteError::NotFound(id.clone()))
    }
}

fn existing<'a>(
    id: &RuleId,
    current: Option<&'a Rule>,
    permits: impl Fn(Option<i64>) -> bool,
) -> Result<&'a Rule, WriteError> {
    match current {
        None => Err(WriteError::NotFound(id.clone())),
        Some(rule) if permits(Some(rule.version)) => Ok(rule),
        Some(rule) => Err(WriteError::Stale(id.clone(), rule.version)),
    }
}

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
