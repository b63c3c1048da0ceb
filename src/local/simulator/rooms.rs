//! Rooms, members, presence and marks, with Chat's limits, and the callbacks that a change causes.
//!
//! Only online members have marks. Two movements in one room never have the same time, so `EventTime`
//! gives their order.
//! Sources: <https://www.tencentcloud.com/document/product/1047/50294> (marks),
//! <https://www.tencentcloud.com/document/product/1047/50293> (online list).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::json;

use super::callbacks::{Event, Kind};
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark};

const MAX_MEMBERS_PER_MARK: usize = 1000;
/// Members that the online list shows when no mark is asked for.
const NEWEST_LISTED: usize = 1000;
/// The mark that hides a member from the online list.
const HIDDEN: u32 = 600;

/// The rooms by group; `None` for a destroyed one.
#[derive(Debug, Default)]
pub(super) struct Rooms(BTreeMap<GroupId, Option<Room>>);

#[derive(Debug, Default)]
pub(super) struct Room {
    /// Accounts that joined and did not leave.
    pub members: HashMap<Account, Member>,
    /// How many members have each mark.
    pub marks: BTreeMap<Mark, usize>,
    last_arrival: i64,
    last_movement: i64,
}

#[derive(Debug)]
pub(super) struct Member {
    pub connected: bool,
    /// Unix microseconds of the last arrival, distinct within the room.
    pub arrived: i64,
    pub marks: BTreeSet<Mark>,
}

/// What members do: join, leave, lose their connections, come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Movement {
    Join,
    Leave,
    Drop,
    Back,
}

#[derive(Debug)]
pub(super) struct Movements {
    /// Members with a change.
    pub changed: usize,
    /// `EventTime` of all callbacks, Unix milliseconds.
    pub at: i64,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RoomError {
    #[error("room {0:?} not found; create it first")]
    Unknown(GroupId),
    #[error("room {0:?} was destroyed; create it again first")]
    Destroyed(GroupId),
    #[error("room {0:?} already exists")]
    Exists(GroupId),
}

impl Rooms {
    pub(super) fn find(&mut self, group: &GroupId) -> Result<&mut Room, RoomError> {
        match self.0.get_mut(group) {
            Some(Some(room)) => Ok(room),
            Some(None) => Err(RoomError::Destroyed(group.clone())),
            None => Err(RoomError::Unknown(group.clone())),
        }
    }

    /// Creates a room, also one that was destroyed.
    pub(super) fn create(&mut self, group: GroupId) -> Result<(), RoomError> {
        if self.find(&group).is_ok() {
            return Err(RoomError::Exists(group));
        }
        self.0.insert(group, Some(Room::default()));
        Ok(())
    }

    pub(super) fn destroy(&mut self, group: &GroupId, now: i64) -> Result<Movements, RoomError> {
        let room = self.find(group)?;
        let (changed, at) = (room.members.len(), room.time(now));
        self.0.insert(group.clone(), None);
        let body = json!({
            "Type": "AVChatRoom", "Owner_Account": "administrator", "Name": group,
            "EventTime": at,
        });
        let event = Event::new(Kind::GroupDestroyed, Some(group), Vec::new(), body);
        Ok(Movements {
            changed,
            at,
            events: vec![event],
        })
    }

    /// Moves members; each callback names up to `per_callback` of them. A join creates a room that
    /// never existed.
    pub(super) fn apply(
        &mut self,
        movement: Movement,
        group: &GroupId,
        accounts: &[Account],
        per_callback: usize,
        now: i64,
    ) -> Result<Movements, RoomError> {
        if movement == Movement::Join {
            let new = || Some(Room::default());
            self.0.entry(group.clone()).or_insert_with(new);
        }
        let room = self.find(group)?;
        let at = room.time(now);
        let step = |account: &Account| Some((account.clone(), room.step(movement, account, at)?));
        let moved: Vec<(Account, bool)> = accounts.iter().filter_map(step).collect();
        let chunks = moved.chunks(per_callback.max(1));
        Ok(Movements {
            changed: moved.len(),
            at,
            events: chunks
                .flat_map(|some| callbacks(movement, group, some, at))
                .collect(),
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Room)> {
        let live = self.0.iter();
        live.filter_map(|(group, room)| Some((group, room.as_ref()?)))
    }
}

/// The callbacks for members who moved together: the join or exit first, then the presence of those
/// whose presence changed.
fn callbacks(
    movement: Movement,
    group: &GroupId,
    moved: &[(Account, bool)],
    at: i64,
) -> impl Iterator<Item = Event> {
    let all: Vec<Account> = moved.iter().map(|(account, _)| account.clone()).collect();
    let changed = moved.iter().filter(|(_, changed)| *changed);
    let changed: Vec<Account> = changed.map(|(account, _)| account.clone()).collect();
    let (first, event, cause) = match movement {
        Movement::Join => (Some(Kind::NewMemberJoin), "Online", "Join"),
        Movement::Leave => (Some(Kind::MemberExit), "Offline", "Quit"),
        Movement::Drop => (None, "Offline", "HeartbeatInterrupt"),
        Movement::Back => (None, "Online", "HeartbeatRecover"),
    };
    let first = first.map(|kind| {
        let (how, value) = match kind {
            Kind::NewMemberJoin => ("JoinType", "Apply"),
            _ => ("ExitType", "Quit"),
        };
        let body = json!({
            "Type": "AVChatRoom", how: value, "Operator_Account": all.first(), "EventTime": at,
        });
        Event::new(kind, Some(group), all, body)
    });
    let presence = (!changed.is_empty()).then(|| {
        let body = json!({ "EventType": event, "EventCause": cause, "EventTime": at });
        Event::new(Kind::MemberStateChange, Some(group), changed, body)
    });
    first.into_iter().chain(presence)
}

impl Member {
    /// Mark 500 keeps a member online without a connection. (Chat ends that after three days.)
    pub(super) fn online(&self) -> bool {
        self.connected || self.marks.contains(&Mark::ALWAYS_ONLINE)
    }
}

impl Room {
    /// The time of a movement, later than that of the last one, in Unix milliseconds.
    fn time(&mut self, now: i64) -> i64 {
        self.last_movement = now.max(self.last_movement + 1);
        self.last_movement
    }

    /// Moves one member. `None` when nothing changes, else whether the presence did.
    fn step(&mut self, movement: Movement, account: &Account, at: i64) -> Option<bool> {
        let member = self.members.get_mut(account);
        match movement {
            // Further terminals of one member are one presence.
            Movement::Join if member.as_ref().is_some_and(|m| m.connected) => None,
            Movement::Join => Some(self.arrive(account, at)),
            Movement::Leave => {
                let was_online = member?.online();
                self.clear(account);
                self.members.remove(account).map(|_| was_online)
            }
            Movement::Drop => {
                let member = member.filter(|member| member.connected)?;
                member.connected = false;
                let gone = !member.online();
                if gone {
                    self.clear(account);
                }
                Some(gone)
            }
            Movement::Back => {
                let member = member.filter(|member| !member.connected)?;
                if member.online() {
                    member.connected = true;
                    return Some(false);
                }
                Some(self.arrive(account, at))
            }
        }
    }

    /// A member enters the online list, without marks.
    fn arrive(&mut self, account: &Account, now: i64) -> bool {
        self.clear(account);
        self.last_arrival = (now * 1000).max(self.last_arrival + 1);
        let member = Member {
            connected: true,
            arrived: self.last_arrival,
            marks: BTreeSet::new(),
        };
        self.members.insert(account.clone(), member);
        true
    }

    /// Clears the marks of a member.
    fn clear(&mut self, account: &Account) {
        let member = self.members.get_mut(account);
        let marks = member.map(|member| std::mem::take(&mut member.marks));
        for mark in marks.unwrap_or_default() {
            forget(&mut self.marks, mark);
        }
    }

    /// Sets (or else deletes) marks of members who are online and `visible`. A member who would be
    /// the 1001st with a mark keeps what they have. Returns the positions of those whose marks were
    /// written, or nothing if the room would have more distinct marks than Chat allows.
    pub(super) fn mark(
        &mut self,
        wanted: &[(Account, Vec<Mark>)],
        set: bool,
        visible: impl Fn(&Account) -> bool,
    ) -> Option<Vec<usize>> {
        let mut distinct: BTreeSet<Mark> = self.marks.keys().copied().collect();
        distinct.extend(wanted.iter().flat_map(|(_, marks)| marks));
        if set && distinct.len() > MAX_MARKS_PER_ROOM {
            return None;
        }
        let mut served = Vec::new();
        for (position, (account, marks)) in wanted.iter().enumerate() {
            let member = self.members.get_mut(account).filter(|m| m.online());
            let Some(member) = member.filter(|_| visible(account)) else {
                continue;
            };
            let new = |mark: &&Mark| member.marks.contains(mark) != set;
            let changed: Vec<Mark> = marks.iter().filter(new).copied().collect();
            let full = |mark: &Mark| self.marks.get(mark) >= Some(&MAX_MEMBERS_PER_MARK);
            if set && changed.iter().any(full) {
                continue;
            }
            served.push(position);
            for mark in changed {
                if set {
                    member.marks.insert(mark);
                    *self.marks.entry(mark).or_default() += 1;
                } else {
                    member.marks.remove(&mark);
                    forget(&mut self.marks, mark);
                }
            }
            if !member.online() {
                self.clear(account);
            }
        }
        Some(served)
    }

    /// The online list, newest first, as `(arrival, account)` with an arrival before `before`.
    /// Without a mark only the newest thousand that mark 600 does not hide.
    pub(super) fn listed(&self, mark: Option<Mark>, before: Option<i64>) -> Vec<(i64, Account)> {
        let shown = |(_, member): &(&Account, &Member)| match mark {
            Some(mark) => member.marks.contains(&mark),
            None => member.online() && !member.marks.iter().any(|mark| mark.get() == HIDDEN),
        };
        let shown = self.members.iter().filter(shown);
        let shown = shown.map(|(account, member)| (member.arrived, account.clone()));
        let mut list: Vec<_> = shown.collect();
        list.sort_unstable_by_key(|(arrived, _)| Reverse(*arrived));
        if mark.is_none() {
            list.truncate(NEWEST_LISTED);
        }
        list.retain(|(arrived, _)| before.is_none_or(|before| *arrived < before));
        list
    }

    pub(super) fn online(&self) -> usize {
        let members = self.members.values();
        members.filter(|member| member.online()).count()
    }
}

/// A mark that no member has any more leaves a place for another one.
fn forget(marks: &mut BTreeMap<Mark, usize>, mark: Mark) {
    if let Some(count) = marks.get_mut(&mark) {
        *count -= 1;
    }
    marks.retain(|_, count| *count > 0);
}
