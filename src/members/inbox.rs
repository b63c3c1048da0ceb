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
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

#[cfg(test)]
use super::batch::Waiting;
use super::batch::{Batch, Caller, Heard, Key, Named};
use super::store::claim::wake_rooms;
use super::store::record::{Settling, record};
use super::store::{locked_members, locked_rooms};
use crate::database::{Db, is_lock_timeout};
use crate::domain::{MemberEvent, RequestId, RoomEnd};
use crate::metrics::{DatabasePart, Metrics};
use crate::replica::Replica;
use crate::telemetry::{continue_traces, failed, warn_seldom};
use crate::wake::WakeUp;

/// Members kept while the database is away, about 350 bytes each.
const MEMBERS_KEPT: usize = 200_000;
/// Members in one statement. Larger statements gain nothing and delay those who wait.
const MEMBERS_A_STATEMENT: usize = 2_000;
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often it is looked whether locked rows are free again.
const LOCKED_RETRY: Duration = Duration::from_millis(500);

/// What a caller hands in.
#[derive(Debug)]
pub enum News {
    /// Members came or went, and whether rules name them.
    Members(Vec<MemberEvent>, Named),
    /// A room has ended.
    RoomDestroyed(RoomEnd),
}

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
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    handed_in: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    batch: Batch,
    /// Members that the writer has taken out and not written yet.
    taken: usize,
    closed: bool,
}

/// The other end: writes and answers.
#[derive(Debug)]
pub struct InboxWriter {
    shared: Arc<Shared>,
    db: Db,
    settling: Settling,
    wake: WakeUp,
    /// News of members and rooms whose rows a stranger has locked. It waits alone.
    locked: Batch,
    metrics: Metrics,
}

impl Shared {
    fn take(&self) -> Batch {
        std::mem::take(&mut self.gathered.lock().batch)
    }
}

impl Inbox {
    /// An inbox and its writer.
    pub fn new(replica: &Replica, settling: Settling) -> (Self, InboxWriter) {
        let replica = replica.part(DatabasePart::Inbox);
        let shared = Arc::<Shared>::default();
        let writer = InboxWriter {
            shared: Arc::clone(&shared),
            db: replica.db,
            settling,
            wake: replica.wake_worker,
            locked: Batch::default(),
            metrics: replica.metrics,
        };
        (Self { shared }, writer)
    }

    /// Members whose events wait in memory for their commit.
    pub fn waiting(&self) -> usize {
        let gathered = self.shared.gathered.lock();
        gathered.batch.len() + gathered.taken
    }

    /// Hands in news and returns when it is committed. From the first poll on the news is the
    /// inbox's: dropping the future only means that no caller waits for the commit.
    ///
    /// # Errors
    /// When the inbox is full, or closed before the news could be committed, or when the database
    /// refuses it.
    pub async fn hand_in(&self, news: News) -> Result<(), NotTaken> {
        for commit in self.gather(news, MEMBERS_KEPT)? {
            commit.await.map_err(|_| NotTaken::Closed)?;
        }
        Ok(())
    }

    /// Takes events that another part has kept so far, also into a full inbox.
    pub(crate) fn take_late(&self, events: Vec<MemberEvent>) -> Result<(), NotTaken> {
        let news = News::Members(events, Named::Perhaps);
        self.gather(news, usize::MAX).map(drop)
    }

    fn gather(&self, news: News, most: usize) -> Result<Vec<oneshot::Receiver<()>>, NotTaken> {
        let mut gathered = self.shared.gathered.lock();
        if gathered.closed {
            return Err(NotTaken::Closed);
        }
        if gathered.batch.len() + gathered.taken >= most {
            return Err(NotTaken::Full);
        }
        let (mut commits, since) = (Vec::new(), Instant::now());
        let mut waiting = || {
            let (committed, commit) = oneshot::channel();
            commits.push(commit);
            vec![Caller { since, committed }]
        };
        match news {
            News::Members(events, named) => {
                for event in events {
                    gathered.batch.hear(Heard {
                        event,
                        named,
                        since,
                        waiting: waiting(),
                    });
                }
            }
            News::RoomDestroyed(end) => gathered.batch.end(end, waiting()),
        }
        drop(gathered);
        self.shared.handed_in.notify_one();
        Ok(commits)
    }
}

impl InboxWriter {
    /// Writes until stopped, and what was handed in before. From then on nothing more is taken.
    pub async fn run(self, stop: CancellationToken) {
        let (asleep, woken) = mpsc::unbounded_channel();
        let wake = wake_recorded(self.db.clone(), self.settling, self.wake.clone(), woken);
        tokio::join!(self.write_all(stop, asleep), wake);
    }

    async fn write_all(
        mut self,
        stop: CancellationToken,
        asleep: mpsc::UnboundedSender<BTreeSet<String>>,
    ) {
        let mut pause = RETRY.0;
        let mut away_since = None;
        while self.wait(&stop).await {
            let mut writing = self.shared.take();
            match self.write(&mut writing, &asleep).await {
                Ok(()) => {
                    self.show(0);
                    pause = RETRY.0;
                    if let Some(since) = away_since.take().as_ref().map(Instant::elapsed) {
                        tracing::info!(seconds = since.as_secs_f64(), "events are stored again");
                    }
                }
                Err(error) => {
                    let members = self.put_back(writing);
                    away_since.get_or_insert_with(Instant::now);
                    warn_seldom!(%error, members, "events wait for the database");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Waits until there is something to write. False at the end.
    async fn wait(&self, stop: &CancellationToken) -> bool {
        loop {
            let (empty, closed) = {
                let mut gathered = self.shared.gathered.lock();
                gathered.closed |= stop.is_cancelled();
                (gathered.batch.is_empty(), gathered.closed)
            };
            let locked = !self.locked.is_empty();
            if !empty || closed && !locked {
                return !empty;
            }
            tokio::select! {
                () = self.shared.handed_in.notified() => {}
                () = stop.cancelled(), if !closed => {}
                () = tokio::time::sleep(LOCKED_RETRY), if locked => return true,
            }
        }
    }

    /// Puts back what could not be written, as the older news, and returns how many members are kept now.
    fn put_back(&self, mut writing: Batch) -> usize {
        let mut gathered = self.shared.gathered.lock();
        writing.extend(std::mem::take(&mut gathered.batch));
        gathered.batch = writing;
        gathered.taken = self.locked.len();
        gathered.batch.len()
    }

    /// Lets the inbox know how much is in work.
    fn show(&self, writing: usize) {
        self.shared.gathered.lock().taken = self.locked.len() + writing;
    }

    /// Adds the news of members and rooms that are not locked any more. What came since about the others
    /// waits with them.
    async fn unlock(&mut self, writing: &mut Batch) -> Result<(), sqlx::Error> {
        if self.locked.is_empty() {
            return Ok(());
        }
        let still = locked(&self.db, &self.locked).await?;
        let mut all = std::mem::take(&mut self.locked);
        all.extend(std::mem::take(writing));
        self.locked = all.take_members(&still);
        *writing = all;
        Ok(())
    }

    /// Writes a batch, in parts if it is large, and answers the callers of each part. A part that the
    /// database refuses for what it says is halved until the culprit is alone, and that one is dropped.
    /// Members and rooms whose rows stay locked are set aside. On an error the rest stays in the batch.
    async fn write(
        &mut self,
        writing: &mut Batch,
        asleep: &mpsc::UnboundedSender<BTreeSet<String>>,
    ) -> Result<(), sqlx::Error> {
        self.show(writing.len());
        self.unlock(writing).await?;
        let mut part_size = MEMBERS_A_STATEMENT;
        let span = tracing::debug_span!(
            "record",
            members = writing.len() as i64,
            request_ids = RequestId::list(writing.requests().map(RequestId::as_str)),
        );
        let traces = writing.requests().filter_map(RequestId::traceparent);
        continue_traces(&span, traces);
        while !writing.is_empty() {
            let mut part = writing.take_first(part_size);
            let written = record(&self.db, &part, self.settling);
            match written.instrument(span.clone()).await {
                Ok(made_due) => {
                    span.in_scope(|| {
                        tracing::debug!(members = part.len(), due = made_due.members, "recorded")
                    });
                    self.metrics.inbox_batch.observe(part.len() as f64);
                    if made_due.members > 0 {
                        self.wake.after(self.settling.settle);
                    }
                    if !made_due.asleep.is_empty() {
                        let _ = asleep.send(made_due.asleep);
                    }
                    self.answer(part);
                    self.show(writing.len());
                    part_size = (part_size * 2).min(MEMBERS_A_STATEMENT);
                }
                Err(error) if refuses_content(&error) && part.members.len() < 2 => {
                    tracing::error!(%error, dropped = ?part, "the database refuses an event");
                }
                Err(error) if refuses_content(&error) => {
                    part_size = part.members.len().div_ceil(2);
                    writing.extend(part);
                }
                Err(error) if is_lock_timeout(&error) => {
                    let locked = locked(&self.db, &part).await.unwrap_or_default();
                    let mut aside = part.take_members(&locked);
                    // The end of a room waits for any of its members.
                    aside.ends = std::mem::take(&mut part.ends);
                    writing.extend(part);
                    if aside.is_empty() {
                        return Err(error);
                    }
                    warn_seldom!(
                        members = aside.len(),
                        "events wait for members or rooms whose rows are locked"
                    );
                    self.locked.extend(aside);
                }
                Err(error) => {
                    span.in_scope(|| failed("database"));
                    writing.extend(part);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Tells the callers that wait for a part that it is committed, as far as they still wait.
    fn answer(&self, part: Batch) {
        let ends = part.ends.into_values().map(|(_, waiting)| waiting);
        let heard = part.members.into_values().map(|heard| heard.waiting);
        for Caller { since, committed } in ends.chain(heard).flatten() {
            self.metrics
                .inbox_wait
                .observe(since.elapsed().as_secs_f64());
            let _ = committed.send(());
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

impl Drop for InboxWriter {
    /// No caller waits for a writer that is gone.
    fn drop(&mut self) {
        let mut gathered = self.shared.gathered.lock();
        gathered.closed = true;
        gathered.batch = Batch::default();
    }
}

#[cfg(test)]
impl InboxWriter {
    /// For tests of the callers: what was handed in, and who waits for its commit.
    pub(crate) async fn next(&mut self) -> (Vec<(MemberEvent, Waiting)>, Vec<(RoomEnd, Waiting)>) {
        self.wait(&CancellationToken::new()).await;
        let Batch { members, ends } = self.shared.take();
        let members = members.into_values();
        let members = members.map(|heard| (heard.event, heard.waiting));
        (members.collect(), ends.into_values().collect())
    }
}

/// The members of a batch whose rows, or those of their rooms, are locked now.
async fn locked(db: &Db, batch: &Batch) -> Result<HashSet<Key>, sqlx::Error> {
    let members = locked_members(db, batch.keys()).await?;
    let rooms = locked_rooms(db, batch.keys().map(|(group, _)| group)).await?;
    let in_rooms = batch
        .members
        .keys()
        .filter(|(group, _)| rooms.contains(group));
    Ok(members.into_iter().chain(in_rooms.cloned()).collect())
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
