//! The table `rules`, in whole sets of rows. Only [`super::write`] changes it, under its lock.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor};

use crate::domain::{Account, Mark, Marks, Pattern, Rule, RuleDraft, RuleId, Window};
use crate::members::array_text;

/// All columns.
pub(super) struct RuleRow {
    pub id: String,
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
            id: RuleId::parse(&row.id).map_err(corrupt)?,
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
    Ok(fetch_all(executor, &[id]).await?.remove(id))
}

/// Those of the rules that exist.
pub(super) async fn fetch_all(
    executor: impl PgExecutor<'_>,
    ids: &[&RuleId],
) -> Result<HashMap<RuleId, Rule>, sqlx::Error> {
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let rows = sqlx::query_as!(
        RuleRow,
        r#"
        select id, group_text, group_prefix_len, account_text, account_prefix_len, marks, enabled,
               starts_at, ends_at, label, note, version, created_at, updated_at
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
        "select id from rules where account_text = $1 and account_prefix_len < 0 order by id",
        account.as_str(),
    );
    parsed(ids.fetch_all(transaction).await?)
}

/// The rules of a label, or all, but those given here; and how many the label has in all.
pub(super) async fn others(
    transaction: &mut PgConnection,
    label: Option<&str>,
    ids: &[&RuleId],
) -> Result<(Vec<RuleId>, usize), sqlx::Error> {
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let all = sqlx::query_scalar!(
        r#"select count(*) as "all!" from rules where $1::text is null or label = $1"#,
        label,
    );
    let all = all.fetch_one(&mut *transaction).await?;
    let others = sqlx::query_scalar!(
        r#"
        select r.id from rules r
        where ($1::text is null or r.label = $1)
          and not exists (select from unnest($2::text[]) as i (id) where i.id = r.id)
        order by r.id
        "#,
        label,
        &ids as &[&str],
    );
    let others = parsed(others.fetch_all(transaction).await?)?;
    Ok((others, usize::try_from(all).unwrap_or(usize::MAX)))
}

pub(super) fn parsed(ids: Vec<String>) -> Result<Vec<RuleId>, sqlx::Error> {
    let ids = ids.iter().map(|id| RuleId::parse(id).map_err(corrupt));
    ids.collect()
}

pub(super) async fn insert(
    transaction: &mut PgConnection,
    rules: &[&Rule],
) -> Result<(), sqlx::Error> {
    if rules.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rules);
    sqlx::query!(
        r#"
        insert into rules (id, group_text, group_prefix_len, account_text, account_prefix_len,
                           marks, enabled, starts_at, ends_at, label, note,
                           version, created_at, updated_at)
        select id, group_text, group_prefix_len, account_text, account_prefix_len,
               marks::bigint[], enabled, starts_at, ends_at, label, note,
               version, created_at, updated_at
        from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::smallint[],
                    $6::text[], $7::boolean[], $8::timestamptz[], $9::timestamptz[],
                    $10::text[], $11::text[], $12::bigint[], $13::timestamptz[],
                    $14::timestamptz[])
            as r (id, group_text, group_prefix_len, account_text, account_prefix_len,
                  marks, enabled, starts_at, ends_at, label, note,
                  version, created_at, updated_at)
        "#,
        &columns.ids as &[&str],
        &columns.group_texts as &[&str],
        &columns.group_prefix_lens,
        &columns.account_texts as &[&str],
        &columns.account_prefix_lens,
        &columns.marks,
        &columns.enabled,
        &columns.starts_at as &[Option<DateTime<Utc>>],
        &columns.ends_at as &[Option<DateTime<Utc>>],
        &columns.labels as &[&str],
        &columns.notes as &[&str],
        &columns.versions,
        &columns.created_at,
        &columns.updated_at,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// Replaces rules; `created_at` stays.
pub(super) async fn update(
    transaction: &mut PgConnection,
    rules: &[&Rule],
) -> Result<(), sqlx::Error> {
    if rules.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rules);
    sqlx::query!(
        r#"
        update rules set
            group_text = r.group_text, group_prefix_len = r.group_prefix_len,
            account_text = r.account_text, account_prefix_len = r.account_prefix_len,
            marks = r.marks::bigint[], enabled = r.enabled,
            starts_at = r.starts_at, ends_at = r.ends_at,
            label = r.label, note = r.note, version = r.version, updated_at = r.updated_at
        from unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::smallint[],
                    $6::text[], $7::boolean[], $8::timestamptz[], $9::timestamptz[],
                    $10::text[], $11::text[], $12::bigint[], $13::timestamptz[])
            as r (id, group_text, group_prefix_len, account_text, account_prefix_len,
                  marks, enabled, starts_at, ends_at, label, note, version, updated_at)
        where rules.id = r.id
        "#,
        &columns.ids as &[&str],
        &columns.group_texts as &[&str],
        &columns.group_prefix_lens,
        &columns.account_texts as &[&str],
        &columns.account_prefix_lens,
        &columns.marks,
        &columns.enabled,
        &columns.starts_at as &[Option<DateTime<Utc>>],
        &columns.ends_at as &[Option<DateTime<Utc>>],
        &columns.labels as &[&str],
        &columns.notes as &[&str],
        &columns.versions,
        &columns.updated_at,
    )
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn delete(
    transaction: &mut PgConnection,
    ids: &[&RuleId],
) -> Result<(), sqlx::Error> {
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
    let delete = sqlx::query!(
        "delete from rules where id = any($1::text[])",
        &ids as &[&str]
    );
    delete.execute(transaction).await?;
    Ok(())
}

/// Renews the planner's statistics after a large write, also those of the small tables of counts, which
/// autovacuum never analyzes.
pub(super) async fn analyze(transaction: &mut PgConnection) -> Result<(), sqlx::Error> {
    let analyze = sqlx::query!("analyze rules, rule_shapes, room_demands");
    analyze.execute(transaction).await?;
    Ok(())
}

/// Rules as columns for `UNNEST`.
#[derive(Default)]
struct Columns<'a> {
    ids: Vec<&'a str>,
    group_texts: Vec<&'a str>,
    group_prefix_lens: Vec<i16>,
    account_texts: Vec<&'a str>,
    account_prefix_lens: Vec<i16>,
    /// Arrays as text, since Postgres would flatten an array of arrays.
    marks: Vec<String>,
    enabled: Vec<bool>,
    starts_at: Vec<Option<DateTime<Utc>>>,
    ends_at: Vec<Option<DateTime<Utc>>>,
    labels: Vec<&'a str>,
    notes: Vec<&'a str>,
    versions: Vec<i64>,
    created_at: Vec<DateTime<Utc>>,
    updated_at: Vec<DateTime<Utc>>,
}

impl<'a> Columns<'a> {
    fn of(rules: &[&'a Rule]) -> Self {
        let mut columns = Self::default();
        for rule in rules {
            let draft = &rule.draft;
            columns.ids.push(rule.id.as_str());
            columns.group_texts.push(draft.group.text());
            columns.group_prefix_lens.push(draft.group.prefix_len());
            columns.account_texts.push(draft.account.text());
            columns.account_prefix_lens.push(draft.account.prefix_len());
            columns.marks.push(array_text(draft.marks.iter()));
            columns.enabled.push(draft.enabled);
            columns.starts_at.push(draft.window.starts_at);
            columns.ends_at.push(draft.window.ends_at);
            columns.labels.push(&draft.label);
            columns.notes.push(&draft.note);
            columns.versions.push(rule.version);
            columns.created_at.push(rule.created_at);
            columns.updated_at.push(rule.updated_at);
        }
        columns
    }
}
