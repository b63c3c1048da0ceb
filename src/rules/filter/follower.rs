//! Keeps the filter of a replica up to date, and checks again the events to which it said "no".
//!
//! It registers for notifications before it asks, so that no commit falls between the two. It replaces
//! a connection that is lost, with growing pauses; meanwhile the filter becomes stale and is bypassed.
//! A new connection may lead to another database, or to one that was restored to an earlier state and
//! written to since, where the same revision means other rules: then it reads all rules.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::rule_set::RuleSet;
use super::store::{Changes, FollowError, Source, changes_since, in_time, read_all, source};
use crate::database::Db;
use crate::domain::MemberEvent;
use crate::members::{Inbox, Named, News, NotTaken};
use crate::metrics::DatabasePart;
use crate::telemetry::{Repeated, warn_seldom};

/// A trigger notifies this channel of commits of rules.
const CHANNEL: &str = "stickymark_rules";
/// Rules are mostly written in bursts: the wait for further notifications after the first.
const GATHER: Duration = Duration::from_millis(10);
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A stopping service waits this long for its last confirmation.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// Late events handed to the inbox at once.
const EVENTS_A_DELIVERY: usize = 1_000;

/// Follows the rules of a database. One per replica: [`Self::run`] starts it, or [`Self::confirm`]
/// moves it by hand.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    incoming: UnboundedReceiver<MemberEvent>,
    /// To be discarded or checked again after the next answer.
    waiting: Vec<MemberEvent>,
    /// A rule matches them after all, but the inbox does not have them yet.
    late: VecDeque<MemberEvent>,
    inbox: Inbox,
    options: PgConnectOptions,
    database: Option<PgListener>,
    /// Where the rules that are known were read; `None`: all must be read.
    source: Option<Source>,
    /// Since when the database does not answer.
    lost_since: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        incoming: UnboundedReceiver<MemberEvent>,
        inbox: Inbox,
        db: &Db,
    ) -> Self {
        let options = PgConnectOptions::clone(&db.connect_options())
            .application_name("stickymark rule filter");
        Self {
            shared,
            incoming,
            waiting: Vec::new(),
            late: VecDeque::new(),
            inbox,
            options,
            database: None,
            source: None,
            lost_since: None,
        }
    }

    /// Follows until stopped; then once more, so that nothing kept is forgotten. Stop it when no
    /// more callbacks are taken and before the inbox is closed.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = RETRY.0;
        while let Some(error) = stop.run_until_cancelled(self.follow(&mut pause)).await {
            self.lost_since.get_or_insert_with(Instant::now);
            let errors = &self.shared.metrics.database_errors;
            errors.of(DatabasePart::Rules).inc();
            if let FollowError::TriggersLost(_) = error {
                static LOST: Repeated = Repeated::new();
                if let Some(left_out) = LOST.due() {
                    tracing::error!(%error, left_out, "bypassing the rule filter: every event goes to the database");
                }
            } else {
                self.database = None;
                warn_seldom!(%error, "cannot read changes of rules; the rule filter will be bypassed soon");
            }
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(RETRY.1);
        }
        self.finish().await;
    }

    async fn follow(&mut self, pause: &mut Duration) -> FollowError {
        loop {
            if let Err(error) = self.confirm().await {
                return error;
            }
            *pause = RETRY.0;
            if let Some(since) = self.lost_since.take() {
                let seconds = since.elapsed().as_secs_f64();
                tracing::info!(seconds, "the rule filter reads changes of rules again");
            }
            if let Err(error) = self.wait().await {
                return error.into();
            }
        }
    }

    /// Asks the database once, and decides on all events that were kept before.
    ///
    /// # Errors
    /// When the rules cannot be followed; the kept events stay kept.
    pub async fn confirm(&mut self) -> Result<(), FollowError> {
        let confirmed = self.try_to_confirm().await;
        if let Err(FollowError::TriggersLost(_)) = confirmed {
            // Rules may change without a new revision.
            self.shared.freshness.doubt();
            self.source = None;
        }
        let error = confirmed.as_ref().err().map(ToString::to_string);
        self.shared.error.store(error.map(Arc::new));
        confirmed
    }

    async fn try_to_confirm(&mut self) -> Result<(), FollowError> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => {
                self.source = None;
                connect(&self.options).await?
            }
        };
        self.take_in();
        let began = Instant::now();
        let (rules, removed) = self.current(&mut database).await?;
        self.shared.rules.store(Some(Arc::clone(&rules)));
        self.shared.freshness.confirm(began);
        self.settle(&rules);
        if rules.is_worn(removed) {
            let rules = read_all(&mut database, &self.shared.hashing).await?;
            self.shared.rules.store(Some(Arc::new(rules)));
        }
        // Not after an error or a cancellation: its answer would still be under way.
        self.database = Some(database);
        Ok(())
    }

    /// The rules as of a moment after this was called, and how many patterns were ever deleted.
    async fn current(
        &mut self,
        database: &mut PgListener,
    ) -> Result<(Arc<RuleSet>, i64), FollowError> {
        let hashing = &self.shared.hashing;
        let source = source(database).await?;
        let known = self.shared.rules.load_full();
        if let Some(known) = known.filter(|_| self.source == Some(source)) {
            let changes = changes_since(database, hashing, known.revision).await?;
            let Changes {
                revision, removed, ..
            } = changes;
            if let Some(came) = changes.came {
                let unchanged = came.is_empty() && revision == known.revision;
                return Ok(match unchanged {
                    true => (known, removed),
                    false => (Arc::new(known.with(&came, revision)), removed),
                });
            }
        }
        // What is known may be wrong, and reading all takes a while.
        self.shared.freshness.doubt();
        let rules = read_all(database, hashing).await?;
        tracing::info!(
            rules = rules.len(),
            bytes = rules.bytes(),
            "the rule filter has read the rules"
        );
        self.source = Some(source);
        let removed = rules.removed;
        Ok((Arc::new(rules), removed))
    }

    /// These events were answered before the next question to the database.
    fn take_in(&mut self) {
        while let Ok(kept) = self.incoming.try_recv() {
            self.waiting.push(kept);
        }
    }

    /// Discards events that these rules do not match either, and hands in the others.
    fn settle(&mut self, rules: &RuleSet) {
        let hashing = &self.shared.hashing;
        let looked_at = self.waiting.len();
        let named_now = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|event| rules.may_name(hashing, &event.group, &event.account));
        let before = self.late.len();
        self.late.extend(named_now);
        let events = self.late.len() - before;
        self.shared.kept.let_go(looked_at - events);
        if events > 0 {
            tracing::info!(
                events,
                "new rule matches members who joined before the filter saw it; queued"
            );
        }
        self.hand_in();
    }

    /// Hands late events to the inbox, which keeps them from then on. What it cannot take now stays.
    fn hand_in(&mut self) {
        while !self.late.is_empty() {
            let size = self.late.len().min(EVENTS_A_DELIVERY);
            let news: Vec<MemberEvent> = self.late.range(..size).cloned().collect();
            match self
                .inbox
                .hand_in(News::Members(news, Named::Perhaps))
                .now_or_never()
            {
                None | Some(Ok(())) => {}
                Some(Err(NotTaken::Full)) => return,
                Some(Err(NotTaken::Closed)) => {
                    tracing::error!(events = size, "the inbox closed before the rule filter");
                }
            }
            self.late.drain(..size);
            self.shared.kept.let_go(size);
        }
    }

    /// Waits for a reason to ask again.
    async fn wait(&mut self) -> Result<(), sqlx::Error> {
        let shared = &self.shared;
        let Some(database) = &mut self.database else {
            return Ok(());
        };
        tokio::select! {
            notified = database.try_recv() => {
                notified?.ok_or_else(connection_lost)?;
                tokio::time::sleep(GATHER).await;
                while database.next_buffered().is_some() {}
            }
            () = shared.kept.crowded() => {}
            () = tokio::time::sleep(shared.settings.confirm_every) => {}
        }
        Ok(())
    }

    async fn finish(&mut self) {
        self.take_in();
        if self.waiting.is_empty() && self.late.is_empty() {
            return;
        }
        let confirmed = tokio::time::timeout(FINISH_WITHIN, self.confirm()).await;
        if !matches!(confirmed, Ok(Ok(()))) || !self.late.is_empty() {
            let events = self.waiting.len() + self.late.len();
            tracing::warn!(
                events,
                "events that no known rule matches were not confirmed"
            );
        }
    }
}

/// A connection that is notified of commits from now on. It has its own pool, so that a dead connection
/// takes no place in the other.
async fn connect(options: &PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(RETRY.1)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    in_time(listener.listen(CHANNEL)).await?;
    // Marked as closed, it closes the connection when that is dropped. It would test it otherwise, and
    // complain where PostgreSQL ends together with the program.
    drop(pool.close());
    Ok(listener)
}

fn connection_lost() -> sqlx::Error {
    let reason = "the connection that waits for changes of rules was lost";
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::ConnectionAborted,
        reason,
    ))
}
