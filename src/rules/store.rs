//! Rules as the rest of the service sees them: read, listed, written.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::apply::{Applied, Change, apply};
use super::history::{self, HistoryEntry};
use super::json::InvalidField;
use super::limits::Conflict;
use super::list::{self, After, Filter, Order};
use super::table;
use super::turn::{PATIENCE, Turn, Turns};
use crate::database::Db;
use crate::domain::{RequestId, Rule, RuleDraft, RuleId};
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

/// On whose behalf rules are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The name that the history keeps.
    pub name: String,
    /// The request.
    pub request_id: Option<RequestId>,
}

/// Why a write was not carried out. Nothing of it remains.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such rule.
    #[error("there is no such rule")]
    NotFound,
    /// The id of a new rule is taken.
    #[error("there is a rule of this id already")]
    Exists,
    /// The rule is not in the state that the client demands.
    #[error("the rule is not in the state that the request demands")]
    Stale {
        /// The version that stands; `None`: there is no rule.
        current: Option<i64>,
    },
    /// The rule would not be right.
    #[error("some fields of the rule are wrong")]
    Invalid(Vec<InvalidField>),
    /// Some room would need more marks than Chat allows.
    #[error("rooms would need more marks than Chat allows")]
    MarkLimit {
        /// The rooms, the marks, and the time.
        conflict: Conflict,
        /// Rules that together demand the marks, the widest pattern of rooms first.
        rules: Vec<RuleId>,
    },
    /// Other writes of rules take too long.
    #[error("other writes of rules take long; nothing was written, try again in a moment")]
    Busy,
    /// The database's answer.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a write of one rule left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The rule as it is now.
    pub rule: Rule,
    /// True if it did not exist before.
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

    /// The turn to hold a whole import in memory; dropped, the next one has it.
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

    /// One rule.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn get(&self, id: &RuleId) -> Result<Option<Rule>, sqlx::Error> {
        table::fetch(&self.db, id).await
    }

    /// Rules that the filter lets through, in the order of their ids, behind the id `after`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<&RuleId>,
        limit: u16,
    ) -> Result<Vec<Rule>, sqlx::Error> {
        let mut transaction = self.db.begin().await?;
        let after = after.map(|id| After {
            id: id.clone(),
            updated_at: None,
        });
        let (order, limit) = (Order::Id, i64::from(limit));
        list::list(&mut transaction, filter, order, after.as_ref(), limit).await
    }

    /// Rules that the filter lets through, behind `after`, and how many there are in all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn page(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&After>,
        limit: u16,
    ) -> Result<(Vec<Rule>, i64), sqlx::Error> {
        let mut transaction = self.db.begin().await?;
        let total = list::count(&mut transaction, filter).await?;
        let limit = i64::from(limit);
        let rules = list::list(&mut transaction, filter, order, after, limit).await?;
        Ok((rules, total))
    }

    /// Changes of one rule, the first first, behind the entry `after`; also of a deleted one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn history(
        &self,
        id: &RuleId,
        after: i64,
        limit: u16,
    ) -> Result<Vec<HistoryEntry>, sqlx::Error> {
        history::entries(&self.db, id, after, i64::from(limit)).await
    }

    /// Makes a new rule.
    ///
    /// # Errors
    /// [`WriteError::Exists`], [`WriteError::MarkLimit`], and those of the database.
    pub async fn create(
        &self,
        id: &RuleId,
        draft: RuleDraft,
        author: &Author,
    ) -> Result<Rule, WriteError> {
        let decide = |current: Option<&Rule>| match current {
            Some(_) => Err(WriteError::Exists),
            None => Ok(Some(draft)),
        };
        let applied = self.write(id, author, decide).await?;
        applied.after.ok_or(WriteError::NotFound)
    }

    /// Makes a rule, or puts it in the place of the one that has this id.
    ///
    /// # Errors
    /// [`WriteError::Stale`], [`WriteError::MarkLimit`], and those of the database.
    pub async fn put(
        &self,
        id: &RuleId,
        draft: RuleDraft,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<Written, WriteError> {
        let decide = |current: Option<&Rule>| {
            permit(precondition, current)?;
            Ok(Some(draft))
        };
        let applied = self.write(id, author, decide).await?;
        Ok(Written {
            created: applied.before.is_none(),
            rule: applied.after.ok_or(WriteError::NotFound)?,
        })
    }

    /// Changes a rule: `edit` gets it as it stands when the write's turn has come.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Stale`], [`WriteError::Invalid`] from `edit`,
    /// [`WriteError::MarkLimit`], and those of the database.
    pub async fn patch(
        &self,
        id: &RuleId,
        edit: impl FnOnce(&Rule) -> Result<RuleDraft, Vec<InvalidField>>,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<Rule, WriteError> {
        let decide = |current: Option<&Rule>| {
            let rule = existing(precondition, current)?;
            edit(rule).map(Some).map_err(WriteError::Invalid)
        };
        let applied = self.write(id, author, decide).await?;
        applied.after.ok_or(WriteError::NotFound)
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// [`WriteError::NotFound`], [`WriteError::Stale`], and those of the database.
    pub async fn delete(
        &self,
        id: &RuleId,
        precondition: &impl Precondition,
        author: &Author,
    ) -> Result<(), WriteError> {
        let decide = |current: Option<&Rule>| existing(precondition, current).map(|_| None);
        self.write(id, author, decide).await.map(|_| ())
    }

    /// Brings a set of rules into the states given here (`None`: there shall be no such rule), all
    /// or none. Answers how many of them were changed.
    ///
    /// # Errors
    /// [`WriteError::MarkLimit`], and those of the database.
    pub async fn write_all(
        &self,
        wanted: BTreeMap<RuleId, Option<RuleDraft>>,
        author: &Author,
    ) -> Result<usize, WriteError> {
        let mut turn = self.turn(PATIENCE, false).await?;
        let ids: Vec<&RuleId> = wanted.keys().collect();
        let mut standing = table::fetch_all(&mut *turn, &ids).await?;
        let changes = wanted
            .into_iter()
            .map(|(id, after)| Change {
                before: standing.remove(&id),
                id,
                after,
            })
            .collect();
        let applied = apply(&mut turn, changes, author).await?;
        self.end(turn).await?;
        Ok(applied.iter().filter(|one| one.before != one.after).count())
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
        let id = id.clone();
        let changes = vec![Change { id, before, after }];
        let applied = apply(&mut turn, changes, author).await?.pop();
        self.end(turn).await?;
        applied.ok_or(WriteError::NotFound)
    }
}

fn permit(precondition: &impl Precondition, current: Option<&Rule>) -> Result<(), WriteError> {
    let current = current.map(|rule| rule.version);
    if precondition.permits(current) {
        Ok(())
    } else {
        Err(WriteError::Stale { current })
    }
}

fn existing<'a>(
    precondition: &impl Precondition,
    current: Option<&'a Rule>,
) -> Result<&'a Rule, WriteError> {
    let rule = current.ok_or(WriteError::NotFound)?;
    permit(precondition, current).map(|()| rule)
}
