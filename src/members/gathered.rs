//! What gathers while a statement runs: news for the next batch, and the callers who wait for its commit.
//!
//! While the database is away it is all that keeps their events, so it is bounded, by members and not
//! by their events, and what is being written at that moment counts too.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use tokio::sync::oneshot;

use super::batch::{Batch, Named};
use crate::domain::{MemberEvent, RoomEnd};

/// Members kept while the database is away, about 200 bytes each, and further events about them.
const MEMBERS_KEPT: usize = 200_000;
const EVENTS_A_SORT: usize = 50_000;

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
    /// Hashes of the members that it brought news of. Two alike only make it wait for both.
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
            News::RoomDestroyed(end) => self.batch.destroy(end),
        }
        self.callers.push(caller);
    }

    /// Takes the news of these members out, with the callers who brought it.
    pub fn split_off(&mut self, members: &HashSet<u64>) -> Self {
        let concerned = |caller: &mut Waiting| caller.about.iter().any(|m| members.contains(m));
        Self {
            batch: self.batch.split_off(|event| members.contains(&hash(event))),
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

/// The hashes of members; see [`Waiting::about`].
pub(super) fn hashes(members: &[(String, String)]) -> HashSet<u64> {
    let members = members.iter();
    members
        .map(|(group, account)| hash_of(group, account))
        .collect()
}

fn hash_of(group: &str, account: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (group, account).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Account, EventSource, GroupId, RequestId};

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
