//! What the rules of the show require, and what was set, lost and removed, by comparing looks at the
//! simulated Chat. The verdict at the end must rest neither on the service's tables nor on its way to
//! read a rule, so this shares no code with it. Accounts and groups of the show have no literal star.
//!
//! Fed with looks and with changes of rules in their order, it says what became different, since
//! when it was due, and why. Invariant: between two calls, `open` has exactly the marks that are
//! required of members last seen online and were not on them. Times are Unix milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::script::RuleText;
use crate::local::simulator::MemberView;

pub(super) type Marks = BTreeSet<u32>;
/// The members of every room of the simulated Chat, by group and account.
pub(super) type Rooms = BTreeMap<String, BTreeMap<String, MemberView>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Seat {
    pub group: String,
    pub account: String,
}

#[derive(Debug, Clone)]
pub(super) struct Look {
    /// When it was complete.
    pub at: i64,
    pub rooms: Rooms,
}

/// The causes that are an arrival: a first one, and one of a member without connection.
const ARRIVALS: [&str; 2] = ["joining", "coming back"];

/// Why a mark is due, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cause {
    at: i64,
    what: &'static str,
}

/// Something that became different on one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    #[serde(flatten)]
    pub seat: Seat,
    pub what: What,
    pub marks: Marks,
    /// Milliseconds since the cause, if one is known.
    pub delay: Option<i64>,
    /// Reads after "after" where there is a delay.
    #[serde(skip)]
    pub why: &'static str,
}

impl Change {
    pub(super) fn is_of_arrival(&self) -> bool {
        ARRIVALS.contains(&self.why)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Set,
    /// Lost with the member's presence.
    Lost,
    /// Removed, as a change of rules required.
    Taken,
    /// Disappeared from a member who was there all the time, and no rule required it.
    #[serde(rename = "taken")]
    Gone,
}

/// A mark that was required and set.
#[derive(Debug)]
pub(super) struct Restored {
    pub delay: i64,
    pub seat: Seat,
    pub after: &'static str,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By id, with the time of writing, from which windows count.
    rules: BTreeMap<&'static str, (RuleText, i64)>,
    /// Windows of rules count up to this time.
    now: i64,
    online: BTreeMap<Seat, Presence>,
    /// Members without connection.
    away: BTreeSet<Seat>,
    open: BTreeMap<(Seat, u32), Cause>,
    revoked: BTreeMap<(Seat, u32), Cause>,
    pub restored: Vec<Restored>,
    /// Marks that were required and never set: the member left, or the rule ended.
    missed: Vec<(Seat, u32)>,
    pub taken: usize,
    pub seen: BTreeSet<Seat>,
}

#[derive(Debug, Clone)]
struct Presence {
    arrived_at: i64,
    marks: Marks,
}

impl Ledger {
    /// Marks that were required so far.
    pub(super) fn demanded(&self) -> usize {
        self.restored.len() + self.open.len() + self.missed.len()
    }

    /// Marks that were or are to be removed.
    pub(super) fn to_take(&self) -> usize {
        self.taken + self.revoked.len()
    }

    /// Whether every required mark is set and nothing is to be removed any more.
    pub(super) fn is_settled(&self) -> bool {
        self.open.is_empty() && self.revoked.is_empty()
    }

    /// What is wrong, one line each; empty when nothing is.
    pub(super) fn complaints(&self) -> Vec<String> {
        let line = |Seat { group, account }: &Seat, what: &str, mark: &u32| {
            format!("{account} in {group} {what} {mark}")
        };
        let missed = self.missed.iter();
        let missed = missed.map(|(seat, mark)| line(seat, "never got the required mark", mark));
        let missing = self.open.keys();
        let missing = missing.map(|(seat, mark)| line(seat, "lacks the required mark", mark));
        let surplus = self.online.iter().flat_map(|(seat, presence)| {
            let surplus = &presence.marks - &self.demands(seat);
            let what = "still has a mark that no rule requires:";
            surplus.into_iter().map(move |mark| line(seat, what, &mark))
        });
        let mut lines: Vec<String> = missed.chain(missing).chain(surplus).collect();
        if lines.is_empty() && self.restored.is_empty() {
            lines.push("no rule required a mark".to_owned());
        }
        lines
    }

    pub(super) fn write(&mut self, rule: &RuleText, at: i64) {
        self.change_rules(at, "the start", |this| {
            this.rules.insert(rule.id, (*rule, at));
        });
    }

    pub(super) fn edit(&mut self, id: &str, marks: &'static [u32], at: i64) {
        self.change_rules(at, "the edit", |this| {
            let rule = this.rules.get_mut(id);
            rule.into_iter().for_each(|(rule, _)| rule.marks = marks);
        });
    }

    pub(super) fn delete(&mut self, id: &str, at: i64) {
        self.change_rules(at, "the deletion", |this| {
            this.rules.remove(id);
        });
    }

    /// Whether a window of a rule will open or close.
    pub(super) fn awaits_window(&self) -> bool {
        self.edges().any(|(at, ..)| at > self.now)
    }

    /// Opens and closes the windows of rules up to this time, and says when and which.
    pub(super) fn pass_time(&mut self, until: i64) -> Vec<(i64, String)> {
        let mut edges: Vec<_> = self.edges().collect();
        edges.retain(|(at, ..)| (self.now + 1..=until).contains(at));
        edges.sort_unstable();
        let mut titles = Vec::new();
        for (at, id, opens) in edges {
            let (what, cause) = match opens {
                true => ("starts", "the rule began"),
                false => ("ends", "the rule ended"),
            };
            titles.push((at, format!("The window of {id} {what}")));
            self.change_rules(at, cause, |this| this.now = at);
        }
        self.now = self.now.max(until);
        titles
    }

    fn edges(&self) -> impl Iterator<Item = (i64, &'static str, bool)> {
        let windows = self.rules.values().filter_map(|(rule, written)| {
            let (from, to) = rule.window?;
            Some([
                (written + from, rule.id, true),
                (written + to, rule.id, false),
            ])
        });
        windows.flatten()
    }

    /// The marks that the rules require of a member while online.
    fn demands(&self, seat: &Seat) -> Marks {
        let rules = self.rules.values().filter(|(rule, written)| {
            let open = |(from, to)| (from..to).contains(&(self.now - written));
            names(rule.group, &seat.group)
                && names(rule.account, &seat.account)
                && rule.window.is_none_or(open)
        });
        rules.flat_map(|(rule, _)| rule.marks).copied().collect()
    }

    fn change_rules(&mut self, at: i64, what: &'static str, change: impl FnOnce(&mut Self)) {
        let online: Vec<Seat> = self.online.keys().cloned().collect();
        let before: Vec<Marks> = online.iter().map(|seat| self.demands(seat)).collect();
        change(self);
        let cause = Cause { at, what };
        for (seat, before) in online.into_iter().zip(before) {
            let after = self.demands(&seat);
            let marks = self
                .online
                .get(&seat)
                .map(|presence| presence.marks.clone());
            let marks = marks.unwrap_or_default();
            for mark in &after - &before {
                let key = (seat.clone(), mark);
                self.revoked.remove(&key);
                if !marks.contains(&mark) {
                    self.open.insert(key, cause);
                }
            }
            for mark in &before - &after {
                let key = (seat.clone(), mark);
                if marks.contains(&mark) {
                    self.revoked.insert(key, cause);
                } else if self.open.remove(&key).is_some() {
                    self.missed.push(key);
                }
            }
        }
    }

    /// Takes in a look and says what became different since the last one.
    pub(super) fn take_in(&mut self, look: &Look) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut gone = std::mem::take(&mut self.online);
        let mut away = BTreeSet::new();
        for (seat, member) in seats(&look.rooms) {
            self.seen.insert(seat.clone());
            let before = gone.remove(&seat);
            if !member.online {
                changes.extend(self.left(&seat, before, "connection lost"));
                away.insert(seat);
                continue;
            }
            let stayed = |before: &Presence| before.arrived_at == member.arrived_at;
            let had = match before {
                Some(before) if stayed(&before) => before.marks,
                before => {
                    changes.extend(self.left(&seat, before, "gone for a moment"));
                    let what = ARRIVALS[usize::from(self.away.contains(&seat))];
                    let at = member.arrived_at;
                    for mark in self.demands(&seat) {
                        self.open.insert((seat.clone(), mark), Cause { at, what });
                    }
                    Marks::new()
                }
            };
            self.became(&seat, &member.marks - &had, true, look.at, &mut changes);
            self.became(&seat, &had - &member.marks, false, look.at, &mut changes);
            let presence = Presence {
                arrived_at: member.arrived_at,
                marks: member.marks.clone(),
            };
            self.online.insert(seat, presence);
        }
        self.away = away;
        for (seat, presence) in gone {
            changes.extend(self.left(&seat, Some(presence), "left"));
        }
        changes
    }

    fn left(&mut self, seat: &Seat, before: Option<Presence>, why: &'static str) -> Option<Change> {
        let Presence { marks, .. } = before?;
        let unmet = self.open.extract_if(.., |(other, _), _| other == seat);
        self.missed.extend(unmet.map(|(demand, _)| demand));
        self.revoked.retain(|(other, _), _| other != seat);
        (!marks.is_empty()).then(|| Change {
            seat: seat.clone(),
            what: What::Lost,
            marks,
            delay: None,
            why,
        })
    }

    /// Marks appeared on a member, or disappeared.
    fn became(&mut self, seat: &Seat, marks: Marks, set: bool, at: i64, changes: &mut Vec<Change>) {
        let delay = |cause: Cause| (at - cause.at).max(0);
        let demanded = self.demands(seat);
        let mut by_cause: BTreeMap<Option<Cause>, Marks> = BTreeMap::new();
        for mark in marks {
            let key = (seat.clone(), mark);
            let due = if set {
                &mut self.open
            } else {
                &mut self.revoked
            };
            let cause = due.remove(&key);
            match cause {
                Some(cause) if set => self.restored.push(Restored {
                    delay: delay(cause),
                    seat: seat.clone(),
                    after: cause.what,
                }),
                Some(_) => self.taken += 1,
                None => {}
            }
            if !set && demanded.contains(&mark) {
                let what = "it vanished";
                self.open.insert(key, Cause { at, what });
            }
            by_cause.entry(cause).or_default().insert(mark);
        }
        changes.extend(by_cause.into_iter().map(|(cause, marks)| Change {
            seat: seat.clone(),
            what: match (set, cause) {
                (true, _) => What::Set,
                (false, Some(_)) => What::Taken,
                (false, None) => What::Gone,
            },
            marks,
            delay: cause.map(delay),
            why: cause.map_or("not part of the show", |cause| cause.what),
        }));
    }
}

fn seats(rooms: &Rooms) -> impl Iterator<Item = (Seat, &MemberView)> {
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

    const VIPS: RuleText = RuleText {
        id: "vips",
        group: "gala",
        account: "vip-*",
        marks: &[2001],
        window: None,
        note: "",
    };

    /// A member who arrived at a time and has these marks.
    fn present(arrived_at: i64, marks: &[u32]) -> MemberView {
        MemberView {
            online: true,
            connected: true,
            arrived_at,
            marks: marks.iter().copied().collect(),
        }
    }

    /// The only room, `gala`.
    fn gala(members: &[(&str, MemberView)]) -> Rooms {
        let members = members.iter().cloned();
        let members = members.map(|(account, member)| (account.to_owned(), member));
        [("gala".to_owned(), members.collect())].into()
    }

    pub(in crate::local::demo) fn change(
        what: What,
        marks: &[u32],
        due: Option<(i64, &'static str)>,
    ) -> Change {
        Change {
            seat: Seat {
                group: "gala".to_owned(),
                account: "vip-1".to_owned(),
            },
            what,
            marks: marks.iter().copied().collect(),
            delay: due.map(|(delay, _)| delay),
            why: due.map_or("not part of the show", |(_, why)| why),
        }
    }

    fn set(marks: &[u32], delay: i64, why: &'static str) -> Change {
        change(What::Set, marks, Some((delay, why)))
    }

    fn lost(why: &'static str) -> Change {
        Change {
            delay: None,
            ..change(What::Lost, &[2001], Some((0, why)))
        }
    }

    fn look(ledger: &mut Ledger, at: i64, members: &[(&str, MemberView)]) -> Vec<Change> {
        let rooms = gala(members);
        ledger.take_in(&Look { at, rooms })
    }

    /// A look at the VIP, who arrived at a time and has these marks.
    fn sees(ledger: &mut Ledger, at: i64, arrived_at: i64, marks: &[u32]) -> Vec<Change> {
        look(ledger, at, &[("vip-1", present(arrived_at, marks))])
    }

    /// One VIP who arrived at 100 and was seen at 110 with these marks.
    fn vip(marks: &[u32]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.write(&VIPS, 0);
        let guest = ("guest", present(90, &[]));
        look(&mut ledger, 110, &[("vip-1", present(100, marks)), guest]);
        ledger
    }

    #[test]
    fn a_mark_is_due_from_the_arrival_until_it_is_seen() {
        let mut ledger = vip(&[]);
        let lacks = ["vip-1 in gala lacks the required mark 2001"];
        assert_eq!(ledger.complaints(), lacks);
        assert_eq!(
            sees(&mut ledger, 142, 100, &[2001]),
            [set(&[2001], 42, "joining")]
        );
        assert_eq!((ledger.demanded(), ledger.restored.len()), (1, 1));
        assert!(ledger.complaints().is_empty() && ledger.is_settled());
        assert_eq!(sees(&mut ledger, 150, 100, &[2001]), []);
    }

    #[test]
    fn a_drop_or_an_absence_between_two_looks_loses_the_mark_and_makes_it_due_again() {
        let mut ledger = vip(&[2001]);
        let away = MemberView {
            online: false,
            ..present(100, &[])
        };
        let changes = look(&mut ledger, 200, &[("vip-1", away)]);
        assert_eq!(changes, [lost("connection lost")]);
        assert!(ledger.is_settled());
        let back = set(&[2001], 30, "coming back");
        assert_eq!(sees(&mut ledger, 330, 300, &[2001]), [back]);
        let again = [lost("gone for a moment"), set(&[2001], 50, "joining")];
        assert_eq!(sees(&mut ledger, 450, 400, &[2001]), again);
        assert_eq!(ledger.restored.len(), 3);
        assert_eq!(look(&mut ledger, 460, &[]), [lost("left")]);
    }

    #[test]
    fn a_change_of_rules_concerns_those_present_and_what_is_never_set_is_missed() {
        let mut ledger = vip(&[2001]);
        ledger.edit("vips", &[2002], 500);
        assert_eq!((ledger.demanded(), ledger.to_take()), (2, 1));
        let taken = change(What::Taken, &[2001], Some((20, "the edit")));
        let edited = [set(&[2002], 20, "the edit"), taken];
        assert_eq!(sees(&mut ledger, 520, 100, &[2002]), edited);
        assert!(ledger.is_settled() && ledger.taken == 1);
        let missed = ["vip-1 in gala never got the required mark 2001"];
        let mut ended = vip(&[]);
        ended.delete("vips", 200);
        assert_eq!(ended.complaints(), missed);
        let mut left = vip(&[]);
        assert_eq!(look(&mut left, 120, &[]), []);
        assert_eq!(left.complaints(), missed);
        assert_eq!(Ledger::default().complaints(), ["no rule required a mark"]);
    }

    #[test]
    fn a_rule_with_a_window_counts_only_while_it_is_open() {
        let mut ledger = vip(&[2001]);
        let finale = RuleText {
            id: "finale",
            marks: &[3001],
            window: Some((500, 600)),
            ..VIPS
        };
        ledger.write(&finale, 1000);
        assert!(ledger.pass_time(1499).is_empty() && ledger.is_settled());
        assert_eq!(ledger.pass_time(1510)[0].0, 1500);
        let began = set(&[3001], 20, "the rule began");
        assert_eq!(sees(&mut ledger, 1520, 100, &[2001, 3001]), [began]);
        assert!(ledger.awaits_window() && ledger.complaints().is_empty());
        assert_eq!(ledger.pass_time(1610)[0].0, 1600);
        assert!(!ledger.awaits_window() && ledger.to_take() == 1);
        let surplus = "vip-1 in gala still has a mark that no rule requires: 3001";
        assert_eq!(ledger.complaints(), [surplus]);
    }

    #[test]
    fn what_appears_or_vanishes_without_a_reason_is_told_without_a_delay() {
        let mut ledger = vip(&[2001]);
        let appeared = change(What::Set, &[7000], None);
        assert_eq!(sees(&mut ledger, 200, 100, &[2001, 7000]), [appeared]);
        let gone = change(What::Gone, &[2001], None);
        assert_eq!(sees(&mut ledger, 210, 100, &[7000]), [gone]);
        assert!(!ledger.is_settled(), "it is due again");
    }
}
