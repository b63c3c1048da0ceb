//! What a callback says of a member, and which of two events about the same member counts.
//!
//! Chat promises neither order nor single delivery, so events are ordered by their `EventTime`
//! where both have one. Where that does not decide, the event that leads to setting marks wins:
//! marking a member who is gone is harmless (Chat omits them from its answer), while a member
//! wrongly believed gone would be in the room without marks.

use super::{Account, GroupId, RequestId};

/// Unix milliseconds at which Chat says the event happened.
///
/// Field tables say Integer, samples show a quoted number, old deployments send none. Sources:
/// <https://www.tencentcloud.com/document/product/1047/34372>,
/// <https://www.tencentcloud.com/document/product/1047/48734>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTime(i64);

impl EventTime {
    /// Takes Unix milliseconds. A number too small for that is taken as seconds.
    pub fn from_number(number: i64) -> Self {
        const SMALLEST_MILLISECONDS: i64 = 100_000_000_000;
        if (1..SMALLEST_MILLISECONDS).contains(&number) {
            Self(number * 1000)
        } else {
            Self(number)
        }
    }

    pub fn millis(self) -> i64 {
        self.0
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The member joined or came back online: their marks are wiped and must be set again.
    Arrived,
    /// The member left or dropped: Chat has deleted their marks.
    Left,
}

/// Which callback reported the change; shown to people who ask why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// `Group.CallbackAfterNewMemberJoin`
    Join,
    /// `Group.CallbackOnMemberStateChange`, `Online`
    Online,
    /// `Group.CallbackAfterMemberExit`
    Exit,
    /// `Group.CallbackOnMemberStateChange`, `Offline`
    Offline,
}

impl EventSource {
    /// Whether such an event means arrival or leave.
    pub fn change(self) -> Change {
        match self {
            Self::Join | Self::Online => Change::Arrived,
            Self::Exit | Self::Offline => Change::Left,
        }
    }

    /// The word kept in the database and shown by the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Online => "online",
            Self::Exit => "exit",
            Self::Offline => "offline",
        }
    }
}

/// One member came or went in one room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberEvent {
    pub group: GroupId,
    pub account: Account,
    /// The callback that reported it, and with it the change.
    pub source: EventSource,
    pub at: Option<EventTime>,
    pub request: RequestId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEnd {
    pub group: GroupId,
    pub at: Option<EventTime>,
    pub request: RequestId,
}

impl MemberEvent {
    pub fn change(&self) -> Change {
        self.source.change()
    }

    /// Of two events about the same member, the one that counts. The later by `EventTime`; where
    /// the times are equal or one is missing, an arrival before a leave, else the one heard last.
    pub fn settle_with(self, heard_later: Self) -> Self {
        use std::cmp::Ordering::{Equal, Greater, Less};
        let order = match (self.at, heard_later.at) {
            (Some(mine), Some(other)) => mine.cmp(&other),
            _ => Equal,
        };
        match (order, self.change(), heard_later.change()) {
            (Less, _, _) => heard_later,
            (Greater, _, _) => self,
            (Equal, Change::Arrived, Change::Left) => self,
            (Equal, _, _) => heard_later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(source: EventSource, at: Option<i64>) -> MemberEvent {
        MemberEvent {
            group: GroupId::parse("room").unwrap(),
            account: Account::parse("alice").unwrap(),
            source,
            at: at.map(EventTime::from_number),
            request: RequestId::parse("any").unwrap(),
        }
    }

    #[test]
    fn a_late_offline_does_not_cancel_a_newer_online() {
        let online = event(EventSource::Online, Some(1_760_000_000_200));
        let offline = event(EventSource::Offline, Some(1_760_000_000_100));
        assert_eq!(online.clone().settle_with(offline.clone()), online);
        assert_eq!(offline.settle_with(online.clone()), online);
    }

    #[test]
    fn equal_or_missing_times_prefer_the_arrival() {
        for (join_at, exit_at) in [
            (Some(1), Some(1)),
            (None, Some(1)),
            (Some(1), None),
            (None, None),
        ] {
            let join = event(EventSource::Join, join_at);
            let exit = event(EventSource::Exit, exit_at);
            assert_eq!(join.clone().settle_with(exit.clone()), join);
            assert_eq!(exit.settle_with(join.clone()), join);
        }
    }

    #[test]
    fn seconds_are_taken_for_milliseconds() {
        assert_eq!(
            EventTime::from_number(1_760_000_000).millis(),
            1_760_000_000_000
        );
        assert_eq!(
            EventTime::from_number(1_760_000_000_123).millis(),
            1_760_000_000_123
        );
    }

    proptest! {
        #[test]
        fn with_times_the_order_of_hearing_does_not_matter(
            one in 1_760_000_000_000i64..1_760_000_000_004,
            two in 1_760_000_000_000i64..1_760_000_000_004,
            gone_first in any::<bool>(),
        ) {
            let (a, b) = if gone_first {
                (EventSource::Offline, EventSource::Online)
            } else {
                (EventSource::Online, EventSource::Offline)
            };
            let (a, b) = (event(a, Some(one)), event(b, Some(two)));
            prop_assert_eq!(a.clone().settle_with(b.clone()), b.settle_with(a));
        }
    }
}
