//! `migrate --wait` and `healthcheck`: what init containers and images use.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use secrecy::ExposeSecret;
use stickymark::testing::local::simulator::{Options, start};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;
use url::Url;

use crate::support::database::empty_database;
use crate::support::process::{Orders, Replica};
use crate::support::wire::Wire;

fn program(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stickymark"));
    command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

/// A way to an empty database, and its URL. Nothing listens at first.
async fn refusing() -> (Wire, crate::support::database::TestDatabase, String) {
    let database = empty_database().await;
    let mut url = Url::parse(database.settings().url.unwrap().expose_secret()).unwrap();
    let port = url.port().unwrap();
    let wire = Wire::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
    wire.refuse(true);
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(wire.address().port())).unwrap();
    (wire, database, url.into())
}

#[tokio::test]
async fn migrate_waits_for_a_database_that_does_not_answer_yet() {
    let (wire, database, url) = refusing().await;
    let settings = [("STICKYMARK__DATABASE__URL", url.as_str())];
    let mut command = program(&["migrate", "--wait", "10m"], &settings);
    let mut child = command.spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = log.next_line().await.unwrap().unwrap();
    assert!(line.contains("the database does not answer"), "{line}");

    wire.refuse(false);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "the database is up to date\n");
    let migrations: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations")
        .fetch_one(database.db())
        .await
        .unwrap();
    assert!(migrations > 0);
}

#[tokio::test]
async fn migrate_fails_when_the_wait_is_over() {
    let (_wire, _database, url) = refusing().await;
    let settings = [("STICKYMARK__DATABASE__URL", url.as_str())];
    for wait in ["0s", "1s"] {
        let output = program(&["migrate", "--wait", wait], &settings)
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("error: cannot connect"), "{error}");
    }
}

async fn healthcheck(listen: &str) -> Output {
    let settings = [
        ("STICKYMARK__ADMIN__LISTEN", listen),
        ("STICKYMARK__ADMIN__TOKENS", "ci:viewer:0123456789abcdef"),
    ];
    program(&["healthcheck"], &settings).output().await.unwrap()
}

#[tokio::test]
async fn healthcheck_tells_whether_the_service_lives() {
    let database = crate::support::database::database().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chat = start(Options::default(), listener).unwrap();
    let files = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.settings().url.unwrap().expose_secret().to_owned(),
        chat: chat.url(),
        environment: Vec::new(),
    };
    let mut service = Replica::start(&orders, files.path().join("log")).await;
    let listen = service.admin.to_string();
    let alive = healthcheck(&listen).await;
    assert_eq!(alive.status.code(), Some(0), "{}", text(&alive.stderr));
    assert_eq!(text(&alive.stdout), "ok\n");

    service.kill();
    let dead = healthcheck(&listen).await;
    assert_eq!(dead.status.code(), Some(1));
    let expected = format!("error: http://{listen}/livez does not answer");
    assert!(text(&dead.stderr).starts_with(&expected));
}

/// Answers every request with one status.
async fn answering(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = connection.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /livez "));
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

#[tokio::test]
async fn healthcheck_asks_this_machine_where_the_service_listens_on_all_addresses() {
    let port = answering("200 OK").await;
    for listen in [format!("0.0.0.0:{port}"), format!("[::]:{port}")] {
        let output = healthcheck(&listen).await;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{listen}: {error}");
    }
}

#[tokio::test]
async fn healthcheck_fails_when_a_task_of_the_service_has_ended() {
    let port = answering("503 Service Unavailable").await;
    let output = healthcheck(&format!("127.0.0.1:{port}")).await;
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("answered 503 Service Unavailable"),
        "{error}"
    );
}
