//! No room may need more than ten marks at any moment.
//!
//! Chat refuses an eleventh mark in a room, so a write that could lead there is refused instead. Accounts
//! play no role: the limit belongs to the room. Disabled and ended rules do not count, and rules whose
//! windows are disjoint never add up. `walk` decides over demands in the order of their rooms, without
//! I/O; this file reads only the demands that the write can bring into conflict. Before the write no room
//! was in conflict, so these are the demands in rooms of a written rule, while it is active.

mod walk;

use std::collections::{HashMap, HashSet, VecDeque};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::table::{corrupt, marks_of};
use crate::domain::{GroupId, Pattern, RuleId, Window};
use walk::Walk;
pub use walk::{Conflict, Demand};

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
    let areas = areas(written);
    let texts: Vec<&str> = areas.iter().map(|(group, _)| group.text()).collect();
    let prefix_lens: Vec<i16> = areas.iter().map(|(group, _)| group.prefix_len()).collect();
    let starts: Vec<_> = areas.iter().map(|(_, window)| window.starts_at).collect();
    let ends: Vec<_> = areas.iter().map(|(_, window)| window.ends_at).collect();
    let mut rows = sqlx::query!(
        r#"
        with area as (
            -- Ids are printable ASCII, so DEL is behind all that may follow.
            select a.*, a.text || chr(127) as end_of_texts
            from unnest($1::text[], $2::smallint[], $3::timestamptz[], $4::timestamptz[])
                as a (text, prefix_len, starts_at, ends_at)
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
            where d.ends_at > $5
            union all
            select d.* from area a join room_demands d
                on d.group_text >= a.text and d.group_text < a.end_of_texts
            where a.prefix_len >= 0 and d.ends_at > $5
              and (a.starts_at is null or d.ends_at > a.starts_at)
              and (a.ends_at is null or d.starts_at < a.ends_at)
        )
        select group_text as "group_text!", group_prefix_len as "group_prefix_len!",
               marks as "marks!", nullif(starts_at, '-infinity') as starts_at,
               nullif(ends_at, 'infinity') as ends_at, rules as "rules!"
        from demand order by group_text, group_prefix_len desc
        "#,
        &texts as &[&str],
        &prefix_lens,
        &starts as &[Option<DateTime<Utc>>],
        &ends as &[Option<DateTime<Utc>>],
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

/// The rooms of demands, as patterns that have no room in common, each with the time in which one of its
/// demands can be active.
fn areas(demands: HashSet<Demand>) -> Vec<(Pattern<GroupId>, Window)> {
    let mut demands: Vec<Demand> = demands.into_iter().collect();
    demands.sort_unstable_by(|one, other| one.group_order().cmp(&other.group_order()));
    let mut areas: Vec<(Pattern<GroupId>, Window)> = Vec::new();
    for Demand { group, window, .. } in demands {
        match areas.last_mut() {
            Some((wider, whole)) if wider.covers(&group) => *whole = whole.hull(window),
            _ => areas.push((group, window)),
        }
    }
    areas
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
            select id from rules
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
        if let Some(rule) = rule {
            rules.push(RuleId::parse(&rule).map_err(corrupt)?);
        }
    }
    Ok(rules)
}
