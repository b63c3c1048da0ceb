//! Members of live rooms: the one table that is both their state and the queue of work.
//!
//! A row says where a member is believed to be, which marks Chat confirmed for him, and when
//! somebody must look at him next (`due_at`; null: never). It holds no marks to send: those are
//! planned from the rules at the moment of the call. Only members that some rule names get a row.
//! Every change of fact raises `generation`; whoever settles a claim does so only if the generation
//! is still the one it claimed. All times are those of Postgres, so replicas need no common clock.

mod batch;
mod gathered;
mod inbox;
pub mod store;
mod wake;

pub use batch::{Batch, Named};
pub use gathered::News;
pub use inbox::{Inbox, InboxWriter, NotTaken};
pub use store::claim::{Claim, ClaimedMember, MEMBERS_A_CALL, claim, until_next_due};
pub use store::list::{
    FailureReason, MemberFilter, MemberRow, MemberState, QueueDepth, failure_reasons, list_members,
    queue_depth,
};
pub use store::places::{MEMBERS_A_MARK, held_places};
pub(crate) use store::record::interval;
pub use store::record::{Settling, record};
pub use store::retry::retry_failed;
pub use store::room_end::{Ended, room_gone};
pub use store::rooms::{Found, MembersByState, RoomFilter, RoomRow, list_rooms};
pub use store::rule_changes::{RuleChange, rules_changed};
pub use store::settle::{Outcome, Settlement, Waited, settle};
pub use wake::WakeUp;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Mark, MarkSet};

/// Where a member is believed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type, Serialize, ToSchema)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// In the room and online.
    Present,
    /// He left, dropped, or Chat did not find him in several tries.
    Absent,
    /// A rule names him, but nothing was heard of him yet.
    Unknown,
}

/// Marks read back from the database; they were checked on their way in.
pub(crate) fn mark_set(numbers: &[i64]) -> MarkSet {
    numbers
        .iter()
        .filter_map(|number| Mark::parse(*number).ok())
        .collect()
}

/// Marks as the text of a Postgres array.
pub(crate) fn array_text(marks: impl Iterator<Item = Mark>) -> String {
    let numbers: Vec<String> = marks.map(|mark| mark.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}
