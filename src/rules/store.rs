//! Rules as the rest of the service sees them: read, list, write.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::history::{self, Applied, Author, HistoryEntry};
use super::json::InvalidField;
use super::list::{self, After, Filter, Order};
use super::table;
use super::write::{Change, PATIENCE, Turn, Turns, WriteError, apply};
use crate::database::Db;
use crate::domain::{Rule, RuleDraft, RuleId};
use crate::wake::WakeUp;

/// The rules. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Rules {
    db: Db,
    wake: WakeUp,
    turns: Turns,
    importing: Arc<Semaphore>,
}

/// The condition of a write: whether it may go on, given the current version (`None`: no rule).
pub trait Precondition {
    fn permits(&self, current: Option<i64>) -> bool;
}

/// What a write of one rule left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub rule: Rule,
    pub created: bool,
}

impl Rules {
    /// Rules in this database; `wake` wakes the propagation after each write.
    pub fn new(db: Db, wake: WakeUp) -> Self {
        Self {
            db,
            wake,
            turns: Turns::default(),
            importing: Arc::new(Semaphore::new(1)),
        }
    }

    /// The turn to keep a whole import in memory, until it is dropped.
    pub(crate) async fn import_turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.importing.acquire().await.ok()
    }

    /// The turn to write rules, or that of a dry run.
    pub(super) async fn turn(
        &self,
        patience: Duration,
        dry_run: bool,
    ) -> Result<Turn<'_>, WriteError> {
        match dry_run {
            true => Turns::dry(&self.db).await,
            false => self.turns.begin(&self.db, patience).await,
        }
    }

    /// Ends a turn, and wakes the propagation if it wrote.
    pub(super) async fn end(&self, turn: Turn<'_>) -> Result<(), sqlx::Error> {
        let dry = turn.is_dry();
        turn.commit().await?;
        if !dry {
            self.wake.now();
        }
        Ok(())
    }

    pub(super) fn db(&self) -> &Db {
        &self.db
    }

    pub async fn get(&self, id: &RuleId) -> Result<Option<Rule>, sqlx::Error> {
        table::fetch(&self.db, id).await
    }

    /// The first rules behind `after` that the filter lets through.
    pub async fn list(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&After>,
        limit: u16,
    ) -> Result<Vec<Rule>, sqlx::Error> {
        list::list(&self.db, filter, order, after, i64::from(limit)).await
    }

    /// How many rules the filter lets through.
    pub async fn count(&self, filter: &Filter) -> Result<i64, sqlx::Error> {
        list::count(&self.db, filter).await
    }

    /// Changes of one rule, the first first, behind the entry `after`; also of a deleted one.
    pub async fn history(
        &self,
        id: &RuleId,
        after: i64,
        limit: u16,
    ) -> Result<Vec<HistoryEntry>, sqlx::Error> {
        history::entries(&self.db, id, after, i64::from(limit)).await
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
        let applied = self.write(id, author, decide).await?;
        applied
            .after
            .ok_or_else(|| WriteError::NotFound(id.clone()))
    }

    /// Creates a rule, or replaces the one of this id.
    pub async fn put(
        &self,
        id: &RuleId,
        draft: RuleDraft,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<Written, WriteError> {
        let decide = |current: Option<&Rule>| {
            permit(precondition, id, current)?;
            Ok(Some(draft))
        };
        let applied = self.write(id, author, decide).await?;
        Ok(Written {
            created: applied.before.is_none(),
            rule: applied
                .after
                .ok_or_else(|| WriteError::NotFound(id.clone()))?,
        })
    }

    /// Changes a rule: `edit` gets it as it is when the write has its turn.
    pub async fn patch(
        &self,
        id: &RuleId,
        edit: impl FnOnce(&Rule) -> Result<RuleDraft, Vec<InvalidField>>,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<Rule, WriteError> {
        let decide = |current: Option<&Rule>| {
            let rule = existing(precondition, id, current)?;
            edit(rule).map(Some).map_err(WriteError::Invalid)
        };
        let applied = self.write(id, author, decide).await?;
        applied
            .after
            .ok_or_else(|| WriteError::NotFound(id.clone()))
    }

    pub async fn delete(
        &self,
        id: &RuleId,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<(), WriteError> {
        let decide = |current: Option<&Rule>| existing(precondition, id, current).map(|_| None);
        self.write(id, author, decide).await.map(|_| ())
    }

    /// Reads one rule, lets `decide` say what is to become of it, and carries that out.
    async fn write(
        &self,
        id: &RuleId,
        author: &Author,
        decide: impl FnOnce(Option<&Rule>) -> Result<Option<RuleDraft>, WriteError>,
    ) -> Result<Applied, WriteError> {
        let mut turn = self.turn(PATIENCE, false).await?;
        let before = table::fetch(&mut *turn, id).await?;
        let after = decide(before.as_ref())?;
        let change = Change {
            id: id.clone(),
            before,
            after,
        };
        let applied = apply(&mut turn, vec![change], author).await?.pop();
        self.end(turn).await?;
        applied.ok_or_else(|| WriteError::NotFound(id.clone()))
    }
}

fn permit(
    precondition: &impl Precondition,
    id: &RuleId,
    current: Option<&Rule>,
) -> Result<(), WriteError> {
    let version = current.map(|rule| rule.version);
    match (precondition.permits(version), version) {
        (true, _) => Ok(()),
        (false, Some(version)) => Err(WriteError::Stale(id.clone(), version)),
        (false, None) => Err(WriteError::Gone(id.clone())),
    }
}

fn existing<'a>(
    precondition: &impl Precondition,
    id: &RuleId,
    current: Option<&'a Rule>,
) -> Result<&'a Rule, WriteError> {
    let rule = current.ok_or_else(|| WriteError::NotFound(id.clone()))?;
    permit(precondition, id, current).map(|()| rule)
}
