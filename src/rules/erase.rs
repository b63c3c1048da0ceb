//! Erases an account: its rules, its name in their history, and its rows of members.
//!
//! Rules and history are one transaction. The rows follow after its commit, so that no callback waits for
//! it. A request that ends in between can be repeated: what is erased is not found again.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::history::Author;
use super::store::{Change, PATIENCE, Rules, Turn, WriteError};
use super::{filter, history, table};
use crate::domain::{Account, Pattern};
use crate::members::{count_rows_of, delete_rows_of};

/// What was erased, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = EraseAnswer)]
pub struct Erased {
    /// True if nothing was changed.
    pub dry_run: bool,
    /// Deleted rules, those for exactly this account.
    pub rules: usize,
    /// Deleted rows of members.
    pub members: u64,
    /// Entries of the history in which a pseudonym replaces the account and the note is empty.
    pub history: u64,
}

impl Rules {
    /// Erases an account. Rules that match it by a prefix stay. With `dry_run` the answer is the same,
    /// and nothing changes.
    pub async fn erase(
        &self,
        account: &Account,
        dry_run: bool,
        author: &Author,
    ) -> Result<Erased, WriteError> {
        let mut turn = self.turn(author, PATIENCE, dry_run).await?;
        let rules = delete_rules(&mut turn, account).await?;
        let name = Pattern::literal(account).to_string();
        let (history, members) = if dry_run {
            // Each deletion becomes an entry, too.
            let entries = history::count(&mut turn.transaction, &name).await? + rules as u64;
            (entries, count_rows_of(&self.db, account).await?)
        } else {
            // The entries of one person belong together, but nothing leads from them to the account.
            let pseudonym = format!("erased-{}", Uuid::new_v4().simple());
            filter::forget_account(&mut turn.transaction, account).await?;
            let renamed = history::rename(&mut turn.transaction, &name, &pseudonym).await?;
            self.end(turn).await?;
            (renamed, delete_rows_of(&self.db, account).await?)
        };
        Ok(Erased {
            dry_run,
            rules,
            members,
            history,
        })
    }
}

async fn delete_rules(turn: &mut Turn<'_>, account: &Account) -> Result<usize, sqlx::Error> {
    let ids = table::ids_for_account(&mut turn.transaction, account).await?;
    let mut rules = table::fetch_all(&mut *turn.transaction, &ids).await?;
    let deletions = ids.into_iter().map(|id| Change {
        before: rules.remove(&id),
        id,
        after: None,
    });
    Ok(turn.write(deletions.collect()).await?.len())
}
