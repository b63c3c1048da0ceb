//! Who changed which rule, when, from what to what. Written in the transaction of the change, and
//! kept when the rule is deleted.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::PgConnection;
use sqlx::types::Json;
use utoipa::ToSchema;

use super::document::RuleView;
use crate::database::{Db, interval};
use crate::domain::{RequestId, Rule, RuleId};

/// Old entries deleted in one statement, so that other work does not wait for it.
const ENTRIES_A_BATCH: i64 = 1_000;

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
    #[schema(required = true, value_type = Option<RuleView>)]
    pub before: Option<Json<RuleView>>,
    /// The rule after; null if it was deleted.
    #[schema(required = true, value_type = Option<RuleView>)]
    pub after: Option<Json<RuleView>>,
    /// `X-Request-Id` of the request.
    pub request_id: Option<String>,
}

/// What was done to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
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
    pub(super) fn of(before: bool, after: bool) -> Self {
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
    if changed.is_empty() {
        return Ok(());
    }
    let view = |rule: &Option<Rule>| Some(Json(RuleView::from(rule.as_ref()?)));
    let befores: Vec<_> = changed.iter().map(|one| view(&one.before)).collect();
    let afters: Vec<_> = changed.iter().map(|one| view(&one.after)).collect();
    sqlx::query!(
        r#"
        insert into rule_history (rule_id, at, actor, action, before, after, request_id)
        select coalesce(after, before)->>'id', $3, $4,
               case when before is null then 'created' when after is null then 'deleted' else 'updated' end,
               before, after, $5
        from unnest($1::jsonb[], $2::jsonb[]) with ordinality as c (before, after, position)
        order by position
        "#,
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

/// A change of a rule as the propagation reads it.
#[derive(Debug)]
pub(super) struct LoggedChange {
    pub sequence: i64,
    pub rule_id: RuleId,
    pub before: Option<Json<RuleView>>,
    pub after: Option<Json<RuleView>>,
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
    sqlx::query_as!(
        LoggedChange,
        r#"
        select sequence, rule_id as "rule_id: RuleId", before as "before: Json<RuleView>",
               after as "after: Json<RuleView>", request_id, now() as "now!"
        from rule_history where sequence > $1 and ($2::bigint is null or sequence <= $2)
        order by sequence limit $3
        "#,
        after,
        upto,
        limit,
    )
    .fetch_all(transaction)
    .await
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

/// Deletes a batch of the oldest entries, as far as they are older than `keep`. The sequence is the order
/// of time, so nothing beyond the batch is read. Replicas may do so at the same time.
pub async fn delete_old_history(db: &Db, keep: Duration) -> Result<u64, sqlx::Error> {
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
        select i.id as "id!: RuleId", (last.before->>'version')::bigint as "version!"
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
    Ok(rows.into_iter().map(|row| (row.id, row.version)).collect())
}
