//! A rule as JSON: what the API takes and answers, and what the history keeps.
//!
//! One struct is both the input and its schema. Serde refuses unknown, repeated and mistyped fields
//! one at a time; the values are then parsed into the domain's types, and everything wrong with
//! them is reported at once. `version`, `created_at` and `updated_at` are accepted and ignored, so
//! that an answer can be sent back unchanged.

#[allow(unused_imports, reason = "named in schemas only")]
use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, Utc};
use serde::de::{Error, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Number, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::json::InvalidField;
use crate::domain::{
    Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks, Pattern, Rule, RuleDraft, RuleId,
    Window,
};

/// Longest label, in characters.
const MAX_LABEL: usize = 64;
/// Longest note, in characters.
const MAX_NOTE: usize = 1000;

/// A new rule, or the replacement of one. Only `group`, `account` and `marks` are required; other absent
/// fields take their defaults, like null. `version`, `created_at` and `updated_at` are accepted and ignored,
/// so that an answer can be sent back.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"group": "class-7", "account": "teacher10", "marks": [1000]}))]
pub struct RuleInput {
    /// The id; generated if a new rule has none. It cannot be changed: where the path has one, it is that.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,64}$", example = "class-7-teacher")]
    pub id: Option<String>,
    /// The rooms: a group id (at most 48 bytes of printable ASCII), a prefix followed by `*`, or `*`
    /// for all. A literal star is written `\*`.
    #[schema(
        required = true,
        nullable = false,
        min_length = 1,
        pattern = r"^(?:[ -)+-~]|\\\*){0,48}\*?$",
        example = "class-7"
    )]
    pub group: Option<String>,
    /// The accounts (at most 64 bytes), written like the rooms.
    #[schema(
        required = true,
        nullable = false,
        min_length = 1,
        pattern = r"^(?:[^*\u0000-\u001f\u007f-\u009f]|\\\*){0,64}\*?$",
        example = "teacher10"
    )]
    pub account: Option<String>,
    /// 1 to 10 distinct marks.
    #[schema(
        required = true,
        nullable = false,
        value_type = Option<BTreeSet<Mark>>,
        min_items = 1,
        max_items = 10,
        example = json!([1000])
    )]
    pub marks: Option<Vec<Number>>,
    /// A disabled rule requires no marks. Null: true.
    pub enabled: Option<bool>,
    /// First moment at which the rule is active. Null: no start.
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub starts_at: Option<String>,
    /// First moment at which it is no longer active; later than `starts_at`. Null: no end.
    #[schema(value_type = Option<DateTime<Utc>>)]
    pub ends_at: Option<String>,
    /// The set of rules it belongs to; no control characters. Null: empty.
    #[schema(
        max_length = 64,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$",
        example = "school"
    )]
    pub label: Option<String>,
    /// Free text; tabs and line feeds are the only control characters. Null: empty.
    #[schema(
        max_length = 1000,
        pattern = r"^[^\u0000-\u0008\u000b-\u001f\u007f-\u009f]*$"
    )]
    pub note: Option<String>,
    #[schema(ignore)]
    #[serde(default, rename = "version")]
    _version: IgnoredAny,
    #[schema(ignore)]
    #[serde(default, rename = "created_at")]
    _created_at: IgnoredAny,
    #[schema(ignore)]
    #[serde(default, rename = "updated_at")]
    _updated_at: IgnoredAny,
}

/// Changes to a rule, as a JSON merge patch. Only its schema: a patch is applied to JSON.
pub struct RulePatch;

impl ToSchema for RulePatch {}

impl PartialSchema for RulePatch {
    fn schema() -> RefOr<Schema> {
        let mut schema = RuleInput::schema();
        if let RefOr::T(Schema::Object(patch)) = &mut schema {
            let description = "Changes to a rule, as a JSON merge patch (RFC 7396): absent fields are kept, \
                               null resets to the default.";
            patch.description = Some(description.to_owned());
            patch.example = Some(json!({"marks": [1000, 1002]}));
            patch.required.clear();
            for (name, field) in &mut patch.properties {
                let example = (name == "group").then(|| json!("class-*"));
                match field {
                    RefOr::T(Schema::Object(field)) => field.example = example,
                    RefOr::T(Schema::Array(field)) => field.example = example,
                    _ => {}
                }
            }
        }
        schema
    }
}

/// A mark rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Rule)]
pub struct RuleView {
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._-]{1,64}$", example = "class-7-teacher")]
    pub id: RuleId,
    /// The rooms: a group id, a prefix followed by `*`, or `*` for all. A literal star is written
    /// `\*`.
    #[schema(value_type = String, example = "class-7")]
    pub group: Pattern<GroupId>,
    /// The accounts, written like the rooms.
    #[schema(value_type = String, example = "teacher10")]
    pub account: Pattern<Account>,
    /// The marks, ascending.
    #[schema(value_type = Vec<Mark>, min_items = 1, max_items = 10, example = json!([1000]))]
    pub marks: MarkSet,
    /// A disabled rule requires no marks.
    pub enabled: bool,
    /// First moment at which the rule is active; null: no start.
    pub starts_at: Option<DateTime<Utc>>,
    /// First moment at which it is no longer active; null: no end.
    pub ends_at: Option<DateTime<Utc>>,
    /// The set of rules it belongs to.
    pub label: String,
    /// Free text.
    pub note: String,
    /// Raised by each change, never used twice for one id; the ETag.
    #[schema(read_only)]
    pub version: i64,
    #[schema(read_only)]
    pub created_at: DateTime<Utc>,
    #[schema(read_only)]
    pub updated_at: DateTime<Utc>,
}

impl From<&Rule> for RuleView {
    fn from(rule: &Rule) -> Self {
        let draft = &rule.draft;
        Self {
            id: rule.id.clone(),
            group: draft.group.clone(),
            account: draft.account.clone(),
            marks: draft.marks.as_set().clone(),
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

/// The rule that a merge patch (RFC 7396, <https://www.rfc-editor.org/rfc/rfc7396>) turns a rule into.
pub fn patched(rule: &Rule, patch: &Map<String, Value>) -> Result<RuleDraft, Vec<InvalidField>> {
    let mut target = serde_json::to_value(RuleView::from(rule)).unwrap_or_default();
    if let Value::Object(target) = &mut target {
        // No field is an object, so the patch replaces each whole. Null reads as the default.
        target.extend(patch.clone());
    }
    let input: RuleInput =
        serde_path_to_error::deserialize(target).map_err(|error| vec![InvalidField::of(&error)])?;
    input.draft_named(&rule.id)
}

impl RuleInput {
    /// The rule and the id that the client chose for it.
    pub fn parse(self) -> Result<(Option<RuleId>, RuleDraft), Vec<InvalidField>> {
        let mut wrong = Wrong::default();
        let id = wrong.take("/id", self.id.as_deref().map(RuleId::parse));
        let group = wrong.required("/group", self.group.as_deref().map(Pattern::parse));
        let account = wrong.required("/account", self.account.as_deref().map(Pattern::parse));
        let marks = self.marks.map(|marks| wrong.marks(&marks));
        let marks = wrong
            .required("/marks", marks.map(Ok::<_, String>))
            .flatten();
        let starts_at = wrong.take("/starts_at", self.starts_at.as_deref().map(moment));
        let ends_at = wrong.take("/ends_at", self.ends_at.as_deref().map(moment));
        if starts_at
            .zip(ends_at)
            .is_some_and(|(start, end)| start >= end)
        {
            wrong.add("/ends_at", "must be later than starts_at");
        }
        let label = wrong.take("/label", self.label.map(read_label));
        let note = self
            .note
            .map(|note| free_text(note, MAX_NOTE, &['\n', '\t']));
        let note = wrong.take("/note", note);
        match (group, account, marks) {
            (Some(group), Some(account), Some(marks)) if wrong.0.is_empty() => Ok((
                id,
                RuleDraft {
                    group,
                    account,
                    marks,
                    enabled: self.enabled.unwrap_or(true),
                    window: Window { starts_at, ends_at },
                    label: label.unwrap_or_default(),
                    note: note.unwrap_or_default(),
                },
            )),
            _ => Err(wrong.0),
        }
    }

    /// The rule, whose id is known from elsewhere.
    pub fn draft_named(mut self, known: &RuleId) -> Result<RuleDraft, Vec<InvalidField>> {
        let other = self.id.take().is_some_and(|id| id != known.as_str());
        let parsed = self.parse().map(|(_, draft)| draft);
        if !other {
            return parsed;
        }
        let mut wrong = Wrong(parsed.err().unwrap_or_default());
        let detail = format!("must be {known}, as in the path; an id cannot be changed");
        wrong.add("/id", detail);
        Err(wrong.0)
    }
}

/// What was found wrong so far.
#[derive(Default)]
struct Wrong(Vec<InvalidField>);

impl Wrong {
    fn add(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.0.push(InvalidField {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    fn take<T, E: ToString>(&mut self, pointer: &str, parsed: Option<Result<T, E>>) -> Option<T> {
        let wrong = |detail: E| self.add(pointer, detail.to_string());
        parsed?.map_err(wrong).ok()
    }

    fn required<T, E: ToString>(
        &mut self,
        pointer: &str,
        parsed: Option<Result<T, E>>,
    ) -> Option<T> {
        if parsed.is_none() {
            self.add(pointer, "is required");
        }
        self.take(pointer, parsed)
    }

    fn marks(&mut self, numbers: &[Number]) -> Option<Marks> {
        if numbers.len() > MAX_MARKS_PER_ROOM {
            let count = numbers.len();
            let detail =
                format!("a rule has at most {MAX_MARKS_PER_ROOM} marks, this one has {count}");
            self.add("/marks", detail);
            return None;
        }
        let mut marks = MarkSet::new();
        for (at, number) in numbers.iter().enumerate() {
            let detail = match mark(number) {
                Ok(mark) if marks.insert(mark) => continue,
                Ok(mark) => format!("duplicate mark {mark}; the marks of a rule are distinct"),
                Err(detail) => detail,
            };
            self.add(format!("/marks/{at}"), detail);
        }
        if numbers.is_empty() {
            self.add("/marks", "a rule has at least one mark");
        }
        Marks::new(marks).ok()
    }
}

/// 1000.0 is the same number as 1000 in JSON.
fn mark(number: &Number) -> Result<Mark, String> {
    let whole = |number: f64| (number.fract() == 0.0).then_some(number as i64);
    let integer = number.as_i64().or_else(|| number.as_f64().and_then(whole));
    let mark = integer.and_then(|integer| Mark::parse(integer).ok());
    mark.ok_or_else(|| format!("a mark is 500, 600, or from 1000 to 4294967295, not {number}"))
}

/// A moment in the precision of the database, so that what is read back compares equal.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("must be a time like 2026-01-31T20:00:00Z (RFC 3339): {error}"))?;
    DateTime::from_timestamp_micros(parsed.timestamp_micros())
        .filter(|moment| (1..=9999).contains(&moment.year()))
        .ok_or_else(|| "must be in the years 0001 to 9999, in UTC".to_owned())
}

/// A label, in a rule or as a filter.
fn read_label(text: String) -> Result<String, String> {
    free_text(text, MAX_LABEL, &[])
}

/// Reads a label, or the beginning of one, from a query.
pub(crate) fn label<'de, D: Deserializer<'de>>(query: D) -> Result<Option<String>, D::Error> {
    let text = read_label(String::deserialize(query)?);
    text.map(Some).map_err(D::Error::custom)
}

fn free_text(text: String, longest: usize, allowed: &[char]) -> Result<String, String> {
    let length = text.chars().count();
    if length > longest {
        return Err(format!(
            "has at most {longest} characters, this one has {length}"
        ));
    }
    let forbidden = |letter: char| letter.is_control() && !allowed.contains(&letter);
    match text.char_indices().find(|(_, letter)| forbidden(*letter)) {
        Some((at, letter)) => Err(format!(
            "must not contain control characters; U+{:04X} at byte {at}",
            u32::from(letter)
        )),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests;
