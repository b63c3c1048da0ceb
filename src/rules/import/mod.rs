//! Many rules at once: all or nothing, by the same path as every other write.
//!
//! A merge creates and updates the rules of the file and keeps all others. A replace also deletes the
//! other rules of its scope (one label, or all), but never more of them than allowed, so that a truncated
//! file cannot empty the table. A dry run takes the same path, with the check of the mark limit, and
//! writes nothing.

mod lines;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};

pub use lines::{Lines, MAX_LINE, MAX_RULES};

use super::document::{RuleView, label};
use super::history::{Action, Applied, Author};
use super::json::{BadLines, InvalidField};
use super::store::{Change, IMPORT_PATIENCE, PATIENCE, Rules, WriteError};
use super::table;
use crate::domain::{Rule, RuleDraft, RuleId};
use crate::messages::Message;

/// The share of the existing rules that a replace may delete by default.
const DEFAULT_REMOVALS_PERCENT: usize = 20;

/// Rules that are written at a time: memory keeps no more existing rules than this.
const PART: usize = 2_000;

/// What becomes of existing rules that are not in the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Keep rules that are not in the body.
    #[default]
    Merge,
    /// Delete them.
    Replace,
}

/// How to import. An empty parameter counts as absent.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ImportOptions {
    /// `merge` (if absent) keeps rules that are not in the body; `replace` deletes them.
    #[param(inline, value_type = Option<Mode>)]
    #[serde(default)]
    pub mode: Mode,
    /// Only rules of this label are touched. Lines without a label get it; other labels are errors.
    #[param(max_length = 64, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    #[serde(default, deserialize_with = "label")]
    pub label: Option<String>,
    /// Check everything and answer the changes, but write nothing. Waits for no other write.
    #[param(value_type = Option<bool>)]
    #[serde(default)]
    pub dry_run: bool,
    /// Most rules that a replace may delete; 20 % of those of the label (or of all) if absent. Only
    /// with `mode=replace`.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4294967295u32)]
    pub max_removals: Option<u32>,
}

/// The rules of a file, each with the number of its line.
pub type Brought = BTreeMap<RuleId, (u64, RuleDraft)>;

/// What an import did, or would do.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = ImportAnswer)]
pub struct Imported {
    /// True if nothing was changed.
    dry_run: bool,
    /// Rules created.
    created: usize,
    /// Rules updated.
    updated: usize,
    /// Rules that were already as in the body.
    unchanged: usize,
    /// Rules deleted.
    removed: usize,
    /// Of a dry run: why the import would be refused, though this is what it would do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    refusal: Option<String>,
    /// `refusal` as a code with parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    message: Option<Message>,
    /// Of a dry run: every change, removals first, then in the order of the ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    changes: Option<Vec<ImportChange>>,
}

/// What becomes of one rule.
#[derive(Debug, Serialize, ToSchema)]
struct ImportChange {
    /// The rule.
    #[schema(value_type = String)]
    id: RuleId,
    /// What becomes of it.
    action: Action,
    /// The rule as it is; null if it is created.
    before: Option<RuleView>,
    /// The rule after the change; null if it is deleted.
    after: Option<RuleView>,
}

/// What is done to each of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RuleAction)]
pub enum Deed {
    Enable,
    Disable,
    Delete,
}

impl Rules {
    /// Imports rules, all or none.
    pub async fn import(
        &self,
        brought: Brought,
        options: &ImportOptions,
        author: &Author,
    ) -> Result<Imported, WriteError> {
        let mut turn = self.turn(author, IMPORT_PATIENCE, options.dry_run).await?;
        // To sort and hash a whole import.
        sqlx::query!("set local work_mem = '64MB'")
            .execute(&mut *turn.transaction)
            .await?;
        let (gone, refusal) = removals(&mut turn.transaction, &brought, options).await?;
        let mut imported = Imported::of(options.dry_run);
        match refusal {
            Some(refusal) if !options.dry_run => return Err(refusal),
            refusal => imported.refusal = refusal.map(|refusal| refusal.to_string()),
        }
        imported.message = imported.refusal.as_deref().map(Message::of);
        let mut foreign = BadLines::default();
        let gone = gone.into_iter().map(|id| (id, None));
        let brought = brought.into_iter().map(|(id, brought)| (id, Some(brought)));
        let mut wanted = gone.chain(brought);
        loop {
            let part: Vec<_> = wanted.by_ref().take(PART).collect();
            if part.is_empty() {
                break;
            }
            let ids = part.iter().map(|(id, _)| id);
            let mut current = table::fetch_all(&mut *turn.transaction, ids).await?;
            let changes: Vec<Change> = part
                .into_iter()
                .map(|(id, brought)| {
                    let before = current.remove(&id);
                    if let (Some(rule), Some((line, _))) = (&before, &brought) {
                        options.refuse_foreign(rule, *line, &mut foreign);
                    }
                    let after = brought.map(|(_, draft)| draft);
                    Change { id, before, after }
                })
                .collect();
            if foreign.total == 0 {
                imported.add(turn.write(changes).await?);
            }
        }
        if foreign.total > 0 {
            return Err(WriteError::Lines(foreign));
        }
        self.end(turn).await?;
        Ok(imported)
    }

    /// Does the same to several rules, to all or none: [`WriteError::Invalid`] names each id that no rule
    /// has.
    pub async fn change_many(
        &self,
        ids: &[RuleId],
        deed: Deed,
        dry_run: bool,
        author: &Author,
    ) -> Result<Imported, WriteError> {
        let mut turn = self.turn(author, PATIENCE, dry_run).await?;
        let mut rules = table::fetch_all(&mut *turn.transaction, ids).await?;
        let mut changes = Vec::with_capacity(ids.len());
        let mut unknown = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            match rules.remove(id) {
                Some(rule) => changes.push(deed.on(rule)),
                None => unknown.push(InvalidField {
                    pointer: format!("/ids/{at}"),
                    detail: format!("rule {id} not found"),
                }),
            }
        }
        if !unknown.is_empty() {
            return Err(WriteError::Invalid(unknown));
        }
        let mut changed = Imported::of(dry_run);
        changed.add(turn.write(changes).await?);
        self.end(turn).await?;
        Ok(changed)
    }
}

impl ImportOptions {
    /// An import within a label must not take rules away from another.
    fn refuse_foreign(&self, rule: &Rule, line: u64, foreign: &mut BadLines) {
        let (id, label) = (&rule.id, &rule.draft.label);
        if self.label.as_ref().is_some_and(|own| own != label) {
            let detail = format!(
                "rule {id} has the label {label:?}; choose another id, or import without a label"
            );
            foreign.add(line, lines::one("/id", detail));
        }
    }
}

impl Deed {
    fn on(self, rule: Rule) -> Change {
        let enabled = |enabled| RuleDraft {
            enabled,
            ..rule.draft.clone()
        };
        Change {
            id: rule.id.clone(),
            after: match self {
                Self::Enable => Some(enabled(true)),
                Self::Disable => Some(enabled(false)),
                Self::Delete => None,
            },
            before: Some(rule),
        }
    }
}

/// The rules that a replace removes, and why it must not.
async fn removals(
    transaction: &mut PgConnection,
    brought: &Brought,
    options: &ImportOptions,
) -> Result<(Vec<RuleId>, Option<WriteError>), sqlx::Error> {
    if options.mode == Mode::Merge {
        return Ok((Vec::new(), None));
    }
    let label = options.label.as_deref();
    let (gone, standing) = table::others(transaction, label, brought.keys()).await?;
    let allowed = match options.max_removals {
        Some(most) => usize::try_from(most).unwrap_or(usize::MAX),
        None => (standing * DEFAULT_REMOVALS_PERCENT).div_ceil(100),
    };
    let refusal = (gone.len() > allowed).then_some(WriteError::Removals {
        removed: gone.len(),
        allowed,
        standing,
    });
    Ok((gone, refusal))
}

impl Imported {
    fn of(dry_run: bool) -> Self {
        Self {
            dry_run,
            changes: dry_run.then(Vec::new),
            ..Self::default()
        }
    }

    fn add(&mut self, applied: Vec<Applied>) {
        for Applied { before, after } in applied {
            if before == after {
                self.unchanged += 1;
                continue;
            }
            let action = Action::of(before.is_some(), after.is_some());
            match action {
                Action::Created => self.created += 1,
                Action::Updated => self.updated += 1,
                Action::Deleted => self.removed += 1,
            }
            let (Some(changes), Some(rule)) =
                (&mut self.changes, after.as_ref().or(before.as_ref()))
            else {
                continue;
            };
            changes.push(ImportChange {
                id: rule.id.clone(),
                action,
                before: before.as_ref().map(RuleView::from),
                after: after.as_ref().map(RuleView::from),
            });
        }
    }
}
