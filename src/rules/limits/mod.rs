//! No room may need more than ten marks at any moment.
//!
//! Chat refuses an eleventh mark in a room, so a write that could lead there is refused instead. Accounts
//! play no role: the limit belongs to the room. Disabled and ended rules do not count, and rules whose
//! windows are disjoint never add up. Only the demands are read that the write can bring into conflict:
//! before it no room was in conflict, so these are the demands in rooms of a written rule.
//!
//! The check itself is a walk over demands in the order of their rooms. Patterns are nested or have nothing
//! in common, so in the order of their texts (a prefix before the literal of the same text) they form a
//! tree in pre-order. A stack keeps the path from the widest pattern to the present one: exactly the
//! demands that some room shares. Memory grows with the demands of one path, not with the number of rules.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::table::{corrupt, marks_of};
use crate::domain::{
    GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks, Pattern, RuleDraft, RuleId, Window,
};

/// What a dry run would change of the demands in the database.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Each with one of its rules.
    added: HashMap<Demand, RuleId>,
    /// By how many rules fewer.
    removed: HashMap<Demand, i64>,
}

impl Unwritten {
    pub fn add(&mut self, removed: Option<&Demand>, added: Option<(&Demand, &RuleId)>) {
        if let Some(demand) = removed {
            *self.removed.entry(demand.clone()).or_default() += 1;
        }
        if let Some((demand, rule)) = added {
            let rule_of = self.added.entry(demand.clone());
            rule_of.or_insert_with(|| rule.clone());
        }
    }
}

/// Checks demands that a write has brought to the transaction, or that are unwritten. The outer result is
/// the database's, the inner one the answer.
///
/// `level`: the patterns above their rooms, and the rooms themselves.
pub(super) async fn check(
    transaction: &mut PgConnection,
    written: HashSet<Demand>,
    now: DateTime<Utc>,
    unwritten: &Unwritten,
) -> Result<Result<(), Conflict>, sqlx::Error> {
    if written.is_empty() {
        return Ok(Ok(()));
    }
    let mut written: Vec<Demand> = written.into_iter().collect();
    written.sort_unstable_by(|one, other| one.group_order().cmp(&other.group_order()));
    written.dedup_by(|later, wider| wider.group.covers(&later.group));
    let areas = written.iter().map(|demand| &demand.group);
    let (texts, prefix_lens): (Vec<&str>, Vec<i16>) = areas
        .map(|group| (group.text(), group.prefix_len()))
        .unzip();
    let mut rows = sqlx::query!(
        r#"
        with area as (
            -- Ids are printable ASCII, so DEL is behind all that may follow.
            select a.*, a.text || chr(127) as end_of_texts
            from unnest($1::text[], $2::smallint[]) as a (text, prefix_len)
        ),
        level as (
            select distinct s.len,
                case when s.len < 0 then a.text else left(a.text, s.len) end collate "C" as text
            from area a join (select distinct group_prefix_len as len from rule_shapes) s
                on case when s.len < 0 then a.prefix_len < 0
                        when a.prefix_len < 0 then s.len <= char_length(a.text)
                        else s.len < char_length(a.text) end
        ),
        demand as (
            select d.* from level l join room_demands d
                on d.group_text = l.text and d.group_prefix_len = l.len
            where d.ends_at > $3
            union all
            select d.* from area a join room_demands d
                on d.group_text >= a.text and d.group_text < a.end_of_texts
            where a.prefix_len >= 0 and d.ends_at > $3
        )
        select group_text as "group_text!", group_prefix_len as "group_prefix_len!",
               marks as "marks!", nullif(starts_at, '-infinity') as starts_at,
               nullif(ends_at, 'infinity') as ends_at, rules as "rules!"
        from demand order by group_text, group_prefix_len desc
        "#,
        &texts as &[&str],
        &prefix_lens,
        now,
    )
    .fetch(transaction);

    let mut added: Vec<&Demand> = unwritten.added.keys().collect();
    added.sort_unstable_by(|one, other| one.group_order().cmp(&other.group_order()));
    let mut added = VecDeque::from(added);
    let mut walk = Walk::default();
    while let Some(row) = rows.try_next().await? {
        let demand = Demand {
            group: Pattern::from_columns(&row.group_text, row.group_prefix_len).map_err(corrupt)?,
            marks: marks_of(&row.marks)?,
            window: Window {
                starts_at: row.starts_at,
                ends_at: row.ends_at,
            },
        };
        if unwritten
            .removed
            .get(&demand)
            .is_some_and(|gone| *gone >= row.rules)
        {
            continue;
        }
        while let Some(before) =
            added.pop_front_if(|added| added.group_order() <= demand.group_order())
        {
            if let Err(conflict) = walk.step(before.clone()) {
                return Ok(Err(conflict));
            }
        }
        if let Err(conflict) = walk.step(demand) {
            return Ok(Err(conflict));
        }
    }
    let rest = added
        .into_iter()
        .try_for_each(|added| walk.step(added.clone()));
    Ok(rest.and_then(|()| walk.check_last()))
}

/// One rule for each demand of a conflict, in their order.
pub(super) async fn rules_of(
    transaction: &mut PgConnection,
    conflict: &Conflict,
    unwritten: &Unwritten,
) -> Result<Vec<RuleId>, sqlx::Error> {
    let mut rules = Vec::with_capacity(conflict.demands.len());
    for demand in &conflict.demands {
        if let Some(rule) = unwritten.added.get(demand) {
            rules.push(rule.clone());
            continue;
        }
        let marks: Vec<i64> = demand.marks.iter().map(i64::from).collect();
        let rule = sqlx::query_scalar!(
            r#"
            select id as "id: RuleId" from rules
            where group_text = $1 and group_prefix_len = $2 and marks = $3 and enabled
              and starts_at is not distinct from $4 and ends_at is not distinct from $5
            order by updated_at desc, id limit 1
            "#,
            demand.group.text(),
            demand.group.prefix_len(),
            &marks,
            demand.window.starts_at,
            demand.window.ends_at,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        rules.extend(rule);
    }
    Ok(rules)
}

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
    fn group_order(&self) -> (&str, Reverse<i16>) {
        (self.group.text(), Reverse(self.group.prefix_len()))
    }

    /// Whether it is active at the moment; `None` is the moment before all others.
    fn is_active(&self, moment: Option<DateTime<Utc>>) -> bool {
        let since_ever = self.window.starts_at.is_none();
        moment.map_or(since_ever, |moment| self.window.contains(moment))
    }

    /// Whether this one requires all that the other does.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.group.covers(&other.group)
            && self.marks.as_set().is_superset(other.marks.as_set())
            && self.window.hull(other.window) == self.window
    }
}

/// Checks demands that come in the order of their rooms: by text bytewise, and of equal texts the prefix
/// before the literal.
#[derive(Default)]
struct Walk {
    path: Vec<Demand>,
    /// The marks of the whole path, at any time.
    required: Tally,
}

impl Walk {
    fn step(&mut self, demand: Demand) -> Result<(), Conflict> {
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
    fn check_last(&self) -> Result<(), Conflict> {
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
