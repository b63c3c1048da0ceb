//! Events that wait for one statement, and the callers who wait for its commit. Events stay in the order
//! they were heard while they gather, then they are sorted by the table's key and folded to one a member.
//!
//! Gathering is an append; the sort is paid once a statement. While the database is away this memory is
//! all that keeps the events, so it is bounded, by members and not by their events, and what is being
//! written at that moment counts too. The sort is paid then each time the memory seems full.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::domain::{Change, EventTime, GroupId, MemberEvent, RequestId, RoomEnd};

/// Members kept while the database is away, about 200 bytes each, and further events about them.
const MEMBERS_KEPT: usize = 200_000;
const EVENTS_A_SORT: usize = 50_000;

/// What is known of whether a rule names a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The filter found a rule. If that rule is gone since, the worker finds none and forgets the row.
    Perhaps,
    /// Not checked yet: the database must.
    Unknown,
}

/// An event and what is known of its member.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub event: MemberEvent,
    pub named: Named,
    /// When it was handed in; of several about one member the first was.
    pub since: Instant,
}

impl Heard {
    fn is_about(&self, other: &Self) -> bool {
        self.event.account == other.event.account && self.event.group == other.event.group
    }

    fn settle_with(self, later: Self) -> Self {
        let named = match self.named {
            Named::Perhaps => Named::Perhaps,
            Named::Unknown => later.named,
        };
        // Who came back was away in between.
        let since = match (self.event.change(), later.event.change()) {
            (Change::Left, Change::Arrived) => later.since,
            _ => self.since.min(later.since),
        };
        Self {
            event: self.event.settle_with(later.event),
            named,
            since,
        }
    }
}

/// Events about members, and rooms that have ended.
#[derive(Debug, Default)]
pub struct Batch {
    events: Vec<Heard>,
    /// How many of the first events are in order and about distinct members.
    tidy: usize,
    destroyed: BTreeMap<GroupId, RoomEnd>,
}

impl Batch {
    /// Adds an event that was handed in just now; of two about one member the one that counts stays.
    pub fn add(&mut self, event: MemberEvent, named: Named) {
        self.add_heard(event, named, Instant::now());
    }

    /// The same with the moment at which it was handed in.
    pub fn add_heard(&mut self, event: MemberEvent, named: Named, since: Instant) {
        self.events.push(Heard {
            event,
            named,
            since,
        });
    }

    /// Adds the end of a room. What is known of its members up to then ends with it; arrivals in
    /// a new room of the same id are written after it.
    pub fn destroy(&mut self, end: RoomEnd) {
        self.destroyed.insert(end.group.clone(), end);
    }

    /// The requests that it comes from, for logs and traces.
    pub fn requests(&self) -> impl Iterator<Item = &RequestId> {
        let events = self.events.iter().map(|heard| &heard.event.request);
        events.chain(self.destroyed.values().map(|end| &end.request))
    }

    /// Whether nothing was added since it was sorted and folded.
    pub fn is_tidy(&self) -> bool {
        self.tidy == self.events.len()
    }

    /// Sorts and folds what was added since the last time.
    pub fn tidy(&mut self) {
        if self.is_tidy() {
            return;
        }
        // Stable: of two about one member the first is the one heard first.
        self.events.sort_by(|one, other| {
            let (one, other) = (&one.event, &other.event);
            (&one.group, &one.account).cmp(&(&other.group, &other.account))
        });
        let mut distinct: Vec<Heard> = Vec::with_capacity(self.events.len());
        for heard in self.events.drain(..) {
            match distinct.pop() {
                Some(last) if last.is_about(&heard) => distinct.push(last.settle_with(heard)),
                Some(last) => distinct.extend([last, heard]),
                None => distinct.push(heard),
            }
        }
        self.tidy = distinct.len();
        self.events = distinct;
    }

    /// Number of rooms and members in it; before [`Self::tidy`] a member counts once an event.
    pub fn len(&self) -> usize {
        self.events.len() + self.destroyed.len()
    }

    /// True if it says nothing.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.destroyed.is_empty()
    }

    /// True if no part of it can be written without the rest.
    pub fn is_indivisible(&self) -> bool {
        self.events.is_empty() || (self.events.len() == 1 && self.destroyed.is_empty())
    }

    /// Half of its members; 0 while there are ended rooms to be written first.
    pub fn half(&self) -> usize {
        if self.destroyed.is_empty() {
            self.events.len().div_ceil(2)
        } else {
            0
        }
    }

    /// Takes the ended rooms and up to `count` members out, lowest keys first.
    pub fn split_off_first(&mut self, count: usize) -> Self {
        self.tidy();
        if count >= self.events.len() {
            return std::mem::take(self);
        }
        let later = self.events.split_off(count);
        let events = std::mem::replace(&mut self.events, later);
        self.tidy = self.events.len();
        Self {
            tidy: events.len(),
            events,
            destroyed: std::mem::take(&mut self.destroyed),
        }
    }

    /// Takes out what is about members and rooms with these hashes.
    fn split_off(&mut self, hashes: &HashSet<u64>) -> Self {
        self.tidy();
        let events = self
            .events
            .extract_if(.., |heard| hashes.contains(&hash(&heard.event)));
        let events: Vec<Heard> = events.collect();
        self.tidy = self.events.len();
        let destroyed = self
            .destroyed
            .extract_if(.., |group, _| hashes.contains(&hash_of_end(group)));
        Self {
            tidy: events.len(),
            events,
            destroyed: destroyed.collect(),
        }
    }

    /// The hashes of the rooms that have ended; see [`Waiting::about`].
    pub(super) fn ends(&self) -> HashSet<u64> {
        self.destroyed.keys().map(hash_of_end).collect()
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let events = self.events.iter().map(|heard| &heard.event);
        events.map(|event| (event.group.as_str(), event.account.as_str()))
    }

    /// Puts back what could not be written, as the older side of every pair.
    pub fn put_back(&mut self, older: Self) {
        let newer = std::mem::replace(self, older);
        self.events.extend(newer.events);
        self.destroyed.extend(newer.destroyed);
    }

    /// Rooms that have ended.
    pub(super) fn destroyed(&self) -> impl Iterator<Item = &RoomEnd> {
        self.destroyed.values()
    }

    /// The events of one sort, in the order of the table's key. Call [`Self::tidy`] before.
    pub(super) fn columns(&self, change: Change) -> Columns<'_> {
        debug_assert!(self.is_tidy());
        let mut columns = Columns::default();
        for Heard {
            event,
            named,
            since,
        } in &self.events
        {
            if event.change() == change {
                columns.groups.push(event.group.as_str());
                columns.accounts.push(event.account.as_str());
                columns.sources.push(event.source.as_str());
                columns.times.push(event.at.map(EventTime::millis));
                columns.requests.push(event.request.as_str());
                columns.traces.push(event.request.traceparent());
                columns.waited.push(since.elapsed().as_secs_f64());
                columns.named.push(*named == Named::Perhaps);
            }
        }
        columns
    }
}

/// Events as columns for `UNNEST`.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub groups: Vec<&'a str>,
    pub accounts: Vec<&'a str>,
    pub sources: Vec<&'static str>,
    pub times: Vec<Option<i64>>,
    pub requests: Vec<&'a str>,
    pub traces: Vec<Option<&'a str>>,
    /// Seconds since they were handed in.
    pub waited: Vec<f64>,
    pub named: Vec<bool>,
}

/// What a caller hands in.
#[derive(Debug)]
pub enum News {
    /// Members came or went, and whether rules name them.
    Members(Vec<MemberEvent>, Named),
    /// A room has ended.
    RoomDestroyed(RoomEnd),
}

impl News {
    /// How much memory it takes, in members.
    pub(super) fn weight(&self) -> u32 {
        match self {
            Self::Members(events, _) => u32::try_from(events.len()).unwrap_or(u32::MAX),
            Self::RoomDestroyed(..) => 1,
        }
    }
}

/// A caller, and since when it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub since: Instant,
    pub committed: oneshot::Sender<()>,
    /// Hashes of the members and ended rooms that it brought news of. Two alike only make it wait for both.
    pub about: Vec<u64>,
}

/// What waits for the next statement, and who waits for its commit.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub batch: Batch,
    pub callers: Vec<Waiting>,
}

impl Gathered {
    /// True if nothing waits for a statement, and no caller for a commit.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.callers.is_empty()
    }

    /// Whether more can be kept beside the members that are being written. Events about members who
    /// are kept already fold into them, but not before so many have come that it is worth a sort.
    pub fn has_room(&mut self, writing: usize) -> bool {
        if writing + self.batch.len() >= MEMBERS_KEPT + EVENTS_A_SORT {
            self.batch.tidy();
        }
        let kept = writing + self.batch.len();
        kept < MEMBERS_KEPT || kept < MEMBERS_KEPT + EVENTS_A_SORT && !self.batch.is_tidy()
    }

    /// Takes news and the caller who brought it.
    pub fn take(&mut self, news: News, mut caller: Waiting) {
        let since = caller.since;
        match news {
            News::Members(events, named) => {
                caller.about = events.iter().map(hash).collect();
                events
                    .into_iter()
                    .for_each(|event| self.batch.add_heard(event, named, since));
            }
            News::RoomDestroyed(end) => {
                caller.about = vec![hash_of_end(&end.group)];
                self.batch.destroy(end);
            }
        }
        self.callers.push(caller);
    }

    /// Takes the news about members and rooms with these hashes out, with the callers who brought it.
    pub fn split_off(&mut self, hashes: &HashSet<u64>) -> Self {
        let concerned = |caller: &mut Waiting| caller.about.iter().any(|one| hashes.contains(one));
        Self {
            batch: self.batch.split_off(hashes),
            callers: self.callers.extract_if(.., concerned).collect(),
        }
    }

    /// Puts back what could not be written. A caller that gave up needs no answer and keeps no place.
    pub fn put_back(&mut self, older: Self) {
        self.batch.put_back(older.batch);
        self.callers.extend(older.callers);
        self.callers.retain(|caller| !caller.committed.is_closed());
    }
}

fn hash(event: &MemberEvent) -> u64 {
    hash_of(event.group.as_str(), event.account.as_str())
}

/// No account is empty.
fn hash_of_end(group: &GroupId) -> u64 {
    hash_of(group.as_str(), "")
}

/// The hash of a member; see [`Waiting::about`].
pub(super) fn hash_of(group: &str, account: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (group, account).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Account, EventSource};

    fn event(account: &str, source: EventSource, at: i64) -> MemberEvent {
        MemberEvent {
            group: GroupId::parse("room").unwrap(),
            account: Account::parse(account).unwrap(),
            source,
            at: Some(EventTime::from_number(at)),
            request: RequestId::parse("any").unwrap(),
        }
    }

    fn batch<const N: usize>(events: [(&str, EventSource, i64); N]) -> Batch {
        let mut batch = Batch::default();
        for (account, source, at) in events {
            batch.add(event(account, source, at), Named::Unknown);
        }
        batch
    }

    #[test]
    fn a_member_stands_in_a_batch_once() {
        let mut batch = batch([
            ("bob", EventSource::Join, 1_760_000_000_001),
            ("alice", EventSource::Join, 1_760_000_000_001),
            ("alice", EventSource::Online, 1_760_000_000_002),
        ]);
        batch.add(
            event("bob", EventSource::Join, 1_760_000_000_001),
            Named::Perhaps,
        );
        batch.tidy();
        assert_eq!(batch.len(), 2);
        let columns = batch.columns(Change::Arrived);
        assert_eq!(columns.accounts, ["alice", "bob"]);
        assert_eq!(columns.sources, ["online", "join"]);
        assert_eq!(columns.named, [false, true]);
    }

    #[test]
    fn what_is_put_back_yields_to_what_came_since() {
        let failed = batch([("alice", EventSource::Join, 1_760_000_000_001)]);
        let mut since = batch([("alice", EventSource::Exit, 1_760_000_000_005)]);
        since.put_back(failed);
        since.tidy();
        assert_eq!(since.columns(Change::Left).accounts, ["alice"]);
        assert!(since.columns(Change::Arrived).accounts.is_empty());
    }

    #[test]
    fn splitting_keeps_every_member() {
        let at = 1_760_000_000_001;
        let mut batch = batch(["c", "a", "b", "a"].map(|name| (name, EventSource::Join, at)));
        let first = batch.split_off_first(2);
        assert_eq!(first.columns(Change::Arrived).accounts, ["a", "b"]);
        assert_eq!((first.len(), batch.len()), (2, 1));
        assert_eq!((batch.split_off_first(2).len(), batch.len()), (1, 0));
    }

    fn joined(number: usize, request: &RequestId) -> MemberEvent {
        MemberEvent {
            group: GroupId::parse("room").unwrap(),
            account: Account::parse(&format!("user{number}")).unwrap(),
            source: EventSource::Join,
            at: None,
            request: request.clone(),
        }
    }

    /// Takes events about these members as long as there is room; whether there was for all.
    fn take_all(gathered: &mut Gathered, mut members: impl Iterator<Item = usize>) -> bool {
        let request = RequestId::parse("any").unwrap();
        members.all(|number| {
            let has_room = gathered.has_room(0);
            if has_room {
                let event = joined(number, &request);
                gathered.batch.add(event, Named::Unknown);
            }
            has_room
        })
    }

    #[test]
    fn what_is_kept_is_bounded_by_members_and_not_by_their_events() {
        let mut gathered = Gathered::default();
        let many = 2 * (MEMBERS_KEPT + EVENTS_A_SORT);
        let of_a_thousand = (0..many).map(|number| number % 1_000);
        assert!(take_all(&mut gathered, of_a_thousand), "they fold");
        assert!(!take_all(&mut gathered, 0..many), "these do not");
        let kept = gathered.batch.len();
        assert!(
            (MEMBERS_KEPT..=MEMBERS_KEPT + EVENTS_A_SORT).contains(&kept),
            "{kept}"
        );
    }

    #[test]
    fn what_is_being_written_counts_too() {
        let mut gathered = Gathered::default();
        assert!(gathered.has_room(MEMBERS_KEPT - 1));
        assert!(!gathered.has_room(MEMBERS_KEPT));
    }
}
