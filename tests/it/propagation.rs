//! Changes of rules reach the members they concern after their commit, in batches.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stickymark::testing::WakeUp;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, GroupId, MarkSet, Marks, Pattern, RequestId, RuleDraft, RuleId, Window,
};
use stickymark::testing::members::retry_failed;
use stickymark::testing::rules::import::ImportOptions;
use stickymark::testing::rules::{Author, Rules, WriteError, backlog, propagate};

use crate::support::database;
use crate::support::scene::{Scene, marks, users};
use crate::support::stage::Stage;

fn author() -> Author {
    Author {
        name: "eve".to_owned(),
        request_id: None,
    }
}

fn draft(group: &str, account: &str, numbers: &[i64]) -> RuleDraft {
    RuleDraft {
        group: Pattern::parse(group).unwrap(),
        account: Pattern::parse(account).unwrap(),
        marks: Marks::new(marks(numbers)).unwrap(),
        enabled: true,
        window: Window::default(),
        label: String::new(),
        note: String::new(),
    }
}

async fn write(db: &Db, id: &str, draft: Option<RuleDraft>) -> Result<(), WriteError> {
    let rules = Rules::new(db.clone(), WakeUp::default());
    let id = RuleId::parse(id).unwrap();
    match draft {
        Some(draft) => rules.put(&id, draft, |_| true, &author()).await.map(drop),
        None => match rules.delete(&id, |_| true, &author()).await {
            Err(WriteError::NotFound(_)) => Ok(()),
            deleted => deleted,
        },
    }
}

async fn count(db: &Db, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(db).await.unwrap()
}

const DUE: &str = "select count(*) from members where due_at <= now() and generation = 1";

#[tokio::test]
async fn a_wide_change_reaches_every_member_once_and_no_absent_one() {
    let database = database().await;
    let db = database.db();
    sqlx::query("insert into rooms (group_id, last_event_at) select 'class-' || i, now() from generate_series(1, 3) i")
        .execute(db)
        .await
        .unwrap();
    sqlx::query(
        "insert into members (group_id, account, presence)
         select 'class-' || i % 3 + 1, 'user' || i, case when i > 2400 then 'absent' else 'present' end
         from generate_series(1, 2500) i",
    )
    .execute(db)
    .await
    .unwrap();
    write(db, "r", Some(draft("class-*", "user*", &[1000])))
        .await
        .unwrap();
    // The same patterns again: one walk for both.
    write(db, "r", Some(draft("class-*", "user*", &[1001])))
        .await
        .unwrap();
    assert_eq!(
        count(db, DUE).await,
        0,
        "the write itself touches no member"
    );
    propagate(db).await.unwrap();
    assert_eq!(count(db, DUE).await, 2400);
    assert_eq!(
        count(db, "select count(*) from rooms where due_at <= now()").await,
        3
    );
    // Only Chat knows who else is there.
    assert_eq!(
        count(
            db,
            "select count(*) from rooms where sweep_requested_at is not null"
        )
        .await,
        3
    );
    let left = "select (select max(sequence) from rule_history) - sequence from propagation";
    assert_eq!(count(db, left).await, 0);
}

#[tokio::test]
async fn members_locked_by_a_stranger_delay_no_other_and_are_reached_later() {
    let database = database().await;
    let db = database.db();
    sqlx::query("insert into rooms (group_id, last_event_at) values ('class-1', now())")
        .execute(db)
        .await
        .unwrap();
    sqlx::query(
        "insert into members (group_id, account, presence)
         select 'class-1', account, presence from (values ('user1', 'present'), ('user2', 'present'),
             ('user3', 'present'), ('user4', 'absent'), ('user5', 'absent')) m (account, presence)",
    )
    .execute(db)
    .await
    .unwrap();
    let mut stranger = db.begin().await.unwrap();
    sqlx::query("select from members where account in ('user2', 'user4') for update")
        .execute(&mut *stranger)
        .await
        .unwrap();
    sqlx::query("insert into rooms (group_id) select 'busy' || n from generate_series(1, 30) n")
        .execute(db)
        .await
        .unwrap();
    sqlx::query("select from rooms where group_id = 'busy7' for update")
        .execute(&mut *stranger)
        .await
        .unwrap();
    write(db, "all", Some(draft("class-*", "user*", &[1000])))
        .await
        .unwrap();
    // Literal changes: of a member who is present, of two who are absent in the table, of one who is not in
    // it and whose room is locked, and of so many more that their rooms are asked.
    for account in ["user2", "user4", "user5"] {
        write(db, account, Some(draft("class-1", account, &[1001])))
            .await
            .unwrap();
    }
    write(db, "busy7", Some(draft("busy7", "user7", &[1001])))
        .await
        .unwrap();
    propagate(db).await.unwrap();
    for room in (1..=30).map(|number| format!("busy{number}")) {
        write(
            db,
            &format!("{room}-2"),
            Some(draft(&room, "user8", &[1001])),
        )
        .await
        .unwrap();
    }
    propagate(db).await.unwrap();
    let asked = "select count(*) from rooms where sweep_requested_at is not null";
    assert_eq!(count(db, asked).await, 30);
    let due = "select array_agg(account order by account) from members where due_at <= now()";
    let due = || async {
        sqlx::query_scalar::<_, Vec<String>>(due)
            .fetch_one(db)
            .await
    };
    assert_eq!(due().await.unwrap(), ["user1", "user3", "user5"]);
    // Two literal ones of class-1, the first of which the wide change is noted for, and two of busy7.
    assert_eq!(backlog(db).await.unwrap().changes, 4);
    stranger.rollback().await.unwrap();
    propagate(db).await.unwrap();
    let all = [
        "user1", "user2", "user3", "user4", "user5", "user7", "user8",
    ];
    assert_eq!(due().await.unwrap(), all);
    assert_eq!(backlog(db).await.unwrap().changes, 0);
}

#[tokio::test]
async fn an_import_for_many_members_asks_their_rooms_and_tries_none_of_them() {
    let database = database().await;
    let db = database.db();
    let rules = Rules::new(db.clone(), WakeUp::default());
    let rule = |number| {
        let room = format!("class-{}", number % 3);
        let id = RuleId::parse(&format!("r{number}")).unwrap();
        (
            id,
            (number, draft(&room, &format!("user{number}"), &[1000])),
        )
    };
    let merge = ImportOptions::default();
    let brought = (0..600).map(rule).collect();
    rules.import(brought, &merge, &author()).await.unwrap();
    propagate(db).await.unwrap();
    assert_eq!(count(db, "select count(*) from members").await, 0);
    assert_eq!(
        count(
            db,
            "select count(*) from rooms where sweep_requested_at is not null"
        )
        .await,
        3
    );
}

/// Chat is asked with the rules as they were before the commit; the change must not be lost.
#[tokio::test]
async fn a_member_who_arrives_while_a_rule_write_is_open_gets_the_change() {
    let scene = Scene::empty().await;
    let db = scene.db();
    scene.rule("class-7", "*", &[1000]).await;
    write(db, "second", Some(draft("class-7", "user0", &[1001])))
        .await
        .unwrap();
    propagate(db).await.unwrap();
    sqlx::query("delete from members")
        .execute(db)
        .await
        .unwrap();
    let mut writing = db.begin().await.unwrap();
    for statement in [
        "delete from rules where id = 'second'",
        "insert into rule_history (rule_id, at, actor, action, before)
         select rule_id, now(), 'eve', 'deleted', after from rule_history",
    ] {
        sqlx::query(statement).execute(&mut *writing).await.unwrap();
    }
    propagate(db).await.unwrap();
    scene.chat().join("class-7", &users(1)).await.unwrap();
    scene.arrive("class-7", &users(1)).await;
    let worker = scene.worker(&scene.breaker());
    while worker.step().await.unwrap() {}
    assert_eq!(
        scene.chat().marks("class-7").await.unwrap()["user0"].len(),
        2
    );
    writing.commit().await.unwrap();
    propagate(db).await.unwrap();
    while worker.step().await.unwrap() {}
    scene.wait_for_marks("class-7", "user0", &[1000]).await;
}

#[tokio::test]
async fn a_rule_for_a_prefix_reaches_members_that_only_chat_knows() {
    let stage = Stage::open(&[("STICKYMARK__RESYNC__INTERVAL", "0s")]).await;
    stage
        .put_rule("teacher", "class-7", "teacher", &[1000])
        .await;
    stage
        .chat
        .join("class-7", &["teacher", "vip1", "vip2"])
        .await
        .unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.put_rule("vips", "class-*", "vip*", &[1001]).await;
    stage.sees("class-7", "vip1", &[1001]).await;
    stage.sees("class-7", "vip2", &[1001]).await;
    stage.delete_rule("vips").await;
    stage.sees("class-7", "vip1", &[]).await;
    stage.close().await;
}

const ROOMS: usize = 4;

fn seconds() -> Duration {
    let minutes = std::env::var("STICKYMARK_SOAK_MINUTES").ok();
    let minutes: Option<u64> = minutes.and_then(|minutes| minutes.parse().ok());
    Duration::from_secs(minutes.map_or(5, |minutes| minutes * 60))
}

/// Events, rounds, rule writes of every kind, their propagation, sweeps, retries, erasures and room ends,
/// from two replicas, all about the same members.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_writers_at_once_never_deadlock_and_lose_no_change() {
    let mut scene = Scene::empty().await;
    scene.settings().resync.interval = Some(Duration::from_secs(1));
    scene.rule("room-*", "user*", &[1000]).await;
    scene.add_replica().await;
    scene.add_replica().await;
    let db = scene.db();
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    let until = Instant::now() + seconds();
    let patterns = ["room-1", "room-*", "*"];
    let accounts = ["user1", "user7", "user1*", "*"];
    let rule_writer = |seed| async move {
        let mut random = StdRng::seed_from_u64(seed);
        while Instant::now() < until {
            let id = format!("r{}", random.random_range(0..6));
            let group = patterns[random.random_range(0..patterns.len())];
            let account = accounts[random.random_range(0..accounts.len())];
            let rule = draft(group, account, &[1001 + random.random_range(0..4)]);
            let rule = random.random_bool(0.7).then_some(rule);
            write(db, &id, rule).await.unwrap();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..100))).await;
        }
    };
    let members = |seed| {
        let chat = scene.chat();
        async move {
            let mut random = StdRng::seed_from_u64(seed);
            while Instant::now() < until {
                let room = format!("room-{}", random.random_range(0..ROOMS));
                let first = random.random_range(0..20);
                let some = &users(30)[first..first + 10];
                let moved = match random.random_range(0..10) {
                    0..5 => chat.join(&room, some).await,
                    5..7 => chat.drop_offline(&room, some).await,
                    7 => chat.come_back(&room, some).await,
                    8 => chat.leave(&room, some).await,
                    _ if random.random_bool(0.1) => chat.destroy(&room).await,
                    _ => chat.join(&room, some).await,
                };
                // A room that does not exist, or members who are not in it.
                let _moved = moved;
            }
        }
    };
    let others = async {
        let mut random = StdRng::seed_from_u64(9);
        let request = RequestId::generate();
        while Instant::now() < until {
            retry_failed(db, None, None, &request).await.unwrap();
            let account = format!("user{}", random.random_range(0..30));
            let rules = Rules::new(db.clone(), WakeUp::default());
            let account = Account::parse(&account).unwrap();
            rules.erase(&account, false, &author()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::join!(
        rule_writer(1),
        rule_writer(2),
        members(3),
        members(4),
        members(5),
        others
    );
    scene
        .wait_for_row(
            "select (select sequence from propagation)
                 >= coalesce((select max(sequence) from rule_history), 0)",
        )
        .await;
    // What an erasure took away, the next comparison finds.
    let began = Instant::now();
    loop {
        let wrong = wrong_members(&scene).await;
        if wrong.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(150), "{wrong:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(count(db, deadlocks).await, 0);
}

/// Members online who carry other marks than the rules require.
async fn wrong_members(scene: &Scene) -> Vec<String> {
    let rules: Vec<(String, i16, String, i16, Vec<i64>)> = sqlx::query_as(
        "select group_text, group_prefix_len, account_text, account_prefix_len, marks from rules",
    )
    .fetch_all(scene.db())
    .await
    .unwrap();
    let mut wrong = Vec::new();
    for (room, members) in scene.chat().rooms().await.unwrap() {
        let group = GroupId::parse(&room).unwrap();
        for (account, member) in members {
            let name = Account::parse(&account).unwrap();
            let required: MarkSet = rules
                .iter()
                .filter(|(text, length, ..)| {
                    Pattern::from_columns(text, *length)
                        .unwrap()
                        .matches(&group)
                })
                .filter(|(_, _, text, length, _)| {
                    Pattern::from_columns(text, *length).unwrap().matches(&name)
                })
                .flat_map(|(.., numbers)| marks(numbers))
                .collect();
            let required: std::collections::BTreeSet<u32> =
                required.iter().map(|mark| mark.get()).collect();
            if member.online && member.marks != required {
                let found = member.marks;
                wrong.push(format!("{account} in {room}: {found:?}, not {required:?}"));
            }
        }
    }
    wrong
}
