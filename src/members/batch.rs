//! Events that wait for one statement: of each member the one that counts, in the order of the table's key.
//!
//! While the database is away this memory is all that keeps the events. It is bounded by members, not by
//! their events.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::{Change, MemberEvent, RequestId, RoomEnd};

/// What is known of whether a rule names a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The filter found a rule. If that rule is gone since, the worker finds none and has nothing to do.
    Perhaps,
    /// Not checked yet: the database must.
    Unknown,
}

/// A caller who waits for a commit, and since when.
#[derive(Debug)]
pub(crate) struct Caller {
    pub since: Instant,
    pub committed: oneshot::Sender<()>,
}

pub(super) type Waiting = Vec<Caller>;

/// The room and account of a member.
pub(super) type Key = (String, String);

/// An event and what is known of its member.
#[derive(Debug)]
pub(super) struct Heard {
    pub event: MemberEvent,
    pub named: Named,
    /// When it was handed in; of several about one member the first was.
    pub since: Instant,
    pub waiting: Waiting,
}

impl Heard {
    fn key(&self) -> Key {
        let MemberEvent { group, account, .. } = &self.event;
        (group.as_str().to_owned(), account.as_str().to_owned())
    }

    fn settle_with(mut self, later: Self) -> Self {
        let named = match self.named {
            Named::Perhaps => Named::Perhaps,
            Named::Unknown => later.named,
        };
        // Who came back was away in between.
        let since = match (self.event.change(), later.event.change()) {
            (Change::Left, Change::Arrived) => later.since,
            _ => self.since.min(later.since),
        };
        // A caller that gave up needs no answer and keeps no place.
        self.waiting.retain(|caller| !caller.committed.is_closed());
        self.waiting.extend(later.waiting);
        Self {
            event: self.event.settle_with(later.event),
            named,
            since,
            waiting: self.waiting,
        }
    }
}

/// Events about members, and rooms that have ended.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) members: BTreeMap<Key, Heard>,
    /// By their groups. What is known of the members of such a room up to then ends with it; arrivals in
    /// a new room of the same id are written after it.
    pub(super) ends: BTreeMap<String, (RoomEnd, Waiting)>,
}

impl Batch {
    /// Adds an event that was handed in just now; of two about one member the one that counts stays.
    pub fn add(&mut self, event: MemberEvent, named: Named) {
        self.add_heard(event, named, Instant::now());
    }

    /// The same with the moment at which it was handed in.
    pub fn add_heard(&mut self, event: MemberEvent, named: Named, since: Instant) {
        self.hear(Heard {
            event,
            named,
            since,
            waiting: Waiting::new(),
        });
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        let key = heard.key();
        let heard = match self.members.remove(&key) {
            Some(earlier) => earlier.settle_with(heard),
            None => heard,
        };
        self.members.insert(key, heard);
    }

    pub(super) fn end(&mut self, end: RoomEnd, waiting: Waiting) {
        let earlier = self.ends.remove(end.group.as_str());
        let mut all = earlier.map_or_else(Waiting::new, |(_, waiting)| waiting);
        all.retain(|caller| !caller.committed.is_closed());
        all.extend(waiting);
        self.ends.insert(end.group.as_str().to_owned(), (end, all));
    }

    /// Adds what was heard later.
    pub(super) fn extend(&mut self, later: Self) {
        for heard in later.members.into_values() {
            self.hear(heard);
        }
        for (end, waiting) in later.ends.into_values() {
            self.end(end, waiting);
        }
    }

    /// The requests that it comes from, for logs and traces.
    pub(super) fn requests(&self) -> impl Iterator<Item = &RequestId> {
        let events = self.members.values().map(|heard| &heard.event.request);
        events.chain(self.ends.values().map(|(end, _)| &end.request))
    }

    /// Number of rooms and members in it.
    pub(super) fn len(&self) -> usize {
        self.members.len() + self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the ended rooms out or, when there are none, up to `count` members, lowest keys first.
    pub(super) fn take_first(&mut self, count: usize) -> Self {
        if !self.ends.is_empty() {
            return Self {
                ends: std::mem::take(&mut self.ends),
                ..Self::default()
            };
        }
        let next = self.members.keys().nth(count).cloned();
        let later = next.map(|next| self.members.split_off(&next));
        Self {
            members: std::mem::replace(&mut self.members, later.unwrap_or_default()),
            ..Self::default()
        }
    }

    /// Takes these members out.
    pub(super) fn take_members(&mut self, keys: &HashSet<Key>) -> Self {
        let members = self.members.extract_if(.., |key, _| keys.contains(key));
        Self {
            members: members.collect(),
            ..Self::default()
        }
    }

    /// The room and account of its members.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let keys = self.members.keys();
        keys.map(|(group, account)| (group.as_str(), account.as_str()))
    }

    /// The events of one sort, in the order of the table's key.
    pub(super) fn events(&self, change: Change) -> Vec<&Heard> {
        let events = self.members.values();
        events
            .filter(|heard| heard.event.change() == change)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Account, EventSource, EventTime, GroupId};

    fn batch<const N: usize>(events: [(&str, EventSource, i64, Named); N]) -> Batch {
        let mut batch = Batch::default();
        for (account, source, at, named) in events {
            let event = MemberEvent {
                group: GroupId::parse("room").unwrap(),
                account: Account::parse(account).unwrap(),
                source,
                at: Some(EventTime::from_number(1_760_000_000_000 + at)),
                request: RequestId::parse("any").unwrap(),
            };
            batch.add(event, named);
        }
        batch
    }

    fn accounts(batch: &Batch, change: Change) -> Vec<&str> {
        let events = batch.events(change).into_iter();
        events.map(|heard| heard.event.account.as_str()).collect()
    }

    #[test]
    fn a_member_is_in_a_batch_once() {
        let batch = batch([
            ("bob", EventSource::Join, 1, Named::Unknown),
            ("alice", EventSource::Join, 1, Named::Unknown),
            ("alice", EventSource::Online, 2, Named::Unknown),
            ("bob", EventSource::Join, 1, Named::Perhaps),
        ]);
        assert_eq!(batch.len(), 2);
        let events = batch.events(Change::Arrived);
        let known = |heard: &&Heard| (heard.event.source, heard.named);
        assert_eq!(accounts(&batch, Change::Arrived), ["alice", "bob"]);
        assert_eq!(
            events.iter().map(known).collect::<Vec<_>>(),
            [
                (EventSource::Online, Named::Unknown),
                (EventSource::Join, Named::Perhaps)
            ]
        );
    }

    #[test]
    fn what_could_not_be_written_yields_to_what_came_since() {
        let mut failed = batch([("alice", EventSource::Join, 1, Named::Unknown)]);
        failed.extend(batch([("alice", EventSource::Exit, 5, Named::Unknown)]));
        assert_eq!(accounts(&failed, Change::Left), ["alice"]);
        assert!(accounts(&failed, Change::Arrived).is_empty());
    }

    #[test]
    fn splitting_keeps_every_member() {
        let joined = |name| (name, EventSource::Join, 1, Named::Unknown);
        let mut batch = batch(["c", "a", "b", "a"].map(joined));
        let first = batch.take_first(2);
        assert_eq!(accounts(&first, Change::Arrived), ["a", "b"]);
        assert_eq!((first.len(), batch.len()), (2, 1));
        assert_eq!((batch.take_first(2).len(), batch.len()), (1, 0));
    }
}
