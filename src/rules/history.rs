//! Who changed which rule, when, from what to what. Written in the transaction of the change, and
//! kept when the rule is deleted.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use utoipa::ToSchema;

use super::apply::Applied;
use super::document::{self, RuleView};
use super::row::corrupt;
use super::store::Author;
use crate::domain::{RequestId, RuleId};

/// One change of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HistoryEntry {
    /// Order of all changes of all rules; grows.
    pub sequence: i64,
    /// When.
    #[serde(serialize_with = "document::time")]
    pub at: DateTime<Utc>,
    /// Who: the name of the token; `anonymous` where no tokens are configured.
    pub actor: String,
    /// What was done.
    pub action: Action,
    /// The rule before; null if it was made.
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
pub enum Action {
    /// It was made.
    Created,
    /// It was changed.
    Updated,
    /// It was removed.
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

/// Records changes.
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
