//! Keeps the filter of a replica up to date, and checks again the events to which it said "no".
//!
//! It registers for notifications before it asks, so that no commit falls between the two. It replaces
//! a connection that is lost, with growing pauses; meanwhile the filter becomes stale and is bypassed.
//! A new connection may lead to another database, or to one that was restored to an earlier state and
//! written to since, where the same revision means other rules: then it reads all rules.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::rule_set::RuleSet;
use super::store::{FollowError, LONGEST_SILENCE, check_triggers, read_all, updated};
use super::{Known, Shared};
use crate::database::{Db, in_time};
use crate::domain::MemberEvent;
use crate::members::Inbox;
use crate::metrics::DatabasePart;
use crate::telemetry::warn_seldom;

/// A trigger notifies this channel of commits of rules.
const CHANNEL: &str = "stickymark_rules";
/// Rules are mostly written in bursts: the wait for further notifications after the first.
const GATHER: Duration = Duration::from_millis(10);
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// A stopping service waits this long for its last confirmation.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Follows the rules of a database. One per replica: [`Self::run`] starts it, or [`Self::confirm`]
/// moves it by hand.
#[derive(Debug)]
pub struct Follower {
    shared: Arc<Shared>,
    /// Events to be discarded or checked again after the next answer.
    kept: Receiver<MemberEvent>,
    inbox: Inbox,
    options: PgConnectOptions,
    database: Option<PgListener>,
    /// All rules must be read: the revision may mean others than those that are known.
    must_read_all: bool,
    /// Since when the rules cannot be followed, and the pause until the next try.
    lost_since: Option<Instant>,
    pause: Duration,
}

impl Follower {
    pub(super) fn new(
        shared: Arc<Shared>,
        kept: Receiver<MemberEvent>,
        inbox: Inbox,
        db: &Db,
    ) -> Self {
        let options = PgConnectOptions::clone(&db.connect_options())
            .application_name("stickymark rule filter");
        Self {
            shared,
            kept,
            inbox,
            options,
            database: None,
            must_read_all: true,
            lost_since: None,
            pause: RETRY.0,
        }
    }

    /// Follows until stopped; then once more, so that nothing kept is forgotten. Stop it when no
    /// more callbacks are taken and before the inbox is closed.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(followed) = stop.run_until_cancelled(self.follow()).await {
            let Err(error) = followed else { continue };
            self.lost_since.get_or_insert_with(Instant::now);
            let errors = &self.shared.metrics.database_errors;
            errors.of(DatabasePart::Rules).inc();
            warn_seldom!(%error, "cannot read changes of rules; bypassing the rule filter");
            if !matches!(error, FollowError::TriggersLost(_)) {
                self.database = None;
            }
            stop.run_until_cancelled(tokio::time::sleep(self.pause))
                .await;
            self.pause = (self.pause * 2).min(RETRY.1);
        }
        self.finish().await;
    }

    async fn follow(&mut self) -> Result<(), FollowError> {
        self.confirm().await?;
        self.pause = RETRY.0;
        if let Some(since) = self.lost_since.take() {
            let seconds = since.elapsed().as_secs_f64();
            tracing::info!(seconds, "the rule filter reads changes of rules again");
        }
        Ok(self.wait().await?)
    }

    /// Asks the database once, and decides on all events that were kept before. They stay kept if the rules
    /// cannot be followed.
    pub async fn confirm(&mut self) -> Result<(), FollowError> {
        let confirmed = self.try_to_confirm().await;
        if let Err(FollowError::TriggersLost(_)) = confirmed {
            // Rules may change without a new revision.
            self.shared.doubt();
            self.must_read_all = true;
        }
        let error = confirmed.as_ref().err().map(ToString::to_string);
        self.shared.error.store(error.map(Arc::new));
        confirmed
    }

    async fn try_to_confirm(&mut self) -> Result<(), FollowError> {
        let mut database = match self.database.take() {
            Some(database) => database,
            None => {
                self.must_read_all = true;
                connect(&self.options).await?
            }
        };
        // These events were answered before the next question to the database.
        let answered = self.kept.len();
        let confirmed = Instant::now();
        let rules = self.current(&mut database).await?;
        self.shared.known.store(Arc::new(Known {
            rules: Some(Arc::clone(&rules)),
            confirmed,
            trusted: true,
        }));
        // Not after an error or a cancellation: its answer would still be under way.
        self.database = Some(database);
        self.check_again(&rules, answered);
        Ok(())
    }

    /// The rules as of a moment after this was called.
    async fn current(&mut self, database: &mut PgListener) -> Result<Arc<RuleSet>, FollowError> {
        check_triggers(database).await?;
        let known = self.shared.known.load().rules.clone();
        if let Some(known) = known.filter(|_| !self.must_read_all)
            && let Some(rules) = updated(database, &known).await?
        {
            return Ok(rules);
        }
        // What is known may be wrong, and reading all takes a while.
        self.shared.doubt();
        let rules = read_all(database).await?;
        tracing::info!(
            rules = rules.len(),
            bytes = rules.bytes(),
            "the rule filter has read the rules"
        );
        self.must_read_all = false;
        Ok(Arc::new(rules))
    }

    /// Discards events that these rules do not match either, and hands the others to the inbox, which keeps
    /// them from then on.
    fn check_again(&mut self, rules: &RuleSet, answered: usize) {
        let kept = std::iter::from_fn(|| self.kept.try_recv().ok()).take(answered);
        let named = kept.filter(|event| rules.may_name(&event.group, &event.account));
        let late: Vec<MemberEvent> = named.collect();
        let events = late.len();
        if events == 0 {
            return;
        }
        tracing::info!(
            events,
            "new rule matches members who joined before the filter saw it; queued"
        );
        if self.inbox.take_late(late).is_err() {
            tracing::error!(events, "the inbox closed before the rule filter");
        }
    }

    /// Waits for a reason to ask again.
    async fn wait(&mut self) -> Result<(), sqlx::Error> {
        let Some(database) = &mut self.database else {
            return Ok(());
        };
        let notified = database.try_recv();
        if let Ok(notified) =
            tokio::time::timeout(self.shared.settings.confirm_every, notified).await
        {
            notified?.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionAborted))?;
            tokio::time::sleep(GATHER).await;
            while database.next_buffered().is_some() {}
        }
        Ok(())
    }

    async fn finish(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let confirmed = tokio::time::timeout(FINISH_WITHIN, self.confirm()).await;
        let events = self.kept.len();
        if !matches!(confirmed, Ok(Ok(()))) || events > 0 {
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
    in_time(LONGEST_SILENCE, listener.listen(CHANNEL)).await?;
    // Marked as closed, it closes the connection when that is dropped. It would test it otherwise, and
    // complain where PostgreSQL ends together with the program.
    drop(pool.close());
    Ok(listener)
}
