//! The words of the trade: rooms, accounts, marks, patterns, rules and member events.
//!
//! Everything from outside is parsed into these types at the edge, so that inside there are no
//! loose strings and every value keeps the limits of Tencent Cloud Chat. No I/O happens here, and
//! nothing here knows of any other module.

mod account;
mod event;
mod group_id;
mod mark;
mod pattern;
mod request_id;
mod rule;

pub use account::{Account, InvalidAccount};
pub use event::{Change, EventSource, EventTime, MemberEvent, RoomEnd};
pub use group_id::{GroupId, InvalidGroupId};
pub use mark::{InvalidMark, InvalidMarks, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks};
pub use pattern::{InvalidPattern, Pattern, PatternText};
pub use request_id::RequestId;
pub use rule::{InvalidRuleId, Rule, RuleDraft, RuleId, Window};
