//! Where callbacks hand in their events, and the writer that commits them in groups.
//!
//! A caller gets its answer after its events are committed. While one statement runs, the events of
//! all further callers gather and become the next one, so the batch grows with the load and a lone
//! event waits for no other. Once handed in, an event no longer depends on its caller: if the database
//! is away it is kept, newest per member, until it can be written or the process ends. The memory
//! for that is bounded; when it is full, callers are told so. An event that the database refuses for
//! what it says is dropped alone and never holds up its neighbours.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::batch::{Batch, Gathered, News, Waiting, hash_of};
use super::store::claim::wake_rooms;
use super::store::record::{MadeDue, Settling, record};
use super::store::{locked_members, locked_rooms};
use crate::database::{Db, is_lock_timeout};
use crate::domain::RequestId;
use crate::metrics::{DatabasePart, Metrics};
use crate::replica::Replica;
use crate::telemetry::{continue_traces, failed, warn_seldom};
use crate::wake::WakeUp;

/// Callers whose events the writer has not looked at yet, and members they name in all.
const WAITING_CALLERS: usize = 16_384;
const WAITING_MEMBERS: usize = 100_000;
/// Members in one statement. Larger statements gain nothing and delay those who wait.
const MEMBERS_A_STATEMENT: usize = 2_000;
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it is looked whether locked rows are free again.
const LOCKED_RETRY: Duration = Duration::from_millis(500);

/// Why events were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// As many wait as memory may hold.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The service is shutting down, or the database refuses what the events say.
    #[error("the service is shutting down, or the database refuses the events")]
    Closed,
}

/// Handle for callers; cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    sender: mpsc::Sender<Delivery>,
    room: Arc<Semaphore>,
    gathered: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Delivery {
    news: News,
    caller: Waiting,
    /// Its place among those who wait, given back when it is gathered.
    _place: OwnedSemaphorePermit,
}

/// The other end: gathers, writes, answers.
#[derive(Debug)]
pub struct InboxWriter {
    receiver: mpsc::Receiver<Delivery>,
    db: Db,
    settling: Settling,
    wake: WakeUp,
    gathered: Gathered,
    /// News of members and rooms whose rows a stranger has locked. It waits alone.
    locked: Gathered,
    /// How many members are gathered or being written, for callers of the inbox.
    shown: Arc<AtomicUsize>,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Inbox {
    /// An inbox and its writer.
    pub fn new(replica: &Replica, settling: Settling) -> (Self, InboxWriter) {
        let replica = replica.part(DatabasePart::Inbox);
        let (sender, receiver) = mpsc::channel(WAITING_CALLERS);
        let gathered = Gathered::default();
        let shown = Arc::default();
        (
            Self {
                sender,
                room: Arc::new(Semaphore::new(WAITING_MEMBERS)),
                gathered: Arc::clone(&shown),
            },
            InboxWriter {
                receiver,
                db: replica.db,
                settling,
                wake: replica.wake_worker,
                gathered,
                locked: Gathered::default(),
                shown,
                metrics: replica.metrics,
                stop: CancellationToken::new(),
            },
        )
    }

    /// Members whose events wait in memory for their commit.
    pub fn waiting(&self) -> usize {
        let handed_in = WAITING_MEMBERS.saturating_sub(self.room.available_permits());
        handed_in + self.gathered.load(Ordering::Relaxed)
    }

    /// Hands in news and returns when it is committed. From the first poll on the news is the
    /// inbox's: dropping the future only means that no caller waits for the commit.
    ///
    /// # Errors
    /// When the inbox is full, or closed before the news could be committed, or when the database
    /// refuses it or news committed together with it.
    pub async fn hand_in(&self, news: News) -> Result<(), NotTaken> {
        let (committed, commit) = oneshot::channel();
        let place = Arc::clone(&self.room)
            .try_acquire_many_owned(news.weight())
            .map_err(|_| NotTaken::Full)?;
        self.sender
            .try_send(Delivery {
                news,
                caller: Waiting {
                    since: Instant::now(),
                    committed,
                    about: Vec::new(),
                },
                _place: place,
            })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => NotTaken::Full,
                mpsc::error::TrySendError::Closed(_) => NotTaken::Closed,
            })?;
        commit.await.map_err(|_| NotTaken::Closed)
    }
}

impl InboxWriter {
    /// Takes nothing more once `stop` is cancelled; what was handed in before is still written.
    #[must_use]
    pub fn closed_by(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Writes until the inbox is closed, or every [`Inbox`] is gone, and nothing is left to write.
    pub async fn run(self) {
        let (asleep, woken) = mpsc::unbounded_channel();
        let wake = wake_recorded(self.db.clone(), self.settling, self.wake.clone(), woken);
        tokio::join!(self.write_all(asleep), wake);
    }

    async fn write_all(mut self, asleep: mpsc::UnboundedSender<BTreeSet<String>>) {
        let mut pause = RETRY.0;
        let mut away_since = None;
        while self.gather().await {
            let written = match self.unlock().await {
                Ok(()) => {
                    let writing = std::mem::take(&mut self.gathered);
                    self.write(writing, &asleep).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => {
                    pause = RETRY.0;
                    if let Some(since) = away_since.take().as_ref().map(Instant::elapsed) {
                        tracing::info!(seconds = since.as_secs_f64(), "events are stored again");
                    }
                }
                Err(error) => {
                    away_since.get_or_insert_with(Instant::now);
                    let members = self.gathered.batch.len();
                    warn_seldom!(%error, members, "events wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Takes what has been handed in, waiting only if there is nothing to write. False at the end.
    async fn gather(&mut self) -> bool {
        if self.gathered.is_empty() {
            let locked = !self.locked.is_empty();
            let first = tokio::select! {
                first = self.first() => first,
                () = tokio::time::sleep(LOCKED_RETRY), if locked => return true,
            };
            match first {
                Some(delivery) => self.gathered.take(delivery.news, delivery.caller),
                None if locked => tokio::time::sleep(LOCKED_RETRY).await,
                None => return false,
            }
        }
        while self.gathered.has_room(0)
            && let Ok(delivery) = self.receiver.try_recv()
        {
            self.gathered.take(delivery.news, delivery.caller);
        }
        true
    }

    async fn first(&mut self) -> Option<Delivery> {
        let first = self.stop.run_until_cancelled(self.receiver.recv()).await;
        if let Some(first) = first {
            return first;
        }
        self.receiver.close();
        self.receiver.recv().await
    }

    /// Brings back the news of members and rooms that are not locked any more. What came since about the
    /// others waits with them.
    async fn unlock(&mut self) -> Result<(), sqlx::Error> {
        if self.locked.is_empty() {
            return Ok(());
        }
        let still = locked(&self.db, &self.locked.batch).await?;
        let mut free = std::mem::take(&mut self.locked);
        self.locked = free.split_off(&still);
        self.gathered.put_back(free);
        let mut newer = self.gathered.split_off(&still);
        newer.put_back(std::mem::take(&mut self.locked));
        self.locked = newer;
        Ok(())
    }

    /// Writes a batch, in parts if it is large, and gathers meanwhile. What could not be written is
    /// put back as the older news. A part that the database refuses for what it says is halved until
    /// the culprit stands alone, and that one is dropped. Members and rooms whose rows stay locked are set
    /// aside.
    async fn write(
        &mut self,
        mut writing: Gathered,
        asleep: &mpsc::UnboundedSender<BTreeSet<String>>,
    ) -> Result<(), sqlx::Error> {
        let mut due = 0;
        let mut part_size = MEMBERS_A_STATEMENT;
        let span = tracing::debug_span!(
            "record",
            members = writing.batch.len() as i64,
            request_ids = RequestId::list(writing.batch.requests()),
        );
        let traces = writing.batch.requests().filter_map(RequestId::traceparent);
        continue_traces(&span, traces);
        self.show(writing.batch.len());
        while !writing.batch.is_empty() {
            let mut part = writing.batch.split_off_first(part_size);
            let writing_in_all = writing.batch.len() + part.len();
            let written = self.write_part(&mut part, writing_in_all);
            match written.instrument(span.clone()).await {
                Ok(made_due) => {
                    span.in_scope(|| {
                        tracing::debug!(members = part.len(), due = made_due.members, "recorded")
                    });
                    self.metrics.inbox_batch.observe(part.len() as f64);
                    due += made_due.members;
                    if !made_due.asleep.is_empty() {
                        let _ = asleep.send(made_due.asleep);
                    }
                    part_size = (part_size * 2).clamp(1, MEMBERS_A_STATEMENT);
                }
                Err(error) if refuses_content(&error) && part.is_indivisible() => {
                    tracing::error!(%error, dropped = ?part, "the database refuses an event");
                    // It is not known any more whose it was: none of them gets a success.
                    writing.callers.clear();
                }
                Err(error) if refuses_content(&error) => {
                    part_size = part.half();
                    writing.batch.put_back(part);
                }
                Err(error) if is_lock_timeout(&error) => {
                    let mut locked = locked(&self.db, &part).await.unwrap_or_default();
                    // The end of a room waits for any of its members.
                    locked.extend(part.ends());
                    writing.batch.put_back(part);
                    if locked.is_empty() {
                        self.gathered.put_back(writing);
                        return Err(error);
                    }
                    let mut aside = writing.split_off(&locked);
                    warn_seldom!(
                        members = aside.batch.len(),
                        "events wait for members or rooms whose rows are locked"
                    );
                    aside.put_back(std::mem::take(&mut self.locked));
                    self.locked = aside;
                }
                Err(error) => {
                    span.in_scope(|| failed("database"));
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
            let waited = caller.since.elapsed().as_secs_f64();
            self.metrics.inbox_wait.observe(waited);
            // The caller may not wait any more.
            let _ = caller.committed.send(());
        }
        self.show(0);
        Ok(())
    }

    /// Lets the inbox know how much is in work.
    fn show(&self, writing: usize) {
        let members = self.gathered.batch.len() + self.locked.batch.len() + writing;
        self.shown.store(members, Ordering::Relaxed);
    }

    /// Writes a part of what is being written in all, and gathers meanwhile.
    async fn write_part(
        &mut self,
        part: &mut Batch,
        writing: usize,
    ) -> Result<MadeDue, sqlx::Error> {
        let writing = writing + self.locked.batch.len();
        let mut statement = std::pin::pin!(record(&self.db, part, self.settling));
        loop {
            tokio::select! {
                biased;
                written = &mut statement => return written,
                Some(delivery) = self.receiver.recv(), if self.gathered.has_room(writing) => {
                    self.gathered.take(delivery.news, delivery.caller);
                }
            }
        }
    }
}

/// Wakes the rooms of recorded members, those of several batches at once, well before the members are due.
/// No batch and no caller waits for it: the events are stored, and what fails here is found as a forgotten
/// room.
async fn wake_recorded(
    db: Db,
    Settling { settle, max_wait }: Settling,
    worker: WakeUp,
    mut asleep: mpsc::UnboundedReceiver<BTreeSet<String>>,
) {
    while let Some(mut rooms) = asleep.recv().await {
        tokio::time::sleep(settle / 2).await;
        while let Ok(more) = asleep.try_recv() {
            rooms.extend(more);
        }
        let rooms: Vec<String> = rooms.into_iter().collect();
        match wake_rooms(&db, &rooms, Duration::ZERO, max_wait).await {
            Ok(()) => worker.after(settle / 2),
            Err(error) => warn_seldom!(%error, "cannot wake rooms; they are looked for later"),
        }
    }
}

#[cfg(test)]
impl InboxWriter {
    /// For tests of the callers: the next news, and who waits for its commit.
    pub(crate) async fn next(&mut self) -> Option<(News, oneshot::Sender<()>)> {
        let delivery = self.receiver.recv().await?;
        Some((delivery.news, delivery.caller.committed))
    }
}

/// The hashes of the members of a batch whose rows, or those of their rooms, are locked now.
async fn locked(db: &Db, batch: &Batch) -> Result<HashSet<u64>, sqlx::Error> {
    let members = locked_members(db, batch.members()).await?;
    let rooms = locked_rooms(db, batch.members().map(|(group, _)| group)).await?;
    let in_rooms = batch.members().filter(|(group, _)| rooms.contains(*group));
    let members = members
        .iter()
        .map(|(group, account)| hash_of(group, account));
    Ok(members
        .chain(in_rooms.map(|(group, account)| hash_of(group, account)))
        .collect())
}

/// Whether an error comes from what the events say: it would come again with every try. Class 22
/// are data that a type does not take, 23 broken constraints, 54 limits of a row or an index.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn refuses_content(error: &sqlx::Error) -> bool {
    let code = match error {
        sqlx::Error::Database(error) => error.code(),
        sqlx::Error::Encode(_) => return true,
        _ => None,
    };
    code.is_some_and(|code| {
        ["22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class))
    })
}
