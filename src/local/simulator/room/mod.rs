//! One live room: who is in it, who is online, and which marks they hold.
//!
//! Invariants: only online members hold marks; `online` and `holders` say the same as `members`.
//! A member counts as online while he is connected, or while mark 500 keeps him so.
//! Sources: <https://www.tencentcloud.com/document/product/1047/50294> (marks),
//! <https://www.tencentcloud.com/document/product/1047/50293> (online list).

mod marking;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::domain::{Account, Mark};
use marking::forget;
pub(super) use marking::{Marking, TooManyMarks};

/// Members that the unfiltered online list shows.
const NEWEST_LISTED: usize = 1000;
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
        forget(&mut self.holders, Mark::ALWAYS_ONLINE, account);
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
}
