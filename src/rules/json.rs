//! Reads JSON into serde types, and points at the fields that are wrong.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// So many errors are listed whole. Beyond them a line is listed with its first error alone.
const LISTED_WHOLE: usize = 100;
/// What is listed of the errors, in bytes; lines beyond that are counted alone.
pub(super) const MAX_LISTED_BYTES: usize = 4 * 1024 * 1024;
/// What an entry costs beside its words when it is sent.
const ENTRY_BYTES: usize = 64;

/// One wrong field of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// RFC 6901 pointer; empty for the document as a whole.
    pub pointer: String,
    /// What is wrong, and how to fix it.
    pub detail: String,
}

/// What is wrong in an import.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadLines {
    /// The first hundred errors, and the first error of each line after them, each with its line, from 1.
    pub listed: Vec<(u64, InvalidField)>,
    /// All lines that are wrong, also those for which the list had no room.
    pub total: u64,
    listed_bytes: usize,
}

impl BadLines {
    /// Counts a wrong line.
    pub(super) fn add(&mut self, line: u64, errors: Vec<InvalidField>) {
        self.total += 1;
        let room = LISTED_WHOLE.saturating_sub(self.listed.len()).max(1);
        for error in errors.into_iter().take(room) {
            self.listed_bytes += error.pointer.len() + error.detail.len() + ENTRY_BYTES;
            if self.listed_bytes > MAX_LISTED_BYTES {
                return;
            }
            self.listed.push((line, error));
        }
    }
}

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    Malformed(String),
    /// One field is missing, unknown, repeated or of another type.
    Field(InvalidField),
}

/// A list is never read as an object.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Unreadable> {
    let mut json = serde_json::Deserializer::from_slice(text);
    // Serde would take a list for the fields in their order, and one of nulls for an empty object.
    if text.trim_ascii_start().first() == Some(&b'[') {
        return Err(match serde_json::from_slice::<IgnoredAny>(text) {
            Ok(_) => Unreadable::Field(InvalidField {
                pointer: String::new(),
                detail: "must be a JSON object, not a list".to_owned(),
            }),
            Err(error) => Unreadable::Malformed(error.to_string()),
        });
    }
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        match error.inner().classify() {
            Category::Data => Unreadable::Field(InvalidField::of(&error)),
            _ => Unreadable::Malformed(error.inner().to_string()),
        }
    })?;
    json.end()
        .map_err(|error| Unreadable::Malformed(error.to_string()))?;
    Ok(value)
}

impl InvalidField {
    pub(super) fn of(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let reason = error.inner().to_string();
        // The place in the text means nothing to a client that sent an object.
        let detail = reason
            .rsplit_once(" at line ")
            .map_or(&*reason, |(reason, _)| reason)
            .to_owned();
        Self {
            pointer: pointer(error.path(), &reason),
            detail,
        }
    }
}

/// A missing or an unknown field is named only in Serde's message.
fn pointer(path: &Path, reason: &str) -> String {
    let mut names: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let named = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|beginning| reason.strip_prefix(beginning));
    if let Some((name, _)) = named.and_then(|named| named.split_once('`'))
        && names.last().is_none_or(|last| last != name)
    {
        names.push(name.to_owned());
    }
    let escaped = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    names.iter().map(escaped).collect()
}
