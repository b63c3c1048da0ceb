//! The pool and the migrations against a real PostgreSQL.

use std::path::Path;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;
use stickymark::testing::config::Settings;
use stickymark::testing::database::{Database, DatabaseError, MIGRATIONS, SchemaState};

use crate::support;
use crate::support::pgbouncer::PgBouncer;
use crate::support::settings_of;
use crate::support::show::address_of;
use crate::support::wire::Wire;

async fn applied(database: &Database) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM _sqlx_migrations WHERE success")
        .fetch_one(database.db())
        .await
        .unwrap()
}

#[tokio::test]
async fn migrations_are_applied_once_even_when_replicas_start_together() {
    let test = support::empty_database().await;
    let settings = test.settings();
    let (a, b) = tokio::join!(support::connect(&settings), support::connect(&settings));
    let (a, b) = (a.unwrap(), b.unwrap());
    let (first, second) = tokio::join!(a.migrate(), b.migrate());
    first.unwrap();
    second.unwrap();
    a.migrate().await.unwrap();
    assert_eq!(applied(&a).await, MIGRATIONS.iter().count() as i64);
    a.close().await.unwrap();
    b.close().await.unwrap();
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_left_as_it_is() {
    let test = support::database().await;
    from_the_future(&test).await;
    let database = support::connect(&test.settings()).await.unwrap();
    let before = applied(&database).await;
    database.migrate().await.unwrap();
    assert_eq!(applied(&database).await, before);
    assert_eq!(database.schema().await.unwrap(), SchemaState::Ahead);
}

#[tokio::test]
async fn a_schema_that_lacks_a_migration_of_ours_and_has_others_is_refused() {
    let test = support::database().await;
    from_the_future(&test).await;
    sqlx::query(
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT min(version) FROM _sqlx_migrations)",
    )
    .execute(test.db())
    .await
    .unwrap();
    let database = support::connect(&test.settings()).await.unwrap();
    let error = database.migrate().await.unwrap_err();
    assert!(matches!(error, DatabaseError::Migration(_)));
    assert!(error.to_string().contains("99991231000000"), "{error}");
}

#[tokio::test]
async fn without_leave_to_migrate_a_schema_that_lacks_something_is_refused() {
    let empty = support::empty_database().await;
    let database = support::connect(&empty.settings()).await.unwrap();
    let error = database.require_migrated().await.unwrap_err().to_string();
    assert!(error.contains("run stickymark migrate"), "{error}");
    database.migrate().await.unwrap();
    database.require_migrated().await.unwrap();
    from_the_future(&empty).await;
    database.require_migrated().await.unwrap();
}

async fn from_the_future(test: &support::TestDatabase) {
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (99991231000000, 'from the future', true, '', 0)",
    )
    .execute(test.db())
    .await
    .unwrap();
}

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let (a, b) = tokio::join!(support::database(), support::database());
    sqlx::query("CREATE TABLE mine (x int)")
        .execute(a.db())
        .await
        .unwrap();
    let elsewhere: Option<String> = sqlx::query_scalar("SELECT to_regclass('mine')::text")
        .fetch_one(b.db())
        .await
        .unwrap();
    assert_eq!(elsewhere, None);
    let database = support::connect(&b.settings()).await.unwrap();
    assert_eq!(applied(&database).await, MIGRATIONS.iter().count() as i64);
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_named_without_its_password() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("postgres://me:hidden@{closed}/marks");
    let error = support::connect(&settings_of(&url)).await.unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains(&closed.to_string()) && message.contains("\"marks\""),
        "{message}"
    );
    assert!(!format!("{message} {error:?}").contains("hidden"));
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_told_apart_from_one_that_is_silent() {
    let database = support::empty_database().await;
    let mut url = database.url().clone();
    url.set_path("no_such_database");
    let settings = settings_of(url.as_str());
    let error = support::connect(&settings).await.unwrap_err().to_string();
    assert!(error.contains("does not exist"), "{error}");
}

/// The only place of the pool must not stay taken by a connection that falls silent on its way
/// back.
#[tokio::test]
async fn a_connection_may_fall_silent_at_any_moment_of_its_return() {
    const WAY: Duration = Duration::from_millis(40);
    let test = support::database().await;
    let mut url = test.url().clone();
    let wire = Wire::to(address_of(&url)).await;
    url.set_port(Some(wire.address().port())).unwrap();
    let server: PgConnectOptions = url.as_str().parse().unwrap();
    let database = Database::connect(Some(&server), Path::new(""), 1).await;
    let db = database.unwrap().db().clone();
    for moment in 0..6 {
        wire.delay(WAY);
        db.execute("select 1").await.unwrap();
        tokio::time::sleep(WAY * moment).await;
        wire.lose_connections();
        wire.delay(Duration::ZERO);
        // Longer than a connection is trusted without a test.
        tokio::time::sleep(Duration::from_millis(600)).await;
        let again = db.execute("select 1").await;
        assert!(again.is_ok(), "{moment}: {again:?}");
    }
}

#[tokio::test]
async fn a_pooler_that_shares_sessions_is_refused_in_words_that_name_pool_mode() {
    let database = support::database().await;
    for pool_mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&database, pool_mode).await;
        let error = support::connect(pooler.settings()).await.unwrap_err();
        assert!(
            matches!(error, DatabaseError::SharedSessions { .. }),
            "{pool_mode}: {error}"
        );
        assert!(error.to_string().contains("pool_mode = session"), "{error}");
        let mut settings = Settings::load(None, [("", ""); 0]).unwrap();
        settings.database = pooler.settings().clone();
        let findings = stickymark::testing::check(&settings).await;
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let refused = |line: &&String| line.contains("FAILED") && line.contains("pool_mode");
        assert!(findings.iter().any(|line| refused(&line)), "{findings:#?}");
    }
}

#[tokio::test]
async fn a_pooler_in_session_mode_serves() {
    let empty = support::empty_database().await;
    let pooler = PgBouncer::start(&empty, "session").await;
    let database = support::connect(pooler.settings()).await.unwrap();
    database.migrate().await.unwrap();
    assert_eq!(database.schema().await.unwrap(), SchemaState::Current);
    database.close().await.unwrap();
}
