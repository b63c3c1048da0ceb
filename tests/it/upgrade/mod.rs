//! Replicas of the version before on the schema of this one, as during a rollout.
//!
//! `before.json` holds every statement of the last released version, as `.ci/keep-statements` wrote
//! it down then. Each must still be accepted, with the same parameters and columns; and the ones a
//! replica lives on (record, claim, settle) must still do their work.

use serde::Deserialize;
use serde_json::Value;
use sqlx::postgres::types::PgInterval;
use sqlx::{AssertSqlSafe, Column, Either, Executor, PgPool, Row, SqlSafeStr, Statement, TypeInfo};
use stickymark::database::MIGRATIONS;

use crate::support::{database, insert_rule};

#[derive(Deserialize)]
struct Before {
    schema: i64,
    statements: Vec<Kept>,
}

#[derive(Deserialize)]
struct Kept {
    query: String,
    columns: Vec<(String, Value)>,
    parameters: Vec<Value>,
}

fn before() -> Before {
    serde_json::from_str(include_str!("before.json")).unwrap()
}

impl Before {
    /// The one statement that says all of this.
    fn statement(&self, says: &[&str]) -> &'static str {
        let mut fits = self
            .statements
            .iter()
            .filter(|kept| says.iter().all(|words| kept.query.contains(words)));
        let found = fits.next().unwrap_or_else(|| panic!("{says:?}"));
        assert!(fits.next().is_none(), "{says:?} is said twice");
        Box::leak(found.query.clone().into_boxed_str())
    }
}

/// A type as the file names it.
fn name(kept: &Value) -> String {
    match kept {
        Value::String(name) => name.to_uppercase(),
        other => {
            let inner = &other["Custom"]["name"];
            inner.as_str().unwrap_or_default().to_uppercase()
        }
    }
}

/// The file writes `TextArray`, the driver `TEXT[]`.
fn alike(kept: &Value, now: &str) -> bool {
    let plain = |text: &str| {
        let text = text.to_uppercase().replace("ARRAY", "").replace("[]", "");
        text.replace([' ', '"'], "")
    };
    let now_is_array = now.ends_with("[]");
    let kept = name(kept);
    plain(&kept) == plain(now) && kept.ends_with("ARRAY") == now_is_array
}

#[tokio::test]
async fn every_statement_of_the_version_before_is_still_accepted_and_means_the_same() {
    let database = database().await;
    let before = before();
    assert!(before.statements.len() > 30);
    let known: Vec<i64> = MIGRATIONS.iter().map(|known| known.version).collect();
    assert!(known.contains(&before.schema), "a migration was removed");
    let mut connection = database.pool().acquire().await.unwrap();
    for kept in &before.statements {
        let query = AssertSqlSafe(kept.query.clone()).into_sql_str();
        let prepared = match connection.prepare(query).await {
            Ok(prepared) => prepared,
            Err(error) => panic!("no longer accepted: {error}\n{}", kept.query),
        };
        let columns = prepared.columns();
        assert_eq!(columns.len(), kept.columns.len(), "{}", kept.query);
        for (column, (name, kind)) in columns.iter().zip(&kept.columns) {
            assert_eq!(column.name(), name, "{}", kept.query);
            let now = column.type_info().name();
            assert!(alike(kind, now), "{name}: {kind} is {now} now");
        }
        let Some(Either::Left(parameters)) = prepared.parameters() else {
            panic!("the driver tells no parameters");
        };
        assert_eq!(parameters.len(), kept.parameters.len(), "{}", kept.query);
        for (parameter, kind) in parameters.iter().zip(&kept.parameters) {
            let now = parameter.name();
            assert!(alike(kind, now), "{kind} is {now} now: {}", kept.query);
        }
    }
}

#[tokio::test]
async fn a_replica_of_the_version_before_records_claims_and_settles_on_the_new_schema() {
    let database = database().await;
    let pool = database.pool();
    insert_rule(pool, "class-7", "teacher*", &[1000]).await;
    let before = before();
    let arrived = before.statement(&[
        "insert into members as m",
        "from named",
        "unnest($1::text[]",
    ]);
    arrive(pool, arrived, "teacher1").await;
    let due: i64 = sqlx::query_scalar("select count(*) from members where due_at <= now()")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(due, 1);
    let claim = before.statement(&["update rooms r set leased_until", "in_doubt = true"]);
    let (lease, at_once) = (uuid::Uuid::new_v4(), PgInterval::default());
    let claimed = sqlx::query(claim)
        .bind(PgInterval {
            microseconds: 15_000_000,
            ..PgInterval::default()
        })
        .bind(lease)
        .bind(500_i64)
        .bind(8_i64)
        .bind(at_once)
        .bind(at_once)
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(claimed.len(), 1);
    let generation: i64 = claimed[0].get("generation");
    // What the old program wrote and holds is what the new one reads.
    let shown = stickymark::members::store::figures::shared_figures(pool)
        .await
        .unwrap();
    assert_eq!((shown.leased, shown.due), (1, 0));
    let settle = before.statement(&["forgotten as", "released as"]);
    let settled = sqlx::query(settle)
        .bind("class-7")
        .bind(lease)
        .bind(vec!["teacher1"])
        .bind(vec![generation])
        .bind(vec!["confirmed"])
        .bind(vec!["{1000}"])
        .bind(vec!["{}"])
        .bind(vec![None::<chrono::DateTime<chrono::Utc>>])
        .bind(vec![None::<f64>])
        .bind(vec![None::<String>])
        .bind(vec![false])
        .bind(vec![false])
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(settled.len(), 1);
    let row: (Vec<i64>, bool) = sqlx::query_as("select marks, in_doubt from members")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(row, (vec![1000], false));
}

async fn arrive(pool: &PgPool, statement: &'static str, account: &str) {
    let at_once = PgInterval::default();
    sqlx::query(statement)
        .bind(vec!["class-7"])
        .bind(vec![account])
        .bind(vec!["join"])
        .bind(vec![None::<i64>])
        .bind(at_once)
        .bind(at_once)
        .bind(vec![false])
        .execute(pool)
        .await
        .unwrap();
}
