//! The check itself: a walk over demands in the order of their rooms.
//!
//! Patterns are nested or have nothing in common, so in the order of their texts (a prefix before
//! the literal of the same text) they form a tree in pre-order. A stack keeps the path from the
//! widest pattern to the present one: exactly the demands that some room shares. Memory grows with
//! the distinct demands of one path, not with the number of rules.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};

use crate::domain::{
    GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks, Pattern, RuleDraft, Window,
};

/// What rules ask of rooms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Demand {
    pub group: Pattern<GroupId>,
    pub marks: Marks,
    pub window: Window,
}

/// Rooms that would need more marks than Chat allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Every room of this pattern is concerned.
    pub group: Pattern<GroupId>,
    /// The first such moment; `None`: since ever.
    pub from: Option<DateTime<Utc>>,
    pub marks: MarkSet,
    /// Demands that together are these marks, the widest pattern first.
    pub demands: Vec<Demand>,
}

impl Demand {
    /// What a rule requires from `now` on; `None` if nothing.
    pub fn of(draft: &RuleDraft, now: DateTime<Utc>) -> Option<Self> {
        let ended = draft.window.ends_at.is_some_and(|end| end <= now);
        (draft.enabled && !ended).then(|| Self {
            group: draft.group.clone(),
            marks: draft.marks.clone(),
            window: draft.window,
        })
    }

    /// The order of the walk.
    pub(super) fn group_order(&self) -> (&str, Reverse<i16>) {
        (self.group.text(), Reverse(self.group.prefix_len()))
    }

    /// Whether this one requires all that the other does.
    pub(in crate::rules) fn includes(&self, other: &Self) -> bool {
        self.group.covers(&other.group)
            && self.marks.as_set().is_superset(other.marks.as_set())
            && self.window.hull(other.window) == self.window
    }
}

/// Checks demands that come in the order of their rooms: by text bytewise, and of equal texts the prefix
/// before the literal.
#[derive(Default)]
pub(super) struct Walk {
    path: Vec<Level>,
}

/// The demands of one pattern.
struct Level {
    group: Pattern<GroupId>,
    shares: HashSet<Share>,
    /// Distinct marks at any time, of this level, that no wider level has.
    own: MarkSet,
    /// Distinct marks at any time on the path down to here.
    total: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Share {
    window: Window,
    marks: Marks,
}

impl Walk {
    pub(super) fn step(&mut self, demand: Demand) -> Result<(), Conflict> {
        if self
            .path
            .last()
            .is_none_or(|level| level.group != demand.group)
        {
            self.check_last()?;
            while self
                .path
                .last()
                .is_some_and(|level| !level.group.covers(&demand.group))
            {
                self.path.pop();
            }
            let total = self.path.last().map_or(0, |level| level.total);
            self.path.push(Level {
                group: demand.group,
                shares: HashSet::new(),
                own: MarkSet::new(),
                total,
            });
        }
        let Demand { window, marks, .. } = demand;
        if !starts_after(window.starts_at, window.ends_at) {
            self.add(Share { window, marks });
        } // else it is never active
        Ok(())
    }

    fn add(&mut self, share: Share) {
        let Some((last, wider)) = self.path.split_last_mut() else {
            return;
        };
        if last.shares.contains(&share) || wider.iter().any(|l| l.shares.contains(&share)) {
            return;
        }
        for mark in share.marks.iter() {
            if !wider.iter().any(|level| level.own.contains(&mark)) && last.own.insert(mark) {
                last.total += 1;
            }
        }
        last.shares.insert(share);
    }

    /// Checks the last level. Wider ones were checked when they were the last; so only moments at which a
    /// demand of this one is active can bring something new.
    pub(super) fn check_last(&self) -> Result<(), Conflict> {
        match self.path.last() {
            Some(last) if last.total > MAX_MARKS_PER_ROOM => self.sweep(last),
            _ => Ok(()),
        }
    }

    /// Goes through the moments at which demands begin and end.
    fn sweep(&self, last: &Level) -> Result<(), Conflict> {
        let windows = last.shares.iter().map(|share| share.window);
        let hull = windows.reduce(Window::hull).unwrap_or_default();
        let mut starts = self.shares_within(hull);
        starts.sort_unstable_by_key(|share| share.window.starts_at);
        let mut ends = starts.clone();
        ends.retain(|share| share.window.ends_at.is_some());
        ends.sort_unstable_by_key(|share| share.window.ends_at);

        let mut held = Tally::default();
        let mut starts = starts.into_iter().peekable();
        let mut ends = ends.into_iter().peekable();
        while let Some(first) = starts.next() {
            let moment = first.window.starts_at;
            // A window excludes its end: what ends now makes room for what begins now.
            while let Some(ended) = ends.next_if(|share| share.window.ends_at <= moment) {
                held.remove(ended);
            }
            held.add(first);
            while let Some(begun) = starts.next_if(|share| share.window.starts_at == moment) {
                held.add(begun);
            }
            if held.0.len() > MAX_MARKS_PER_ROOM {
                return Err(self.conflict(last, moment, held.0.into_keys().collect()));
            }
        }
        Ok(())
    }

    /// All demands of the path that are active at some moment of the window.
    fn shares_within(&self, hull: Window) -> Vec<&Share> {
        let shares = self.path.iter().flat_map(|level| level.shares.iter());
        shares
            .filter(|share| {
                !starts_after(share.window.starts_at, hull.ends_at)
                    && !starts_after(hull.starts_at, share.window.ends_at)
            })
            .collect()
    }

    fn conflict(&self, last: &Level, from: Option<DateTime<Utc>>, marks: MarkSet) -> Conflict {
        let mut unnamed = marks.clone();
        let mut demands = Vec::new();
        for level in &self.path {
            let mut holding: Vec<&Share> = level
                .shares
                .iter()
                .filter(|share| share.holds(from))
                .collect();
            // Those that explain most come first; the other keys only make the order definite.
            holding.sort_unstable_by_key(|share| {
                let Window { starts_at, ends_at } = share.window;
                (
                    Reverse(share.marks.as_set().len()),
                    share.marks.as_set(),
                    starts_at,
                    ends_at,
                )
            });
            for share in holding {
                let before = unnamed.len();
                unnamed.retain(|mark| !share.marks.as_set().contains(mark));
                if unnamed.len() < before {
                    demands.push(Demand {
                        group: level.group.clone(),
                        marks: share.marks.clone(),
                        window: share.window,
                    });
                }
            }
        }
        Conflict {
            group: last.group.clone(),
            from,
            marks,
            demands,
        }
    }
}

/// Whether what starts then misses what ends then.
fn starts_after(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> bool {
    start.zip(end).is_some_and(|(start, end)| start >= end)
}

impl Share {
    /// Whether the demand is active at the moment; `None` is the moment before all others.
    fn holds(&self, moment: Option<DateTime<Utc>>) -> bool {
        let since_ever = self.window.starts_at.is_none();
        moment.map_or(since_ever, |moment| self.window.contains(moment))
    }
}

/// How many active demands require each mark.
#[derive(Default)]
struct Tally(BTreeMap<Mark, usize>);

impl Tally {
    fn add(&mut self, share: &Share) {
        for mark in share.marks.iter() {
            *self.0.entry(mark).or_default() += 1;
        }
    }

    fn remove(&mut self, share: &Share) {
        for mark in share.marks.iter() {
            if let Some(count) = self.0.get_mut(&mark) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&mark);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
