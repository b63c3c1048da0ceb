//! How many members of a room carry each mark.
//!
//! Chat takes a mark for a thousand members of a room at most. Whoever holds the room's lease is the
//! only one who hands out places, so a count made under it stays true until the call, save for those
//! who leave meanwhile.

use std::collections::BTreeMap;

use sqlx::PgPool;

use crate::domain::{GroupId, Mark};

/// Members of one room who can carry the same mark.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MEMBERS_A_MARK: usize = 1000;

/// For each mark in the room how many members hold it, as far as Chat confirmed.
///
/// # Errors
/// Those of the database.
pub async fn held_places(
    pool: &PgPool,
    group: &GroupId,
) -> Result<BTreeMap<Mark, usize>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select mark as "mark!", count(*) as "holders!"
        from members m cross join unnest(m.marks) as mark
        where m.group_id = $1 and m.marks <> '{}'
        group by mark
        "#,
        group.as_str(),
    )
    .fetch_all(pool)
    .await?;
    let place = |row: (i64, i64)| {
        let mark = Mark::parse(row.0).ok()?;
        Some((mark, usize::try_from(row.1).unwrap_or(usize::MAX)))
    };
    Ok(rows
        .into_iter()
        .filter_map(|row| place((row.mark, row.holders)))
        .collect())
}
