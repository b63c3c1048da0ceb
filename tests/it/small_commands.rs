//! `migrate --wait` and `healthcheck`: what init containers and images use.

use std::net::SocketAddr;

use stickymark::testing::local::simulator::{Options, start};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::database::empty_database;
use crate::support::process::{Orders, Ran, Replica, program, run};
use crate::support::wire::Wire;

/// A way to an empty database, and its URL. Nothing listens at first.
async fn refusing() -> (Wire, crate::support::database::TestDatabase, String) {
    let database = empty_database().await;
    let mut url = database.url().clone();
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
    assert_eq!(output.stdout, b"the database is up to date\n");
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
        let failed = run(&mut program(&["migrate", "--wait", wait], &settings)).await;
        assert_eq!(failed.status, 1);
        let error = failed.err;
        assert!(error.contains("error: cannot connect"), "{error}");
    }
}

async fn healthcheck(listen: &str) -> Ran {
    let settings = [
        ("STICKYMARK__ADMIN__LISTEN", listen),
        ("STICKYMARK__ADMIN__TOKENS", "ci:viewer:0123456789abcdef"),
    ];
    run(&mut program(&["healthcheck"], &settings)).await
}

#[tokio::test]
async fn healthcheck_tells_whether_the_service_lives() {
    let database = crate::support::database::database().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chat = start(Options::default(), listener).unwrap();
    let files = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.url().to_string(),
        chat: chat.url(),
        environment: Vec::new(),
    };
    let mut service = Replica::start(&orders, files.path().join("log")).await;
    let listen = service.admin.to_string();
    let alive = healthcheck(&listen).await;
    assert_eq!((alive.status, &*alive.out), (0, "ok\n"), "{}", alive.err);

    service.kill();
    let dead = healthcheck(&listen).await;
    assert_eq!(dead.status, 1);
    let expected = format!("error: http://{listen}/livez does not answer");
    assert!(dead.err.starts_with(&expected), "{}", dead.err);
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
        let alive = healthcheck(&listen).await;
        assert_eq!(alive.status, 0, "{listen}: {}", alive.err);
    }
}

#[tokio::test]
async fn healthcheck_fails_when_a_task_of_the_service_has_ended() {
    let port = answering("503 Service Unavailable").await;
    let Ran { status, err, .. } = healthcheck(&format!("127.0.0.1:{port}")).await;
    assert_eq!(status, 1);
    assert!(err.contains("answered 503 Service Unavailable"), "{err}");
}
