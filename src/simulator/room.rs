//! One live room: who is in it, who is online, and which marks they hold.
//!
//! Invariants: only online members hold marks; `online` and `holders` say the same as `members`.
//! A member counts as online while he is connected, or while mark 500 keeps him so.
//! Sources: <https://www.tencentcloud.com/document/product/1047/50294> (marks),
//! <https://www.tencentcloud.com/document/product/1047/50293> (online list).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::domain::{Account, MAX_MARKS_PER_ROOM, Mark};

/// Members that one mark can be on.
pub(super) const MAX_MEMBERS_PER_MARK: usize = 1000;
/// Members that the unfiltered online list shows.
const NEWEST_LISTED: usize = 1000;
/// How long mark 500 keeps a member online, in milliseconds.
const ALWAYS_ONLINE_MS: i64 = 3 * 24 * 60 * 60 * 1000;
const HIDDEN: u32 = 600;

/// A live room.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub owner: String,
    pub name: String,
    members: HashMap<Account, Member>,
    /// Online members by arrival.
    online: BTreeMap<i64, Account>,
    holders: BTreeMap<Mark, HashSet<Account>>,
    last_arrival: i64,
    /// Who moved lately, and when; forgotten as soon as all of it lies in the past.
    moved: HashMap<Account, i64>,
    moved_until: i64,
}

/// Somebody who joined and did not leave.
#[derive(Debug)]
pub(super) struct Member {
    pub connected: bool,
    pub online: bool,
    /// Unix microseconds of his last arrival, distinct within the room.
    pub arrived: i64,
    pub marks: BTreeSet<Mark>,
    always_online_until: i64,
}

/// What a set call does to the marks a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marking {
    Add,
    Replace,
    Delete,
}

/// What a marking did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Marked {
    /// Positions in the request of the members it served.
    pub served: Vec<usize>,
    /// Members whom only mark 500 kept online, and who lost it.
    pub fallen: Vec<Account>,
}

/// The call would give the room more distinct marks than it can hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyMarks;

impl Room {
    pub(super) fn new(owner: String, name: String) -> Self {
        Self {
            owner,
            name,
            ..Self::default()
        }
    }

    /// The time of a movement of these members, later than their last one, in Unix milliseconds.
    pub(super) fn time_of(&mut self, accounts: &[Account], now_ms: i64) -> i64 {
        if now_ms > self.moved_until {
            self.moved.clear();
        }
        let last = accounts
            .iter()
            .filter_map(|account| self.moved.get(account));
        let time = last.max().map_or(now_ms, |last| now_ms.max(last + 1));
        self.moved_until = self.moved_until.max(time);
        time
    }

    /// The time of something later than every movement so far.
    pub(super) fn time_after_all(&self, now_ms: i64) -> i64 {
        now_ms.max(self.moved_until + 1)
    }

    /// Remembers when a member moved.
    pub(super) fn note_moved(&mut self, account: &Account, at: i64) {
        self.moved.insert(account.clone(), at);
    }

    /// A member enters, or enters again after a drop. False when he is online already: further
    /// terminals of one member are one presence.
    pub(super) fn join(&mut self, account: &Account, now_ms: i64) -> bool {
        let present = self.members.get(account).is_some_and(|m| m.connected);
        if present {
            return false;
        }
        self.arrive(account, now_ms);
        true
    }

    /// A member leaves in order. None when he was not in the room, else whether he was online.
    pub(super) fn leave(&mut self, account: &Account) -> Option<bool> {
        let was_online = self.go_offline(account);
        self.members.remove(account).map(|_| was_online)
    }

    /// A member's connection is lost. None when there was none, else whether he went offline.
    pub(super) fn disconnect(&mut self, account: &Account) -> Option<bool> {
        let member = self.members.get_mut(account).filter(|m| m.connected)?;
        member.connected = false;
        let kept = member.marks.contains(&Mark::ALWAYS_ONLINE);
        Some(!kept && self.go_offline(account))
    }

    /// A lost connection returns. None when it was not lost, else whether he comes online by it.
    pub(super) fn come_back(&mut self, account: &Account, now_ms: i64) -> Option<bool> {
        let member = self.members.get_mut(account).filter(|m| !m.connected)?;
        if member.online {
            member.connected = true;
            return Some(false);
        }
        self.arrive(account, now_ms);
        Some(true)
    }

    /// Mark 500 has run out for a member. None when he has none, else whether he goes offline.
    pub(super) fn expire_always_online(&mut self, account: &Account) -> Option<bool> {
        let member = self.members.get_mut(account)?;
        if !member.marks.remove(&Mark::ALWAYS_ONLINE) {
            return None;
        }
        let connected = member.connected;
        self.forget_holder(Mark::ALWAYS_ONLINE, account);
        Some(!connected && self.go_offline(account))
    }

    /// The members whose three days of mark 500 are over.
    pub(super) fn run_out(&self, now_ms: i64) -> Vec<Account> {
        self.holders
            .get(&Mark::ALWAYS_ONLINE)
            .into_iter()
            .flatten()
            .filter(|&account| {
                let member = self.members.get(account);
                member.is_some_and(|m| m.always_online_until <= now_ms)
            })
            .cloned()
            .collect()
    }

    /// Sets or deletes marks of the members who are online and for whom `visible` holds. A member
    /// who would be one too many on a mark is left as he is.
    pub(super) fn mark(
        &mut self,
        wanted: &[(Account, Vec<Mark>)],
        marking: Marking,
        now_ms: i64,
        visible: impl Fn(&Account) -> bool,
    ) -> Result<Marked, TooManyMarks> {
        if marking != Marking::Delete && self.distinct_with(wanted) > MAX_MARKS_PER_ROOM {
            return Err(TooManyMarks);
        }
        let mut done = Marked::default();
        for (position, (account, marks)) in wanted.iter().enumerate() {
            if !visible(account) || !self.mark_member(account, marks, marking, now_ms) {
                continue;
            }
            done.served.push(position);
            let held_up = self.members.get(account).is_some_and(|member| {
                member.connected || member.marks.contains(&Mark::ALWAYS_ONLINE)
            });
            if !held_up && self.go_offline(account) {
                done.fallen.push(account.clone());
            }
        }
        Ok(done)
    }

    fn mark_member(
        &mut self,
        account: &Account,
        marks: &[Mark],
        marking: Marking,
        now_ms: i64,
    ) -> bool {
        let Some(member) = self.members.get_mut(account).filter(|m| m.online) else {
            return false;
        };
        if marking == Marking::Delete {
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
        if marking == Marking::Replace {
            for mark in std::mem::take(&mut member.marks) {
                forget(&mut self.holders, mark, account);
            }
        }
        for mark in marks {
            member.marks.insert(*mark);
            let holders = self.holders.entry(*mark).or_default();
            holders.insert(account.clone());
        }
        if marks.contains(&Mark::ALWAYS_ONLINE) {
            member.always_online_until = now_ms + ALWAYS_ONLINE_MS;
        }
        true
    }

    fn distinct_with(&self, wanted: &[(Account, Vec<Mark>)]) -> usize {
        let mut distinct: BTreeSet<Mark> = self.holders.keys().copied().collect();
        distinct.extend(wanted.iter().flat_map(|(_, marks)| marks));
        distinct.len()
    }

    /// The online list, newest first, as `(arrival, account)` with an arrival before `before`.
    /// Without a mark only the newest thousand, and without those whom mark 600 hides.
    pub(super) fn listed(&self, mark: Option<Mark>, before: Option<i64>) -> Vec<(i64, Account)> {
        let mut list: Vec<(i64, Account)> = match mark {
            Some(mark) => {
                let holders = self.holders.get(&mark).into_iter().flatten();
                let arrival = |a: &Account| self.members.get(a).map(|m| (m.arrived, a.clone()));
                let mut list: Vec<_> = holders.filter_map(arrival).collect();
                list.sort_unstable_by_key(|(arrived, _)| std::cmp::Reverse(*arrived));
                list
            }
            None => {
                let newest = self.online.iter().rev();
                let shown = newest.filter(|(_, account)| !self.is_hidden(account));
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

    /// How many members hold each mark.
    pub(super) fn mark_counts(&self) -> impl Iterator<Item = (Mark, usize)> + '_ {
        self.holders.iter().map(|(mark, held)| (*mark, held.len()))
    }

    fn is_hidden(&self, account: &Account) -> bool {
        let member = self.members.get(account);
        member.is_some_and(|m| m.marks.iter().any(|mark| mark.get() == HIDDEN))
    }

    fn arrive(&mut self, account: &Account, now_ms: i64) {
        // A member whom mark 500 kept in the list enters it anew, without marks.
        self.go_offline(account);
        let arrived = (now_ms * 1000).max(self.last_arrival + 1);
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
    }

    /// Takes a member from the online list and wipes his marks. False when he was not in it.
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

    fn forget_holder(&mut self, mark: Mark, account: &Account) {
        forget(&mut self.holders, mark, account);
    }
}

/// A mark that nobody holds any more makes room for another.
fn forget(holders: &mut BTreeMap<Mark, HashSet<Account>>, mark: Mark, account: &Account) {
    if let Some(held) = holders.get_mut(&mark) {
        held.remove(account);
        if held.is_empty() {
            holders.remove(&mark);
        }
    }
}
