//! Reads a rule from JSON.

use chrono::{DateTime, Datelike, Utc};
use serde_json::{Map, Number, Value};

use super::object::JsonObject;
use crate::domain::{
    Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks, Pattern, PatternText, RuleDraft,
    RuleId, Window,
};

/// Longest label, in characters.
const MAX_LABEL: usize = 64;
/// Longest note, in characters.
const MAX_NOTE: usize = 1000;
/// Wrong fields beyond this number are not listed.
const MAX_REPORTED: usize = 32;

const WRITABLE: &str = "id, group, account, marks, enabled, starts_at, ends_at, label, note";
const READ_ONLY: &str = "version, created_at, updated_at";

/// One wrong field of a request body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// RFC 6901 pointer; empty for the body as a whole.
    pub pointer: String,
    /// What is wrong, and what would be right.
    pub detail: String,
}

/// A rule as a client wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The name, if the client chose one.
    pub id: Option<RuleId>,
    /// The rest.
    pub draft: RuleDraft,
}

/// Reads a rule that may carry an id.
///
/// # Errors
/// Every wrong field, at most 32 of them.
pub fn read_rule(object: &JsonObject) -> Result<Input, Vec<InvalidField>> {
    Fields::of(&object.0).read(|_, _| {})
}

/// Reads a rule whose id is known from elsewhere; one in the object must be the same.
///
/// # Errors
/// Every wrong field, at most 32 of them.
pub fn read_rule_named(id: &RuleId, object: &JsonObject) -> Result<Input, Vec<InvalidField>> {
    Fields::of(&object.0).read(|fields, given| {
        if given.is_some_and(|given| given != id) {
            fields.wrong(
                "/id",
                format!("must be {id}, as in the path; an id cannot be changed"),
            );
        }
    })
}

/// Reads a label that stands outside of a rule.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_label(text: &str) -> Result<String, String> {
    free_text(&Value::from(text), MAX_LABEL, &[])
}

/// Fields that no rule has.
pub(super) fn unknown_fields(object: &Map<String, Value>) -> Vec<InvalidField> {
    let is_known = |name: &str| {
        let mut known = WRITABLE.split(", ").chain(READ_ONLY.split(", "));
        known.any(|known| known == name)
    };
    let unknown = object.keys().filter(|name| !is_known(name));
    unknown
        .take(MAX_REPORTED)
        .map(|name| InvalidField {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            detail: format!("is not a field of a rule; these are: {WRITABLE}"),
        })
        .collect()
}

/// The object, and what was found wrong in it so far. Null counts as absent.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    invalid: Vec<InvalidField>,
}

impl<'a> Fields<'a> {
    fn of(object: &'a Map<String, Value>) -> Self {
        Self {
            object,
            invalid: unknown_fields(object),
        }
    }

    fn read(
        mut self,
        check_id: impl FnOnce(&mut Self, Option<&RuleId>),
    ) -> Result<Input, Vec<InvalidField>> {
        let id = self.optional("id", |value| match string(value)? {
            // GET /v1/rules/export is no rule.
            taken @ ("import" | "export") => Err(format!("must not be {taken}, a path of the API")),
            id => RuleId::parse(id).map_err(|invalid| invalid.to_string()),
        });
        check_id(&mut self, id.as_ref());
        let group = self.required("group", pattern::<GroupId>);
        let account = self.required("account", pattern::<Account>);
        let marks = self.marks();
        let enabled = self.optional("enabled", boolean);
        let starts_at = self.optional("starts_at", moment);
        let ends_at = self.optional("ends_at", moment);
        if starts_at
            .zip(ends_at)
            .is_some_and(|(start, end)| start >= end)
        {
            self.wrong("/ends_at", "must be later than starts_at");
        }
        let label = self.optional("label", |value| free_text(value, MAX_LABEL, &[]));
        let note = self.optional("note", |value| free_text(value, MAX_NOTE, &['\n', '\t']));
        match (group, account, marks) {
            (Some(group), Some(account), Some(marks)) if self.invalid.is_empty() => Ok(Input {
                id,
                draft: RuleDraft {
                    group,
                    account,
                    marks,
                    enabled: enabled.unwrap_or(true),
                    window: Window { starts_at, ends_at },
                    label: label.unwrap_or_default(),
                    note: note.unwrap_or_default(),
                },
            }),
            _ => {
                self.invalid.truncate(MAX_REPORTED);
                Err(self.invalid)
            }
        }
    }

    fn wrong(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.invalid.push(InvalidField {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    fn present(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        match read(self.present(name)?) {
            Ok(read) => Some(read),
            Err(detail) => {
                self.wrong(format!("/{name}"), detail);
                None
            }
        }
    }

    fn required<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.present(name).is_none() {
            self.wrong(format!("/{name}"), "must be given");
        }
        self.optional(name, read)
    }

    fn marks(&mut self) -> Option<Marks> {
        let items = self.required("marks", |value| match value {
            Value::Array(items) if items.len() > MAX_MARKS_PER_ROOM => Err(format!(
                "a rule has at most {MAX_MARKS_PER_ROOM} marks, this one has {}",
                items.len()
            )),
            Value::Array(items) => Ok(items.clone()),
            other => Err(must_be("an array of integers", other)),
        })?;
        let mut marks = MarkSet::new();
        for (at, item) in items.iter().enumerate() {
            match mark(item) {
                Ok(mark) if marks.insert(mark) => {}
                Ok(mark) => self.wrong(
                    format!("/marks/{at}"),
                    format!("the marks of a rule are distinct; {mark} stands twice"),
                ),
                Err(detail) => self.wrong(format!("/marks/{at}"), detail),
            }
        }
        match Marks::new(marks) {
            Ok(marks) => Some(marks),
            Err(invalid) => {
                if items.is_empty() {
                    self.wrong("/marks", invalid.to_string());
                }
                None
            }
        }
    }
}

fn must_be(right: &str, wrong: &Value) -> String {
    let kind = match wrong {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("must be {right}, not {kind}")
}

fn string(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| must_be("a string", value))
}

fn boolean(value: &Value) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| must_be("true or false", value))
}

fn pattern<T: PatternText>(value: &Value) -> Result<Pattern<T>, String> {
    Pattern::parse(string(value)?).map_err(|invalid| invalid.to_string())
}

fn mark(value: &Value) -> Result<Mark, String> {
    match value {
        Value::Number(number) => match number.as_i64().or_else(|| whole(number)) {
            Some(integer) => Mark::parse(integer).map_err(|invalid| invalid.to_string()),
            None => Err(format!(
                "a mark is 500, 600, or from 1000 to 4294967295, not {number}"
            )),
        },
        other => Err(must_be("an integer", other)),
    }
}

/// An integer written with a point, such as 1000.0: to JSON the two are one number.
fn whole(number: &Number) -> Option<i64> {
    let number = number.as_f64()?;
    let integer = u32::try_from(number as i64).ok()?;
    (f64::from(integer) == number).then(|| i64::from(integer))
}

/// A moment in the precision of the database, so that what is read back compares equal.
fn moment(value: &Value) -> Result<DateTime<Utc>, String> {
    let written = string(value)?;
    let parsed = DateTime::parse_from_rfc3339(written)
        .map_err(|error| format!("must be a time like 2026-01-31T20:00:00Z (RFC 3339): {error}"))?;
    DateTime::from_timestamp_micros(parsed.timestamp_micros())
        .filter(|moment| (1..=9999).contains(&moment.year()))
        .ok_or_else(|| "must lie in the years 0001 to 9999, in UTC".to_owned())
}

fn free_text(value: &Value, longest: usize, allowed: &[char]) -> Result<String, String> {
    let text = string(value)?;
    let length = text.chars().count();
    if length > longest {
        return Err(format!(
            "has at most {longest} characters, this one has {length}"
        ));
    }
    let forbidden = |letter: char| letter.is_control() && !allowed.contains(&letter);
    match text.char_indices().find(|(_, letter)| forbidden(*letter)) {
        Some((at, letter)) => Err(format!(
            "must not hold the control character U+{:04X}; there is one at byte {at}",
            u32::from(letter)
        )),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
