//! The check itself: a walk over demands in the order of their rooms.
//!
//! Patterns are nested or have nothing in common, so in the order of their texts (a prefix before
//! the literal of the same text) they form a tree in pre-order. A stack keeps the path from the
//! widest pattern to the present one: exactly the demands that some room shares. Memory grows with
//! the demands of one path, not with the number of rules.

use std::cmp::Reverse;
use std::collections::BTreeMap;

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

    /// Whether it is active at the moment; `None` is the moment before all others.
    fn is_active(&self, moment: Option<DateTime<Utc>>) -> bool {
        let since_ever = self.window.starts_at.is_none();
        moment.map_or(since_ever, |moment| self.window.contains(moment))
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
    path: Vec<Demand>,
    /// The marks of the whole path, at any time.
    required: Tally,
}

impl Walk {
    pub(super) fn step(&mut self, demand: Demand) -> Result<(), Conflict> {
        let last = self.path.last();
        if last.is_none_or(|last| last.group != demand.group) {
            self.check_last()?;
            let left = |last: &mut Demand| !last.group.covers(&demand.group);
            while let Some(left) = self.path.pop_if(left) {
                self.required.remove(&left);
            }
        }
        if !starts_after(demand.window.starts_at, demand.window.ends_at) {
            self.required.add(&demand);
            self.path.push(demand);
        } // else it is never active
        Ok(())
    }

    /// Checks the last pattern. Wider ones were checked when they were the last; so only moments at which a
    /// demand of this one is active can bring something new.
    pub(super) fn check_last(&self) -> Result<(), Conflict> {
        match self.path.last() {
            Some(last) if self.required.0.len() > MAX_MARKS_PER_ROOM => self.sweep(&last.group),
            _ => Ok(()),
        }
    }

    /// Goes through the moments at which demands begin and end.
    fn sweep(&self, group: &Pattern<GroupId>) -> Result<(), Conflict> {
        let last = self.path.iter().rev();
        let last = last.take_while(|demand| demand.group == *group);
        let hull = last.map(|demand| demand.window).reduce(Window::hull);
        let mut starts = self.active_within(hull.unwrap_or_default());
        starts.sort_unstable_by_key(|demand| demand.window.starts_at);
        let mut ends = starts.clone();
        ends.retain(|demand| demand.window.ends_at.is_some());
        ends.sort_unstable_by_key(|demand| demand.window.ends_at);

        let mut held = Tally::default();
        let mut starts = starts.into_iter().peekable();
        let mut ends = ends.into_iter().peekable();
        while let Some(first) = starts.next() {
            let moment = first.window.starts_at;
            // A window excludes its end: what ends now makes room for what begins now.
            while let Some(ended) = ends.next_if(|demand| demand.window.ends_at <= moment) {
                held.remove(ended);
            }
            held.add(first);
            while let Some(begun) = starts.next_if(|demand| demand.window.starts_at == moment) {
                held.add(begun);
            }
            if held.0.len() > MAX_MARKS_PER_ROOM {
                return Err(self.conflict(group, moment, held.0.into_keys().collect()));
            }
        }
        Ok(())
    }

    /// All demands of the path that are active at some moment of the window.
    fn active_within(&self, hull: Window) -> Vec<&Demand> {
        let active = self.path.iter().filter(|demand| {
            !starts_after(demand.window.starts_at, hull.ends_at)
                && !starts_after(hull.starts_at, demand.window.ends_at)
        });
        active.collect()
    }

    fn conflict(
        &self,
        group: &Pattern<GroupId>,
        from: Option<DateTime<Utc>>,
        marks: MarkSet,
    ) -> Conflict {
        let mut unnamed = marks.clone();
        let mut demands = Vec::new();
        for level in self.path.chunk_by(|one, other| one.group == other.group) {
            let active = level.iter().filter(|demand| demand.is_active(from));
            let mut active: Vec<&Demand> = active.collect();
            // Those that explain most come first; the other keys only make the order definite.
            active.sort_unstable_by_key(|demand| {
                let (marks, window) = (demand.marks.as_set(), demand.window);
                let count = Reverse(marks.len());
                (count, marks, window.starts_at, window.ends_at)
            });
            for demand in active {
                let before = unnamed.len();
                unnamed.retain(|mark| !demand.marks.as_set().contains(mark));
                if unnamed.len() < before {
                    demands.push(demand.clone());
                }
            }
        }
        Conflict {
            group: group.clone(),
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

/// How many demands require each mark.
#[derive(Default)]
struct Tally(BTreeMap<Mark, usize>);

impl Tally {
    fn add(&mut self, demand: &Demand) {
        for mark in demand.marks.iter() {
            *self.0.entry(mark).or_default() += 1;
        }
    }

    fn remove(&mut self, demand: &Demand) {
        for mark in demand.marks.iter() {
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
