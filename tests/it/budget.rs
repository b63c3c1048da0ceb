//! The budget of calls as its row in Postgres has it.

use std::time::Duration;

use sqlx::PgPool;
use stickymark::reapply::{Budget, CallRate};

use crate::support::database;

const RATE: u32 = 100;

async fn set(pool: &PgPool, columns: &str) {
    let statement = format!("update chat_budgets set next_at = now(), {columns}");
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .execute(pool)
        .await
        .unwrap();
}

async fn reserved_ms(pool: &PgPool) -> f64 {
    let ahead =
        "select extract(epoch from next_at - clock_timestamp())::float8 * 1000 from chat_budgets";
    sqlx::query_scalar(ahead).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_clock_of_postgres_that_steps_back_slows_calls_down_and_no_more() {
    let database = database().await;
    let pool = database.pool();
    let budget = Budget::new(pool.clone(), "modify_user_info", CallRate::new(RATE));
    budget.take().await.unwrap();
    set(pool, "share = 0.5, slowed_at = now() + interval '1 hour'").await;
    let state = budget.state().await.unwrap();
    assert!(state.share > 0.0 && state.share < 0.5, "{state:?}");
    let taken = tokio::time::timeout(Duration::from_secs(20), async {
        for _ in 0..3 {
            budget.take().await.unwrap();
        }
    });
    taken.await.expect("slots come, though slowly");
    assert!(reserved_ms(pool).await > -1_000.0, "time was given back");
}

#[tokio::test]
async fn a_replica_takes_smaller_blocks_while_calls_are_slowed_down() {
    let database = database().await;
    let pool = database.pool();
    let budget = Budget::new(pool.clone(), "modify_user_info", CallRate::new(RATE));
    for _ in 0..20 {
        budget.take().await.unwrap();
    }
    // A tenth of the rate: slots are 110 ms apart, and eight of them would be nine tenths of a second.
    set(pool, "share = 0.1, slowed_at = now()").await;
    let mut blocks = Vec::new();
    let mut before = reserved_ms(pool).await;
    for _ in 0..16 {
        budget.take().await.unwrap();
        let ahead = reserved_ms(pool).await;
        if ahead > before {
            blocks.push(ahead);
        }
        before = ahead;
    }
    let last = blocks.last().copied().unwrap();
    assert!(last < 300.0, "blocks reach {blocks:?} ms ahead");
}
