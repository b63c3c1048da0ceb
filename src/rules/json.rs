//! Reads JSON into serde types, and points at the field that is wrong.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// One wrong field of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidField {
    /// RFC 6901 pointer; empty for the document as a whole.
    pub pointer: String,
    /// What is wrong, and how to fix it.
    pub detail: String,
}

/// Why a text could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    Malformed(String),
    /// One field is missing, unknown, repeated or of another type.
    Field(InvalidField),
}

/// # Errors
/// What is wrong, at its place. A list is never read as an object.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[allow(dead_code, reason = "only read")]
        group: String,
    }

    fn pointer_of(text: &str) -> String {
        match read::<Body>(text.as_bytes()).unwrap_err() {
            Unreadable::Field(field) => field.pointer,
            Unreadable::Malformed(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(pointer_of(r#"{"group":5}"#), "/group");
        assert_eq!(pointer_of("{}"), "/group");
        assert_eq!(pointer_of(r#"{"group":"a","x/y~":1}"#), "/x~1y~0");
        assert_eq!(pointer_of(r#"{"group":"a","group":"b"}"#), "/group");
        assert_eq!(pointer_of("[]"), "");
        assert_eq!(pointer_of("5"), "");
    }

    #[test]
    fn text_that_is_not_json_is_malformed() {
        for text in ["", "{", r#"{"group":"a"} x"#] {
            let error = read::<Body>(text.as_bytes()).unwrap_err();
            assert!(matches!(error, Unreadable::Malformed(_)), "{text}");
        }
    }
}
