//! Applies a set of changes to the rules, with the check of the mark limit and the history. One write of
//! one rule is a set of one. [`super::propagation`] carries it to the members after the commit.
//!
//! It runs within a [`Turn`](super::turn::Turn), so that two writers cannot together break a limit
//! that neither breaks alone, and the order of the history is the order of the changes.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::history;
use super::limits::{self, Demand, Unwritten};
use super::store::{Author, WriteError};
use super::table;
use super::turn::Turn;
use crate::domain::{Rule, RuleDraft, RuleId};

/// So many changes at once make what the planner knows of the tables wrong. It would be told within
/// a minute anyway, but a minute of bad plans is long for the worker.
const MANY: usize = 10_000;

/// One rule as it is, read under the lock, and as it shall be. `None`: no such rule.
#[derive(Debug)]
pub(super) struct Change {
    pub id: RuleId,
    pub before: Option<Rule>,
    pub after: Option<RuleDraft>,
}

/// One rule before and after. Equal if there was nothing to change.
#[derive(Debug)]
pub(super) struct Applied {
    pub before: Option<Rule>,
    pub after: Option<Rule>,
}

/// Applies changes of distinct rules in the transaction of a turn. Answers in their order.
///
/// A change that changes nothing leaves the version and the history as they are. The caller
/// ends the turn. In that of a dry run nothing is written, but checked all the same.
pub(super) async fn apply(
    turn: &mut Turn<'_>,
    changes: Vec<Change>,
    author: &Author,
) -> Result<Vec<Applied>, WriteError> {
    let mut applying = Applying::begin(turn, author).await?;
    let applied = applying.write(turn, changes).await?;
    applying.finish(turn).await?;
    Ok(applied)
}

/// Changes that are applied part by part, so that many of them need no more memory than a part.
pub(super) struct Applying<'a> {
    author: &'a Author,
    now: DateTime<Utc>,
    /// Many rules of a room demand the same.
    demands: HashSet<Demand>,
    changed: usize,
    /// Of a dry run.
    unwritten: Unwritten,
}

impl<'a> Applying<'a> {
    pub async fn begin(turn: &mut Turn<'_>, author: &'a Author) -> Result<Self, sqlx::Error> {
        let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
            .fetch_one(&mut **turn)
            .await?;
        Ok(Self {
            author,
            now,
            demands: HashSet::new(),
            changed: 0,
            unwritten: Unwritten::default(),
        })
    }

    /// A part. It counts only if [`Self::finish`] succeeds, too.
    pub async fn write(
        &mut self,
        turn: &mut Turn<'_>,
        changes: Vec<Change>,
    ) -> Result<Vec<Applied>, sqlx::Error> {
        let last_versions = last_versions(turn, &changes).await?;
        let applied: Vec<Applied> = changes
            .into_iter()
            .map(|change| change.at(self.now, &last_versions))
            .collect();
        let changed: Vec<&Applied> = applied
            .iter()
            .filter(|one| one.before != one.after)
            .collect();
        if turn.is_dry() {
            for Applied { before, after } in &changed {
                self.unwritten
                    .add(before.as_ref(), after.as_ref(), self.now);
            }
        } else {
            write(turn, &changed).await?;
            history::record(turn, &changed, self.author, self.now).await?;
        }
        self.changed += changed.len();
        self.demands.extend(new_demands(&changed, self.now));
        Ok(applied)
    }

    /// Checks that no room needs too many marks after all that was written.
    pub async fn finish(self, turn: &mut Turn<'_>) -> Result<(), WriteError> {
        if self.changed >= MANY && !turn.is_dry() {
            table::analyze(turn).await?;
        }
        let areas = limits::areas(self.demands.into_iter().collect());
        let checked = limits::check(turn, &areas, self.now, &self.unwritten).await?;
        if let Err(conflict) = checked {
            let rules = limits::rules_of(turn, &conflict, &self.unwritten).await?;
            return Err(WriteError::MarkLimit { conflict, rules });
        }
        Ok(())
    }
}

/// The last versions of deleted rules that come back. Versions go on where they ended, so that an
/// ETag never names two states of one id.
async fn last_versions(
    transaction: &mut PgConnection,
    changes: &[Change],
) -> Result<HashMap<RuleId, i64>, sqlx::Error> {
    let made = changes.iter().filter(|change| change.before.is_none());
    let ids: Vec<&str> = made.map(|change| change.id.as_str()).collect();
    history::last_versions(transaction, &ids).await
}

async fn write(transaction: &mut PgConnection, changed: &[&Applied]) -> Result<(), sqlx::Error> {
    let (mut made, mut replaced, mut removed) = (Vec::new(), Vec::new(), Vec::new());
    for one in changed {
        match (&one.before, &one.after) {
            (None, Some(after)) => made.push(after),
            (Some(_), Some(after)) => replaced.push(after),
            (Some(before), None) => removed.push(&before.id),
            (None, None) => {}
        }
    }
    table::delete(transaction, &removed).await?;
    table::update(transaction, &replaced).await?;
    table::insert(transaction, &made).await
}

/// What the changes demand that was not demanded before; only that can break the limit.
fn new_demands(changed: &[&Applied], now: DateTime<Utc>) -> impl Iterator<Item = Demand> {
    changed.iter().filter_map(move |one| {
        let after = one.after.as_ref()?;
        let demand = Demand::of(&after.draft, now)?;
        let before = one.before.as_ref();
        let demanded = before.and_then(|rule| Demand::of(&rule.draft, now));
        (!demanded.is_some_and(|demanded| demanded.includes(&demand))).then_some(demand)
    })
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
