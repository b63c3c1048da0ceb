//! Who changed which rule, when, from what to what. Written in the transaction of the change, and
//! kept when the rule is deleted.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::document::RuleView;
use super::table::corrupt;
use crate::database::{Db, interval};
use crate::domain::{RequestId, Rule, RuleId};
use crate::telemetry::warn_seldom;

/// Old entries deleted in one statement, and the pause after it: 10,000 a second.
const ENTRIES_A_BATCH: i64 = 1_000;
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);
const BETWEEN_LOOKS: Duration = Duration::from_secs(60 * 60);

/// Who writes rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// For the history: the name of the token.
    pub name: String,
    pub request_id: Option<RequestId>,
}

/// One rule before and after. Equal if there was nothing to change.
#[derive(Debug)]
pub(super) struct Applied {
    pub before: Option<Rule>,
    pub after: Option<Rule>,
}

/// One change of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Order of all changes of all rules; grows.
    pub sequence: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who: the name of the token; `anonymous` where no tokens are configured.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// The rule before; null if it was created.
    #[schema(required = true)]
    pub before: Option<RuleView>,
    /// The rule after; null if it was deleted.
    #[schema(required = true)]
    pub after: Option<RuleView>,
    /// `X-Request-Id` of the request.
    #[schema(required = true)]
    pub request_id: Option<String>,
}

/// What was done to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ChangeAction)]
pub enum Action {
    /// It was created.
    Created,
    /// It was updated.
    Updated,
    /// It was deleted.
    Deleted,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    pub(crate) fn of(before: bool, after: bool) -> Self {
        match (before, after) {
            (false, _) => Self::Created,
            (true, true) => Self::Updated,
            (true, false) => Self::Deleted,
        }
    }
}

pub(super) async fn record(
    transaction: &mut PgConnection,
    changed: &[&Applied],
    author: &Author,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let mut ids = Vec::with_capacity(changed.len());
    let mut actions = Vec::with_capacity(changed.len());
    let mut befores = Vec::with_capacity(changed.len());
    let mut afters = Vec::with_capacity(changed.len());
    for Applied { before, after } in changed {
        let Some(rule) = after.as_ref().or(before.as_ref()) else {
            continue;
        };
        ids.push(rule.id.as_str());
        actions.push(Action::of(before.is_some(), after.is_some()).as_str());
        befores.push(before.as_ref().map(|rule| Json(RuleView::from(rule))));
        afters.push(after.as_ref().map(|rule| Json(RuleView::from(rule))));
    }
    if ids.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        r#"
        insert into rule_history (rule_id, at, actor, action, before, after, request_id)
        select rule_id, $5, $6, action, before, after, $7
        from unnest($1::text[], $2::text[], $3::jsonb[], $4::jsonb[]) with ordinality
            as c (rule_id, action, before, after, position)
        order by position
        "#,
        &ids as &[&str],
        &actions as &[&str],
        &befores as &[Option<Json<RuleView>>],
        &afters as &[Option<Json<RuleView>>],
        now,
        author.name,
        author.request_id.as_ref().map(RequestId::as_str),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Changes of one rule, the first first, behind the entry `after`.
pub(super) async fn entries(
    executor: impl PgExecutor<'_>,
    id: &RuleId,
    after: i64,
    limit: i64,
) -> Result<Vec<HistoryEntry>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select sequence, at, actor, before as "before: Json<RuleView>",
               after as "after: Json<RuleView>", request_id
        from rule_history where rule_id = $1 and sequence > $2
        order by sequence limit $3
        "#,
        id.as_str(),
        after,
        limit,
    )
    .fetch_all(executor)
    .await?;
    let entries = rows.into_iter().map(|row| HistoryEntry {
        sequence: row.sequence,
        at: row.at,
        actor: row.actor,
        action: Action::of(row.before.is_some(), row.after.is_some()),
        before: row.before.map(|Json(rule)| rule),
        after: row.after.map(|Json(rule)| rule),
        request_id: row.request_id,
    });
    Ok(entries.collect())
}

/// A change of a rule as the propagation reads it.
#[derive(Debug)]
pub(super) struct LoggedChange {
    pub sequence: i64,
    pub rule: String,
    pub before: Option<RuleView>,
    pub after: Option<RuleView>,
    pub request_id: Option<String>,
    /// When it was read, by the clock of Postgres.
    pub now: DateTime<Utc>,
}

/// The next changes of any rules, from behind one of them up to another.
pub(super) async fn changes(
    transaction: &mut PgConnection,
    after: i64,
    upto: Option<i64>,
    limit: i64,
) -> Result<Vec<LoggedChange>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select sequence, rule_id, before as "before: Json<RuleView>", after as "after: Json<RuleView>",
               request_id, now() as "now!"
        from rule_history where sequence > $1 and ($2::bigint is null or sequence <= $2)
        order by sequence limit $3
        "#,
        after,
        upto,
        limit,
    )
    .fetch_all(transaction)
    .await?;
    let changes = rows.into_iter().map(|row| LoggedChange {
        sequence: row.sequence,
        rule: row.rule_id,
        before: row.before.map(|Json(rule)| rule),
        after: row.after.map(|Json(rule)| rule),
        request_id: row.request_id,
        now: row.now,
    });
    Ok(changes.collect())
}

/// Replaces an account, as rules write it, by a pseudonym, and empties the notes of these versions: they
/// are free text about the account. Returns in how many entries.
pub(super) async fn rename(
    transaction: &mut PgConnection,
    account: &str,
    pseudonym: &str,
) -> Result<u64, sqlx::Error> {
    let renamed = sqlx::query!(
        r#"
        update rule_history set
            before = case when before->>'account' = $1
                then before || jsonb_build_object('account', $2::text, 'note', '') else before end,
            after = case when after->>'account' = $1
                then after || jsonb_build_object('account', $2::text, 'note', '') else after end
        where before->>'account' = $1 or after->>'account' = $1
        "#,
        account,
        pseudonym,
    )
    .execute(transaction)
    .await?;
    Ok(renamed.rows_affected())
}

/// How many entries [`rename`] would change.
pub(super) async fn count(
    transaction: &mut PgConnection,
    account: &str,
) -> Result<u64, sqlx::Error> {
    let entries = sqlx::query_scalar!(
        r#"
        select count(*) as "entries!" from rule_history
        where before->>'account' = $1 or after->>'account' = $1
        "#,
        account,
    )
    .fetch_one(transaction)
    .await?;
    Ok(entries.unsigned_abs())
}

/// Deletes entries that are older than a setting allows.
#[derive(Debug)]
pub struct HistoryRetention {
    pub db: Db,
    /// `None`: no limit.
    pub keep: Option<Duration>,
}

impl HistoryRetention {
    /// Deletes now and every hour, until stopped: in small batches with pauses, so that other work does
    /// not wait for it. Replicas may do so at the same time.
    pub async fn run(self, stop: CancellationToken) {
        let Some(keep) = self.keep else {
            return stop.cancelled().await;
        };
        let mut deleted = 0;
        loop {
            let batch = delete_old(&self.db, keep).await;
            let pause = match batch {
                Ok(entries) if entries > 0 => {
                    deleted += entries;
                    BETWEEN_BATCHES
                }
                Ok(_) => {
                    if deleted > 0 {
                        tracing::info!(entries = deleted, "deleted old history of rules");
                        deleted = 0;
                    }
                    BETWEEN_LOOKS
                }
                Err(error) => {
                    warn_seldom!(%error, "cannot delete old history of rules; trying again in an hour");
                    BETWEEN_LOOKS
                }
            };
            let paused = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            if paused.is_none() {
                return;
            }
        }
    }
}

/// Deletes a batch of the oldest entries, as far as they are older than `keep`. The sequence is the order
/// of time, so nothing beyond the batch is read.
async fn delete_old(db: &Db, keep: Duration) -> Result<u64, sqlx::Error> {
    let deleted = sqlx::query!(
        r#"
        with oldest as materialized (
            -- What has not reached the members yet is still needed.
            select sequence, at from rule_history
            where sequence <= (select sequence from propagation)
            order by sequence limit $2
        )
        delete from rule_history h using oldest o
        where h.sequence = o.sequence and o.at < now() - $1::interval
        "#,
        interval(keep),
        ENTRIES_A_BATCH,
    )
    .execute(db)
    .await?;
    Ok(deleted.rows_affected())
}

/// The versions at which rules of these ids were deleted last.
pub(super) async fn last_versions(
    transaction: &mut PgConnection,
    ids: &[&str],
) -> Result<HashMap<RuleId, i64>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query!(
        r#"
        select i.id as "id!", (last.before->>'version')::bigint as "version!"
        from unnest($1::text[]) as i (id)
        cross join lateral (
            select before from rule_history where rule_id = i.id
            order by sequence desc limit 1
        ) last
        where last.before is not null
        "#,
        ids as &[&str],
    )
    .fetch_all(transaction)
    .await?;
    rows.into_iter()
        .map(|row| Ok((RuleId::parse(&row.id).map_err(corrupt)?, row.version)))
        .collect()
}
