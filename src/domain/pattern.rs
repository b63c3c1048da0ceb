//! Patterns: which rooms and accounts a rule matches.
//!
//! A pattern is a literal, a prefix that ends in `*`, or `*` alone (the empty prefix). A literal
//! star is written `\*`; every other backslash is literal. Patterns of one kind are laminar:
//! two of them are nested or have nothing in common, which the limit check and the match in the
//! database both rest on.

use std::fmt;
use std::marker::PhantomData;

use super::Invalid;

/// What a pattern can be over: group ids and accounts.
pub trait PatternText {
    /// Checks a whole id or the beginning of one.
    fn check(text: &str) -> Result<(), Invalid>;
    fn text(&self) -> &str;
}

/// A literal or a prefix over ids of type `T`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern<T> {
    text: Box<str>,
    open: bool,
    over: PhantomData<fn() -> T>,
}

impl<T: PatternText> Pattern<T> {
    /// Parses a pattern as it is written in a rule.
    pub fn parse(written: &str) -> Result<Self, Invalid> {
        let mut text = String::with_capacity(written.len());
        let mut open = false;
        let mut letters = written.chars().peekable();
        while let Some(letter) = letters.next() {
            if open {
                let wrong = "a * is allowed only at the end; write \\* for a literal star";
                return Err(Invalid(wrong.to_owned()));
            }
            match (letter, letters.peek()) {
                ('\\', Some('*')) => {
                    letters.next();
                    text.push('*');
                }
                ('*', _) => open = true,
                _ => text.push(letter),
            }
        }
        if text.is_empty() && !open {
            let wrong = "a pattern must not be empty; write * for all";
            return Err(Invalid(wrong.to_owned()));
        }
        T::check(&text)?;
        Ok(Self::from_parts(text.into(), open))
    }

    /// The pattern that matches only this id.
    pub fn literal(id: &T) -> Self {
        Self::from_parts(id.text().into(), false)
    }

    /// Puts together what [`Self::text`] and [`Self::prefix_len`] gave, as read from the database.
    pub fn from_columns(text: &str, prefix_len: i16) -> Result<Self, Invalid> {
        T::check(text)?;
        Ok(Self::from_parts(text.into(), prefix_len >= 0))
    }

    fn from_parts(text: Box<str>, open: bool) -> Self {
        Self {
            text,
            open,
            over: PhantomData,
        }
    }

    /// The literal, or the text before the star; without escapes.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number of characters before the star, or −1 for a literal. Together with the text this
    /// is the key under which the database finds all rules for an id with one probe per length.
    pub fn prefix_len(&self) -> i16 {
        if self.open {
            i16::try_from(self.text.chars().count()).unwrap_or(i16::MAX)
        } else {
            -1
        }
    }

    pub fn is_literal(&self) -> bool {
        !self.open
    }

    pub fn matches(&self, id: &T) -> bool {
        if self.open {
            id.text().starts_with(&*self.text)
        } else {
            id.text() == &*self.text
        }
    }

    /// Whether this pattern matches every id that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        if self.open {
            other.text.starts_with(&*self.text)
        } else {
            !other.open && self.text == other.text
        }
    }
}

impl<T> fmt::Display for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text.replace('*', "\\*"))?;
        if self.open { f.write_str("*") } else { Ok(()) }
    }
}

impl<T> fmt::Debug for Pattern<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GroupId;
    use proptest::prelude::*;

    fn pattern(written: &str) -> Pattern<GroupId> {
        Pattern::parse(written).unwrap()
    }

    fn id(text: &str) -> GroupId {
        GroupId::parse(text).unwrap()
    }

    #[test]
    fn a_literal_names_one_id() {
        assert!(pattern("class-7").matches(&id("class-7")));
        assert!(!pattern("class-7").matches(&id("class-70")));
    }

    #[test]
    fn a_prefix_names_every_id_that_starts_so() {
        assert!(pattern("class-*").matches(&id("class-")));
        assert!(pattern("class-*").matches(&id("class-70")));
        assert!(!pattern("class-*").matches(&id("klass-70")));
        assert!(pattern("*").matches(&id("anything")));
    }

    #[test]
    fn an_escaped_star_is_a_letter() {
        assert!(pattern("a\\*").is_literal());
        assert!(pattern("a\\*").matches(&id("a*")));
        assert!(pattern("a\\**").matches(&id("a*b")));
        assert!(pattern("a\\b").matches(&id("a\\b")));
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (bad, says) in [
            ("", "a pattern must not be empty; write * for all"),
            (
                "a*b",
                "a * is allowed only at the end; write \\* for a literal star",
            ),
            (
                "**",
                "a * is allowed only at the end; write \\* for a literal star",
            ),
            (
                &"g".repeat(49),
                "a group id has at most 48 bytes, this one has 49",
            ),
        ] {
            let wrong = Pattern::<GroupId>::parse(bad).unwrap_err();
            assert_eq!(wrong.to_string(), says);
        }
        assert!(Pattern::<GroupId>::parse(&format!("{}*", "g".repeat(48))).is_ok());
    }

    #[test]
    fn covering_is_nesting() {
        assert!(pattern("*").covers(&pattern("a*")));
        assert!(pattern("a*").covers(&pattern("a")));
        assert!(!pattern("a").covers(&pattern("a*")));
        assert!(!pattern("ab*").covers(&pattern("a*")));
    }

    proptest! {
        #[test]
        fn a_pattern_reads_as_it_was_written(written in "[ab*\\\\]{0,6}") {
            if let Ok(parsed) = Pattern::<GroupId>::parse(&written) {
                prop_assert_eq!(&Pattern::<GroupId>::parse(&parsed.to_string()).unwrap(), &parsed);
                let stored = Pattern::from_columns(parsed.text(), parsed.prefix_len()).unwrap();
                prop_assert_eq!(stored, parsed);
            }
        }

        #[test]
        fn a_cover_matches_all_that_the_covered_matches(
            wide in "[ab]{0,3}\\*?", narrow in "[ab]{0,3}\\*?", text in "[ab]{1,4}"
        ) {
            let (Ok(wide), Ok(narrow)) = (Pattern::<GroupId>::parse(&wide), Pattern::parse(&narrow))
            else { return Ok(()); };
            if wide.covers(&narrow) && narrow.matches(&id(&text)) {
                prop_assert!(wide.matches(&id(&text)));
            }
        }

        #[test]
        fn two_patterns_are_nested_or_have_nothing_in_common(
            one in "[ab]{0,3}\\*?", two in "[ab]{0,3}\\*?", text in "[ab]{1,4}"
        ) {
            let (Ok(one), Ok(two)) = (Pattern::<GroupId>::parse(&one), Pattern::parse(&two))
            else { return Ok(()); };
            if one.matches(&id(&text)) && two.matches(&id(&text)) {
                prop_assert!(one.covers(&two) || two.covers(&one));
            }
        }
    }
}
