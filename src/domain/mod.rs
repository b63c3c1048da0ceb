//! The words of the trade: rooms, accounts, marks, patterns, rules and member events.
//!
//! Everything from outside is parsed into these types at the edge, so that inside there are no
//! loose strings and every value keeps the limits of Tencent Cloud Chat. No I/O happens here, and
//! nothing here knows of any other module.

/// Reads and writes a text type in JSON, queries and rows: parsed on the way in.
macro_rules! serde_as_text {
    ($($type:ty),+) => {$(
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    )+};
}

mod event;
mod id;
mod mark;
mod pattern;
mod request_id;
mod rule;

pub use event::{Change, EventSource, EventTime, MemberEvent, RoomEnd};
pub use id::{Account, GroupId, RuleId};
pub use mark::{MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks};
pub use pattern::Pattern;
use pattern::PatternText;
pub use request_id::RequestId;
pub(crate) use rule::REMEMBERED;
pub use rule::{Rule, RuleDraft, Window};

/// Why a value from outside is none of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

serde_as_text!(GroupId, Account, RuleId, Pattern<GroupId>, Pattern<Account>);

impl serde::Serialize for Mark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

impl<'de> serde::Deserialize<'de> for Mark {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(i64::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
