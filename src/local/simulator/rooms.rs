//! Rooms, members, presence and marks, with Chat's limits, and the callbacks that a change causes.
//!
//! Invariants of a room: only online members have marks; `online` and `holders` repeat what
//! `members` says. A member is online while connected, or while mark 500 keeps them online. Two
//! movements of one member never have the same time, so `EventTime` gives their order.
//! Sources: <https://www.tencentcloud.com/document/product/1047/50294> (marks),
//! <https://www.tencentcloud.com/document/product/1047/50293> (online list).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::callbacks::Event;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark};

const MAX_ROOMS: usize = 100_000;
const MAX_MEMBERS: usize = 2_000_000;
const MAX_DESTROYED: usize = 100_000;
const MAX_MEMBERS_PER_MARK: usize = 1000;
/// Members that the online list shows when no mark is asked for.
const NEWEST_LISTED: usize = 1000;
/// The mark that hides a member from the online list.
const HIDDEN: u32 = 600;
/// How long mark 500 keeps a member online.
const ALWAYS_ONLINE_MS: i64 = 3 * 24 * 60 * 60 * 1000;

#[derive(Debug, Default)]
pub(super) struct Rooms {
    live: HashMap<GroupId, Room>,
    destroyed: HashSet<GroupId>,
    members: usize,
}

#[derive(Debug, Default)]
pub(super) struct Room {
    members: HashMap<Account, Member>,
    /// Online members by arrival.
    online: BTreeMap<i64, Account>,
    holders: BTreeMap<Mark, HashSet<Account>>,
    last_arrival: i64,
    /// When members moved; cleared as soon as all of it is in the past.
    moved: HashMap<Account, i64>,
    moved_until: i64,
}

/// An account that joined and did not leave.
#[derive(Debug)]
pub(super) struct Member {
    pub connected: bool,
    pub online: bool,
    /// Unix microseconds of the last arrival, distinct within the room.
    pub arrived: i64,
    pub marks: BTreeSet<Mark>,
    always_online_until: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Movement {
    Join,
    Leave,
    Drop,
    Back,
    /// The three days of mark 500 are over.
    Expire,
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
    #[error("at most {MAX_ROOMS} rooms and {MAX_MEMBERS} members fit into the simulator")]
    Full,
}

/// The call would give the room more distinct marks than Chat allows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyMarks;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// Positions in the request of the members whose marks were written.
    pub served: Vec<usize>,
    /// Members who lost mark 500 and were online only through it, and when they went offline.
    pub fallen: Vec<(Account, i64)>,
}

impl Rooms {
    pub(super) fn find(&mut self, group: &GroupId) -> Result<&mut Room, RoomError> {
        match self.live.get_mut(group) {
            Some(room) => Ok(room),
            None if self.destroyed.contains(group) => Err(RoomError::Destroyed(group.clone())),
            None => Err(RoomError::Unknown(group.clone())),
        }
    }

    /// Creates a room, also one that was destroyed.
    pub(super) fn create(&mut self, group: GroupId) -> Result<(), RoomError> {
        if self.live.contains_key(&group) {
            return Err(RoomError::Exists(group));
        }
        if self.live.len() >= MAX_ROOMS {
            return Err(RoomError::Full);
        }
        self.destroyed.remove(&group);
        self.live.insert(group, Room::default());
        Ok(())
    }

    pub(super) fn destroy(&mut self, group: &GroupId, now: i64) -> Result<Movements, RoomError> {
        let room = self.find(group)?;
        let (changed, at) = (room.len(), now.max(room.moved_until + 1));
        self.live.remove(group);
        self.members -= changed;
        if self.destroyed.len() < MAX_DESTROYED {
            self.destroyed.insert(group.clone());
        }
        let events = vec![Event::destroyed(group, at)];
        Ok(Movements {
            changed,
            at,
            events,
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
        match self.find(group) {
            Err(RoomError::Unknown(_)) if movement == Movement::Join => {
                self.create(group.clone())?;
            }
            other => drop(other?),
        }
        if movement == Movement::Join && self.members + accounts.len() > MAX_MEMBERS {
            return Err(RoomError::Full);
        }
        let room = self.find(group)?;
        let at = room.time_of(accounts, now);
        let before = room.len();
        let step = |account: &Account| Some((account.clone(), room.step(movement, account, at)?));
        let moved: Vec<(Account, bool)> = accounts.iter().filter_map(step).collect();
        for (account, _) in &moved {
            room.moved.insert(account.clone(), at);
        }
        let after = room.len();
        self.members = self.members + after - before;
        let mut events = Vec::with_capacity(moved.len() * 2);
        for some in moved.chunks(per_callback.max(1)) {
            events.extend(callbacks(movement, group, some, at));
        }
        let changed = moved.len();
        Ok(Movements {
            changed,
            at,
            events,
        })
    }

    /// Ends mark 500 wherever its three days are over.
    pub(super) fn expire(&mut self, now: i64) -> Vec<Event> {
        let over = self
            .live
            .iter()
            .map(|(group, room)| (group.clone(), room.expired(now)));
        let over: Vec<(GroupId, Vec<Account>)> =
            over.filter(|(_, accounts)| !accounts.is_empty()).collect();
        let mut events = Vec::new();
        for (group, accounts) in over {
            if let Ok(moved) = self.apply(Movement::Expire, &group, &accounts, 1, now) {
                events.extend(moved.events);
            }
        }
        events
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GroupId, &Room)> {
        self.live.iter()
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
    let all = || moved.iter().map(|(account, _)| account.clone()).collect();
    let changed = moved.iter().filter(|(_, changed)| *changed);
    let changed: Vec<Account> = changed.map(|(account, _)| account.clone()).collect();
    let (first, event, cause) = match movement {
        Movement::Join => (Some(Event::join(group, all(), at)), "Online", "Join"),
        Movement::Leave => (Some(Event::exit(group, all(), at)), "Offline", "Quit"),
        Movement::Drop | Movement::Expire => (None, "Offline", "HeartbeatInterrupt"),
        Movement::Back => (None, "Online", "HeartbeatRecover"),
    };
    let presence = (!changed.is_empty()).then(|| Event::presence(group, changed, event, cause, at));
    first.into_iter().chain(presence)
}

impl Room {
    /// The time of a movement of these members, later than their last one, in Unix milliseconds.
    fn time_of(&mut self, accounts: &[Account], now: i64) -> i64 {
        if now > self.moved_until {
            self.moved.clear();
        }
        let last = accounts
            .iter()
            .filter_map(|account| self.moved.get(account));
        let time = last.max().map_or(now, |last| now.max(last + 1));
        self.moved_until = self.moved_until.max(time);
        time
    }

    /// Moves one member. `None` when nothing changes, else whether the presence did.
    fn step(&mut self, movement: Movement, account: &Account, at: i64) -> Option<bool> {
        match movement {
            Movement::Join => {
                // Further terminals of one member are one presence.
                let connected = self.members.get(account).is_some_and(|m| m.connected);
                (!connected).then(|| self.arrive(account, at))
            }
            Movement::Leave => {
                let was_online = self.go_offline(account);
                self.members.remove(account).map(|_| was_online)
            }
            Movement::Drop => {
                let member = self.members.get_mut(account).filter(|m| m.connected)?;
                member.connected = false;
                let kept = member.marks.contains(&Mark::ALWAYS_ONLINE);
                Some(!kept && self.go_offline(account))
            }
            Movement::Back => {
                let member = self.members.get_mut(account).filter(|m| !m.connected)?;
                member.connected = true;
                Some(!member.online && self.arrive(account, at))
            }
            Movement::Expire => {
                let member = self.members.get_mut(account)?;
                let (had, connected) =
                    (member.marks.remove(&Mark::ALWAYS_ONLINE), member.connected);
                forget(&mut self.holders, Mark::ALWAYS_ONLINE, account);
                had.then(|| !connected && self.go_offline(account))
            }
        }
    }

    fn arrive(&mut self, account: &Account, now: i64) -> bool {
        // A member kept in the list by mark 500 enters it again, without marks.
        self.go_offline(account);
        let arrived = (now * 1000).max(self.last_arrival + 1);
        self.last_arrival = arrived;
        self.online.insert(arrived, account.clone());
        let member = Member {
            connected: true,
            online: true,
            arrived,
            marks: BTreeSet::new(),
            always_online_until: 0,
        };
        self.members.insert(account.clone(), member);
        true
    }

    /// Removes a member from the online list and clears the marks. False when not in the list.
    fn go_offline(&mut self, account: &Account) -> bool {
        let Some(member) = self.members.get_mut(account).filter(|m| m.online) else {
            return false;
        };
        member.online = false;
        self.online.remove(&member.arrived);
        for mark in std::mem::take(&mut member.marks) {
            forget(&mut self.holders, mark, account);
        }
        true
    }

    /// Sets (or else deletes) marks of members who are online and `visible`. A member who would be
    /// the 1001st with a mark keeps what they have.
    pub(super) fn mark(
        &mut self,
        wanted: &[(Account, Vec<Mark>)],
        set: bool,
        now: i64,
        visible: impl Fn(&Account) -> bool,
    ) -> Result<Marked, TooManyMarks> {
        let mut distinct: BTreeSet<Mark> = self.holders.keys().copied().collect();
        distinct.extend(wanted.iter().flat_map(|(_, marks)| marks));
        if set && distinct.len() > MAX_MARKS_PER_ROOM {
            return Err(TooManyMarks);
        }
        let mut done = Marked::default();
        for (position, (account, marks)) in wanted.iter().enumerate() {
            if !visible(account) || !self.mark_member(account, marks, set, now) {
                continue;
            }
            done.served.push(position);
            let stays = self.members.get(account).is_some_and(|member| {
                member.connected || member.marks.contains(&Mark::ALWAYS_ONLINE)
            });
            if !stays && self.go_offline(account) {
                let at = self.time_of(std::slice::from_ref(account), now);
                self.moved.insert(account.clone(), at);
                done.fallen.push((account.clone(), at));
            }
        }
        Ok(done)
    }

    fn mark_member(&mut self, account: &Account, marks: &[Mark], set: bool, now: i64) -> bool {
        let Some(member) = self.members.get_mut(account).filter(|m| m.online) else {
            return false;
        };
        if !set {
            for mark in marks {
                member.marks.remove(mark);
                forget(&mut self.holders, *mark, account);
            }
            return true;
        }
        let full = |mark: &Mark| {
            let holders = self.holders.get(mark);
            holders.is_some_and(|h| h.len() >= MAX_MEMBERS_PER_MARK && !h.contains(account))
        };
        if marks.iter().any(full) {
            return false;
        }
        for mark in marks {
            member.marks.insert(*mark);
            let holders = self.holders.entry(*mark).or_default();
            holders.insert(account.clone());
        }
        if marks.contains(&Mark::ALWAYS_ONLINE) {
            member.always_online_until = now + ALWAYS_ONLINE_MS;
        }
        true
    }

    /// Members whose three days of mark 500 are over.
    fn expired(&self, now: i64) -> Vec<Account> {
        let holders = self.holders.get(&Mark::ALWAYS_ONLINE);
        let over = |account: &&Account| {
            let member = self.members.get(*account);
            member.is_some_and(|m| m.always_online_until <= now)
        };
        holders
            .into_iter()
            .flatten()
            .filter(over)
            .cloned()
            .collect()
    }

    /// The online list, newest first, as `(arrival, account)` with an arrival before `before`.
    /// Without a mark only the newest thousand that mark 600 does not hide.
    pub(super) fn listed(&self, mark: Option<Mark>, before: Option<i64>) -> Vec<(i64, Account)> {
        let mut list: Vec<(i64, Account)> = match mark {
            Some(mark) => {
                let holders = self.holders.get(&mark).into_iter().flatten();
                let arrival = |a: &Account| self.members.get(a).map(|m| (m.arrived, a.clone()));
                let mut list: Vec<_> = holders.filter_map(arrival).collect();
                list.sort_unstable_by_key(|(arrived, _)| Reverse(*arrived));
                list
            }
            None => {
                let hidden = |account: &Account| {
                    let member = self.members.get(account);
                    member.is_some_and(|m| m.marks.iter().any(|mark| mark.get() == HIDDEN))
                };
                let newest = self.online.iter().rev();
                let shown = newest.filter(|(_, account)| !hidden(account));
                let shown = shown.map(|(arrived, account)| (*arrived, account.clone()));
                shown.take(NEWEST_LISTED).collect()
            }
        };
        list.retain(|(arrived, _)| before.is_none_or(|before| *arrived < before));
        list
    }

    pub(super) fn member(&self, account: &Account) -> Option<&Member> {
        self.members.get(account)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&Account, &Member)> {
        self.members.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn online(&self) -> usize {
        self.online.len()
    }

    /// How many members have each mark.
    pub(super) fn mark_counts(&self) -> impl Iterator<Item = (Mark, usize)> + '_ {
        self.holders.iter().map(|(mark, held)| (*mark, held.len()))
    }
}

/// A mark that no member has any more leaves a place for another one.
fn forget(holders: &mut BTreeMap<Mark, HashSet<Account>>, mark: Mark, account: &Account) {
    if let Some(held) = holders.get_mut(&mark) {
        held.remove(account);
        if held.is_empty() {
            holders.remove(&mark);
        }
    }
}
