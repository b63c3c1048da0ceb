//! ETags of rules: the version in quotes, strong. `If-Match` and `If-None-Match` as in RFC 9110,
//! section 13, <https://www.rfc-editor.org/rfc/rfc9110#section-13>.

use std::fmt;

/// The ETag of a version of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag(pub i64);

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    /// `*`: whatever there is.
    Any,
    /// These tags; `weak` for `W/"…"`. Tags are compared as text, so foreign ones just never match.
    Tags(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    quoted: String,
}

/// The conditions of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    if_match: Option<Named>,
    if_none_match: Option<Named>,
}

/// A header that is no `*` and no list of quoted tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be * or a list of ETags in double quotes, like \"3\"")]
pub struct InvalidTags;

impl Precondition {
    /// Reads the values of the two headers; several lines of a header are joined by commas.
    ///
    /// # Errors
    /// The name of the header that is wrong.
    pub fn parse(
        if_match: Option<&str>,
        if_none_match: Option<&str>,
    ) -> Result<Self, (&'static str, InvalidTags)> {
        let parse = |name, value: Option<&str>| {
            value
                .map(|value| Named::parse(value).ok_or((name, InvalidTags)))
                .transpose()
        };
        Ok(Self {
            if_match: parse("If-Match", if_match)?,
            if_none_match: parse("If-None-Match", if_none_match)?,
        })
    }

    /// Whether a write may go on, given the version that stands; `None`: there is no rule.
    pub fn permits(&self, current: Option<i64>) -> bool {
        self.if_match
            .as_ref()
            .is_none_or(|named| named.names(current, false))
            && !self.names_none_match(current)
    }

    /// Whether a read can be answered with 304, since the client has this version.
    pub fn is_known(&self, current: i64) -> bool {
        self.names_none_match(Some(current))
    }

    fn names_none_match(&self, current: Option<i64>) -> bool {
        self.if_none_match
            .as_ref()
            .is_some_and(|named| named.names(current, true))
    }
}

impl Named {
    fn parse(value: &str) -> Option<Self> {
        if value.trim() == "*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                return (!tags.is_empty()).then_some(Self::Tags(tags));
            }
            let (weak, quoted) = match rest.strip_prefix("W/") {
                Some(quoted) => (true, quoted),
                None => (false, rest),
            };
            let length = quoted.strip_prefix('"')?.find('"')? + 2;
            let (tag, behind) = quoted.split_at_checked(length)?;
            let quoted = tag.to_owned();
            tags.push(Tag { weak, quoted });
            rest = behind.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }

    /// `If-Match` compares strongly: a weak tag names nothing. `If-None-Match` compares weakly.
    fn names(&self, current: Option<i64>, weakly: bool) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Tags(tags), Some(version)) => {
                let own = ETag(version).to_string();
                tags.iter()
                    .any(|tag| tag.quoted == own && (weakly || !tag.weak))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn permits(if_match: &str, current: Option<i64>) -> bool {
        Precondition::parse(Some(if_match), None)
            .unwrap()
            .permits(current)
    }

    #[test]
    fn if_match_names_versions_strongly() {
        assert!(permits("\"3\"", Some(3)));
        assert!(permits("\"1\", \"3\"", Some(3)));
        assert!(permits("*", Some(3)));
        assert!(!permits("\"2\"", Some(3)));
        assert!(!permits("W/\"3\"", Some(3)));
        assert!(!permits("\"a,b\",\"\"", Some(3)));
        assert!(!permits("*", None));
        assert!(!permits("\"3\"", None));
        assert!(Precondition::default().permits(None));
    }

    #[test]
    fn if_none_match_guards_against_replacing() {
        let absent = Precondition::parse(None, Some("*")).unwrap();
        assert!(absent.permits(None));
        assert!(!absent.permits(Some(1)));
        assert!(
            Precondition::parse(None, Some("W/\"1\""))
                .unwrap()
                .is_known(1)
        );
    }

    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for wrong in ["", "3", "\"3", "\"3\" \"4\"", "W/3", "\"3\"x", ","] {
            assert_eq!(
                Precondition::parse(Some(wrong), None),
                Err(("If-Match", InvalidTags)),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in any::<String>()) {
            let _ = Precondition::parse(Some(&value), Some(&value));
        }
    }
}
