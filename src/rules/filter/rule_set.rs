//! The rules as of one revision: of each only a 64-bit hash of both patterns. Immutable; shared by all
//! handlers.
//!
//! A member is found as in the database: for each shape of rule in use, the beginnings of room and account
//! of that length make the key of the one pair of patterns that could match.
//! SipHash with a random seed for each process: no outsider can choose ids whose keys collide.
//!
//! The keys are two sorted lists: a long one, read once, and a short one of what was added since. A rule
//! that was deleted stays in until all rules are read again: "perhaps" may be wrong, "no" never is.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use crate::domain::{Account, GroupId};

/// Rules in the short list before they are merged into the long one: few enough to be copied at each
/// change, many enough that merging is rare.
const MOST_ADDED: usize = 16_384;
/// Deleted rules that may stay in, or a quarter of all.
const MOST_REMOVED: usize = 10_000;

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
    /// The key of a rule, from the texts and lengths of its patterns.
    pub fn of(hashing: &Hashing, group: (&str, i16), account: (&str, i16)) -> Self {
        let shape = Shape {
            group: group.1,
            account: account.1,
        };
        let key = hashing.of_rule(shape, group.0, account.0);
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

/// Which members some rule could match.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleSet {
    pub revision: i64,
    shapes: Vec<Shape>,
    read: Arc<Vec<u64>>,
    added: Vec<u64>,
}

impl RuleSet {
    /// All rules, as of a revision that was reached before the first was read.
    pub fn read(revision: i64, shapes: Vec<Shape>, mut keys: Vec<u64>) -> Self {
        keys.sort_unstable();
        keys.dedup();
        keys.shrink_to_fit();
        Self {
            revision,
            shapes,
            read: Arc::new(keys),
            added: Vec::new(),
        }
    }

    /// False only if no rule matches the member, as of this revision.
    pub fn may_name(&self, hashing: &Hashing, group: &GroupId, account: &Account) -> bool {
        self.shapes.iter().any(|shape| {
            hashing
                .of_member(*shape, group, account)
                .is_some_and(|key| self.contains(key))
        })
    }

    fn contains(&self, key: u64) -> bool {
        self.read.binary_search(&key).is_ok() || self.added.binary_search(&key).is_ok()
    }

    /// This set and the rules that were added up to a later revision.
    pub fn with(&self, rules: &[RuleKey], revision: i64) -> Self {
        let mut set = Self {
            revision,
            ..self.clone()
        };
        for rule in rules {
            note_shape(&mut set.shapes, rule.shape);
            if !self.contains(rule.key) {
                set.added.push(rule.key);
            }
        }
        set.added.sort_unstable();
        set.added.dedup();
        if set.added.len() > MOST_ADDED {
            let mut all = [self.read.as_slice(), &set.added].concat();
            // The stable sort merges two sorted lists in one pass.
            all.sort();
            (set.read, set.added) = (Arc::new(all), Vec::new());
        }
        set
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
        self.read.len() + self.added.len()
    }

    /// Memory of both lists.
    pub fn bytes(&self) -> usize {
        (self.read.capacity() + self.added.capacity()) * size_of::<u64>()
    }
}

/// Shapes are a handful, so a list is searched fastest; neighbours mostly share theirs.
pub(super) fn note_shape(shapes: &mut Vec<Shape>, shape: Shape) {
    if shapes.last() != Some(&shape) && !shapes.contains(&shape) {
        shapes.push(shape);
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

    fn keys(hashing: &Hashing, rules: &[Rule]) -> Vec<RuleKey> {
        rules
            .iter()
            .map(|(group, account)| {
                let group = (group.text(), group.prefix_len());
                RuleKey::of(hashing, group, (account.text(), account.prefix_len()))
            })
            .collect()
    }

    fn read(keys: &[RuleKey]) -> RuleSet {
        let mut shapes = Vec::new();
        keys.iter()
            .for_each(|key| note_shape(&mut shapes, key.shape));
        RuleSet::read(0, shapes, keys.iter().map(|key| key.key).collect())
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
            let hashing = Hashing::default();
            let set = read(&keys(&hashing, &old)).with(&keys(&hashing, &new), 1);
            let group = GroupId::parse(&group).unwrap();
            let account = Account::parse(&account).unwrap();
            let named = old.iter().chain(&new)
                .any(|rule| rule.0.matches(&group) && rule.1.matches(&account));
            // The converse may fail only by a collision of 64 bits.
            prop_assert_eq!(set.may_name(&hashing, &group, &account), named);
        }
    }

    #[test]
    fn a_rule_costs_eight_bytes_also_after_many_were_added() {
        let hashing = Hashing::default();
        let literals = |from: usize, to: usize| {
            let rules: Vec<Rule> = (from..to)
                .map(|n| rule("class-7", &format!("teacher{n}")))
                .collect();
            keys(&hashing, &rules)
        };
        let mut set = read(&literals(0, 50_000));
        assert_eq!(set.bytes(), 8 * 50_000);
        for (step, from) in (50_000..100_000).step_by(500).enumerate() {
            set = set.with(&literals(from, from + 500), step as i64);
        }
        assert_eq!(set.len(), 100_000);
        assert!(set.bytes() <= 10 * 100_000, "{}", set.bytes());
        let group = GroupId::parse("class-7").unwrap();
        let names =
            |account: &str| set.may_name(&hashing, &group, &Account::parse(account).unwrap());
        assert!((0..100_000).all(|n| names(&format!("teacher{n}"))));
        assert!(!names("teacher100000"));
    }
}
