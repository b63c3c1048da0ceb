//! Keeps the filter of a replica up to date, and looks again at what it said "no" to.
//!
//! It registers for notifications before it asks, so that no commit falls between the two. A
//! connection that is lost is made anew, with growing pauses; meanwhile the filter grows stale and
//! is bypassed by itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::kept::Kept;
use super::rule_set::RuleSet;
use super::store::{Changes, changes_since, in_time, read_all};
use crate::domain::MemberEvent;
use crate::members::{Inbox, Named, News, NotTaken};
use crate::metrics::DatabasePart;
use crate::telemetry::warn_seldom;

/// Commits of rules are told here, by a trigger.
const CHANNEL: &str = "stickymark_rules";
/// Rules are mostly written in bursts: after the first notification this long for the others.
const GATHER: Duration = Duration::from_millis(10);
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A stopping service waits this long for its last confirmation.
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// Late events in one delivery to the inbox.
const EVENTS_A_DELIVERY: usize = 1_000;

/// Follows the rules of a database. One per replica: [`Self::run`] starts it, or [`Self::confirm`]
/// moves it by hand.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    incoming: UnboundedReceiver<Kept>,
    /// Taken in; to be discarded or looked at again after the next answer.
    waiting: Vec<Kept>,
    /// Named after all, but not yet with the inbox.
    late: VecDeque<MemberEvent>,
    inbox: Inbox,
    options: PgConnectOptions,
    database: Option<PgListener>,
    /// Since when the database does not answer.
    lost_since: Option<Instant>,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        incoming: UnboundedReceiver<Kept>,
        inbox: Inbox,
        pool: &PgPool,
    ) -> Self {
        let options = PgConnectOptions::clone(&pool.connect_options())
            .application_name("stickymark rule filter");
        Self {
            shared,
            incoming,
            waiting: Vec::new(),
            late: VecDeque::new(),
            inbox,
            options,
            database: None,
            lost_since: None,
        }
    }

    /// Follows until stopped; then once more, so that nothing kept is forgotten. Stop it when no
    /// more callbacks are taken and before the inbox is closed.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = RETRY.0;
        while let Some(error) = stop.run_until_cancelled(self.follow(&mut pause)).await {
            self.lost_since.get_or_insert_with(Instant::now);
            self.database = None;
            self.shared.metrics.database_error(DatabasePart::Rules);
            warn_seldom!(%error, "the rule filter cannot follow the rules; soon every event goes to the database");
            stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(RETRY.1);
        }
        self.finish().await;
    }

    async fn follow(&mut self, pause: &mut Duration) -> sqlx::Error {
        loop {
            if let Err(error) = self.confirm().await {
                return error;
            }
            *pause = RETRY.0;
            if let Some(since) = self.lost_since.take() {
                tracing::info!(after = ?since.elapsed(), "the rule filter follows the rules again");
            }
            if let Err(error) = self.wait().await {
                return error;
            }
        }
    }

    /// Asks the database once, and settles all that was kept before.
    ///
    /// # Errors
    /// Those of the database; the kept events stay kept.
    pub async fn confirm(&mut self) -> Result<(), sqlx::Error> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => connect(&self.options).await?,
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
        // Not after an error or when this was cut short: its answer would still be under way.
        self.database = Some(database);
        Ok(())
    }

    /// The rules as of a moment after this was called, and the number of patterns that ever went.
    async fn current(&self, database: &mut PgListener) -> Result<(Arc<RuleSet>, i64), sqlx::Error> {
        let hashing = &self.shared.hashing;
        if let Some(known) = self.shared.rules.load_full() {
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
            // What is known is wrong, and reading all takes a while.
            self.shared.freshness.doubt();
        }
        let rules = read_all(database, hashing).await?;
        tracing::info!(
            rules = rules.len(),
            bytes = rules.bytes(),
            "the rule filter has read the rules"
        );
        let removed = rules.removed();
        Ok((Arc::new(rules), removed))
    }

    /// What is taken in here was answered before whatever the database is asked next.
    fn take_in(&mut self) {
        while let Ok(kept) = self.incoming.try_recv() {
            self.waiting.push(kept);
        }
    }

    /// Discards what these rules do not name either, and hands the others in.
    fn settle(&mut self, rules: &RuleSet) {
        let hashing = &self.shared.hashing;
        let looked_at = self.waiting.len();
        let named_now = std::mem::take(&mut self.waiting)
            .into_iter()
            .filter(|kept| kept.revision != rules.revision)
            .map(|kept| kept.event)
            .filter(|event| rules.may_name(hashing, &event.group, &event.account));
        let before = self.late.len();
        self.late.extend(named_now);
        let events = self.late.len() - before;
        self.shared.kept.let_go(looked_at - events);
        if events > 0 {
            tracing::info!(
                events,
                "a new rule names members who came before it was known"
            );
        }
        self.hand_in();
    }

    /// Gives late events to the inbox, whose they are from then on. What it cannot take now stays.
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
            tracing::warn!(events, "events that no known rule names were not confirmed");
        }
    }
}

/// A connection that is notified of commits from now on. Its pool is its own: a dead connection
/// may linger in there as long as it likes.
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
    Ok(listener)
}

fn connection_lost() -> sqlx::Error {
    let reason = "the connection that waits for changes of rules was lost";
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::ConnectionAborted,
        reason,
    ))
}
