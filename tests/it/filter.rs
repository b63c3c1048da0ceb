//! The rule filter against a real database: what it keeps away, and that it never misses a rule.

use std::time::Duration;

use futures::FutureExt;
use sqlx::{AssertSqlSafe, Executor};
use stickymark::testing::Service;
use stickymark::testing::callback::{Events, Recorded};
use stickymark::testing::chat::{Budget, CallRate};
use stickymark::testing::config::Settings;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, EventSource, EventTime, GroupId, MemberEvent, RequestId,
};
use stickymark::testing::members::{Inbox, Named, News, Settling};
use stickymark::testing::metrics::Api;
use stickymark::testing::rules::filter::{FilterSettings, FilterState, Follower, RuleFilter};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{self, TestDatabase, database, insert_rule};

const AN_HOUR: Duration = Duration::from_secs(3600);

/// A filter that only a notification or a hand moves on, and that does not grow stale in a test.
const BY_HAND: FilterSettings = FilterSettings {
    confirm_every: AN_HOUR,
    stale_after: AN_HOUR,
    most_kept: 100,
};

/// What one replica has between the listener and the database.
struct Replica {
    events: Events,
    filter: RuleFilter,
    writer: JoinHandle<()>,
    /// Ends the writer.
    closing: CancellationToken,
}

/// A replica whose filter has read the rules of `followed` and whose events go to `written`.
async fn replica(followed: &Db, written: &Db, settings: FilterSettings) -> (Replica, Follower) {
    let settling = Settling {
        settle: Duration::ZERO,
        max_wait: Duration::ZERO,
    };
    let (inbox, writer) = Inbox::new(&support::replica(written), settling);
    let (filter, mut follower) =
        RuleFilter::new(&support::replica(followed), inbox.clone(), settings);
    let budget = Budget::new(written.clone(), Api::ModifyUserInfo, CallRate::new(100));
    follower.confirm().await.unwrap();
    let closing = CancellationToken::new();
    let replica = Replica {
        events: Events::new(inbox, filter.clone(), vec![budget]),
        filter,
        writer: tokio::spawn(writer.run(closing.clone())),
        closing,
    };
    (replica, follower)
}

impl Replica {
    async fn hear(&self, event: MemberEvent) {
        self.events.record(vec![event]).await.unwrap();
    }

    fn state(&self) -> FilterState {
        self.filter.state()
    }

    /// Whether the filter lets an event about this member through. A "no" is kept like any other.
    fn lets_through(&self, account: &str) -> bool {
        !self.filter.named(vec![join(account)]).0.is_empty()
    }
}

fn event(account: &str, source: EventSource, at: i64) -> MemberEvent {
    MemberEvent {
        group: GroupId::parse("class-7").unwrap(),
        account: Account::parse(account).unwrap(),
        source,
        at: Some(EventTime::from_number(1_767_225_600_000 + at)),
        request: RequestId::generate(),
    }
}

fn join(account: &str) -> MemberEvent {
    event(account, EventSource::Join, 0)
}

async fn execute(db: &Db, statement: impl Into<String>) {
    db.execute(AssertSqlSafe(statement.into())).await.unwrap();
}

async fn members(db: &Db) -> Vec<(String, String)> {
    sqlx::query_as("select account, presence from members order by account")
        .fetch_all(db)
        .await
        .unwrap()
}

/// Waits for a condition that must come true.
async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("{what} does not come"));
}

async fn until_members(db: &Db, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected
        .iter()
        .map(|(account, presence)| (account.to_string(), presence.to_string()))
        .collect();
    let expected = &expected;
    until("the row", || async move { members(db).await == *expected }).await;
}

#[tokio::test]
async fn a_callback_about_nobodys_rule_is_answered_without_the_database() {
    let database = database().await;
    insert_rule(database.db(), "class-*", "teacher*", &[1000]).await;
    let dead = Db::new_lazy("postgres://127.0.0.1:1/none".parse().unwrap(), 1);
    dead.close().await;
    let (replica, _follower) = replica(database.db(), &dead, BY_HAND).await;
    let viewers = (0..50).map(|n| join(&format!("viewer{n}"))).collect();
    let answered = replica.events.record(viewers).now_or_never();
    assert_eq!(answered, Some(Ok(Recorded::NotNeeded)));
    let exit = event("viewer1", EventSource::Exit, 1);
    assert_eq!(
        replica.events.record(vec![exit]).now_or_never(),
        Some(Ok(Recorded::NotNeeded))
    );
    // Who is named waits for the database, also together with others.
    let mixed = vec![join("viewer1"), join("teacher1")];
    assert_eq!(replica.events.record(mixed).now_or_never(), None);
}

#[tokio::test]
async fn a_rule_made_at_one_replica_finds_a_join_that_another_had_already_answered() {
    let database = database().await;
    let db = database.db();
    let (b, mut follower) = replica(db, db, BY_HAND).await;
    // Committed, but the notification is delayed: nothing moves the follower of B.
    insert_rule(db, "class-7", "*", &[1000]).await;
    b.hear(join("alice")).await;
    assert!(members(db).await.is_empty());
    assert_eq!(b.state().kept, 1);

    follower.confirm().await.unwrap();
    until_members(db, &[("alice", "present")]).await;
    assert_eq!(b.state().kept, 0);
    assert!(b.lets_through("bob"));
}

#[tokio::test]
async fn events_that_are_recorded_late_keep_their_order() {
    let database = database().await;
    let db = database.db();
    let (b, mut follower) = replica(db, db, BY_HAND).await;
    insert_rule(db, "class-7", "*", &[1000]).await;
    b.hear(join("alice")).await;
    b.hear(event("alice", EventSource::Exit, 1)).await;
    b.hear(event("bob", EventSource::Exit, 1)).await;
    b.hear(event("bob", EventSource::Online, 2)).await;
    follower.confirm().await.unwrap();
    until_members(db, &[("bob", "present")]).await;
}

#[tokio::test]
async fn a_join_during_a_confirmation_waits_for_the_next() {
    let database = database().await;
    let db = database.db();
    let (b, mut follower) = replica(db, db, BY_HAND).await;
    // A writer of rules, about to commit, holds up the confirmation that is under way.
    let mut writing = db.begin().await.unwrap();
    writing
        .execute("lock table rule_revision in access exclusive mode")
        .await
        .unwrap();
    writing
        .execute(
            "insert into rules values ('r', 'class-7', -1, '', 0, '{1000}', true, null, null, '',
                                       '', 1, now(), now())",
        )
        .await
        .unwrap();
    let confirming = tokio::spawn(async move {
        follower.confirm().await.unwrap();
        follower
    });
    until("the confirmation", || async {
        sqlx::query_scalar(
            "select exists (select from pg_stat_activity where wait_event_type = 'Lock'
             and application_name = 'stickymark rule filter' and datname = current_database())",
        )
        .fetch_one(db)
        .await
        .unwrap()
    })
    .await;
    b.hear(join("alice")).await;
    writing.commit().await.unwrap();
    let mut follower = confirming.await.unwrap();
    assert_eq!(b.state().kept, 1);
    follower.confirm().await.unwrap();
    until_members(db, &[("alice", "present")]).await;
    assert_eq!(b.state().kept, 0);
}

#[tokio::test]
async fn what_is_kept_is_forgotten_when_no_rule_has_come() {
    let database = database().await;
    let db = database.db();
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    replica.hear(join("alice")).await;
    follower.confirm().await.unwrap();
    assert_eq!(replica.state().kept, 0);
    insert_rule(db, "class-7", "*", &[1000]).await;
    follower.confirm().await.unwrap();
    // The rule is younger than the confirmed "no", as it would be without a filter.
    replica.hear(join("bob")).await;
    until_members(db, &[("bob", "present")]).await;
}

#[tokio::test]
async fn a_notification_is_enough_to_learn_of_a_rule() {
    let database = database().await;
    let db = database.db();
    let (replica, follower) = replica(db, db, BY_HAND).await;
    let following = tokio::spawn(follower.run(CancellationToken::new()));
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    until("the rule", || async { replica.state().rules == 1 }).await;
    replica.hear(join("teacher")).await;
    until_members(db, &[("teacher", "present")]).await;
    execute(db, "update rules set account_text = 'headmaster'").await;
    until("the change", || async { replica.state().revision == 2 }).await;
    assert!(replica.lets_through("headmaster"));
    following.abort();
}

#[tokio::test]
async fn an_update_that_leaves_the_patterns_alone_is_no_news() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    let before = replica.state().revision;
    execute(db, "update rules set enabled = false, note = 'x'").await;
    follower.confirm().await.unwrap();
    assert_eq!(replica.state().revision, before);
    // A disabled rule still names its members: its marks may have to be taken away.
    assert!(replica.lets_through("teacher"));
}

#[tokio::test]
async fn a_rule_that_ended_long_ago_is_let_through_again_when_its_end_changes() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    execute(db, "update rules set ends_at = now() - interval '2 days'").await;
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    assert!(!replica.lets_through("teacher"));
    execute(db, "update rules set ends_at = now() + interval '1 hour'").await;
    follower.confirm().await.unwrap();
    assert!(replica.lets_through("teacher"));
}

#[tokio::test]
async fn without_a_confirmation_everything_goes_to_the_database() {
    let database = database().await;
    let db = database.db();
    let alone = support::replica(db);
    let settling = Settling {
        settle: Duration::ZERO,
        max_wait: Duration::ZERO,
    };
    let (inbox, _writer) = Inbox::new(&alone, settling);
    let (unread, _follower) = RuleFilter::new(&alone, inbox, BY_HAND);
    assert!(unread.state().bypassing);
    assert_eq!(unread.named(vec![join("alice")]).0.len(), 1);

    let soon_stale = FilterSettings {
        stale_after: Duration::from_millis(500),
        ..BY_HAND
    };
    let (replica, mut follower) = replica(db, db, soon_stale).await;
    until("doubt", || async { replica.state().bypassing }).await;
    assert!(replica.lets_through("alice"));
    assert_eq!(replica.state().kept, 0);
    follower.confirm().await.unwrap();
    assert!(!replica.state().bypassing);
}

#[tokio::test]
async fn it_is_bypassed_while_it_can_keep_no_more() {
    let database = database().await;
    let db = database.db();
    let small = FilterSettings {
        most_kept: 2,
        ..BY_HAND
    };
    let (replica, mut follower) = replica(db, db, small).await;
    let answers = ["a", "b", "c"].map(|account| replica.lets_through(account));
    assert_eq!(answers, [false, false, true]);
    assert!(replica.state().bypassing);
    follower.confirm().await.unwrap();
    assert!(!replica.lets_through("c"));
}

#[tokio::test]
async fn it_recovers_when_its_connection_is_cut() {
    let database = database().await;
    let db = database.db();
    let (replica, follower) = replica(db, db, BY_HAND).await;
    let following = tokio::spawn(follower.run(CancellationToken::new()));
    for n in 1..=3 {
        execute(
            db,
            "select pg_terminate_backend(pid) from pg_stat_activity
             where application_name = 'stickymark rule filter' and datname = current_database()",
        )
        .await;
        insert_rule(db, "class-7", &format!("teacher{n}"), &[1000]).await;
        until("the rule", || async { replica.state().rules == n }).await;
        assert!(replica.lets_through(&format!("teacher{n}")));
    }
    following.abort();
}

#[tokio::test]
async fn a_rule_that_went_and_came_back_is_not_missed() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    execute(db, "delete from rules").await;
    follower.confirm().await.unwrap();
    replica.hear(join("teacher")).await;
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    replica.hear(event("teacher", EventSource::Online, 1)).await;
    follower.confirm().await.unwrap();
    until_members(db, &[("teacher", "present")]).await;
}

async fn insert_teachers(db: &Db, count: usize) {
    execute(
        db,
        format!(
            "insert into rules
             select 'r' || n, 'class-' || n % 100, -1, 'teacher' || n, -1, '{{1000}}', true,
                    null, null, '', '', 1, now(), now()
             from generate_series(1, {count}) n"
        ),
    )
    .await;
}

#[tokio::test]
async fn two_hundred_thousand_rules_written_at_once_are_read_anew() {
    let database = database().await;
    let db = database.db();
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    insert_teachers(db, 200_000).await;
    replica.hear(join("teacher107")).await;
    replica.hear(join("teacher108")).await;
    follower.confirm().await.unwrap();
    let state = replica.state();
    assert_eq!((state.rules, state.kept), (200_000, 0));
    assert!(state.bytes <= 24 * state.rules, "{}", state.bytes);
    assert!(replica.lets_through("teacher199907"));
    assert!(!replica.lets_through("teacher199908"));
    until_members(db, &[("teacher107", "present")]).await;
}

#[tokio::test]
async fn deleted_rules_are_forgotten_when_they_are_many() {
    let database = database().await;
    let db = database.db();
    insert_teachers(db, 20_000).await;
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    execute(db, "delete from rules where id < 'r2'").await;
    follower.confirm().await.unwrap();
    let left: i64 = sqlx::query_scalar("select count(*) from rules")
        .fetch_one(db)
        .await
        .unwrap();
    assert_eq!(replica.state().rules as i64, left);
}

#[tokio::test]
async fn the_log_of_changes_stays_short() {
    let database = database().await;
    let db = database.db();
    let (late, mut follower) = replica(db, db, BY_HAND).await;
    for _ in 0..25 {
        execute(db, "delete from rules").await;
        insert_teachers(db, 1_000).await;
    }
    let logged: i64 = sqlx::query_scalar("select count(*) from rule_changes")
        .fetch_one(db)
        .await
        .unwrap();
    assert_eq!(logged, 20_000);
    // The same pairs of patterns again and again; too far behind for the log.
    follower.confirm().await.unwrap();
    assert_eq!((late.state().rules, late.state().revision), (1_000, 25_000));
}

#[tokio::test]
async fn a_stopping_replica_looks_once_more_at_what_it_kept() {
    let database = database().await;
    let db = database.db();
    let (replica, follower) = replica(db, db, BY_HAND).await;
    insert_rule(db, "class-7", "*", &[1000]).await;
    replica.hear(join("alice")).await;
    let stop = CancellationToken::new();
    stop.cancel();
    follower.run(stop).await;
    replica.closing.cancel();
    replica.writer.await.unwrap();
    assert_eq!(
        members(db).await,
        [("alice".to_owned(), "present".to_owned())]
    );
}

#[tokio::test]
async fn a_full_inbox_at_the_last_confirmation_but_one_hides_no_event() {
    let database = database().await;
    let db = database.db();
    let at_once = Settling {
        settle: Duration::ZERO,
        max_wait: Duration::ZERO,
    };
    let (inbox, writer) = Inbox::new(&support::replica(db), at_once);
    let (filter, mut follower) = RuleFilter::new(&support::replica(db), inbox.clone(), BY_HAND);
    follower.confirm().await.unwrap();
    assert_eq!(filter.named(vec![join("alice")]).0, []);
    insert_rule(db, "class-7", "alice", &[1000]).await;
    // No rule matches them, so they get no rows.
    let crowd = (0..200_000).map(|number| join(&format!("crowd{number}")));
    let crowd = News::Members(crowd.collect(), Named::Unknown);
    let filler = inbox.clone();
    let mut handed_in = Box::pin(async move { filler.hand_in(crowd).await });
    assert!((&mut handed_in).now_or_never().is_none());
    follower.confirm().await.unwrap();
    assert_eq!(filter.named(vec![join("bob")]).0, []);
    insert_rule(db, "class-7", "bob", &[1000]).await;
    let closing = CancellationToken::new();
    let writer = tokio::spawn(writer.run(closing.clone()));
    handed_in.await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    follower.run(stop).await;
    closing.cancel();
    writer.await.unwrap();
    let all = ["alice", "bob"].map(|account| (account.to_owned(), "present".to_owned()));
    assert_eq!(members(db).await, all);
}

/// The service on this database, with the rules read.
async fn service(database: &TestDatabase) -> (Service, RuleFilter) {
    let settings = [
        ("STICKYMARK__CHAT__SDK_APP_ID", "1400000000"),
        ("STICKYMARK__CHAT__SECRET_KEY", "key"),
        ("STICKYMARK__CHAT__BASE_URL", "http://127.0.0.1:9"),
        ("STICKYMARK__CALLBACK__LISTEN", "127.0.0.1:0"),
        ("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0"),
    ];
    let settings = Settings::load(None, settings).unwrap();
    let service = Service::build(&settings, database.db().clone())
        .await
        .unwrap();
    let filter = service.rule_filter().clone();
    (service, filter)
}

#[tokio::test]
async fn the_service_answers_at_once_and_spares_the_database_when_the_rules_are_read() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    let (service, filter) = service(&database).await;
    assert!(filter.state().bypassing);
    let address = service.callback_address();
    let stop = CancellationToken::new();
    let running = tokio::spawn(service.run({
        let stop = stop.clone();
        async move {
            stop.cancelled().await;
            Duration::ZERO
        }
    }));
    until("the filter", || async { !filter.state().bypassing }).await;
    for account in ["viewer", "teacher"] {
        let answer = reqwest::Client::new()
            .post(format!(
                "http://{address}/callback?SdkAppid=1400000000\
                 &CallbackCommand=Group.CallbackAfterNewMemberJoin"
            ))
            .body(format!(
                r#"{{"CallbackCommand":"Group.CallbackAfterNewMemberJoin","GroupId":"class-7",
                    "Type":"AVChatRoom","JoinType":"Apply","Operator_Account":"x",
                    "NewMemberList":[{{"Member_Account":"{account}"}}],"EventTime":1767225600000}}"#
            ))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(members(db).await.len(), 1);
    stop.cancel();
    running.await.unwrap().unwrap();
}

async fn cut_the_follower(db: &Db) {
    execute(
        db,
        "select pg_terminate_backend(pid) from pg_stat_activity
         where application_name = 'stickymark rule filter' and datname = current_database()",
    )
    .await;
}

/// Takes rules and revision back to where they were with one rule, as a restored backup does, and
/// writes four rules after it: revision 5, while the replica knows revision 3.
async fn restore_and_write_on(db: &Db) {
    for statement in [
        "alter table rules disable trigger user",
        "delete from rules where account_text <> 'teacher0'",
        "alter table rules enable trigger user",
        "truncate rule_changes",
    ] {
        execute(db, statement).await;
    }
    for n in 3..7 {
        insert_rule(db, "class-7", &format!("teacher{n}"), &[1000]).await;
    }
}

async fn three_teachers(db: &Db) {
    for n in 0..3 {
        insert_rule(db, "class-7", &format!("teacher{n}"), &[1000]).await;
    }
}

#[tokio::test]
async fn after_a_reconnect_all_rules_are_read_whatever_the_revision_says() {
    let database = database().await;
    let db = database.db();
    three_teachers(db).await;
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    replica.hear(join("teacher3")).await;
    cut_the_follower(db).await;
    execute(db, "update rule_revision set revision = 1").await;
    restore_and_write_on(db).await;
    follower.confirm().await.unwrap_err();
    follower.confirm().await.unwrap();
    assert_eq!(replica.state().rules, 5);
    for n in 3..7 {
        assert!(replica.lets_through(&format!("teacher{n}")), "{n}");
    }
    until_members(db, &[("teacher3", "present")]).await;
}

#[tokio::test]
async fn lost_triggers_are_reported_and_nothing_is_confirmed_without_them() {
    let database = database().await;
    let db = database.db();
    let triggers: Vec<String> = sqlx::query_scalar(
        "select tgname::text from pg_trigger where tgrelid = 'rules'::regclass
         and tgname !~ 'retire' order by 1",
    )
    .fetch_all(db)
    .await
    .unwrap();
    assert_eq!(triggers.len(), 5);
    let (replica, mut follower) = replica(db, db, BY_HAND).await;
    for trigger in triggers {
        execute(db, format!("alter table rules disable trigger {trigger}")).await;
        let error = follower.confirm().await.unwrap_err().to_string();
        assert!(error.contains(&trigger), "{error}");
        let state = replica.state();
        assert!(state.bypassing && state.error.is_some_and(|shown| shown == error));
        insert_rule(db, "class-7", &trigger, &[1000]).await;
        assert!(replica.lets_through("anyone"));

        execute(db, "alter table rules enable trigger user").await;
        follower.confirm().await.unwrap();
        let state = replica.state();
        assert!(!state.bypassing && state.error.is_none());
        assert!(replica.lets_through(&trigger) && !replica.lets_through("anyone"));
    }
}
