//! The rules as of one revision: of each only a 64-bit hash of both patterns.
//!
//! A member is found as in the database: for each shape of rule in use, the beginnings of room and account
//! of that length make the key of the one pair of patterns that could match.
//! SipHash with a random seed: no outsider can choose ids whose keys collide.
//!
//! The keys are a sorted list. A rule that was deleted stays in until all rules are read again: "perhaps"
//! may be wrong, "no" never is.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::domain::{Account, GroupId};

/// Deleted rules that may stay in, or a quarter of all.
const MOST_REMOVED: usize = 10_000;

/// The pair of prefix lengths of a rule, in characters; −1 for a literal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    group: i16,
    account: i16,
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

/// Which members some rule could match.
#[derive(Debug, Clone)]
pub(super) struct RuleSet {
    pub revision: i64,
    hasher: RandomState,
    shapes: Vec<Shape>,
    keys: Vec<u64>,
}

impl RuleSet {
    /// A set without rules, and with space for some.
    pub fn empty(revision: i64, space: usize) -> Self {
        Self {
            revision,
            hasher: RandomState::new(),
            shapes: Vec::new(),
            keys: Vec::with_capacity(space),
        }
    }

    /// Adds a rule by the texts and lengths of its patterns. It is found after [`Self::sort`].
    pub fn add(&mut self, group: (&str, i16), account: (&str, i16)) {
        let shape = Shape {
            group: group.1,
            account: account.1,
        };
        // Shapes are a handful, so a list is searched fastest; neighbours mostly share theirs.
        if self.shapes.last() != Some(&shape) && !self.shapes.contains(&shape) {
            self.shapes.push(shape);
        }
        self.keys.push(self.key(shape, group.0, account.0));
    }

    /// Makes all that was added found.
    pub fn sort(&mut self) {
        // The stable sort passes once over what is sorted already.
        self.keys.sort();
        self.keys.dedup();
        self.keys.shrink_to_fit();
    }

    /// False only if no rule matches the member, as of this revision.
    pub fn may_name(&self, group: &GroupId, account: &Account) -> bool {
        self.shapes.iter().any(|shape| {
            let group = beginning(group.as_str(), shape.group);
            let texts = group.zip(beginning(account.as_str(), shape.account));
            let key = texts.map(|(group, account)| self.key(*shape, group, account));
            key.is_some_and(|key| self.keys.binary_search(&key).is_ok())
        })
    }

    fn key(&self, shape: Shape, group: &str, account: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u16(shape.group.cast_unsigned());
        hasher.write_u16(shape.account.cast_unsigned());
        hasher.write(group.as_bytes());
        // In no text, so that the border between the two is part of the key.
        hasher.write_u8(0xff);
        hasher.write(account.as_bytes());
        hasher.finish()
    }

    /// Whether so many more are in it than there are rules that all should be read again.
    pub fn is_worn(&self, rules: i64) -> bool {
        let gone = self
            .len()
            .saturating_sub(usize::try_from(rules).unwrap_or(0));
        gone > MOST_REMOVED.max(self.len() / 4)
    }

    /// Number of pairs of patterns in it.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Pattern;
    use proptest::prelude::*;

    type Rule = (Pattern<GroupId>, Pattern<Account>);

    fn rule(group: &str, account: &str) -> Rule {
        (
            Pattern::parse(group).unwrap(),
            Pattern::parse(account).unwrap(),
        )
    }

    fn with(mut set: RuleSet, rules: impl IntoIterator<Item = Rule>) -> RuleSet {
        for (group, account) in rules {
            let group = (group.text(), group.prefix_len());
            set.add(group, (account.text(), account.prefix_len()));
        }
        set.sort();
        set
    }

    fn rules() -> impl Strategy<Value = Vec<Rule>> {
        let one = ("[ab*\\\\]{0,3}\\*?", "[aé*\\\\]{0,3}\\*?")
            .prop_filter_map("no patterns", |(group, account)| {
                Some((Pattern::parse(&group).ok()?, Pattern::parse(&account).ok()?))
            });
        proptest::collection::vec(one, 0..8)
    }

    proptest! {
        #[test]
        fn it_says_what_the_patterns_say(
            old in rules(), new in rules(), group in "[ab*\\\\]{1,4}", account in "[aé*\\\\]{1,4}"
        ) {
            let set = with(with(RuleSet::empty(0, 0), old.clone()), new.clone());
            let group = GroupId::parse(&group).unwrap();
            let account = Account::parse(&account).unwrap();
            let named = old.iter().chain(&new)
                .any(|rule| rule.0.matches(&group) && rule.1.matches(&account));
            // The converse may fail only by a collision of 64 bits.
            prop_assert_eq!(set.may_name(&group, &account), named);
        }
    }

    #[test]
    fn a_rule_costs_eight_bytes_also_after_many_were_added() {
        let literals = |numbers: std::ops::Range<usize>| {
            numbers.map(|n| rule("class-7", &format!("teacher{n}")))
        };
        let mut set = with(RuleSet::empty(0, 50_000), literals(0..50_000));
        for from in (50_000..100_000).step_by(500) {
            set = with(set, literals(from..from + 500));
        }
        assert_eq!(set.bytes(), 8 * 100_000);
        let group = GroupId::parse("class-7").unwrap();
        let names = |account: &str| set.may_name(&group, &Account::parse(account).unwrap());
        assert!((0..100_000).all(|n| names(&format!("teacher{n}"))));
        assert!(!names("teacher100000"));
    }

    #[test]
    fn it_is_worn_when_a_quarter_of_many_rules_has_gone() {
        let rules = (0..60_000).map(|n| rule("class-7", &format!("teacher{n}")));
        let set = with(RuleSet::empty(0, 60_000), rules);
        assert!(!set.is_worn(45_000));
        assert!(set.is_worn(44_999));
    }

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
        let set = with(RuleSet::empty(0, 1), [rule("ab", "c")]);
        let shape = set.shapes[0];
        assert_eq!(set.keys, [set.key(shape, "ab", "c")]);
        assert_ne!(set.keys, [set.key(shape, "a", "bc")]);
    }
}
