//! A row of `rules` as the domain's types. What does not fit is an error of decoding: only
//! this service writes the table, so it means a foreign hand or a newer version.

use chrono::{DateTime, Utc};

use crate::domain::{Mark, MarkSet, Marks, Pattern, Rule, RuleDraft, RuleId, Window};

/// All columns of `rules`.
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
        Ok(Self {
            id: RuleId::parse(&row.id).map_err(corrupt)?,
            draft: RuleDraft {
                group: Pattern::from_columns(&row.group_text, row.group_prefix_len)
                    .map_err(corrupt)?,
                account: Pattern::from_columns(&row.account_text, row.account_prefix_len)
                    .map_err(corrupt)?,
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

/// The marks of a row.
pub(super) fn marks_of(numbers: &[i64]) -> Result<Marks, sqlx::Error> {
    let marks: Result<Vec<Mark>, _> = numbers.iter().copied().map(Mark::parse).collect();
    Marks::new(marks.map_err(corrupt)?).map_err(corrupt)
}

/// Marks as the text of a Postgres array.
pub(super) fn array_text(marks: &MarkSet) -> String {
    let numbers: Vec<String> = marks.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

/// A value in the database that is none of the domain's.
pub(super) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
