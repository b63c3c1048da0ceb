//! Where callbacks hand in their events, and the writer that commits them in groups.
//!
//! A caller gets its answer after its events are committed. While one statement runs, the events of
//! all further callers gather and become the next one, so the batch grows with the load and a lone
//! event waits for nobody. Once handed in, an event no longer depends on its caller: if the database
//! is away it is kept, newest per member, until it can be written or the process ends. The memory
//! for that is bounded; when it is full, callers are told so.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::WakeUp;
use super::record::{Batch, Settling, record};
use crate::domain::{EventTime, GroupId, MemberEvent};

/// Callers whose events the writer has not looked at yet.
const WAITING_CALLERS: usize = 16_384;
/// Members in one statement. Larger statements gain nothing and delay those who wait.
const MEMBERS_A_STATEMENT: usize = 2_000;
/// Members kept while the database is away; about 200 bytes each.
const MEMBERS_KEPT: usize = 200_000;
/// A statement that takes longer is given up: its connection may be dead without a sign.
const LONGEST_STATEMENT: Duration = Duration::from_secs(10);
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Why events were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// As many wait as memory may hold.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Closed,
}

/// What a caller hands in.
#[derive(Debug)]
pub enum News {
    /// Members came or went.
    Members(Vec<MemberEvent>),
    /// A room has ended.
    RoomDestroyed(GroupId, Option<EventTime>),
}

/// Handle for callers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: mpsc::Sender<Delivery>,
}

#[derive(Debug)]
struct Delivery {
    news: News,
    committed: oneshot::Sender<()>,
}

/// The other end: gathers, writes, answers.
#[derive(Debug)]
pub struct InboxWriter {
    receiver: mpsc::Receiver<Delivery>,
    pool: PgPool,
    settling: Settling,
    wake: WakeUp,
    gathered: Gathered,
}

/// What waits for the next statement, and who waits for its commit.
#[derive(Debug, Default)]
struct Gathered {
    batch: Batch,
    callers: Vec<oneshot::Sender<()>>,
}

impl Inbox {
    /// An inbox and its writer.
    pub fn new(pool: PgPool, settling: Settling, wake: WakeUp) -> (Self, InboxWriter) {
        let (sender, receiver) = mpsc::channel(WAITING_CALLERS);
        let gathered = Gathered::default();
        (
            Self { sender },
            InboxWriter {
                receiver,
                pool,
                settling,
                wake,
                gathered,
            },
        )
    }

    /// Hands in news and returns when it is committed. From the first poll on the news is the
    /// inbox's: dropping the future only means that nobody waits for the commit.
    ///
    /// # Errors
    /// When the inbox is full, or closed before the news could be committed.
    pub async fn hand_in(&self, news: News) -> Result<(), NotTaken> {
        let (committed, commit) = oneshot::channel();
        self.sender
            .try_send(Delivery { news, committed })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotTaken::Full,
                mpsc::error::TrySendError::Closed(_) => NotTaken::Closed,
            })?;
        commit.await.map_err(|_| NotTaken::Closed)
    }
}

impl InboxWriter {
    /// Writes until every [`Inbox`] is gone and nothing is left to write.
    pub async fn run(mut self) {
        let mut pause = RETRY.0;
        while self.gather().await {
            let writing = std::mem::take(&mut self.gathered);
            match self.write(writing).await {
                Ok(()) => pause = RETRY.0,
                Err(error) => {
                    let members = self.gathered.batch.len();
                    tracing::warn!(%error, members, "events wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Takes what has been handed in, waiting only if there is nothing to write. False at the end.
    async fn gather(&mut self) -> bool {
        if self.gathered.is_empty() {
            match self.receiver.recv().await {
                Some(delivery) => self.gathered.take(delivery),
                None => return false,
            }
        }
        while self.gathered.has_room()
            && let Ok(delivery) = self.receiver.try_recv()
        {
            self.gathered.take(delivery);
        }
        true
    }

    /// Writes a batch, in parts if it is large, and gathers meanwhile. What could not be written is
    /// put back as the older news.
    async fn write(&mut self, mut writing: Gathered) -> Result<(), sqlx::Error> {
        let mut due = 0;
        while !writing.batch.is_empty() {
            let part = writing.batch.split_off_first(MEMBERS_A_STATEMENT);
            match self.write_part(&part).await {
                Ok(members) => due += members,
                Err(error) => {
                    writing.batch.put_back(part);
                    self.gathered.put_back(writing);
                    return Err(error);
                }
            }
        }
        if due > 0 {
            self.wake.after(self.settling.settle);
        }
        for caller in writing.callers {
            // Nobody listens any more if the caller gave up.
            let _ = caller.send(());
        }
        Ok(())
    }

    async fn write_part(&mut self, part: &Batch) -> Result<u64, sqlx::Error> {
        let statement = record(&self.pool, part, self.settling);
        let mut statement = std::pin::pin!(tokio::time::timeout(LONGEST_STATEMENT, statement));
        loop {
            tokio::select! {
                biased;
                written = &mut statement => return match written {
                    Ok(result) => result,
                    Err(_) => Err(sqlx::Error::PoolTimedOut),
                },
                Some(delivery) = self.receiver.recv(), if self.gathered.has_room() => {
                    self.gathered.take(delivery);
                }
            }
        }
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.callers.is_empty()
    }

    fn has_room(&self) -> bool {
        self.batch.len() < MEMBERS_KEPT
    }

    fn take(&mut self, delivery: Delivery) {
        match delivery.news {
            News::Members(events) => events.into_iter().for_each(|event| self.batch.fold(event)),
            News::RoomDestroyed(group, at) => self.batch.destroy(group, at),
        }
        self.callers.push(delivery.committed);
    }

    /// A caller that gave up needs no answer and keeps no place.
    fn put_back(&mut self, older: Self) {
        self.batch.put_back(older.batch);
        self.callers.extend(older.callers);
        self.callers.retain(|caller| !caller.is_closed());
    }
}
