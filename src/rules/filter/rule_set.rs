//! The rules as of one revision, without their texts. Immutable; shared by all handlers.
//!
//! A large set read from the database once, and a small one of what came since. A rule that was
//! deleted stays in until all rules are read again: the answer "perhaps" may be wrong, "no" never is.

use std::sync::Arc;

use super::key_set::KeySet;
use super::keys::{Hashing, RuleKey, Shape};
use crate::domain::{Account, GroupId};

/// As many rules may have come since before they are merged into the large set: few enough to be
/// copied at each change, many enough that merging is rare.
const MOST_ADDED: usize = 16_384;
/// So many deleted rules may stay in, or a quarter of all.
const MOST_REMOVED: usize = 10_000;

/// Which members some rule could name.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleSet {
    pub revision: i64,
    /// Patterns that ever went, counted when the large set was read.
    removed: i64,
    shapes: Vec<Shape>,
    read: Arc<KeySet>,
    added: KeySet,
}

impl RuleSet {
    /// False only if no rule names the member, as of this revision.
    pub fn may_name(&self, hashing: &Hashing, group: &GroupId, account: &Account) -> bool {
        self.shapes.iter().any(|shape| {
            hashing
                .of_member(*shape, group, account)
                .is_some_and(|key| self.contains(key))
        })
    }

    fn contains(&self, key: u64) -> bool {
        self.read.contains(key) || (!self.added.is_empty() && self.added.contains(key))
    }

    /// This set and the rules that have come up to a later revision.
    pub fn with(&self, rules: &[RuleKey], revision: i64) -> Self {
        let mut set = Self {
            revision,
            ..self.clone()
        };
        for rule in rules {
            note_shape(&mut set.shapes, rule.shape);
            if !set.contains(rule.key) {
                set.added.insert(rule.key);
            }
        }
        if set.added.len() > MOST_ADDED {
            set.merge();
        }
        set
    }

    fn merge(&mut self) {
        let mut all = self.read.resized(self.len());
        self.added.keys().for_each(|key| {
            all.insert(key);
        });
        self.read = Arc::new(all);
        self.added = KeySet::default();
    }

    /// Whether so many rules have gone that all should be read again.
    pub fn is_worn(&self, removed: i64) -> bool {
        let gone = usize::try_from(removed - self.removed).unwrap_or(0);
        gone > MOST_REMOVED.max(self.len() / 4)
    }

    /// Patterns that ever went, as of the last reading.
    pub fn removed(&self) -> i64 {
        self.removed
    }

    /// Number of pairs of patterns in it.
    pub fn len(&self) -> usize {
        self.read.len() + self.added.len()
    }

    /// Memory of both sets.
    pub fn bytes(&self) -> usize {
        self.read.bytes() + self.added.bytes()
    }
}

/// A set in the making, while the rules stream in.
#[derive(Debug)]
pub(super) struct Reading {
    shapes: Vec<Shape>,
    keys: KeySet,
}

impl Reading {
    /// Begins with room for as many rules as there should be.
    pub fn expecting(rules: usize) -> Self {
        Self {
            shapes: Vec::new(),
            keys: KeySet::with_room_for(rules),
        }
    }

    /// Takes a rule in.
    pub fn add(&mut self, rule: RuleKey) {
        note_shape(&mut self.shapes, rule.shape);
        self.keys.insert(rule.key);
    }

    /// The set, as of a revision that was reached before the first rule was read.
    pub fn finish(self, revision: i64, removed: i64) -> RuleSet {
        RuleSet {
            revision,
            removed,
            shapes: self.shapes,
            read: Arc::new(self.keys.trimmed()),
            added: KeySet::default(),
        }
    }
}

/// Shapes are a handful, so a list is searched fastest; neighbours mostly share theirs.
fn note_shape(shapes: &mut Vec<Shape>, shape: Shape) {
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
            .map(|(group, account)| RuleKey::of(hashing, group, account))
            .collect()
    }

    fn read(keys: &[RuleKey]) -> RuleSet {
        let mut reading = Reading::expecting(0);
        keys.iter().for_each(|key| reading.add(*key));
        reading.finish(0, 0)
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
    fn a_rule_costs_at_most_24_bytes_also_after_many_were_added() {
        let hashing = Hashing::default();
        let literals = |from: usize, to: usize| {
            let rules: Vec<Rule> = (from..to)
                .map(|n| rule("class-7", &format!("teacher{n}")))
                .collect();
            keys(&hashing, &rules)
        };
        let mut set = read(&literals(0, 50_000));
        assert!(set.bytes() <= 15 * 50_000, "{}", set.bytes());
        for (step, from) in (50_000..100_000).step_by(500).enumerate() {
            set = set.with(&literals(from, from + 500), step as i64);
        }
        assert_eq!(set.len(), 100_000);
        assert!(set.bytes() <= 24 * 100_000, "{}", set.bytes());
        let group = GroupId::parse("class-7").unwrap();
        let names =
            |account: &str| set.may_name(&hashing, &group, &Account::parse(account).unwrap());
        assert!((0..100_000).all(|n| names(&format!("teacher{n}"))));
        assert!(!names("teacher100000"));
    }

    #[test]
    fn it_is_worn_when_a_quarter_of_many_rules_has_gone() {
        let hashing = Hashing::default();
        let set = read(&keys(&hashing, &[rule("a", "*")]));
        assert!(!set.is_worn(10_000));
        assert!(set.is_worn(10_001));
    }
}
