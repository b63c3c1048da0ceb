//! What the show has seen: who is where with which marks, what the rules of the show require, and what
//! was set, lost and removed, by comparing looks at the simulated Chat. The verdict at the end must rest
//! neither on the service's tables nor on its way to read a rule, so this shares no code with it.
//! Accounts and groups of the show have no literal star.
//!
//! Fed with looks and with changes of rules in their order, it says what became different, since
//! when it was due, and why. Times are Unix milliseconds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Serialize;

use super::script::RuleText;
use crate::local::simulator::MemberView;

pub(super) type Marks = BTreeSet<u32>;

/// Changes that the page is given.
const KEPT: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Seat {
    pub group: String,
    pub account: String,
}

/// The simulated Chat at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Look {
    /// When it was complete.
    pub at: i64,
    /// The rooms that there are.
    pub rooms: BTreeSet<String>,
    pub members: BTreeMap<Seat, MemberView>,
}

/// The causes that are an arrival: a first one, and one of a member without connection.
const ARRIVALS: [&str; 2] = ["joining", "coming back"];

/// Why a mark is to be set or removed, and since when.
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

#[derive(Debug, Clone, Serialize)]
pub(super) struct News {
    /// 1 for the first, and so on.
    id: u64,
    at: i64,
    #[serde(flatten)]
    change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    Set,
    /// Lost with the member's presence.
    Lost,
    /// Removed from a member who was there all the time; with a delay if a change of rules required it.
    Taken,
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
    /// By id, with whether it is active now.
    rules: BTreeMap<&'static str, (RuleText, bool)>,
    /// When rules begin and end to be active.
    edges: BTreeSet<(i64, &'static str, bool)>,
    pub last: Look,
    /// All who were ever in a room, with the milliseconds from their last arrival until their marks were
    /// set.
    pub seen: BTreeMap<Seat, Option<i64>>,
    /// The marks of members online that are to be set, if the member lacks them, or else removed.
    due: BTreeMap<(Seat, u32), Cause>,
    pub restored: Vec<Restored>,
    /// Marks that were required and never set: the member left, or the rule ended.
    missed: Vec<(Seat, u32)>,
    pub taken: usize,
    /// The newest first.
    pub news: VecDeque<News>,
    last_news: u64,
}

impl Ledger {
    /// Marks that were required so far.
    pub(super) fn demanded(&self) -> usize {
        self.restored.len() + self.lacking().count() + self.missed.len()
    }

    /// Marks that were or are to be removed.
    pub(super) fn to_take(&self) -> usize {
        self.taken + self.due.len() - self.lacking().count()
    }

    /// Whether every required mark is set and nothing is to be removed any more.
    pub(super) fn is_settled(&self) -> bool {
        self.due.is_empty()
    }

    fn lacking(&self) -> impl Iterator<Item = &(Seat, u32)> {
        let lacks = |(seat, mark): &&(Seat, u32)| {
            let member = self.last.members.get(seat);
            member.is_some_and(|member| !member.marks.contains(mark))
        };
        self.due.keys().filter(lacks)
    }

    /// The members online, with their marks.
    fn online(&self) -> impl Iterator<Item = (&Seat, &Marks)> {
        let online = self.last.members.iter().filter(|(_, member)| member.online);
        online.map(|(seat, member)| (seat, &member.marks))
    }

    /// What is wrong, one line each; empty when nothing is.
    pub(super) fn complaints(&self) -> Vec<String> {
        let line = |Seat { group, account }: &Seat, what: &str, mark: &u32| {
            format!("{account} in {group} {what} {mark}")
        };
        let missed = self.missed.iter();
        let missed = missed.map(|(seat, mark)| line(seat, "never got the required mark", mark));
        let lacking = self.lacking();
        let lacking = lacking.map(|(seat, mark)| line(seat, "lacks the required mark", mark));
        let surplus = self.online().flat_map(|(seat, marks)| {
            let what = "still has a mark that no rule requires:";
            let surplus = marks - &self.demands(seat);
            surplus.into_iter().map(move |mark| line(seat, what, &mark))
        });
        let mut lines: Vec<String> = missed.chain(lacking).chain(surplus).collect();
        if lines.is_empty() && self.restored.is_empty() {
            lines.push("no rule required a mark".to_owned());
        }
        lines
    }

    /// Adds a rule, or replaces that of the same id.
    pub(super) fn write(&mut self, rule: &RuleText, at: i64) {
        if let Some((from, to)) = rule.window {
            let edges = [(at + from, rule.id, true), (at + to, rule.id, false)];
            self.edges.extend(edges);
        }
        let known = self.rules.contains_key(rule.id);
        let cause = if known { "the edit" } else { "the start" };
        self.change_rules(at, cause, |this| {
            this.rules.insert(rule.id, (*rule, rule.window.is_none()));
        });
    }

    pub(super) fn delete(&mut self, id: &str, at: i64) {
        self.change_rules(at, "the deletion", |this| {
            this.rules.remove(id);
        });
    }

    /// Whether a window of a rule will open or close.
    pub(super) fn awaits_window(&self) -> bool {
        !self.edges.is_empty()
    }

    /// Opens and closes the windows of rules up to this time, and says when and which.
    pub(super) fn pass_time(&mut self, until: i64) -> Vec<(i64, String)> {
        let mut titles = Vec::new();
        let later = self.edges.split_off(&(until + 1, "", false));
        for (at, id, opens) in std::mem::replace(&mut self.edges, later) {
            let (what, cause) = match opens {
                true => ("starts", "the rule began"),
                false => ("ends", "the rule ended"),
            };
            titles.push((at, format!("The window of {id} {what}")));
            self.change_rules(at, cause, |this| {
                let rule = this.rules.get_mut(id);
                rule.into_iter().for_each(|(_, active)| *active = opens);
            });
        }
        titles
    }

    /// The marks that the rules require of a member while online.
    fn demands(&self, seat: &Seat) -> Marks {
        let rules = self.rules.values().filter(|(rule, active)| {
            *active && names(rule.group, &seat.group) && names(rule.account, &seat.account)
        });
        rules.flat_map(|(rule, _)| rule.marks).copied().collect()
    }

    fn change_rules(&mut self, at: i64, what: &'static str, change: impl FnOnce(&mut Self)) {
        let online = self
            .online()
            .map(|(seat, _)| (seat.clone(), self.demands(seat)));
        let online: Vec<(Seat, Marks)> = online.collect();
        change(self);
        for (seat, before) in online {
            let after = self.demands(&seat);
            let marks = &self.last.members[&seat].marks;
            for mark in &before ^ &after {
                let key = (seat.clone(), mark);
                let required = after.contains(&mark);
                if required != marks.contains(&mark) {
                    self.due.insert(key, Cause { at, what });
                } else if self.due.remove(&key).is_some() && !required {
                    self.missed.push(key);
                }
            }
        }
    }

    /// Takes in a look and says what became different since the last one.
    pub(super) fn take_in(&mut self, look: Look) -> Vec<Change> {
        let mut changes = Vec::new();
        let before = std::mem::replace(&mut self.last, look.clone()).members;
        for seat in look.members.keys() {
            self.seen.entry(seat.clone()).or_default();
        }
        for seat in self.seen.keys().cloned().collect::<Vec<_>>() {
            let (was, is) = (before.get(&seat), look.members.get(&seat));
            let what = ARRIVALS[usize::from(was.is_some_and(|was| !was.online))];
            let online = |member: &&MemberView| member.online;
            let (there, here) = (was.filter(online), is.filter(online));
            let mut had = there.map(|member| member.marks.clone()).unwrap_or_default();
            let has = here.map(|member| member.marks.clone()).unwrap_or_default();
            if there.map(|member| member.arrived_at) != here.map(|member| member.arrived_at) {
                if there.is_some() {
                    let why = match (is, here) {
                        (None, _) => "left",
                        (_, None) => "connection lost",
                        _ => "gone for a moment",
                    };
                    changes.extend(self.left(&seat, std::mem::take(&mut had), why));
                }
                if let Some(at) = here.map(|member| member.arrived_at) {
                    let due = self.demands(&seat).into_iter();
                    let due = due.map(|mark| ((seat.clone(), mark), Cause { at, what }));
                    self.due.extend(due);
                }
            }
            self.became(&seat, &has - &had, true, look.at, &mut changes);
            self.became(&seat, &had - &has, false, look.at, &mut changes);
        }
        for change in changes.iter().cloned() {
            self.last_news += 1;
            let (id, at) = (self.last_news, look.at);
            self.news.push_front(News { id, at, change });
        }
        self.news.truncate(KEPT);
        changes
    }

    fn left(&mut self, seat: &Seat, marks: Marks, why: &'static str) -> Option<Change> {
        for (key, _) in self.due.extract_if(.., |(other, _), _| other == seat) {
            if !marks.contains(&key.1) {
                self.missed.push(key);
            }
        }
        self.seen.insert(seat.clone(), None);
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
            let cause = self.due.remove(&key);
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
                self.due.insert(key, Cause { at, what });
            }
            by_cause.entry(cause).or_default().insert(mark);
        }
        for (cause, marks) in by_cause {
            if let Some(cause) = cause.filter(|cause| set && ARRIVALS.contains(&cause.what)) {
                self.seen.insert(seat.clone(), Some(delay(cause)));
            }
            changes.push(Change {
                seat: seat.clone(),
                what: if set { What::Set } else { What::Taken },
                marks,
                delay: cause.map(delay),
                why: cause.map_or("not part of the show", |cause| cause.what),
            });
        }
    }
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

    /// A look at the VIP, who arrived at a time and has these marks, is offline at time 0, or is gone.
    fn sees(ledger: &mut Ledger, at: i64, vip: Option<(i64, &[u32])>) -> Vec<Change> {
        let seat = change(What::Set, &[], None).seat;
        let view = |(arrived_at, marks): (i64, &[u32])| MemberView {
            online: arrived_at > 0,
            connected: arrived_at > 0,
            arrived_at,
            marks: marks.iter().copied().collect(),
        };
        ledger.take_in(Look {
            at,
            rooms: [seat.group.clone()].into(),
            members: vip.map(|vip| (seat, view(vip))).into_iter().collect(),
        })
    }

    /// One VIP who arrived at 100 and was seen at 110 with these marks.
    fn vip(marks: &[u32]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.write(&VIPS, 0);
        sees(&mut ledger, 110, Some((100, marks)));
        ledger
    }

    #[test]
    fn a_mark_is_due_from_each_arrival_until_it_is_seen() {
        let mut ledger = vip(&[]);
        let lacks = ["vip-1 in gala lacks the required mark 2001"];
        assert_eq!(ledger.complaints(), lacks);
        for (at, seen, changes) in [
            (
                142,
                Some((100, &[2001][..])),
                vec![set(&[2001], 42, "joining")],
            ),
            (150, Some((100, &[2001])), vec![]),
            (200, Some((0, &[])), vec![lost("connection lost")]),
            (
                330,
                Some((300, &[2001])),
                vec![set(&[2001], 30, "coming back")],
            ),
            (
                450,
                Some((400, &[2001])),
                vec![lost("gone for a moment"), set(&[2001], 50, "joining")],
            ),
            (460, None, vec![lost("left")]),
        ] {
            assert_eq!(sees(&mut ledger, at, seen), changes);
            assert!(ledger.is_settled() && ledger.complaints().is_empty());
        }
        assert_eq!((ledger.demanded(), ledger.restored.len()), (3, 3));
    }

    #[test]
    fn a_change_of_rules_concerns_those_present_and_what_is_never_set_is_missed() {
        let mut ledger = vip(&[2001]);
        let edited = RuleText {
            marks: &[2002],
            ..VIPS
        };
        ledger.write(&edited, 500);
        assert_eq!((ledger.demanded(), ledger.to_take()), (2, 1));
        let taken = change(What::Taken, &[2001], Some((20, "the edit")));
        let edited = [set(&[2002], 20, "the edit"), taken];
        assert_eq!(sees(&mut ledger, 520, Some((100, &[2002]))), edited);
        assert!(ledger.is_settled() && ledger.taken == 1);
        let missed = ["vip-1 in gala never got the required mark 2001"];
        let mut ended = vip(&[]);
        ended.delete("vips", 200);
        assert_eq!(ended.complaints(), missed);
        let mut left = vip(&[]);
        assert_eq!(sees(&mut left, 120, None), []);
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
        let both = Some((100, &[2001, 3001][..]));
        assert_eq!(sees(&mut ledger, 1520, both), [began]);
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
        let both = Some((100, &[2001, 7000][..]));
        assert_eq!(sees(&mut ledger, 200, both), [appeared]);
        let gone = change(What::Taken, &[2001], None);
        assert_eq!(sees(&mut ledger, 210, Some((100, &[7000]))), [gone]);
        assert!(!ledger.is_settled(), "it is due again");
    }
}
