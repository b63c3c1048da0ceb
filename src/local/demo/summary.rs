//! The figures at the end, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::house::{Faults, Marks, Seat};
use super::ledger::{Ledger, Restored};
use super::timeline::list;
use crate::local::simulator::CallRecord;

/// What the simulated Chat answers when no member of a call is online: an exact rule is tried at once,
/// also before its member joined.
const NOT_ONLINE: i64 = 10004;

/// What the show came to.
#[derive(Debug)]
pub(super) struct Summary {
    members: usize,
    rooms: usize,
    demanded: usize,
    restored: usize,
    missed: Vec<(Seat, u32)>,
    taken: usize,
    to_take: usize,
    median: Option<i64>,
    slowest: Option<Restored>,
    spent: Spent,
    faults: Faults,
}

/// What Chat was asked for.
#[derive(Debug, Default)]
pub(super) struct Spent {
    calls: usize,
    members: usize,
    most_members: usize,
    /// How often each error was the answer.
    errors: BTreeMap<i64, usize>,
}

impl Spent {
    /// From the calls that Chat remembers.
    pub(super) fn of(records: &[CallRecord]) -> Self {
        let mut spent = Self {
            calls: records.len(),
            ..Self::default()
        };
        for record in records {
            spent.members += record.members.len();
            spent.most_members = spent.most_members.max(record.members.len());
            if record.error_code != 0 {
                *spent.errors.entry(record.error_code).or_default() += 1;
            }
        }
        spent
    }
}

impl Summary {
    /// From the books, the calls of `modify_user_info`, and a last comparison of rooms and rules.
    pub(super) fn new(ledger: &Ledger, spent: Spent, faults: Faults) -> Self {
        let rooms: BTreeSet<&str> = ledger.seen.iter().map(|seat| seat.group.as_str()).collect();
        let slowest = ledger.restored.iter().max_by_key(|one| one.delay);
        Self {
            members: ledger.seen.len(),
            rooms: rooms.len(),
            demanded: ledger.restored.len() + ledger.open() + ledger.missed.len(),
            restored: ledger.restored.len(),
            missed: ledger.missed.clone(),
            taken: ledger.taken,
            to_take: ledger.taken + ledger.revoked(),
            median: median(ledger.restored.iter().map(|one| one.delay).collect()),
            slowest: slowest.cloned(),
            spent,
            faults,
        }
    }

    /// Whether every demanded mark was restored and no mark is left that no rule requires.
    pub(super) fn is_good(&self) -> bool {
        self.restored == self.demanded
            && self.demanded > 0
            && self.faults.missing.is_empty()
            && self.faults.surplus.is_empty()
    }

    /// What is wrong, one line each; empty when nothing is.
    pub(super) fn complaints(&self) -> Vec<String> {
        let line = |(seat, marks): &(Seat, Marks), what: &str| {
            let Seat { group, account } = seat;
            format!("{account} in {group} {what} {}", list(marks))
        };
        let missing = self.faults.missing.iter();
        let surplus = self.faults.surplus.iter();
        let missed = self.missed.iter().map(|(Seat { group, account }, mark)| {
            format!("{account} in {group} did not get the mark {mark} while it was demanded")
        });
        let mut lines: Vec<String> = missed
            .chain(missing.map(|fault| line(fault, "lacks the demanded mark")))
            .chain(surplus.map(|fault| line(fault, "still carries, though no rule demands it,")))
            .collect();
        if lines.is_empty() && !self.is_good() {
            let (restored, demanded) = (self.restored, self.demanded);
            lines.push(format!(
                "{restored} of {demanded} demanded marks were seen set"
            ));
        }
        lines
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<18} {value}");
        row(
            "members",
            format!("{} in {} rooms", self.members, self.rooms),
        )?;
        row("marks demanded", self.demanded.to_string())?;
        row("marks restored", self.restored.to_string())?;
        row(
            "marks taken away",
            format!("{} of {}", self.taken, self.to_take),
        )?;
        if let (Some(median), Some(slowest)) = (self.median, &self.slowest) {
            let Seat { group, account } = &slowest.seat;
            row("median delay", format!("{median} ms"))?;
            let what = format!("{account} in {group}, after {}", slowest.after);
            row("slowest delay", format!("{} ms ({what})", slowest.delay))?;
        }
        let spent = &self.spent;
        let errors = spent.errors.iter().map(|(code, count)| match *code {
            NOT_ONLINE => format!(", {count} answered {code} (no member online)"),
            _ => format!(", {count} answered {code}"),
        });
        let errors: String = errors.collect();
        row("calls spent", format!("{}{errors}", spent.calls))?;
        let mean = spent.members as f64 / spent.calls.max(1) as f64;
        row(
            "members per call",
            format!("{mean:.1}, at most {}", spent.most_members),
        )
    }
}

fn median(mut delays: Vec<i64>) -> Option<i64> {
    delays.sort_unstable();
    delays.get(delays.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::house::House;
    use crate::local::demo::house::tests::{gala, present, rule};
    use crate::local::demo::ledger::{Cause, Look};

    fn house() -> House {
        let mut house = House::default();
        house.write(&rule("vips", "gala", "vip-*", &[2001]));
        house
    }

    /// Two VIPs joined; both, one or none were seen with their mark.
    fn summary(marks: [&[u32]; 2]) -> Summary {
        let mut ledger = Ledger::default();
        let what = "the start".to_owned();
        ledger.change_rules(house(), &Cause { at: 0, what });
        let [one, two] = marks;
        let rooms = gala(&[("vip-1", present(100, one)), ("vip-2", present(110, two))]);
        let faults = house().faults(&rooms);
        let (began, at) = (150, 150);
        ledger.take_in(&Look { began, at, rooms });
        let spent = Spent {
            calls: 2,
            members: 3,
            most_members: 2,
            errors: [(60008, 1)].into(),
        };
        Summary::new(&ledger, spent, faults)
    }

    #[test]
    fn all_is_well_when_every_demanded_mark_was_restored() {
        let summary = summary([&[2001], &[2001]]);
        assert!(summary.is_good());
        assert!(summary.complaints().is_empty());
        let text = summary.to_string();
        for row in [
            "members            2 in 1 rooms",
            "marks demanded     2",
            "marks restored     2",
            "median delay       40 ms",
            "slowest delay      50 ms (vip-1 in gala, after joining)",
            "calls spent        2, 1 answered 60008",
            "members per call   1.5, at most 2",
        ] {
            assert!(text.contains(row), "no {row:?} in\n{text}");
        }
    }

    #[test]
    fn a_missing_mark_is_named_and_spoils_the_verdict() {
        let summary = summary([&[2001], &[]]);
        assert!(!summary.is_good());
        assert_eq!(
            summary.complaints(),
            ["vip-2 in gala lacks the demanded mark 2001"]
        );
    }

    #[test]
    fn a_mark_that_nobody_demands_spoils_the_verdict_too() {
        let summary = summary([&[2001], &[2001, 7000]]);
        assert!(!summary.is_good());
        assert_eq!(
            summary.complaints(),
            ["vip-2 in gala still carries, though no rule demands it, 7000"]
        );
    }

    #[test]
    fn a_demand_that_ended_unmet_spoils_the_verdict_though_nothing_is_missing_now() {
        let mut ledger = Ledger::default();
        let cause = |at| Cause {
            at,
            what: "the rule".to_owned(),
        };
        ledger.change_rules(house(), &cause(0));
        let rooms = gala(&[
            ("vip-1", present(100, &[2001])),
            ("vip-2", present(100, &[])),
        ]);
        let (began, at) = (150, 150);
        ledger.take_in(&Look { began, at, rooms });
        ledger.change_rules(House::default(), &cause(200));
        let summary = Summary::new(&ledger, Spent::default(), Faults::default());
        assert!(!summary.is_good());
        assert_eq!(
            summary.complaints(),
            ["vip-2 in gala did not get the mark 2001 while it was demanded"]
        );
    }

    #[test]
    fn a_show_in_which_nothing_was_demanded_proves_nothing() {
        let empty = Summary::new(&Ledger::default(), Spent::default(), Faults::default());
        assert!(!empty.is_good());
        assert_eq!(empty.complaints(), ["0 of 0 demanded marks were seen set"]);
        assert!(!empty.to_string().contains("median"));
    }

    #[test]
    fn the_median_is_the_middle_delay() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![9, 1, 5]), Some(5));
        assert_eq!(median(vec![9, 1, 5, 7]), Some(5));
    }
}
