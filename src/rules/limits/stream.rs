//! Reads from the database the demands that an area needs, and walks over them.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::area::{Area, order};
use super::walk::{Conflict, Demand, Walk};
use crate::domain::{MAX_MARKS_PER_ROOM, MarkSet, Pattern, Rule, RuleId, Window};
use crate::members::mark_set;
use crate::rules::row::{array_text, corrupt, marks_of};

/// What a dry run would change of the demands that the database holds.
#[derive(Default)]
pub(in crate::rules) struct Unwritten {
    /// Each with one of its rules.
    added: HashMap<Demand, RuleId>,
    /// By how many rules fewer.
    removed: HashMap<Demand, i64>,
}

impl Unwritten {
    pub(in crate::rules) fn add(
        &mut self,
        before: Option<&Rule>,
        after: Option<&Rule>,
        now: DateTime<Utc>,
    ) {
        if let Some(demand) = before.and_then(|rule| Demand::of(&rule.draft, now)) {
            *self.removed.entry(demand).or_default() += 1;
        }
        if let Some((rule, demand)) =
            after.and_then(|rule| Some((rule, Demand::of(&rule.draft, now)?)))
        {
            self.added.entry(demand).or_insert_with(|| rule.id.clone());
        }
    }

    fn removes(&self, demand: &Demand, rules: i64) -> bool {
        self.removed.get(demand).is_some_and(|gone| *gone >= rules)
    }
}

/// Checks the areas of a write that stands in the transaction already, or of one that is unwritten. The
/// outer result is the database's, the inner one the answer.
///
/// One statement for all areas. `level`: the patterns above their rooms, and the rooms named
/// exactly. What lies below a prefix comes without what the write brings anyway.
pub(in crate::rules) async fn check(
    transaction: &mut PgConnection,
    areas: &[Area],
    now: DateTime<Utc>,
    unwritten: &Unwritten,
) -> Result<Result<(), Conflict>, sqlx::Error> {
    if areas.is_empty() || few_marks_are_in_use(transaction, unwritten).await? {
        return Ok(Ok(()));
    }
    let columns = Columns::of(areas);
    let mut rows = sqlx::query_as!(
        DemandRow,
        r#"
        with area as (
            select a.*, a.floor::bigint[] as floor_marks
            from unnest($1::text[], $2::smallint[], $3::text[], $4::text[],
                        $5::timestamptz[], $6::timestamptz[])
                as a (text, prefix_len, end_of_texts, floor, starts_at, ends_at)
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
            where d.ends_at > $7
            union all
            select d.* from area a join room_demands d
                on d.group_text >= a.text and d.group_text < a.end_of_texts
            where a.prefix_len >= 0 and d.ends_at > $7
              and not d.marks <@ a.floor_marks
              and (a.starts_at is null or d.ends_at > a.starts_at)
              and (a.ends_at is null or d.starts_at < a.ends_at)
        )
        select group_text as "group_text!", group_prefix_len as "group_prefix_len!",
               marks as "marks!", nullif(starts_at, '-infinity') as starts_at,
               nullif(ends_at, 'infinity') as ends_at, rules as "rules!"
        from demand order by group_text, group_prefix_len desc
        "#,
        &columns.texts as &[&str],
        &columns.prefix_lens,
        &columns.ends_of_texts,
        &columns.floors,
        &columns.starts_at as &[Option<DateTime<Utc>>],
        &columns.ends_at as &[Option<DateTime<Utc>>],
        now,
    )
    .fetch(transaction);

    let mut walk = Walk::default();
    let mut floors = all_floors(areas, unwritten);
    while let Some(row) = rows.try_next().await? {
        let rules = row.rules;
        let demand = Demand::try_from(row)?;
        if unwritten.removes(&demand, rules) {
            continue;
        }
        while let Some(floor) = floors.pop_front_if(|floor| precedes(floor, &demand)) {
            if let Err(conflict) = walk.step(floor) {
                return Ok(Err(conflict));
            }
        }
        if let Err(conflict) = walk.step(demand) {
            return Ok(Err(conflict));
        }
    }
    let rest = floors.into_iter().try_for_each(|floor| walk.step(floor));
    Ok(rest.and_then(|()| walk.finish()))
}

/// Sets of marks looked at. Who demands more different ones may well demand more than ten marks.
const MOST_SETS: i64 = 100;

/// Whether all rules together, wherever and whenever they hold, demand no more marks than one room
/// can have. So it is for most applications, and then a rule over all rooms is no more to check than
/// one over a single room.
async fn few_marks_are_in_use(
    transaction: &mut PgConnection,
    unwritten: &Unwritten,
) -> Result<bool, sqlx::Error> {
    let used = sqlx::query!(
        r#"
        with recursive used as (
            (select marks from room_demands order by marks limit 1)
            union all
            select (select d.marks from room_demands d where d.marks > u.marks
                    order by d.marks limit 1)
            from used u where u.marks is not null
        )
        select coalesce(array_agg(distinct mark), '{}') as "marks!", count(distinct u.marks) as "sets!"
        from (select marks from used where marks is not null limit $1) u
        cross join unnest(u.marks) as mark
        "#,
        MOST_SETS,
    )
    .fetch_one(transaction)
    .await?;
    let mut marks: MarkSet = mark_set(&used.marks);
    marks.extend(
        unwritten
            .added
            .keys()
            .flat_map(|demand| demand.marks.iter()),
    );
    Ok(used.sets < MOST_SETS && marks.len() <= MAX_MARKS_PER_ROOM)
}

/// One rule for each demand of a conflict, in their order.
pub(in crate::rules) async fn rules_of(
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

/// What the database does not say, in the order of the walk.
fn all_floors(areas: &[Area], unwritten: &Unwritten) -> VecDeque<Demand> {
    let floors = areas.iter().flat_map(|area| &area.floor);
    let mut all: Vec<Demand> = floors.chain(unwritten.added.keys()).cloned().collect();
    all.sort_by(|one, other| order(&one.group).cmp(&order(&other.group)));
    all.into()
}

fn precedes(one: &Demand, other: &Demand) -> bool {
    order(&one.group) <= order(&other.group)
}

struct DemandRow {
    group_text: String,
    group_prefix_len: i16,
    marks: Vec<i64>,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
    rules: i64,
}

impl TryFrom<DemandRow> for Demand {
    type Error = sqlx::Error;

    fn try_from(row: DemandRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            group: Pattern::from_columns(&row.group_text, row.group_prefix_len).map_err(corrupt)?,
            marks: marks_of(&row.marks)?,
            window: Window {
                starts_at: row.starts_at,
                ends_at: row.ends_at,
            },
        })
    }
}

#[derive(Default)]
struct Columns<'a> {
    texts: Vec<&'a str>,
    prefix_lens: Vec<i16>,
    ends_of_texts: Vec<String>,
    floors: Vec<String>,
    starts_at: Vec<Option<DateTime<Utc>>>,
    ends_at: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Columns<'a> {
    fn of(areas: &'a [Area]) -> Self {
        let mut columns = Self::default();
        for area in areas {
            columns.texts.push(area.group.text());
            columns.prefix_lens.push(area.group.prefix_len());
            columns.ends_of_texts.push(area.end_of_texts());
            columns.floors.push(array_text(&area.floor_marks()));
            columns.starts_at.push(area.window.starts_at);
            columns.ends_at.push(area.window.ends_at);
        }
        columns
    }
}
