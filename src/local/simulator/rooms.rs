//! All rooms, and the movements of their members.
//!
//! A movement changes the state and says which callbacks Chat would send for it. The times of two
//! movements of one member are never equal, so that their order can be told from `EventTime`. Rooms, members and remembered destroyed rooms are bounded.

use std::collections::{HashMap, HashSet, VecDeque};

use super::callback::{Cause, Event, What};
use super::room::Room;
use crate::domain::{Account, GroupId};

const MAX_ROOMS: usize = 100_000;
const MAX_MEMBERS: usize = 2_000_000;
const DESTROYED_REMEMBERED: usize = 100_000;

/// Every room that exists or is remembered as destroyed.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    live: HashMap<GroupId, Room>,
    destroyed: HashSet<GroupId>,
    destroyed_order: VecDeque<GroupId>,
    members: usize,
}

/// What happens to members of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Movement {
    Join,
    Leave { kicked: bool },
    Drop,
    Back,
    ExpireAlwaysOnline,
}

/// What a movement did.
#[derive(Debug, Default)]
pub(super) struct Movements {
    pub changed: usize,
    pub unchanged: usize,
    /// `EventTime` of all its callbacks, Unix milliseconds.
    pub at: i64,
    pub events: Vec<Event>,
}

/// Why a room cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RoomError {
    #[error("there is no room {0:?}; create it first")]
    Unknown(GroupId),
    #[error("the room {0:?} was destroyed; create it again first")]
    Destroyed(GroupId),
    #[error("the room {0:?} exists already")]
    Exists(GroupId),
    #[error("the simulator holds at most {MAX_ROOMS} rooms and {MAX_MEMBERS} members")]
    Full,
}

impl Rooms {
    /// The room, if it exists.
    pub(super) fn find(&mut self, group: &GroupId) -> Result<&mut Room, RoomError> {
        match self.live.get_mut(group) {
            Some(room) => Ok(room),
            None if self.destroyed.contains(group) => Err(RoomError::Destroyed(group.clone())),
            None => Err(RoomError::Unknown(group.clone())),
        }
    }

    /// Opens a room, also one that was destroyed.
    pub(super) fn create(
        &mut self,
        group: GroupId,
        owner: String,
        name: String,
    ) -> Result<(), RoomError> {
        if self.live.contains_key(&group) {
            return Err(RoomError::Exists(group));
        }
        if self.live.len() >= MAX_ROOMS {
            return Err(RoomError::Full);
        }
        if self.destroyed.remove(&group) {
            self.destroyed_order.retain(|other| *other != group);
        }
        self.live.insert(group, Room::new(owner, name));
        Ok(())
    }

    /// Closes a room with all its members.
    pub(super) fn destroy(&mut self, group: &GroupId, now: i64) -> Result<Movements, RoomError> {
        self.find(group)?;
        let Some(room) = self.live.remove(group) else {
            return Err(RoomError::Unknown(group.clone()));
        };
        self.members -= room.len();
        self.destroyed.insert(group.clone());
        self.destroyed_order.push_back(group.clone());
        if self.destroyed_order.len() > DESTROYED_REMEMBERED
            && let Some(oldest) = self.destroyed_order.pop_front()
        {
            self.destroyed.remove(&oldest);
        }
        let at = room.time_after_all(now);
        let changed = room.len();
        let what = What::GroupDestroyed {
            owner: room.owner,
            name: room.name,
        };
        let events = vec![Event {
            group: Some(group.clone()),
            at,
            what,
        }];
        Ok(Movements {
            changed,
            at,
            events,
            ..Movements::default()
        })
    }

    /// Moves members; each callback tells of up to `per_callback` of them. A join opens a room
    /// that never existed.
    pub(super) fn apply(
        &mut self,
        movement: Movement,
        group: &GroupId,
        accounts: &[Account],
        per_callback: usize,
        now: i64,
    ) -> Result<Movements, RoomError> {
        match self.find(group) {
            Err(RoomError::Unknown(_)) if movement == Movement::Join => {
                self.create(group.clone(), String::new(), String::new())?;
            }
            other => drop(other?),
        }
        if movement == Movement::Join && self.members + accounts.len() > MAX_MEMBERS {
            return Err(RoomError::Full);
        }
        let room = self.find(group)?;
        let at = room.time_of(accounts, now);
        let before = room.len();
        let moved: Vec<(&Account, bool)> = accounts
            .iter()
            .filter_map(|account| Some((account, step(room, movement, account, at)?)))
            .collect();
        for (account, _) in &moved {
            room.note_moved(account, at);
        }
        let owner = room.owner.clone();
        let after = room.len();
        self.members = self.members + after - before;
        let mut events = Vec::with_capacity(moved.len() * 2);
        for some in moved.chunks(per_callback.max(1)) {
            let whats = told(movement, some, &owner);
            let group = Some(group.clone());
            events.extend(whats.map(|what| Event {
                group: group.clone(),
                at,
                what,
            }));
        }
        let changed = moved.len();
        let unchanged = accounts.len() - changed;
        Ok(Movements {
            changed,
            unchanged,
            at,
            events,
        })
    }

    /// Ends mark 500 wherever its three days are over.
    pub(super) fn expire(&mut self, now: i64) -> Vec<Event> {
        let over: Vec<(GroupId, Vec<Account>)> = self
            .live
            .iter()
            .map(|(group, room)| (group.clone(), room.run_out(now)))
            .filter(|(_, accounts)| !accounts.is_empty())
            .collect();
        let mut events = Vec::new();
        for (group, accounts) in over {
            if let Ok(done) = self.apply(Movement::ExpireAlwaysOnline, &group, &accounts, 1, now) {
                events.extend(done.events);
            }
        }
        events
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Room)> {
        self.live.iter()
    }
}

/// Moves one member. None when nothing changes, else whether his presence did.
fn step(room: &mut Room, movement: Movement, account: &Account, at: i64) -> Option<bool> {
    match movement {
        Movement::Join => room.join(account, at).then_some(true),
        Movement::Leave { .. } => room.leave(account),
        Movement::Drop => room.disconnect(account),
        Movement::Back => room.come_back(account, at),
        Movement::ExpireAlwaysOnline => room.expire_always_online(account),
    }
}

/// The callbacks for members who moved together: the join or exit first, then the presence.
fn told(movement: Movement, moved: &[(&Account, bool)], owner: &str) -> impl Iterator<Item = What> {
    let all = || {
        moved
            .iter()
            .map(|(account, _)| (*account).clone())
            .collect()
    };
    let present = moved.iter().filter(|(_, presence)| *presence);
    let accounts: Vec<Account> = present.map(|(account, _)| (*account).clone()).collect();
    let (first, cause) = match movement {
        Movement::Join => (Some(What::NewMemberJoin { accounts: all() }), Cause::Join),
        Movement::Leave { kicked } => {
            let kicked_by = kicked.then(|| owner.to_owned());
            let exit = What::MemberExit {
                accounts: all(),
                kicked_by,
            };
            (Some(exit), Cause::Quit)
        }
        Movement::Drop | Movement::ExpireAlwaysOnline => (None, Cause::HeartbeatInterrupt),
        Movement::Back => (None, Cause::HeartbeatRecover),
    };
    let second = (!accounts.is_empty()).then_some(What::StateChange { accounts, cause });
    first.into_iter().chain(second)
}
