//! What the tests share.

pub mod api;
pub mod balancer;
pub mod database;
pub mod pgbouncer;
pub mod plans;
pub mod process;
pub mod scene;
pub mod server;
pub mod show;
#[cfg(target_os = "linux")]
pub mod skew;
pub mod stage;
pub mod stall;
pub mod wire;

use std::time::Duration;

use stickymark::testing::database::Db;
use stickymark::testing::domain::{Account, GroupId, Pattern};
use stickymark::testing::rules::filter::RuleFilter;

pub use database::{TestDatabase, connect, database, empty_database, record, replica, settings_of};

/// Waits until these filters know every rule there is; until then arrivals come to the database late.
pub async fn rules_are_known(db: &Db, filters: impl Iterator<Item = &RuleFilter>) {
    let revision: i64 = sqlx::query_scalar("select revision from rule_revision")
        .fetch_one(db)
        .await
        .unwrap();
    for filter in filters {
        while filter.state().revision < revision {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Waits until a query answers true.
pub async fn wait_for_row(db: &Db, query: &'static str) {
    let holds = async {
        while !sqlx::query_scalar::<_, Option<bool>>(query)
            .fetch_optional(db)
            .await
            .unwrap()
            .flatten()
            .unwrap_or(false)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(scene::PATIENCE, holds).await.is_err() {
        panic!("never true: {query}");
    }
}

/// Writes a rule past the API, for tests of what lies below it.
pub async fn insert_rule(db: &Db, group: &str, account: &str, marks: &[i64]) {
    let group = Pattern::<GroupId>::parse(group).unwrap();
    let account = Pattern::<Account>::parse(account).unwrap();
    sqlx::query(
        "insert into rules values ($1, $2, $3, $4, $5, $6, true, null, null, '', '', 1, now(), now())",
    )
    .bind(uuid::Uuid::new_v4().to_string())
    .bind(group.text())
    .bind(group.prefix_len())
    .bind(account.text())
    .bind(account.prefix_len())
    .bind(marks)
    .execute(db)
    .await
    .unwrap();
}
