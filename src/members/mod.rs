//! Members of live rooms, and the queue of rooms in which some member is due.
//!
//! A row of a member says whether they are present, which marks Chat confirmed, and when the member is due
//! (`due_at`; null: never). It has no marks to send: those are planned from the rules at the moment of the
//! call. Only members that a rule matches get a row. All times are those of Postgres, so replicas need no
//! common clock. [`store`] says who writes which column, and [`Member::after`] what a round makes of a row.

mod batch;
mod inbox;
mod life;
pub mod store;

pub use batch::{Batch, Named};
pub use inbox::{Inbox, InboxWriter, News, NotTaken};
pub use life::{Member, Outcome};
pub use store::claim::{
    Claim, MEMBERS_A_CALL, MEMBERS_A_MARK, claim, due_members, held_places, retry_failed,
    until_next_due, wake_rooms,
};
pub(crate) use store::cleanup::{count_rows_of, delete_rows_of};
pub use store::list::{
    FailureReason, MemberFilter, MemberRow, MemberState, MembersByState, QueueDepth, count_members,
    failure_reasons, list_members, queue_depth, retry_reasons,
};
pub use store::record::{Ended, Settling, record, room_gone};
pub use store::rooms::{Found, RoomFilter, RoomRow, list_rooms};
pub use store::write_back::{Results, write_back};

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Mark, MarkSet};

/// Whether a member is in the room, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// In the room and online.
    Present,
    /// The member left, dropped, or Chat did not find them in several tries.
    Absent,
    /// A rule matches the member, but no event was recorded.
    Unknown,
}

impl Presence {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Unknown => "unknown",
        }
    }
}

/// Marks read back from the database; they were checked on their way in.
pub(crate) fn mark_set(numbers: &[i64]) -> MarkSet {
    numbers
        .iter()
        .filter_map(|number| Mark::parse(*number).ok())
        .collect()
}

/// Marks as a column of a row.
#[derive(sqlx::Type)]
#[sqlx(transparent, no_pg_array)]
pub(crate) struct MarkColumn(Vec<i64>);

impl From<MarkColumn> for MarkSet {
    fn from(column: MarkColumn) -> Self {
        mark_set(&column.0)
    }
}

/// One column of rows, for `UNNEST`.
pub(crate) fn column<'a, R, T>(rows: &[&'a R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(|row| field(row)).collect()
}

/// Marks as the text of a Postgres array, since Postgres would flatten an array of arrays.
pub(crate) fn array_text(marks: &MarkSet) -> String {
    let numbers: Vec<String> = marks.iter().map(Mark::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}

#[cfg(test)]
pub(crate) fn marks<const N: usize>(numbers: [i64; N]) -> MarkSet {
    mark_set(&numbers)
}
