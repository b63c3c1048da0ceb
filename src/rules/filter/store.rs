//! Reads the rules for the filter: all of them, or those that have come since a revision.
//!
//! Rules stream through; only their keys are kept. The migration that creates `rule_revision` explains
//! revisions.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use sqlx::PgConnection;
use sqlx::postgres::PgListener;

use super::rule_set::RuleSet;
use crate::database::{in_time, interval};
use crate::domain::{Account, REMEMBERED};

/// A database that takes longer to answer is believed dead.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(3);
/// Space is reserved for so many rules at most before the first is read; more make the set grow.
const MOST_EXPECTED: usize = 16_000_000;
/// So many rules are read before other tasks of the same thread run.
const RULES_A_TURN: usize = 1_000;
/// Without these the revision says nothing of the rules, or the match misses a kind of rule.
const TRIGGERS: [&str; 5] = [
    "rules_inserted",
    "rules_updated",
    "rules_deleted",
    "rules_inserted_are_noted",
    "rules_updated_are_noted",
];

/// Why the rules cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(
        "triggers on the table rules are missing or disabled: {0}; members without a mark go unnoticed. \
         Enable them (alter table rules enable trigger user), or restore the schema from a whole dump"
    )]
    TriggersLost(String),
}

/// Checks the triggers that keep the revision: none may be missing or disabled, or ignored by the session.
pub(super) async fn check_triggers(database: &mut PgListener) -> Result<(), FollowError> {
    let lost = sqlx::query_scalar!(
        r#"
        select name as "name!" from unnest($1::text[]) name
        where not exists (
            select from pg_trigger t
            where t.tgrelid = 'rules'::regclass and t.tgname = name
              and (t.tgenabled = 'A'
                   or t.tgenabled = 'O' and current_setting('session_replication_role') <> 'replica'))
        "#,
        &TRIGGERS as &[&str],
    );
    let lost = in_time(LONGEST_SILENCE, lost.fetch_all(database)).await?;
    match lost.is_empty() {
        true => Ok(()),
        false => Err(FollowError::TriggersLost(lost.join(", "))),
    }
}

/// The set with what is new since its revision. One cheap statement, so the answer is of one moment. `None`:
/// all rules must be read, since the log does not reach back so far, or too many of the known ones are gone.
pub(super) async fn updated(
    database: &mut PgListener,
    known: &Arc<RuleSet>,
) -> Result<Option<Arc<RuleSet>>, sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"
        select v.revision, v.logged_since,
               (select coalesce(sum(rules), 0) from rule_shapes)::bigint as "rules!",
               c.group_text as "group_text?", c.group_prefix_len as "group_prefix_len?",
               c.account_text as "account_text?", c.account_prefix_len as "account_prefix_len?"
        from rule_revision v
        left join rule_changes c on c.revision > $1 and v.logged_since <= $1
        "#,
        known.revision
    )
    .fetch(database);
    // Copied when something is new.
    let (mut set, mut rules, mut complete) = (Arc::clone(known), None, true);
    while let Some(row) = in_time(LONGEST_SILENCE, rows.try_next()).await? {
        // A revision that decreased means that a backup was restored.
        complete &= (row.logged_since..=row.revision).contains(&known.revision);
        rules = Some(row.rules);
        if set.revision != row.revision {
            Arc::make_mut(&mut set).revision = row.revision;
        }
        if let (Some(group), Some(group_len), Some(account), Some(account_len)) = (
            row.group_text,
            row.group_prefix_len,
            row.account_text,
            row.account_prefix_len,
        ) {
            Arc::make_mut(&mut set).add((&group, group_len), (&account, account_len));
        }
    }
    if !Arc::ptr_eq(&set, known) {
        Arc::make_mut(&mut set).sort();
    }
    let rules = rules.ok_or(sqlx::Error::RowNotFound)?;
    Ok((complete && !set.is_worn(rules)).then_some(set))
}

/// Reads all rules but those that ended long ago. The revision is read first: rules that are written
/// meanwhile may be in the set already, and come once more as changes.
pub(super) async fn read_all(database: &mut PgListener) -> Result<RuleSet, sqlx::Error> {
    let start = sqlx::query!(
        r#"
        select revision, (select sum(rules) from rule_shapes)::bigint as rules from rule_revision
        "#
    );
    let start = in_time(LONGEST_SILENCE, start.fetch_one(&mut *database)).await?;
    let expected = usize::try_from(start.rules.unwrap_or(0)).unwrap_or(0);
    let mut rules = RuleSet::empty(start.revision, expected.min(MOST_EXPECTED));
    let mut read = 0_usize;
    let mut rows = sqlx::query!(
        r#"
        select group_text, group_prefix_len, account_text, account_prefix_len from rules
        where ends_at is null or ends_at > now() - $1::interval
        "#,
        interval(REMEMBERED),
    )
    .fetch(database);
    while let Some(row) = in_time(LONGEST_SILENCE, rows.try_next()).await? {
        rules.add(
            (&row.group_text, row.group_prefix_len),
            (&row.account_text, row.account_prefix_len),
        );
        read += 1;
        if read.is_multiple_of(RULES_A_TURN) {
            tokio::task::yield_now().await;
        }
    }
    rules.sort();
    Ok(rules)
}

/// Deletes the changes that name an account of which no rule is left: a replica that has not read them yet
/// does not need them.
pub(in crate::rules) async fn forget_account(
    transaction: &mut PgConnection,
    account: &Account,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from rule_changes where account_text = $1 and account_prefix_len < 0",
        account.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}
