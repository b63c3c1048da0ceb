//! Keeps the filter of a replica up to date, and checks again the events to which it said "no".
//!
//! It registers for notifications before it asks, so that no commit falls between the two. It replaces
//! a connection that is lost, with growing pauses; meanwhile the filter becomes stale and is bypassed.
//! A new connection may lead to another database, or to one that was restored to an earlier state and
//! written to since, where the same revision means other rules: then it reads all rules.
//!
//! Rules stream through; only their keys are kept. The migration that creates `rule_revision` explains
//! revisions.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::rule_set::RuleSet;
use crate::database::{Db, in_time, interval};
use crate::domain::{Account, MemberEvent, REMEMBERED};
use crate::members::Inbox;
use crate::metrics::DatabasePart;
use crate::telemetry::warn_seldom;

/// A trigger notifies this channel of commits of rules.
const CHANNEL: &str = "stickymark_rules";
/// Rules are mostly written in bursts: the wait for further notifications after the first.
const GATHER: Duration = Duration::from_millis(10);
/// First and longest pause between tries while the database is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Late events handed to the inbox at once.
const EVENTS_A_DELIVERY: usize = 1_000;
/// A stopping service waits this long for its last confirmation.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// A database that takes longer to answer is believed dead.
const LONGEST_SILENCE: Duration = Duration::from_secs(3);
/// Space is reserved for so many rules at most before the first is read; more make the set grow.
const MOST_EXPECTED: usize = 16_000_000;
/// So many rules are read before other tasks of the same thread run.
const RULES_A_TURN: usize = 1_000;
/// Without these the revision says nothing of the rules, or the match misses a kind of rule.
const TRIGGERS: [&str; 5] = [
    "rules_inserted",
    "rules_updated",
    "rules_deleted",
    "rules_inserted_are_noted",
    "rules_updated_are_noted",
];

/// Why the rules cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(
        "triggers on the table rules are missing or disabled: {0}; members without a mark go unnoticed. \
         Enable them (alter table rules enable trigger user), or restore the schema from a whole dump"
    )]
    TriggersLost(String),
}

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
        self.shared.change(|known| known.error = error);
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
        self.shared.change(|known| {
            known.rules = Some(Arc::clone(&rules));
            (known.confirmed, known.trusted) = (confirmed, true);
        });
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
        // In pieces, since callbacks wait meanwhile.
        for piece in late.chunks(EVENTS_A_DELIVERY) {
            if self.inbox.take_late(piece.to_vec()).is_err() {
                tracing::error!(events, "the inbox closed before the rule filter");
                return;
            }
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

/// Checks the triggers that keep the revision: none may be missing or disabled, or ignored by the session.
async fn check_triggers(database: &mut PgListener) -> Result<(), FollowError> {
    let lost = sqlx::query_scalar!(
        r#"
        select name as "name!" from unnest($1::text[]) name
        where not exists (
            select from pg_trigger t
            where t.tgrelid = 'rules'::regclass and t.tgname = name
              and (t.tgenabled = 'A'
                   or t.tgenabled = 'O' and current_setting('session_replication_role') <> 'replica'))
        "#,
        &TRIGGERS as &[&str],
    );
    let lost = in_time(LONGEST_SILENCE, lost.fetch_all(database)).await?;
    match lost.is_empty() {
        true => Ok(()),
        false => Err(FollowError::TriggersLost(lost.join(", "))),
    }
}

/// The set with what is new since its revision. One cheap statement, so the answer is of one moment. `None`:
/// all rules must be read, since the log does not reach back so far, or too many of the known ones are gone.
async fn updated(
    database: &mut PgListener,
    known: &Arc<RuleSet>,
) -> Result<Option<Arc<RuleSet>>, sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"
        select v.revision, v.logged_since,
               (select coalesce(sum(rules), 0) from rule_shapes)::bigint as "rules!",
               c.group_text as "group_text?", c.group_prefix_len as "group_prefix_len?",
               c.account_text as "account_text?", c.account_prefix_len as "account_prefix_len?"
        from rule_revision v
        left join rule_changes c on c.revision > $1 and v.logged_since <= $1
        "#,
        known.revision
    )
    .fetch(database);
    // Copied when something is new.
    let (mut set, mut rules, mut complete) = (Arc::clone(known), None, true);
    while let Some(row) = in_time(LONGEST_SILENCE, rows.try_next()).await? {
        // A revision that decreased means that a backup was restored.
        complete &= (row.logged_since..=row.revision).contains(&known.revision);
        rules = Some(row.rules);
        if set.revision != row.revision {
            Arc::make_mut(&mut set).revision = row.revision;
        }
        if let (Some(group), Some(group_len), Some(account), Some(account_len)) = (
            row.group_text,
            row.group_prefix_len,
            row.account_text,
            row.account_prefix_len,
        ) {
            Arc::make_mut(&mut set).add((&group, group_len), (&account, account_len));
        }
    }
    if !Arc::ptr_eq(&set, known) {
        Arc::make_mut(&mut set).sort();
    }
    let rules = rules.ok_or(sqlx::Error::RowNotFound)?;
    Ok((complete && !set.is_worn(rules)).then_some(set))
}

/// Reads all rules but those that ended long ago. The revision is read first: rules that are written
/// meanwhile may be in the set already, and come once more as changes.
async fn read_all(database: &mut PgListener) -> Result<RuleSet, sqlx::Error> {
    let start = sqlx::query!(
        r#"
        select revision, (select sum(rules) from rule_shapes)::bigint as rules from rule_revision
        "#
    );
    let start = in_time(LONGEST_SILENCE, start.fetch_one(&mut *database)).await?;
    let expected = usize::try_from(start.rules.unwrap_or(0)).unwrap_or(0);
    let mut rules = RuleSet::empty(start.revision, expected.min(MOST_EXPECTED));
    let mut read = 0_usize;
    let mut rows = sqlx::query!(
        r#"
        select group_text, group_prefix_len, account_text, account_prefix_len from rules
        where ends_at is null or ends_at > now() - $1::interval
        "#,
        interval(REMEMBERED),
    )
    .fetch(database);
    while let Some(row) = in_time(LONGEST_SILENCE, rows.try_next()).await? {
        rules.add(
            (&row.group_text, row.group_prefix_len),
            (&row.account_text, row.account_prefix_len),
        );
        read += 1;
        if read.is_multiple_of(RULES_A_TURN) {
            tokio::task::yield_now().await;
        }
    }
    rules.sort();
    Ok(rules)
}

/// Deletes the changes that name an account of which no rule is left: a replica that has not read them yet
/// does not need them.
pub(in crate::rules) async fn forget_account(
    transaction: &mut PgConnection,
    account: &Account,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from rule_changes where account_text = $1 and account_prefix_len < 0",
        account.as_str(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}
