//! Rules as the rest of the service sees them, one at a time. `list`, `history`, `import` and `erase` add
//! what concerns many.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::history::{Applied, Author};
use super::json::InvalidField;
use super::table;
use super::write::{Change, PATIENCE, WriteError};
use crate::database::Db;
use crate::domain::{Rule, RuleDraft, RuleId};
use crate::wake::WakeUp;

/// The rules. Clones share the pool and the queues.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) db: Db,
    pub(super) wake: WakeUp,
    /// The queue of writers.
    pub(super) writing: Arc<Semaphore>,
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
