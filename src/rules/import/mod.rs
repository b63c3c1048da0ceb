//! Many rules at once: all or nothing, by the same path as every other write.
//!
//! Two modes. A merge makes and changes the rules it brings and leaves all others alone. A replace
//! also removes the rules of its scope (one label, or all) that it does not bring, but never more of
//! them than allowed, so that a truncated file cannot empty the table. A dry run takes the whole
//! path, including the check of the mark limit, and writes nothing.

mod lines;

use std::collections::{BTreeMap, HashMap};

use sqlx::PgConnection;

pub use lines::{BadLines, Lines, MAX_LINE, MAX_RULES};

use super::apply::{Applied, Applying, Change};
use super::history::Action;
use super::store::{Author, Rules, WriteError};
use super::table;
use super::turn::{IMPORT_PATIENCE, Turn};
use crate::domain::{Rule, RuleDraft, RuleId};

/// The share of the standing rules that a replace may remove where nothing is said.
const DEFAULT_REMOVALS_PERCENT: usize = 20;

/// Rules that are written at a time. Memory holds no more of them than this beside what was brought.
const PART: usize = 2_000;

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
    /// Whether nothing is written.
    pub dry_run: bool,
}

/// Rules as a client brings them, each with the number of its line.
pub type Brought = BTreeMap<RuleId, (u64, RuleDraft)>;

/// What an import did, or would do.
#[derive(Debug, Default)]
pub struct Imported {
    pub created: usize,
    pub updated: usize,
    pub removed: usize,
    /// Rules that were brought as they stand.
    pub unchanged: usize,
    /// Of a dry run: each rule that would not be as it is, before and after.
    pub changes: Vec<(Option<Rule>, Option<Rule>)>,
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
    /// An `ImportError`; nothing was written then.
    pub async fn import(
        &self,
        mut brought: Brought,
        options: &ImportOptions,
        author: &Author,
    ) -> Result<Imported, ImportError> {
        let mut turn = begin_import(self, options.dry_run).await?;
        let (gone, refusal) = removals(&mut turn, &brought, options).await?;
        match refusal {
            Some(refusal) if !options.dry_run => return Err(refusal.into()),
            _ => {}
        }
        let mut imported = Imported {
            refusal,
            ..Imported::default()
        };
        let mut applying = Applying::begin(&mut turn, author).await?;
        for part in gone.chunks(PART) {
            let ids: Vec<&RuleId> = part.iter().collect();
            let mut standing = table::fetch_all(&mut *turn, &ids).await?;
            let removals = part.iter().map(|id| Change {
                id: id.clone(),
                before: standing.remove(id),
                after: None,
            });
            let applied = applying.write(&mut turn, removals.collect()).await?;
            imported.add(applied, options.dry_run);
        }
        let mut foreign = BadLines::default();
        while !brought.is_empty() {
            let part: Brought = std::iter::from_fn(|| brought.pop_first())
                .take(PART)
                .collect();
            let ids: Vec<&RuleId> = part.keys().collect();
            let mut standing = table::fetch_all(&mut *turn, &ids).await?;
            if let Some(label) = &options.label {
                note_foreign(&part, &standing, label, &mut foreign);
            }
            if foreign.total > 0 {
                continue;
            }
            let changes = part.into_iter().map(|(id, (_, draft))| Change {
                before: standing.remove(&id),
                id,
                after: Some(draft),
            });
            let applied = applying.write(&mut turn, changes.collect()).await?;
            imported.add(applied, options.dry_run);
        }
        if foreign.total > 0 {
            return Err(ImportError::Lines(foreign));
        }
        applying.finish(&mut turn).await?;
        self.end(turn).await?;
        Ok(imported)
    }
}

/// The usual turn of a write, with room to sort and hash a whole import.
async fn begin_import(rules: &Rules, dry_run: bool) -> Result<Turn<'_>, WriteError> {
    let mut turn = rules.turn(IMPORT_PATIENCE, dry_run).await?;
    sqlx::query!("set local work_mem = '64MB'")
        .execute(&mut *turn)
        .await?;
    Ok(turn)
}

/// The rules that a replace removes, and why it must not.
async fn removals(
    transaction: &mut PgConnection,
    brought: &Brought,
    options: &ImportOptions,
) -> Result<(Vec<RuleId>, Option<Removals>), ImportError> {
    let Mode::Replace { max_removals } = options.mode else {
        return Ok((Vec::new(), None));
    };
    let ids: Vec<&RuleId> = brought.keys().collect();
    let (gone, standing) = table::others(transaction, options.label.as_deref(), &ids).await?;
    let allowed = max_removals.unwrap_or((standing * DEFAULT_REMOVALS_PERCENT).div_ceil(100));
    let refusal = (gone.len() > allowed).then_some(Removals {
        removed: gone.len(),
        allowed,
        standing,
    });
    Ok((gone, refusal))
}

/// An import within a label must not take rules away from another.
fn note_foreign(
    brought: &Brought,
    standing: &HashMap<RuleId, Rule>,
    label: &str,
    foreign: &mut BadLines,
) {
    for (id, (line, _)) in brought {
        if let Some(rule) = standing.get(id).filter(|rule| rule.draft.label != label) {
            let detail = format!(
                "rule {id} has the label {:?}; choose another id, or import without a label",
                rule.draft.label
            );
            foreign.add(*line, lines::one("/id", detail));
        }
    }
}

impl Imported {
    pub(super) fn add(&mut self, applied: Vec<Applied>, keep: bool) {
        for Applied { before, after } in applied {
            if before == after {
                self.unchanged += 1;
                continue;
            }
            match Action::of(before.is_some(), after.is_some()) {
                Action::Created => self.created += 1,
                Action::Updated => self.updated += 1,
                Action::Deleted => self.removed += 1,
            }
            if keep {
                self.changes.push((before, after));
            }
        }
    }
}
