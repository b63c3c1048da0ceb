//! Many rules at once: all or nothing, by the same path as every other write.
//!
//! Two modes. A merge makes and changes the rules it brings and leaves all others alone. A replace
//! also removes the rules of its scope (one label, or all) that it does not bring, but never more of
//! them than allowed, so that a truncated file cannot empty the table. A dry run takes the whole
//! path, including the check of the mark limit, and is rolled back at its end.

mod lines;

use std::collections::BTreeMap;

use sqlx::PgConnection;

pub use lines::{BadLines, Lines, MAX_LINE, MAX_RULES};

use super::apply::{Applied, Change, apply};
use super::store::{Author, Rules, WriteError};
use super::table;
use super::turn::{IMPORT_PATIENCE, Turn};
use crate::domain::{Rule, RuleDraft, RuleId};

/// The share of the standing rules that a replace may remove where nothing is said.
const DEFAULT_REMOVALS_PERCENT: usize = 20;

/// What becomes of rules that stand and are not brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They stay.
    Merge,
    /// They go; at most so many of them, or a fifth of the scope if `None`.
    Replace {
        /// Most rules to remove.
        max_removals: Option<usize>,
    },
}

/// How to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// What becomes of the others.
    pub mode: Mode,
    /// Only rules of this label are touched; `None`: all.
    pub label: Option<String>,
    /// Whether everything is undone at the end.
    pub dry_run: bool,
}

/// Rules as a client brings them, each with the number of its line.
pub type Brought = BTreeMap<RuleId, (u64, RuleDraft)>;

/// What an import did, or would do.
#[derive(Debug)]
pub struct Imported {
    /// Each rule that is not as it was before: before and after.
    pub changes: Vec<(Option<Rule>, Option<Rule>)>,
    /// Rules that were brought as they stand.
    pub unchanged: usize,
    /// Of a dry run: why the import would be refused all the same.
    pub refusal: Option<Removals>,
}

/// More removals than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this would remove {removed} of {standing} rules, and at most {allowed} may go; \
     max_removals={removed} allows it"
)]
pub struct Removals {
    /// Rules that would go.
    pub removed: usize,
    /// Rules that may go.
    pub allowed: usize,
    /// Rules of the scope.
    pub standing: usize,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Some lines are wrong.
    #[error("some lines are wrong")]
    Lines(BadLines),
    /// Too many rules would go.
    #[error(transparent)]
    Removals(#[from] Removals),
    /// As for any other write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Write(error.into())
    }
}

impl Rules {
    /// Imports rules, all or none.
    ///
    /// # Errors
    /// [`ImportError`]; nothing was written then.
    pub async fn import(
        &self,
        brought: Brought,
        options: &ImportOptions,
        author: &Author,
    ) -> Result<Imported, ImportError> {
        let mut turn = begin_import(self).await?;
        let (changes, refusal) = plan(&mut turn, brought, options).await?;
        match refusal {
            Some(refusal) if !options.dry_run => return Err(refusal.into()),
            _ => {}
        }
        let applied = apply(&mut turn, changes, author).await?;
        if options.dry_run {
            turn.rollback().await?;
        } else {
            turn.commit().await?;
            self.wake().now();
        }
        Ok(Imported::of(applied, refusal))
    }
}

/// The usual turn of a write, with room to sort and hash a whole import.
async fn begin_import(rules: &Rules) -> Result<Turn<'_>, WriteError> {
    let mut turn = rules.turn(IMPORT_PATIENCE).await?;
    sqlx::query!("set local work_mem = '64MB'")
        .execute(&mut *turn)
        .await?;
    Ok(turn)
}

/// What is to be changed, read under the lock.
async fn plan(
    transaction: &mut PgConnection,
    brought: Brought,
    options: &ImportOptions,
) -> Result<(Vec<Change>, Option<Removals>), ImportError> {
    let ids: Vec<&RuleId> = brought.keys().collect();
    let mut standing = table::fetch_all(&mut *transaction, &ids).await?;
    if let Some(label) = &options.label {
        foreign(&brought, &standing, label)?;
    }
    let mut removed = Vec::new();
    let mut refusal = None;
    if let Mode::Replace { max_removals } = options.mode {
        let (gone, in_scope) =
            table::fetch_others(&mut *transaction, options.label.as_deref(), &ids).await?;
        let allowed = max_removals.unwrap_or((in_scope * DEFAULT_REMOVALS_PERCENT).div_ceil(100));
        refusal = (gone.len() > allowed).then_some(Removals {
            removed: gone.len(),
            allowed,
            standing: in_scope,
        });
        removed = gone;
    }
    let removals = removed.into_iter().map(|rule| Change {
        id: rule.id.clone(),
        before: Some(rule),
        after: None,
    });
    let mut changes: Vec<Change> = removals.collect();
    changes.extend(brought.into_iter().map(|(id, (_, draft))| Change {
        before: standing.remove(&id),
        id,
        after: Some(draft),
    }));
    Ok((changes, refusal))
}

/// An import within a label must not take rules away from another.
fn foreign(
    brought: &Brought,
    standing: &std::collections::HashMap<RuleId, Rule>,
    label: &str,
) -> Result<(), ImportError> {
    let mut bad = BadLines::default();
    for (id, (line, _)) in brought {
        if let Some(rule) = standing.get(id).filter(|rule| rule.draft.label != label) {
            let detail = format!(
                "rule {id} has the label {:?}; choose another id, or import without a label",
                rule.draft.label
            );
            bad.add(*line, lines::one("/id", detail));
        }
    }
    match bad.total {
        0 => Ok(()),
        _ => Err(ImportError::Lines(bad)),
    }
}

impl Imported {
    pub(super) fn of(applied: Vec<Applied>, refusal: Option<Removals>) -> Self {
        let all = applied.len();
        let changes: Vec<_> = applied
            .into_iter()
            .filter(|one| one.before != one.after)
            .map(|one| (one.before, one.after))
            .collect();
        Self {
            unchanged: all - changes.len(),
            changes,
            refusal,
        }
    }
}
