//! One change of many rules: all or nothing, with a dry run, like an import.

use serde::Deserialize;
use utoipa::ToSchema;

use super::apply::{Change, apply};
use super::import::Imported;
use super::json::InvalidField;
use super::store::{Author, Rules, WriteError};
use super::table;
use super::turn::PATIENCE;
use crate::domain::{Rule, RuleDraft, RuleId};

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
    /// Does the same to several rules.
    ///
    /// # Errors
    /// [`WriteError`], [`WriteError::Invalid`] for each id that no rule has; nothing was written then.
    pub async fn change_many(
        &self,
        ids: &[RuleId],
        deed: Deed,
        dry_run: bool,
        author: &Author,
    ) -> Result<Imported, WriteError> {
        let mut turn = self.turn(PATIENCE, dry_run).await?;
        let mut rules = table::fetch_all(&mut *turn, &ids.iter().collect::<Vec<_>>()).await?;
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
        let applied = apply(&mut turn, changes, author).await?;
        self.end(turn).await?;
        let mut changed = Imported::default();
        changed.add(applied, dry_run);
        Ok(changed)
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
