//! `stickymark check` as a process, against the simulated Chat and a real database.

use stickymark::testing::local::simulator::{
    Effect, Fault, Options, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, start,
};
use tokio::net::TcpListener;

use crate::support::process::{Ran, program, run};
use crate::support::{TestDatabase, database, empty_database};

/// No server listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

async fn simulator() -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    start(Options::default(), listener).unwrap()
}

fn url_of(database: &TestDatabase) -> String {
    database.url().to_string()
}

/// Runs the program with settings that are right but for those given.
async fn check(arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let app = SAMPLE_SDK_APP_ID.to_string();
    let right = [
        ("STICKYMARK__CHAT__SDK_APP_ID", app.as_str()),
        ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
        ("STICKYMARK__CALLBACK__TOKENS", "long-enough-token"),
    ];
    let settings = [&right, settings].concat();
    let mut command = program(&[&["check"], arguments].concat(), &settings);
    let Ran { status, out, err } = run(&mut command).await;
    (Some(status), out, err)
}

/// The line about something, with its verdict.
fn line<'a>(out: &'a str, about: &str) -> &'a str {
    let mut lines = out.lines();
    let of = |line: &&str| line.split_whitespace().nth(1) == Some(about);
    lines.find(of).unwrap_or_else(|| panic!("{about}: {out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_right_gets_one_line_each() {
    let (database, chat) = (database().await, simulator().await);
    let name = url_of(&database).rsplit('/').next().unwrap().to_owned();
    let durable = format!("ALTER DATABASE {name} SET synchronous_commit = on");
    sqlx::query(sqlx::AssertSqlSafe(durable))
        .execute(database.db())
        .await
        .unwrap();
    let (status, out, err) = check(
        &[],
        &[
            ("STICKYMARK__DATABASE__URL", &url_of(&database)),
            ("STICKYMARK__CHAT__BASE_URL", &chat.url()),
        ],
    )
    .await;
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    for about in ["configuration", "database", "UserSig", "Chat"] {
        assert!(line(&out, about).starts_with("ok "), "{out}");
    }
    assert!(
        line(&out, "Chat").ends_with("reachable; credentials accepted"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 4, "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_chat_does_not_take_is_told() {
    let (database, chat) = (database().await, simulator().await);
    let (status, out, _) = check(
        &["--passing-ok"],
        &[
            ("STICKYMARK__DATABASE__URL", &url_of(&database)),
            ("STICKYMARK__CHAT__BASE_URL", &chat.url()),
            ("STICKYMARK__CHAT__SECRET_KEY", &"0".repeat(64)),
        ],
    )
    .await;
    assert_eq!(status, Some(1), "{out}");
    let told = line(&out, "Chat");
    assert!(told.starts_with("FAILED"), "{out}");
    assert!(told.contains("chat.secret_key"), "{out}");
    assert!(line(&out, "database").starts_with("ok "), "{out}");
    assert!(!out.contains(&"0".repeat(64)), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chat_that_is_away_may_pass_by_itself() {
    let database = database().await;
    let url = url_of(&database);
    let settings = [
        ("STICKYMARK__DATABASE__URL", url.as_str()),
        ("STICKYMARK__CHAT__BASE_URL", NOWHERE),
    ];
    let (status, out, err) = check(&[], &settings).await;
    assert_eq!(status, Some(1), "{out}");
    assert!(line(&out, "Chat").contains("cannot be reached"), "{out}");
    assert!(err.contains("FAILED"), "{err}");
    let (status, out, _) = check(&["--passing-ok"], &settings).await;
    assert_eq!(status, Some(0), "{out}");
    assert!(line(&out, "Chat").starts_with("FAILED"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_that_is_not_paid_keeps_no_replica_from_starting() {
    let (database, chat) = (database().await, simulator().await);
    let control = chat.client().unwrap();
    let settings = [
        ("STICKYMARK__DATABASE__URL", &*url_of(&database)),
        ("STICKYMARK__CHAT__BASE_URL", &*chat.url()),
    ];
    for (code, passing) in [(60020, Some(0)), (60021, Some(1)), (70009, Some(1))] {
        let fault = control.inject(&Fault::new(Effect::ErrorCode(code))).await;
        let (status, out, _) = check(&[], &settings).await;
        assert_eq!(status, Some(1), "{out}");
        assert!(line(&out, "Chat").starts_with("FAILED"), "{out}");
        let (status, out, _) = check(&["--passing-ok"], &settings).await;
        assert_eq!(status, passing, "{code}: {out}");
        control.clear(fault.unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_away_fails_one_without_migrations_does_not_and_chat_is_tried_all_the_same()
 {
    let chat = simulator().await;
    let chat_url = chat.url();
    let away = "postgres://somebody:hidden@127.0.0.1:9/marks";
    let (status, out, _) = check(
        &[],
        &[
            ("STICKYMARK__DATABASE__URL", away),
            ("STICKYMARK__CHAT__BASE_URL", &chat_url),
        ],
    )
    .await;
    assert_eq!(status, Some(1), "{out}");
    assert!(line(&out, "database").contains("database.url"), "{out}");
    assert!(line(&out, "Chat").starts_with("ok "), "{out}");
    assert!(!out.contains("hidden"), "{out}");
    let empty = empty_database().await;
    let (status, out, _) = check(
        &[],
        &[
            ("STICKYMARK__DATABASE__URL", &url_of(&empty)),
            ("STICKYMARK__CHAT__BASE_URL", &chat_url),
        ],
    )
    .await;
    assert_eq!(status, Some(0), "{out}");
    let told = line(&out, "database");
    assert!(
        told.starts_with("ok ") && told.contains("migrations are pending"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_incomplete_configuration_is_the_callers_mistake() {
    let database = database().await;
    let url = url_of(&database);
    let (status, out, _) = check(
        &[],
        &[
            ("STICKYMARK__DATABASE__URL", url.as_str()),
            ("STICKYMARK__CHAT__BASE_URL", NOWHERE),
            ("STICKYMARK__ADMIN__LISTEN", "0.0.0.0:8081"),
        ],
    )
    .await;
    assert_eq!(status, Some(2), "{out}");
    assert!(
        line(&out, "configuration").contains("admin.tokens"),
        "{out}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_serve_refuses_check_refuses_too() {
    let (database, chat) = (database().await, simulator().await);
    let (url, chat_url) = (url_of(&database), chat.url());
    let settings = |key, value| {
        [
            ("STICKYMARK__DATABASE__URL", url.as_str()),
            ("STICKYMARK__CHAT__BASE_URL", chat_url.as_str()),
            (key, value),
        ]
    };
    // An address of documentation, which no machine has.
    let elsewhere = "192.0.2.1:8080";
    let (status, out, _) = check(&[], &settings("STICKYMARK__CALLBACK__LISTEN", elsewhere)).await;
    assert_eq!(status, Some(1), "{out}");
    assert!(line(&out, "listeners").contains(elsewhere), "{out}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (status, out, _) = check(&[], &settings("STICKYMARK__CALLBACK__LISTEN", &address)).await;
    assert_eq!(status, Some(0), "{out}");
}
