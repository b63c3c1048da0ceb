//! Where callbacks hand in their events, and the writer that commits them in groups.
//!
//! A caller gets its answer after its events are committed. While one statement runs, the events of
//! all further callers gather and become the next one, so the batch grows with the load and a lone
//! event waits for nobody. Once handed in, an event no longer depends on its caller: if the database
//! is away it is kept, newest per member, until it can be written or the process ends. The memory
//! for that is bounded; when it is full, callers wait.

use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::WakeUp;
use super::record::{Batch, Settling, record};
use crate::domain::MemberEvent;

/// Callers that may wait for the writer before the next one waits to hand in.
const WAITING_CALLERS: usize = 8_192;
/// Members in one statement. Larger statements gain nothing and delay those who wait.
const MEMBERS_A_STATEMENT: usize = 2_000;
/// Members kept while the database is away; about 200 bytes each.
const MEMBERS_KEPT: usize = 200_000;
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The events were not taken: the service is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the service is shutting down")]
pub struct InboxClosed;

/// Handle for callers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: mpsc::Sender<Delivery>,
}

#[derive(Debug)]
struct Delivery {
    events: Vec<MemberEvent>,
    committed: oneshot::Sender<()>,
}

/// The other end: gathers, writes, answers. Ends when every [`Inbox`] is dropped and what was
/// handed in is written.
#[derive(Debug)]
pub struct InboxWriter {
    receiver: mpsc::Receiver<Delivery>,
    pool: PgPool,
    settling: Settling,
    wake: WakeUp,
    batch: Batch,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Inbox {
    /// An inbox and its writer.
    pub fn new(pool: PgPool, settling: Settling, wake: WakeUp) -> (Self, InboxWriter) {
        let (sender, receiver) = mpsc::channel(WAITING_CALLERS);
        let batch = Batch::default();
        let writer = InboxWriter {
            receiver,
            pool,
            settling,
            wake,
            batch,
            waiting: Vec::new(),
        };
        (Self { sender }, writer)
    }

    /// Hands in events and returns when they are committed.
    ///
    /// If the returned future is dropped after its first poll, the events are written all the same,
    /// provided the inbox had room; a caller that may give up early runs this in a task of its own.
    pub async fn record(&self, events: Vec<MemberEvent>) -> Result<(), InboxClosed> {
        let (committed, commit) = oneshot::channel();
        let delivery = Delivery { events, committed };
        self.sender.send(delivery).await.map_err(|_| InboxClosed)?;
        commit.await.map_err(|_| InboxClosed)
    }
}

impl InboxWriter {
    /// Writes until every [`Inbox`] is gone and nothing is left to write.
    pub async fn run(mut self) {
        let mut pause = RETRY.0;
        while self.gather().await {
            match self.write().await {
                Ok(()) => pause = RETRY.0,
                Err(error) => {
                    tracing::warn!(%error, members = self.batch.len(), "events wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Takes what has been handed in, waiting only if there is nothing to write. False at the end.
    async fn gather(&mut self) -> bool {
        if self.batch.is_empty() && self.waiting.is_empty() {
            match self.receiver.recv().await {
                Some(delivery) => self.take(delivery),
                None => return false,
            }
        }
        while self.batch.len() < MEMBERS_KEPT {
            match self.receiver.try_recv() {
                Ok(delivery) => self.take(delivery),
                Err(_) => break,
            }
        }
        true
    }

    fn take(&mut self, delivery: Delivery) {
        delivery
            .events
            .into_iter()
            .for_each(|event| self.batch.fold(event));
        self.waiting.push(delivery.committed);
    }

    async fn write(&mut self) -> Result<(), sqlx::Error> {
        let mut due = 0;
        while !self.batch.is_empty() {
            let part = self.batch.split_off_first(MEMBERS_A_STATEMENT);
            match record(&self.pool, &part, self.settling).await {
                Ok(members) => due += members,
                Err(error) => {
                    self.batch.put_back(part);
                    // A caller that gave up needs no answer; do not keep its place.
                    self.waiting.retain(|caller| !caller.is_closed());
                    return Err(error);
                }
            }
        }
        if due > 0 {
            self.wake.after(self.settling.settle);
        }
        self.waiting
            .drain(..)
            .for_each(|caller| drop(caller.send(())));
        Ok(())
    }
}
