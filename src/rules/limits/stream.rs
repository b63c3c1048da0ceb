//! Reads from the database the demands that an area needs, and walks over them.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::PgConnection;

use super::area::{Area, order};
use super::walk::{Conflict, Demand, Walk};
use crate::domain::{Pattern, RuleId, Window};
use crate::rules::row::{array_text, corrupt, marks_of};

/// Checks the areas of a write that stands in the transaction already. The outer result is the
/// database's, the inner one the answer.
///
/// One statement for all areas. The patterns above their rooms and the rooms named outright
/// (`level`) are read by leaps from one distinct demand to the next, since a million accounts may
/// share one. What lies below a prefix is read in full, without what the write brings anyway.
pub(in crate::rules) async fn check(
    transaction: &mut PgConnection,
    areas: &[Area],
    now: DateTime<Utc>,
) -> Result<Result<(), Conflict>, sqlx::Error> {
    if areas.is_empty() {
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
        )
        select d.id as "id!", l.text as "group_text!", l.len as "group_prefix_len!",
               d.marks as "marks!", d.starts_at, d.ends_at
        from level l cross join lateral (
            with recursive leap as (
                (select id, marks, starts_at, ends_at from rules
                 where group_text = l.text and group_prefix_len = l.len and enabled
                   and coalesce(ends_at, 'infinity') > $7
                 order by coalesce(ends_at, 'infinity'), coalesce(starts_at, '-infinity'), marks
                 limit 1)
                union all
                select next.* from leap cross join lateral (
                    select id, marks, starts_at, ends_at from rules
                    where group_text = l.text and group_prefix_len = l.len and enabled
                      and (coalesce(ends_at, 'infinity'),
                           coalesce(starts_at, '-infinity'), marks)
                        > (coalesce(leap.ends_at, 'infinity'),
                           coalesce(leap.starts_at, '-infinity'), leap.marks)
                    order by coalesce(ends_at, 'infinity'), coalesce(starts_at, '-infinity'), marks
                    limit 1
                ) next
            )
            select * from leap
        ) d
        union all
        select min(r.id), r.group_text, r.group_prefix_len, r.marks, r.starts_at, r.ends_at
        from area a join rules r on r.group_text >= a.text and r.group_text < a.end_of_texts
        where a.prefix_len >= 0 and r.enabled and coalesce(r.ends_at, 'infinity') > $7
          and not r.marks <@ a.floor_marks
          and (r.ends_at is null or a.starts_at is null or r.ends_at > a.starts_at)
          and (r.starts_at is null or a.ends_at is null or r.starts_at < a.ends_at)
        group by 2, 3, 4, 5, 6
        order by 2, 3 desc
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
    let mut floors: VecDeque<Demand> = all_floors(areas);
    while let Some(row) = rows.try_next().await? {
        let demand = Demand::try_from(row)?;
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

fn all_floors(areas: &[Area]) -> VecDeque<Demand> {
    areas.iter().flat_map(|area| area.floor.clone()).collect()
}

fn precedes(one: &Demand, other: &Demand) -> bool {
    order(&one.group) <= order(&other.group)
}

struct DemandRow {
    id: String,
    group_text: String,
    group_prefix_len: i16,
    marks: Vec<i64>,
    starts_at: Option<DateTime<Utc>>,
    ends_at: Option<DateTime<Utc>>,
}

impl TryFrom<DemandRow> for Demand {
    type Error = sqlx::Error;

    fn try_from(row: DemandRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            rule: RuleId::parse(&row.id).map_err(corrupt)?,
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
