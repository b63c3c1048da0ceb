//! Setting and deleting marks, with Chat's limits.
//!
//! Source: <https://www.tencentcloud.com/document/product/1047/50294>.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Room;
use crate::domain::{Account, MAX_MARKS_PER_ROOM, Mark};

/// Members that one mark can be on.
const MAX_MEMBERS_PER_MARK: usize = 1000;
/// How long mark 500 keeps a member online, in milliseconds.
const ALWAYS_ONLINE_MS: i64 = 3 * 24 * 60 * 60 * 1000;

/// What a set call does to the marks a member has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local::simulator) enum Marking {
    Add,
    Replace,
    Delete,
}

/// What a marking did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::local::simulator) struct Marked {
    /// Positions in the request of the members it served.
    pub served: Vec<usize>,
    /// Members whom only mark 500 kept online, and who lost it.
    pub fallen: Vec<Account>,
}

/// The call would give the room more distinct marks than it can hold.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::local::simulator) struct TooManyMarks;

impl Room {
    /// Sets or deletes marks of the members who are online and for whom `visible` holds. A member
    /// who would be one too many on a mark is left as he is.
    pub(in crate::local::simulator) fn mark(
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
}

/// A mark that nobody holds any more makes room for another.
pub(super) fn forget(
    holders: &mut BTreeMap<Mark, HashSet<Account>>,
    mark: Mark,
    account: &Account,
) {
    if let Some(held) = holders.get_mut(&mark) {
        held.remove(account);
        if held.is_empty() {
            holders.remove(&mark);
        }
    }
}
