//! What was demanded, set, lost and taken away, by comparing looks at the simulated Chat.
//!
//! Fed with looks and with changes of rules in their order, it says what became different, since
//! when it was due, and why. Invariant: between two calls, `open` holds exactly the marks that are
//! demanded of members last seen online and were not on them. Times are Unix milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use super::house::{House, Marks, Rooms, Seat, seats};

/// A look at all rooms.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// When it was begun; what happened earlier is in it.
    pub began: i64,
    /// When it was there.
    pub at: i64,
    pub rooms: Rooms,
}

/// Why a mark is due, and since when.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cause {
    pub at: i64,
    /// Reads after "after".
    pub what: String,
}

/// Something that became different on one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub seat: Seat,
    pub marks: Marks,
    pub what: What,
}

/// What became different.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Marks appeared, so many milliseconds after their cause, if one is known.
    Set(Option<(i64, Cause)>),
    /// Marks were lost with the member's presence.
    Lost(&'static str),
    /// Marks were taken away, as a change of rules wanted.
    Taken(i64, Cause),
    /// Marks disappeared from a member who was there all the time, and no rule wanted it.
    Vanished,
}

/// A mark that was demanded and set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Restored {
    pub delay: i64,
    pub seat: Seat,
    pub mark: u32,
    pub after: String,
}

/// The books.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    house: House,
    online: BTreeMap<Seat, Presence>,
    /// Members without connection.
    away: BTreeSet<Seat>,
    open: BTreeMap<(Seat, u32), Cause>,
    revoked: BTreeMap<(Seat, u32), Cause>,
    /// Demands that were met.
    pub restored: Vec<Restored>,
    /// Demands that ended before they were met: the member left, or the rule ended.
    pub missed: Vec<(Seat, u32)>,
    /// Marks that were taken away.
    pub taken: usize,
    /// All members that were seen.
    pub seen: BTreeSet<Seat>,
}

#[derive(Debug, Clone)]
struct Presence {
    arrived_at: i64,
    marks: Marks,
}

impl Ledger {
    /// The rules in force.
    pub(super) fn house(&self) -> &House {
        &self.house
    }

    /// Demands that are not met yet.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Marks that are still to be taken away.
    pub(super) fn revoked(&self) -> usize {
        self.revoked.len()
    }

    /// Whether every demand is met and nothing is to be taken away any more.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.revoked.is_empty()
    }

    /// The rules become `house`.
    pub(super) fn change_rules(&mut self, house: House, cause: &Cause) {
        for (seat, presence) in &self.online {
            let (before, after) = (self.house.demands(seat), house.demands(seat));
            for mark in &after - &before {
                let key = (seat.clone(), mark);
                self.revoked.remove(&key);
                if !presence.marks.contains(&mark) {
                    self.open.insert(key, cause.clone());
                }
            }
            for mark in &before - &after {
                let key = (seat.clone(), mark);
                if presence.marks.contains(&mark) {
                    self.revoked.insert(key, cause.clone());
                } else if self.open.remove(&key).is_some() {
                    self.missed.push(key);
                }
            }
        }
        self.house = house;
    }

    /// Takes in a look and says what became different since the last one.
    pub(super) fn take_in(&mut self, look: &Look) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut gone = std::mem::take(&mut self.online);
        for (seat, member) in seats(&look.rooms) {
            self.seen.insert(seat.clone());
            let before = gone.remove(&seat);
            if !member.online {
                self.left(&seat, before, "connection lost", &mut changes);
                self.away.insert(seat);
                continue;
            }
            let stayed = before
                .as_ref()
                .is_some_and(|presence| presence.arrived_at == member.arrived_at);
            let held = if stayed {
                before.map(|presence| presence.marks).unwrap_or_default()
            } else {
                self.left(&seat, before, "gone for a moment", &mut changes);
                self.arrived(&seat, member.arrived_at);
                Marks::new()
            };
            self.gained(&seat, &member.marks - &held, look.at, &mut changes);
            self.vanished(&seat, &held - &member.marks, look.at, &mut changes);
            let presence = Presence {
                arrived_at: member.arrived_at,
                marks: member.marks.clone(),
            };
            self.online.insert(seat, presence);
        }
        self.away.retain(|seat| still_listed(&look.rooms, seat));
        for (seat, presence) in gone {
            self.left(&seat, Some(presence), "left", &mut changes);
        }
        changes
    }

    fn arrived(&mut self, seat: &Seat, at: i64) {
        let back = self.away.remove(seat);
        let what = if back { "coming back" } else { "joining" }.to_owned();
        for mark in self.house.demands(seat) {
            let what = what.clone();
            self.open.insert((seat.clone(), mark), Cause { at, what });
        }
    }

    fn left(
        &mut self,
        seat: &Seat,
        before: Option<Presence>,
        why: &'static str,
        changes: &mut Vec<Change>,
    ) {
        let Some(presence) = before else { return };
        let unmet = self.open.extract_if(.., |(other, _), _| other == seat);
        self.missed.extend(unmet.map(|(demand, _)| demand));
        self.revoked.retain(|(other, _), _| other != seat);
        if !presence.marks.is_empty() {
            changes.push(Change {
                seat: seat.clone(),
                marks: presence.marks,
                what: What::Lost(why),
            });
        }
    }

    fn gained(&mut self, seat: &Seat, marks: Marks, at: i64, changes: &mut Vec<Change>) {
        let mut by_cause: BTreeMap<Option<Cause>, Marks> = BTreeMap::new();
        for mark in marks {
            let cause = self.open.remove(&(seat.clone(), mark));
            if let Some(cause) = &cause {
                self.restored.push(Restored {
                    delay: (at - cause.at).max(0),
                    seat: seat.clone(),
                    mark,
                    after: cause.what.clone(),
                });
            }
            by_cause.entry(cause).or_default().insert(mark);
        }
        changes.extend(by_cause.into_iter().map(|(cause, marks)| Change {
            seat: seat.clone(),
            marks,
            what: What::Set(cause.map(|cause| ((at - cause.at).max(0), cause))),
        }));
    }

    fn vanished(&mut self, seat: &Seat, marks: Marks, at: i64, changes: &mut Vec<Change>) {
        let mut by_cause: BTreeMap<Option<Cause>, Marks> = BTreeMap::new();
        let demanded = self.house.demands(seat);
        for mark in marks {
            let key = (seat.clone(), mark);
            let cause = self.revoked.remove(&key);
            self.taken += usize::from(cause.is_some());
            by_cause.entry(cause).or_default().insert(mark);
            if demanded.contains(&mark) {
                let what = "it vanished".to_owned();
                self.open.insert(key, Cause { at, what });
            }
        }
        changes.extend(by_cause.into_iter().map(|(cause, marks)| Change {
            seat: seat.clone(),
            marks,
            what: match cause {
                Some(cause) => What::Taken((at - cause.at).max(0), cause),
                None => What::Vanished,
            },
        }));
    }
}

fn still_listed(rooms: &Rooms, seat: &Seat) -> bool {
    let room = rooms.get(&seat.group);
    room.is_some_and(|members| members.contains_key(&seat.account))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::house::tests::{gala, present, rule, seat};
    use crate::local::simulator::MemberView;

    fn ledger() -> Ledger {
        let mut house = House::default();
        house.write(&rule("vips", "gala", "vip-*", &[2001]));
        let mut ledger = Ledger::default();
        ledger.change_rules(house, &cause(0, "the start"));
        ledger
    }

    fn cause(at: i64, what: &str) -> Cause {
        let what = what.to_owned();
        Cause { at, what }
    }

    fn look(at: i64, members: &[(&str, MemberView)]) -> Look {
        Look {
            began: at,
            at,
            rooms: gala(members),
        }
    }

    fn change(marks: &[u32], what: What) -> Change {
        Change {
            seat: seat("gala", "vip-1"),
            marks: marks.iter().copied().collect(),
            what,
        }
    }

    #[test]
    fn a_mark_is_open_from_the_arrival_until_it_is_seen() {
        let mut ledger = ledger();
        let members = |marks: &[u32]| [("vip-1", present(100, marks)), ("guest", present(90, &[]))];
        assert_eq!(ledger.take_in(&look(110, &members(&[]))), []);
        assert_eq!(ledger.open(), 1);
        let set = What::Set(Some((42, cause(100, "joining"))));
        assert_eq!(
            ledger.take_in(&look(142, &members(&[2001]))),
            [change(&[2001], set)]
        );
        assert_eq!((ledger.open(), ledger.restored.len()), (0, 1));
        assert_eq!(ledger.take_in(&look(150, &members(&[2001]))), []);
    }

    #[test]
    fn a_drop_loses_the_mark_and_the_return_demands_it_again() {
        let mut ledger = ledger();
        ledger.take_in(&look(140, &[("vip-1", present(100, &[2001]))]));
        let away = MemberView {
            online: false,
            connected: false,
            ..present(100, &[])
        };
        assert_eq!(
            ledger.take_in(&look(200, &[("vip-1", away)])),
            [change(&[2001], What::Lost("connection lost"))]
        );
        assert_eq!(ledger.open(), 0);
        let set = What::Set(Some((30, cause(300, "coming back"))));
        assert_eq!(
            ledger.take_in(&look(330, &[("vip-1", present(300, &[2001]))])),
            [change(&[2001], set)]
        );
        assert_eq!(ledger.restored.len(), 2);
    }

    #[test]
    fn an_absence_between_two_looks_is_a_loss_and_a_new_demand() {
        let mut ledger = ledger();
        ledger.take_in(&look(140, &[("vip-1", present(100, &[2001]))]));
        let changes = ledger.take_in(&look(200, &[("vip-1", present(150, &[2001]))]));
        let set = What::Set(Some((50, cause(150, "joining"))));
        assert_eq!(
            changes,
            [
                change(&[2001], What::Lost("gone for a moment")),
                change(&[2001], set)
            ]
        );
        assert_eq!(ledger.restored.len(), 2);
    }

    #[test]
    fn an_edited_rule_demands_at_once_of_those_present() {
        let mut ledger = ledger();
        ledger.take_in(&look(140, &[("vip-1", present(100, &[2001]))]));
        let mut house = ledger.house().clone();
        house.edit("vips", &[2002]);
        ledger.change_rules(house, &cause(500, "the edit"));
        assert_eq!((ledger.open(), ledger.revoked()), (1, 1));
        let changes = ledger.take_in(&look(520, &[("vip-1", present(100, &[2002]))]));
        let set = What::Set(Some((20, cause(500, "the edit"))));
        let taken = What::Taken(20, cause(500, "the edit"));
        assert_eq!(changes, [change(&[2002], set), change(&[2001], taken)]);
        assert_eq!((ledger.open(), ledger.revoked(), ledger.taken), (0, 0, 1));
    }

    #[test]
    fn a_member_who_leaves_before_he_is_marked_is_missed() {
        let mut ledger = ledger();
        ledger.take_in(&look(110, &[("vip-1", present(100, &[]))]));
        assert_eq!(ledger.take_in(&look(120, &[])), []);
        assert_eq!(ledger.open(), 0);
        assert_eq!(ledger.missed, [(seat("gala", "vip-1"), 2001)]);
    }

    #[test]
    fn a_rule_that_ends_before_its_mark_was_set_is_missed() {
        let mut ledger = ledger();
        ledger.take_in(&look(110, &[("vip-1", present(100, &[]))]));
        ledger.change_rules(House::default(), &cause(200, "the end"));
        assert_eq!((ledger.open(), ledger.revoked()), (0, 0));
        assert_eq!(ledger.missed, [(seat("gala", "vip-1"), 2001)]);
    }

    #[test]
    fn a_mark_that_vanishes_without_a_reason_is_told_and_stays_demanded() {
        let mut ledger = ledger();
        ledger.take_in(&look(140, &[("vip-1", present(100, &[2001]))]));
        let changes = ledger.take_in(&look(200, &[("vip-1", present(100, &[]))]));
        assert_eq!(changes, [change(&[2001], What::Vanished)]);
        assert_eq!(ledger.open(), 1);
    }

    #[test]
    fn a_mark_that_nobody_demanded_is_told_without_a_delay() {
        let mut ledger = ledger();
        ledger.take_in(&look(140, &[("vip-1", present(100, &[2001]))]));
        let changes = ledger.take_in(&look(200, &[("vip-1", present(100, &[2001, 7000]))]));
        assert_eq!(changes, [change(&[7000], What::Set(None))]);
        assert_eq!(ledger.restored.len(), 1);
    }
}
