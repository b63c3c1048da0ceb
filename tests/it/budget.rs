//! The budget of calls as its row in Postgres has it.

use std::time::{Duration, Instant};

use futures::future::join_all;
use stickymark::testing::chat::{Budget, Budgets, CallRate, CommandType, MemberMarks};
use stickymark::testing::database::Db;
use stickymark::testing::domain::{Account, GroupId};
use stickymark::testing::local::simulator::{Effect, Fault};
use stickymark::testing::metrics::{Api, Metrics};

use crate::support::database;
use crate::support::scene::{Scene, marks};

const RATE: u32 = 200;

async fn set(db: &Db, columns: &str) {
    let statement = format!("update chat_budgets set {columns}");
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(db)
        .await
        .unwrap();
}

async fn reserved_ms(db: &Db) -> f64 {
    let ahead =
        "select extract(epoch from last_at - clock_timestamp())::float8 * 1000 from chat_budgets";
    sqlx::query_scalar(ahead).fetch_one(db).await.unwrap()
}

#[tokio::test]
async fn a_clock_of_postgres_that_steps_back_slows_calls_down_and_no_more() {
    let database = database().await;
    let db = database.db();
    let budget = Budget::new(db.clone(), Api::ModifyUserInfo, CallRate::new(RATE));
    budget.take().await.unwrap();
    let in_an_hour = "now() + interval '1 hour'";
    set(
        db,
        &format!("share = 0.5, slowed_at = {in_an_hour}, last_at = {in_an_hour}"),
    )
    .await;
    let state = budget.state().await.unwrap();
    assert!(state.share > 0.0 && state.share < 0.5, "{state:?}");
    let taken = tokio::time::timeout(Duration::from_secs(60), async {
        for _ in 0..3 {
            budget.take().await.unwrap();
        }
    });
    taken.await.expect("slots come, though slowly");
    assert!(reserved_ms(db).await > -1_000.0, "time was given back");
}

#[tokio::test]
async fn calls_of_two_replicas_at_once_go_out_one_after_the_other() {
    let database = database().await;
    let [one, other] = [0; 2].map(|_| {
        Budget::new(
            database.db().clone(),
            Api::ModifyUserInfo,
            CallRate::new(100),
        )
    });
    one.take().await.unwrap();
    let began = Instant::now();
    let calls = (0..10).flat_map(|_| [one.take(), other.take()]);
    join_all(calls).await.into_iter().for_each(Result::unwrap);
    // 11 ms each, but the first may have been late.
    assert!(
        began.elapsed() > Duration::from_millis(19 * 11),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_takes_a_slot_of_its_api_and_so_does_one_that_is_signed_again() {
    let scene = Scene::empty().await;
    scene.chat().join("class-7", &["alice"]).await.unwrap();
    let budgets = Budgets::new(scene.db(), CallRate::new(1), &Metrics::default());
    let client = scene.client_with(budgets);
    let group = GroupId::parse("class-7").unwrap();
    let alice = Account::parse("alice").unwrap();
    let members = [MemberMarks {
        account: alice.clone(),
        marks: marks(&[1000]),
    }];
    let expired = Fault::new(Effect::ErrorCode(70001)).times(1);
    scene.chat().inject(&expired).await.unwrap();
    let set = client.modify_user_info(&group, CommandType::Set, &members);
    assert_eq!(set.await.unwrap().confirmed.len(), 1);
    for _ in 0..2 {
        client.get_members(&group, 0, None).await.unwrap();
        client
            .check_members(&group, std::slice::from_ref(&alice))
            .await
            .unwrap();
    }
    let calls = scene.chat().calls().await.unwrap();
    assert_eq!(calls.len(), 6);
    for pair in [[0, 1], [2, 4], [3, 5]] {
        let [one, next] = pair.map(|place| &calls[place]);
        assert_eq!(one.api, next.api);
        let apart = next.received_at - one.received_at;
        // 1100 ms, but the first may have been late.
        assert!(apart >= 500, "{:?}: {apart} ms apart", one.api);
    }
}
