//! What the rules of the show require, computed without the service.
//!
//! The verdict at the end must not rest on the service's own tables, nor on its way to read a rule,
//! so this shares no code with it. Accounts and groups of the show hold no literal star.

use std::collections::{BTreeMap, BTreeSet};

use super::script::RuleText;
use crate::local::simulator::MemberView;

/// Marks by number.
pub(super) type Marks = BTreeSet<u32>;

/// The members of every room of the simulated Chat, by group and account.
pub(super) type Rooms = BTreeMap<String, BTreeMap<String, MemberView>>;

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub group: String,
    pub account: String,
}

/// The rules in force, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct House(BTreeMap<&'static str, Standing>);

#[derive(Debug, Clone)]
struct Standing {
    group: &'static str,
    account: &'static str,
    marks: Marks,
    holds: bool,
}

/// Marks that are not as the rules want them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Demanded, and not there.
    pub missing: Vec<(Seat, Marks)>,
    /// Present, and required by no rule.
    pub surplus: Vec<(Seat, Marks)>,
}

impl House {
    /// A rule is written; with a window it does not hold yet.
    pub(super) fn write(&mut self, rule: &RuleText) {
        let standing = Standing {
            group: rule.group,
            account: rule.account,
            marks: rule.marks.iter().copied().collect(),
            holds: rule.window.is_none(),
        };
        self.0.insert(rule.id, standing);
    }

    /// A rule demands other marks from now on.
    pub(super) fn edit(&mut self, id: &str, marks: &[u32]) {
        if let Some(rule) = self.0.get_mut(id) {
            rule.marks = marks.iter().copied().collect();
        }
    }

    /// The window of a rule opens or closes.
    pub(super) fn hold(&mut self, id: &str, holds: bool) {
        if let Some(rule) = self.0.get_mut(id) {
            rule.holds = holds;
        }
    }

    /// A rule is gone.
    pub(super) fn delete(&mut self, id: &str) {
        self.0.remove(id);
    }

    /// The marks that a member carries in a room while online.
    pub(super) fn demands(&self, seat: &Seat) -> Marks {
        let names = |rule: &&Standing| {
            rule.holds && names(rule.group, &seat.group) && names(rule.account, &seat.account)
        };
        let rules = self.0.values().filter(names);
        rules.flat_map(|rule| rule.marks.iter().copied()).collect()
    }

    /// Compares the rooms with the rules.
    pub(super) fn faults(&self, rooms: &Rooms) -> Faults {
        let mut faults = Faults::default();
        for (seat, member) in seats(rooms) {
            let demanded = if member.online {
                self.demands(&seat)
            } else {
                Marks::new()
            };
            let missing: Marks = &demanded - &member.marks;
            let surplus: Marks = &member.marks - &demanded;
            if !missing.is_empty() {
                faults.missing.push((seat.clone(), missing));
            }
            if !surplus.is_empty() {
                faults.surplus.push((seat, surplus));
            }
        }
        faults
    }
}

/// Every member of every room.
pub(super) fn seats(rooms: &Rooms) -> impl Iterator<Item = (Seat, &MemberView)> {
    rooms.iter().flat_map(|(group, members)| {
        members.iter().map(|(account, member)| {
            let (group, account) = (group.clone(), account.clone());
            (Seat { group, account }, member)
        })
    })
}

fn names(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.starts_with(prefix),
        None => id == pattern,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::local::demo) fn rule(
        id: &'static str,
        group: &'static str,
        account: &'static str,
        marks: &'static [u32],
    ) -> RuleText {
        RuleText {
            id,
            group,
            account,
            marks,
            window: None,
            note: "",
        }
    }

    pub(in crate::local::demo) fn seat(group: &str, account: &str) -> Seat {
        Seat {
            group: group.to_owned(),
            account: account.to_owned(),
        }
    }

    /// A member who arrived at a time and holds these marks.
    pub(in crate::local::demo) fn present(arrived_at: i64, marks: &[u32]) -> MemberView {
        MemberView {
            online: true,
            connected: true,
            arrived_at,
            marks: marks.iter().copied().collect(),
        }
    }

    /// The only room, `gala`.
    pub(in crate::local::demo) fn gala(members: &[(&str, MemberView)]) -> Rooms {
        let members = members.iter().cloned();
        let members = members.map(|(account, member)| (account.to_owned(), member));
        [("gala".to_owned(), members.collect())].into()
    }

    fn house() -> House {
        let mut house = House::default();
        house.write(&rule("vips", "gala", "vip-*", &[2001]));
        house.write(&rule("first", "gala", "vip-1", &[2002]));
        house.write(&rule("mods", "*", "mod-*", &[9001]));
        house
    }

    #[test]
    fn a_member_carries_the_marks_of_all_rules_that_match() {
        let demands = |account| house().demands(&seat("gala", account));
        assert_eq!(demands("vip-1"), [2001, 2002].into());
        assert_eq!(demands("vip-10"), [2001].into());
        assert_eq!(demands("mod-ana"), [9001].into());
        assert_eq!(demands("guest"), [].into());
        assert_eq!(house().demands(&seat("other", "vip-1")), [].into());
    }

    #[test]
    fn a_rule_with_a_window_demands_only_while_it_is_open() {
        let mut house = House::default();
        let timed = rule("finale", "gala", "vip-*", &[3001]);
        house.write(&RuleText {
            window: Some((1, 2)),
            ..timed
        });
        assert_eq!(house.demands(&seat("gala", "vip-1")), [].into());
        house.hold("finale", true);
        assert_eq!(house.demands(&seat("gala", "vip-1")), [3001].into());
        house.hold("finale", false);
        assert_eq!(house.demands(&seat("gala", "vip-1")), [].into());
    }

    #[test]
    fn a_demanded_mark_that_is_not_there_is_missing() {
        let rooms = gala(&[
            ("vip-1", present(1, &[2001])),
            ("mod-ana", present(1, &[9001])),
        ]);
        let faults = house().faults(&rooms);
        assert_eq!(
            faults.missing,
            [(seat("gala", "vip-1"), Marks::from([2002]))]
        );
        assert!(faults.surplus.is_empty());
    }

    #[test]
    fn nothing_is_demanded_of_a_member_who_is_away() {
        let away = MemberView {
            online: false,
            ..present(1, &[])
        };
        let faults = house().faults(&gala(&[("vip-1", away)]));
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn a_mark_that_no_rule_demands_is_surplus() {
        let mut house = house();
        house.edit("vips", &[2003]);
        house.delete("first");
        let faults = house.faults(&gala(&[("vip-1", present(1, &[2001, 2003]))]));
        assert_eq!(
            faults.surplus,
            [(seat("gala", "vip-1"), Marks::from([2001]))]
        );
        assert!(faults.missing.is_empty());
    }
}
