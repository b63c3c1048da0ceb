//! All members who were seen on the stage, also those who left, so that they can be called back.
//!
//! Fed with looks and with what the rules require, it knows for each member how long Chat was
//! without marks after the last arrival. Bounded: of rooms and members beyond the limits only the
//! number is known, and those who left give way to new ones.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::local::demo::ledger::{Marks, Rooms};
use crate::local::simulator::MemberView;

/// Rooms that are shown.
pub(super) const MOST_ROOMS: usize = 12;
/// Members of one room that are shown.
pub(super) const MOST_MEMBERS: usize = 200;

/// The rooms by group.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Cast(#[serde(serialize_with = "values")] pub BTreeMap<String, Room>);

/// A room, open or closed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Room {
    group: String,
    open: bool,
    #[serde(serialize_with = "values")]
    pub members: BTreeMap<String, Member>,
    /// Members in the room that have no place here.
    hidden: usize,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Member {
    account: String,
    state: State,
    pub marks: Marks,
    /// What the rules require while the member is online.
    wanted: Marks,
    /// Milliseconds from the last arrival until the member had all marks that the rules required.
    pub delay: Option<i64>,
    #[serde(skip)]
    arrived_at: i64,
    /// Whether marks are due since the arrival: not if none was required then, since what a later
    /// rule adds has nothing to do with the arrival. `None` until it is known.
    #[serde(skip)]
    awaits: Option<bool>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Here,
    /// Without connection.
    Away,
    #[default]
    Gone,
}

fn values<S: Serializer>(
    map: &BTreeMap<String, impl Serialize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}

impl Cast {
    /// Takes in who is there.
    pub(super) fn look(&mut self, rooms: &Rooms) {
        for (group, room) in &mut self.0 {
            room.open = rooms.contains_key(group);
        }
        for (group, members) in rooms {
            if !self.0.contains_key(group) && self.0.len() >= MOST_ROOMS {
                self.0.retain(|_, room| room.open);
                if self.0.len() >= MOST_ROOMS {
                    continue;
                }
            }
            let room = self.0.entry(group.clone()).or_default();
            (room.group, room.open) = (group.clone(), true);
            room.look(members);
        }
        for room in self.0.values_mut().filter(|room| !room.open) {
            room.look(&BTreeMap::new());
        }
    }
}

impl Room {
    fn look(&mut self, present: &BTreeMap<String, MemberView>) {
        for (account, member) in &mut self.members {
            if !present.contains_key(account) {
                *member = Member {
                    account: account.clone(),
                    wanted: std::mem::take(&mut member.wanted),
                    ..Member::default()
                };
            }
        }
        self.hidden = 0;
        for (account, view) in present {
            if !self.members.contains_key(account) && self.members.len() >= MOST_MEMBERS {
                self.members.retain(|_, member| member.state != State::Gone);
                if self.members.len() >= MOST_MEMBERS {
                    self.hidden += 1;
                    continue;
                }
            }
            let member = self.members.entry(account.clone()).or_default();
            member.account.clone_from(account);
            member.look(view);
        }
    }

    /// Takes in what the rules require of members; of those not named, nothing. `at` is when the last
    /// look was taken, Unix milliseconds.
    pub(super) fn want(&mut self, mut wanted: BTreeMap<String, Marks>, at: i64) {
        for (account, member) in &mut self.members {
            member.want(wanted.remove(account).unwrap_or_default(), at);
        }
    }
}

impl Member {
    fn look(&mut self, view: &MemberView) {
        if self.arrived_at != view.arrived_at || !view.online {
            (self.awaits, self.delay) = (None, None);
        }
        self.arrived_at = view.arrived_at;
        self.state = match view.online {
            true => State::Here,
            false => State::Away,
        };
        self.marks.clone_from(&view.marks);
    }

    fn want(&mut self, wanted: Marks, at: i64) {
        self.wanted = wanted;
        if self.state != State::Here {
            return;
        }
        if *self.awaits.get_or_insert(!self.wanted.is_empty()) && self.wanted.is_subset(&self.marks)
        {
            self.awaits = Some(false);
            self.delay = Some((at - self.arrived_at).max(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::ledger::tests::{gala, present};

    /// The delay of a VIP after a look and what the rules require then.
    fn delay(cast: &mut Cast, at: i64, marks: &[u32], wanted: &[u32]) -> Option<i64> {
        cast.look(&gala(&[("vip-1", present(100, marks))]));
        let wanted = [("vip-1".to_owned(), wanted.iter().copied().collect())];
        let room = cast.0.get_mut("gala").unwrap();
        room.want(wanted.into(), at);
        room.members["vip-1"].delay
    }

    #[test]
    fn a_delay_counts_from_the_arrival_until_all_required_marks_are_there() {
        let mut cast = Cast::default();
        let wanted = &[2001, 2002];
        assert_eq!(delay(&mut cast, 110, &[], wanted), None);
        assert_eq!(delay(&mut cast, 130, &[2001], wanted), None);
        assert_eq!(delay(&mut cast, 141, wanted, wanted), Some(41));
        // What a later rule adds is no delay of the arrival.
        let mut cast = Cast::default();
        assert_eq!(delay(&mut cast, 110, &[], &[]), None);
        assert_eq!(delay(&mut cast, 90_000, &[], &[2001]), None);
        assert_eq!(delay(&mut cast, 90_040, &[2001], &[2001]), None);
    }

    #[test]
    fn those_who_left_stay_without_marks_until_others_need_the_space() {
        let mut cast = Cast::default();
        cast.look(&gala(&[("vip-1", present(100, &[2001]))]));
        cast.look(&gala(&[("vip-2", present(120, &[]))]));
        cast.look(&Rooms::new());
        let room = &cast.0["gala"];
        assert!(!room.open && room.members.len() == 2);
        assert!(
            room.members
                .values()
                .all(|m| m.state == State::Gone && m.marks.is_empty())
        );
        let names = |from: usize| (from..from + MOST_MEMBERS).map(|n| format!("m{n:05}"));
        for from in [0, 1] {
            let names = names(from).chain((from > 0).then(|| "z".to_owned()));
            let members: BTreeMap<_, _> = names.map(|name| (name, present(1, &[]))).collect();
            cast.look(&Rooms::from([("gala".to_owned(), members)]));
        }
        let room = &cast.0["gala"];
        assert_eq!((room.members.len(), room.hidden), (MOST_MEMBERS, 1));
        assert!(!room.members.contains_key("m00000"));
        for first in [0, 100] {
            let rooms = (first..first + 50).map(|n| (format!("room-{n:03}"), BTreeMap::new()));
            cast.look(&rooms.collect());
            assert_eq!(cast.0.len(), MOST_ROOMS);
        }
        assert!(cast.0.contains_key("room-100"), "closed ones give way");
    }
}
