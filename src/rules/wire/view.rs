//! What the API answers.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::schema::MarkNumber;
use crate::domain::Rule;

/// A mark rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Rule)]
pub struct RuleView {
    /// Its name.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "class-7-teacher")]
    pub id: String,
    /// The rooms: a group id, the beginning of one followed by `*`, or `*` for all. A literal star
    /// is written `\*`.
    #[schema(example = "class-7")]
    pub group: String,
    /// The accounts, written like the rooms.
    #[schema(example = "teacher10")]
    pub account: String,
    /// The marks, ascending.
    #[schema(value_type = Vec<MarkNumber>, min_items = 1, max_items = 10, example = json!([1000]))]
    pub marks: Vec<u32>,
    /// A disabled rule demands nothing.
    pub enabled: bool,
    /// First moment at which the rule holds; null: since ever.
    #[serde(serialize_with = "optional_time")]
    #[schema(required = true)]
    pub starts_at: Option<DateTime<Utc>>,
    /// First moment at which it holds no more; null: for ever.
    #[serde(serialize_with = "optional_time")]
    #[schema(required = true)]
    pub ends_at: Option<DateTime<Utc>>,
    /// The set of rules it belongs to.
    pub label: String,
    /// Free text for people.
    pub note: String,
    /// Raised by each change, never used twice for one id; the ETag.
    pub version: i64,
    /// When it was made.
    #[serde(serialize_with = "time")]
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    #[serde(serialize_with = "time")]
    pub updated_at: DateTime<Utc>,
}

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        let draft = &rule.draft;
        Self {
            id: rule.id.to_string(),
            group: draft.group.to_string(),
            account: draft.account.to_string(),
            marks: draft.marks.iter().map(|mark| mark.get()).collect(),
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

/// RFC 3339 in UTC with `Z`, and no more digits than needed.
pub(in crate::rules) fn time<S: Serializer>(
    time: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn optional_time<S: Serializer>(
    moment: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match moment {
        Some(moment) => time(moment, serializer),
        None => serializer.serialize_none(),
    }
}
