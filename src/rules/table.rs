//! The table `rules`, in whole sets of rows. Only [`super::store`] changes it, under its lock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgExecutor};

use crate::domain::{Account, Mark, Marks, Pattern, Rule, RuleDraft, RuleId, Window};

/// All columns.
#[derive(Serialize, sqlx::FromRow)]
pub(super) struct RuleRow {
    pub id: RuleId,
    pub group_text: String,
    pub group_prefix_len: i16,
    pub account_text: String,
    pub account_prefix_len: i16,
    pub marks: Vec<i64>,
    pub enabled: bool,
    pub starts_at: Option<DateTime<Utc>>,
    pub ends_at: Option<DateTime<Utc>>,
    pub label: String,
    pub note: String,
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl TryFrom<RuleRow> for Rule {
    type Error = sqlx::Error;

    fn try_from(row: RuleRow) -> Result<Self, sqlx::Error> {
        let (group, account) = (&row.group_text, &row.account_text);
        Ok(Self {
            id: row.id,
            draft: RuleDraft {
                group: Pattern::from_columns(group, row.group_prefix_len).map_err(corrupt)?,
                account: Pattern::from_columns(account, row.account_prefix_len).map_err(corrupt)?,
                marks: marks_of(&row.marks)?,
                enabled: row.enabled,
                window: Window {
                    starts_at: row.starts_at,
                    ends_at: row.ends_at,
                },
                label: row.label,
                note: row.note,
            },
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl From<&Rule> for RuleRow {
    fn from(rule: &Rule) -> Self {
        let draft = &rule.draft;
        Self {
            id: rule.id.clone(),
            group_text: draft.group.text().to_owned(),
            group_prefix_len: draft.group.prefix_len(),
            account_text: draft.account.text().to_owned(),
            account_prefix_len: draft.account.prefix_len(),
            marks: draft.marks.iter().map(i64::from).collect(),
            enabled: draft.enabled,
            starts_at: draft.window.starts_at,
            ends_at: draft.window.ends_at,
            label: draft.label.clone(),
            note: draft.note.clone(),
            version: rule.version,
            created_at: rule.created_at,
            updated_at: rule.updated_at,
        }
    }
}

pub(super) fn marks_of(numbers: &[i64]) -> Result<Marks, sqlx::Error> {
    let marks: Result<Vec<Mark>, _> = numbers.iter().copied().map(Mark::parse).collect();
    Marks::new(marks.map_err(corrupt)?).map_err(corrupt)
}

/// Only this service writes the table, so a value that the domain does not know comes from another hand or
/// a newer version.
pub(super) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

pub(super) async fn fetch(
    executor: impl PgExecutor<'_>,
    id: &RuleId,
) -> Result<Option<Rule>, sqlx::Error> {
    Ok(fetch_all(executor, [id]).await?.remove(id))
}

/// Those of the rules that exist.
pub(super) async fn fetch_all(
    executor: impl PgExecutor<'_>,
    ids: impl IntoIterator<Item = &RuleId>,
) -> Result<HashMap<RuleId, Rule>, sqlx::Error> {
    let ids: Vec<&str> = ids.into_iter().map(RuleId::as_str).collect();
    let rows = sqlx::query_as!(
        RuleRow,
        r#"
        select id as "id: RuleId", group_text, group_prefix_len, account_text, account_prefix_len, marks,
               enabled, starts_at, ends_at, label, note, version, created_at, updated_at
        from rules where id = any($1::text[])
        "#,
        &ids as &[&str]
    )
    .fetch_all(executor)
    .await?;
    let rules = rows.into_iter().map(Rule::try_from);
    rules
        .map(|rule| rule.map(|rule| (rule.id.clone(), rule)))
        .collect()
}

/// The rules for exactly this account.
pub(super) async fn ids_for_account(
    transaction: &mut PgConnection,
    account: &Account,
) -> Result<Vec<RuleId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"
        select id as "id: RuleId" from rules where account_text = $1 and account_prefix_len < 0
        order by id
        "#,
        account.as_str(),
    );
    ids.fetch_all(transaction).await
}

/// The rules of a label, or all, but those given here; and how many the label has in all.
pub(super) async fn others(
    transaction: &mut PgConnection,
    label: Option<&str>,
    ids: impl Iterator<Item = &RuleId>,
) -> Result<(Vec<RuleId>, usize), sqlx::Error> {
    let ids: Vec<&str> = ids.map(RuleId::as_str).collect();
    let all = sqlx::query_scalar!(
        r#"select count(*) as "all!" from rules where $1::text is null or label = $1"#,
        label,
    );
    let all = all.fetch_one(&mut *transaction).await?;
    let others = sqlx::query_scalar!(
        r#"
        select r.id as "id: RuleId" from rules r
        where ($1::text is null or r.label = $1)
          and not exists (select from unnest($2::text[]) as i (id) where i.id = r.id)
        order by r.id
        "#,
        label,
        &ids as &[&str],
    );
    let others = others.fetch_all(transaction).await?;
    Ok((others, usize::try_from(all).unwrap_or(usize::MAX)))
}

/// Creates rules, and replaces those that exist.
pub(super) async fn put(
    transaction: &mut PgConnection,
    rules: impl Iterator<Item = &Rule>,
) -> Result<(), sqlx::Error> {
    let rows: Vec<RuleRow> = rules.map(RuleRow::from).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        r#"
        insert into rules (id, group_text, group_prefix_len, account_text, account_prefix_len, marks, enabled,
                           starts_at, ends_at, label, note, version, created_at, updated_at)
        select id, group_text, group_prefix_len, account_text, account_prefix_len, marks, enabled,
               starts_at, ends_at, label, note, version, created_at, updated_at
        -- Not jsonb: PostgreSQL would parse it into that first, 0.9 s for 100,000 rules.
        from json_populate_recordset(null::rules, $1::text::json)
        on conflict on constraint rules_pkey do update set
            group_text = excluded.group_text, group_prefix_len = excluded.group_prefix_len,
            account_text = excluded.account_text, account_prefix_len = excluded.account_prefix_len,
            marks = excluded.marks, enabled = excluded.enabled,
            starts_at = excluded.starts_at, ends_at = excluded.ends_at,
            label = excluded.label, note = excluded.note,
            version = excluded.version, updated_at = excluded.updated_at
        "#,
        rows,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn delete(
    transaction: &mut PgConnection,
    ids: impl Iterator<Item = &RuleId>,
) -> Result<(), sqlx::Error> {
    let ids: Vec<&str> = ids.map(RuleId::as_str).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let delete = sqlx::query!(
        "delete from rules where id = any($1::text[])",
        &ids as &[&str]
    );
    delete.execute(transaction).await?;
    Ok(())
}
