//! The key of a rule in the filter: one 64-bit hash of both its patterns.
//!
//! A member is found as in the database: for each shape of rule in use, the beginnings of room and account
//! of that length make the key of the one pair of patterns that could name him.
//! SipHash with a random seed for each process: no outsider can choose ids whose keys collide.

use std::hash::{BuildHasher, Hasher, RandomState};

#[cfg(test)]
use crate::domain::Pattern;
use crate::domain::{Account, GroupId};

/// The pair of prefix lengths of a rule, in characters; −1 for a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub group: i16,
    pub account: i16,
}

/// The hash of this process.
#[derive(Debug, Default)]
pub(super) struct Hashing(RandomState);

impl Hashing {
    /// The key of a rule, from the texts and lengths of its patterns.
    pub fn of_rule(&self, shape: Shape, group: &str, account: &str) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u16(shape.group.cast_unsigned());
        hasher.write_u16(shape.account.cast_unsigned());
        hasher.write(group.as_bytes());
        // In no text, so that the border between the two is part of the key.
        hasher.write_u8(0xff);
        hasher.write(account.as_bytes());
        hasher.finish()
    }

    /// The key under which rules of this shape name the member; `None` if the ids are too short for them.
    pub fn of_member(&self, shape: Shape, group: &GroupId, account: &Account) -> Option<u64> {
        let group = beginning(group.as_str(), shape.group)?;
        let account = beginning(account.as_str(), shape.account)?;
        Some(self.of_rule(shape, group, account))
    }
}

/// The shape and the key of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RuleKey {
    pub shape: Shape,
    pub key: u64,
}

impl RuleKey {
    /// The key of a rule with these patterns.
    #[cfg(test)]
    pub fn of(hashing: &Hashing, group: &Pattern<GroupId>, account: &Pattern<Account>) -> Self {
        let shape = Shape {
            group: group.prefix_len(),
            account: account.prefix_len(),
        };
        let key = hashing.of_rule(shape, group.text(), account.text());
        Self { shape, key }
    }
}

/// The first `length` characters of a text, all of it for a literal, `None` if it has fewer.
fn beginning(text: &str, length: i16) -> Option<&str> {
    let Ok(length) = usize::try_from(length) else {
        return Some(text);
    };
    if text.is_ascii() {
        return text.get(..length);
    }
    let ends = text.char_indices().map(|(at, _)| at);
    let end = ends.chain([text.len()]).nth(length)?;
    text.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_counted_in_characters() {
        assert_eq!(beginning("老师10", 2), Some("老师"));
        assert_eq!(beginning("老师10", 4), Some("老师10"));
        assert_eq!(beginning("老师10", 5), None);
        assert_eq!(beginning("vip1", 3), Some("vip"));
        assert_eq!(beginning("vip", 3), Some("vip"));
        assert_eq!(beginning("vi", 3), None);
        assert_eq!(beginning("vip", 0), Some(""));
        assert_eq!(beginning("vip", -1), Some("vip"));
    }

    #[test]
    fn the_border_between_room_and_account_counts() {
        let hashing = Hashing::default();
        let literal = Shape {
            group: -1,
            account: -1,
        };
        assert_ne!(
            hashing.of_rule(literal, "ab", "c"),
            hashing.of_rule(literal, "a", "bc")
        );
    }
}
