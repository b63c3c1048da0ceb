//! All members who were seen on the stage, also those who left, so that they can be called back.
//!
//! Fed with looks and with what the rules demand, it knows for each member how long Chat was
//! without marks after the last arrival. Bounded: rooms and members beyond are only counted, and
//! members who left make place for new ones.

use std::collections::BTreeMap;

use crate::local::demo::house::{Marks, Rooms};
use crate::local::simulator::MemberView;

/// Rooms that are shown.
pub(super) const MOST_ROOMS: usize = 12;
/// Members of one room that are shown.
pub(super) const MOST_MEMBERS: usize = 200;

/// The rooms by group.
#[derive(Debug, Default)]
pub(super) struct Cast(BTreeMap<String, Room>);

/// A room, open or closed.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub open: bool,
    pub members: BTreeMap<String, Member>,
    /// Members in the room that had no place here.
    pub hidden: usize,
}

/// A member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub state: State,
    pub marks: Marks,
    /// What the rules require while the member is online.
    pub wanted: Marks,
    /// Milliseconds from the last arrival until the member had all marks that the rules required.
    pub delay: Option<i64>,
    arrived_at: i64,
    awaits: Awaits,
}

/// Where a member is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Here,
    /// Without connection.
    Away,
    #[default]
    Gone,
}

/// Whether marks are due since a member's arrival.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Awaits {
    /// Not asked yet.
    #[default]
    Unknown,
    Marks,
    /// They came, or no rule matched at the arrival: what a later rule adds has nothing to do with the
    /// arrival.
    Nothing,
}

impl Cast {
    /// The rooms in order.
    pub(super) fn rooms(&self) -> &BTreeMap<String, Room> {
        &self.0
    }

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
            room.open = true;
            room.look(members);
        }
        for room in self.0.values_mut().filter(|room| !room.open) {
            room.look(&BTreeMap::new());
        }
    }

    /// Takes in what the rules demand of members of a room; of those not named, nothing. `at` is
    /// when the last look was taken, Unix milliseconds.
    pub(super) fn want(&mut self, group: &str, mut wanted: BTreeMap<String, Marks>, at: i64) {
        let Some(room) = self.0.get_mut(group) else {
            return;
        };
        for (account, member) in &mut room.members {
            member.want(wanted.remove(account).unwrap_or_default(), at);
        }
    }
}

impl Room {
    fn look(&mut self, present: &BTreeMap<String, MemberView>) {
        for (account, member) in &mut self.members {
            if !present.contains_key(account) {
                *member = Member {
                    wanted: std::mem::take(&mut member.wanted),
                    ..Member::default()
                };
            }
        }
        self.hidden = 0;
        for (account, view) in present {
            if !self.members.contains_key(account) && self.members.len() >= MOST_MEMBERS {
                let gone = |(_, member): &(&String, &Member)| member.state == State::Gone;
                let Some(gone) = self.members.iter().find(gone).map(|(gone, _)| gone.clone())
                else {
                    self.hidden += 1;
                    continue;
                };
                self.members.remove(&gone);
            }
            self.members.entry(account.clone()).or_default().look(view);
        }
    }
}

impl Member {
    fn look(&mut self, view: &MemberView) {
        if self.arrived_at != view.arrived_at {
            self.arrived_at = view.arrived_at;
            self.awaits = Awaits::Unknown;
            self.delay = None;
        }
        self.state = match view.online {
            true => State::Here,
            false => State::Away,
        };
        if !view.online {
            self.delay = None;
        }
        self.marks.clone_from(&view.marks);
    }

    fn want(&mut self, wanted: Marks, at: i64) {
        self.wanted = wanted;
        if self.state != State::Here {
            return;
        }
        if self.awaits == Awaits::Unknown {
            self.awaits = match self.wanted.is_empty() {
                true => Awaits::Nothing,
                false => Awaits::Marks,
            };
        }
        if self.awaits == Awaits::Marks && self.wanted.is_subset(&self.marks) {
            self.awaits = Awaits::Nothing;
            self.delay = Some((at - self.arrived_at).max(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::house::tests::{gala, present};

    fn wanted(account: &str, marks: &[u32]) -> BTreeMap<String, Marks> {
        [(account.to_owned(), marks.iter().copied().collect())].into()
    }

    fn vip(cast: &Cast) -> Member {
        cast.rooms()["gala"].members["vip-1"].clone()
    }

    #[test]
    fn a_delay_counts_from_the_arrival_until_all_demanded_marks_are_there() {
        let mut cast = Cast::default();
        cast.look(&gala(&[("vip-1", present(100, &[]))]));
        cast.want("gala", wanted("vip-1", &[2001, 2002]), 110);
        assert_eq!((vip(&cast).state, vip(&cast).delay), (State::Here, None));
        cast.look(&gala(&[("vip-1", present(100, &[2001]))]));
        cast.want("gala", wanted("vip-1", &[2001, 2002]), 130);
        assert_eq!(vip(&cast).delay, None);
        cast.look(&gala(&[("vip-1", present(100, &[2001, 2002]))]));
        cast.want("gala", wanted("vip-1", &[2001, 2002]), 141);
        assert_eq!(vip(&cast).delay, Some(41));
    }

    #[test]
    fn what_a_later_rule_adds_is_no_delay_of_the_arrival() {
        let mut cast = Cast::default();
        let bare = gala(&[("vip-1", present(100, &[]))]);
        cast.look(&bare);
        cast.want("gala", BTreeMap::new(), 110);
        cast.want("gala", wanted("vip-1", &[2001]), 90_000);
        cast.look(&gala(&[("vip-1", present(100, &[2001]))]));
        cast.want("gala", wanted("vip-1", &[2001]), 90_040);
        assert_eq!(vip(&cast).delay, None);
        assert_eq!(vip(&cast).wanted, vip(&cast).marks);
    }

    #[test]
    fn who_left_stays_in_the_cast_without_marks_and_a_closed_room_with_all_its_people() {
        let mut cast = Cast::default();
        cast.look(&gala(&[("vip-1", present(100, &[2001]))]));
        cast.look(&gala(&[("vip-2", present(120, &[]))]));
        assert_eq!(vip(&cast), Member::default());
        cast.look(&Rooms::new());
        let room = &cast.rooms()["gala"];
        assert!(!room.open);
        assert_eq!(room.members.len(), 2);
        assert!(room.members.values().all(|m| m.state == State::Gone));
    }

    #[test]
    fn a_full_room_gives_the_place_of_one_who_left_and_counts_who_has_none() {
        let many = |from: usize, to: usize| {
            let names: Vec<String> = (from..to).map(|n| format!("m{n:05}")).collect();
            let members: BTreeMap<_, _> = names
                .into_iter()
                .map(|name| (name, present(1, &[])))
                .collect();
            Rooms::from([("gala".to_owned(), members)])
        };
        let mut cast = Cast::default();
        cast.look(&many(0, MOST_MEMBERS));
        cast.look(&many(1, MOST_MEMBERS + 3));
        let room = &cast.rooms()["gala"];
        assert_eq!((room.members.len(), room.hidden), (MOST_MEMBERS, 2));
        assert!(!room.members.contains_key("m00000"));
    }

    #[test]
    fn no_more_rooms_are_kept_than_have_place() {
        let mut cast = Cast::default();
        for first in [0, 100] {
            let rooms = (first..first + 50).map(|n| (format!("room-{n:03}"), BTreeMap::new()));
            cast.look(&rooms.collect());
            assert_eq!(cast.rooms().len(), MOST_ROOMS);
        }
        assert!(
            cast.rooms().contains_key("room-100"),
            "closed ones give way"
        );
    }
}
