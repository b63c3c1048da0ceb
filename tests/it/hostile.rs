//! Hostile connections against a real replica: it closes them, and answers callbacks meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::future::join_all;
use futures::{StreamExt, stream};
use reqwest::{Client, StatusCode};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use sha2::{Digest, Sha256};
use stickymark::testing::local::simulator::SAMPLE_SDK_APP_ID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::process::{Orders, PATIENCE, Replica, pause};
use crate::support::{TestDatabase, database, insert_rule};

const TOKEN: &str = "token-of-this-test";
const JOIN: &str = "Group.CallbackAfterNewMemberJoin";

/// A replica under attack, with a rule for every member of class-7.
struct Target {
    replica: Replica,
    database: TestDatabase,
    client: Client,
    _directory: tempfile::TempDir,
}

impl Target {
    async fn open(files: Option<usize>) -> Self {
        let database = database().await;
        insert_rule(database.db(), "class-7", "*", &[1000]).await;
        let directory = tempfile::tempdir().unwrap();
        let orders = Orders {
            database: database.url().to_string(),
            chat: "http://127.0.0.1:9".to_owned(),
            environment: vec![("STICKYMARK__CALLBACK__TOKENS", TOKEN.to_owned())],
        };
        let log = directory.path().join("log");
        let replica = match files {
            Some(files) => Replica::start_with_files(files, &orders, log).await,
            None => Replica::start(&orders, log).await,
        };
        Self {
            replica,
            database,
            // Each callback on a connection of its own, which must find a place.
            client: Client::builder().pool_max_idle_per_host(0).build().unwrap(),
            _directory: directory,
        }
    }

    /// Opens so many connections, each of which sends this.
    async fn attack(&self, count: usize, to: SocketAddr, sent: &str) -> Vec<TcpStream> {
        let open = (0..count).map(async |_| {
            let mut stream = TcpStream::connect(to).await.ok()?;
            // The replica may have closed it already, in favour of another.
            let _ = stream.write_all(sent.as_bytes()).await;
            Some(stream)
        });
        let open: Vec<_> = stream::iter(open).buffered(256).collect().await;
        open.into_iter().flatten().collect()
    }

    /// Posts signed callbacks, each of which must be answered, and returns the longest wait and how many
    /// were stored too late.
    async fn callbacks(&self, count: usize) -> (Duration, usize) {
        let (mut longest, mut late) = (Duration::ZERO, 0);
        for member in 0..count {
            let url = format!("http://{}{}", self.replica.callbacks, path(TOKEN));
            let body = json!({"CallbackCommand": JOIN, "GroupId": "class-7", "Type": "AVChatRoom",
                "NewMemberList": [{"Member_Account": format!("pupil-{member}")}]});
            let began = Instant::now();
            let answer = self.client.post(url).json(&body).send().await.unwrap();
            match answer.status().as_u16() {
                200 => {}
                503 => late += 1,
                _ => panic!("{}", answer.text().await.unwrap()),
            }
            longest = longest.max(began.elapsed());
        }
        for url in [
            format!("http://{}/livez", self.replica.admin),
            format!("http://{}/", self.replica.callbacks),
        ] {
            let answer = self.client.get(url).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
        }
        (longest, late)
    }
}

fn path(token: &str) -> String {
    let now = Utc::now().timestamp();
    let sign = hex::encode(Sha256::digest(format!("{token}{now}")));
    format!(
        "/callback?SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={JOIN}&RequestTime={now}&Sign={sign}"
    )
}

fn head(token: &str) -> String {
    format!("POST {} HTTP/1.1\r\nHost: x\r\n", path(token))
}

/// A whole head, and the beginning of a long body.
fn slow_body(token: &str) -> String {
    head(token) + "Content-Length: 1000000\r\n\r\n{"
}

/// Waits until the replica has closed all of them; what each of them was answered begins so.
async fn assert_closed(streams: Vec<TcpStream>, answer: &str) {
    let closed = streams.into_iter().map(|mut stream| async move {
        let mut read = Vec::new();
        // A reset is a close, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut read))
            .await
            .expect("the replica closes it");
        String::from_utf8(read).unwrap()
    });
    for read in join_all(closed).await {
        assert!(read.starts_with(answer), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_are_closed_and_callbacks_are_answered_meanwhile() {
    let target = Target::open(None).await;
    let (callbacks, admin) = (target.replica.callbacks, target.replica.admin);
    let attack = async |to, sent: String| target.attack(100, to, &sent).await;
    let silent = attack(callbacks, String::new()).await;
    let halves = attack(callbacks, head(TOKEN)).await;
    let halves_of_admin = attack(admin, "GET /livez HTTP/1.1\r\nHost: x\r\n".to_owned()).await;
    let strangers = attack(callbacks, slow_body("guess")).await;
    let slow = attack(callbacks, slow_body(TOKEN)).await;
    assert_eq!(target.callbacks(50).await.1, 0);
    assert_closed(strangers, "HTTP/1.1 403 Forbidden\r\n").await;
    assert_closed(slow, "HTTP/1.1 408 Request Timeout\r\n").await;
    assert_closed(halves, "").await;
    assert_closed(halves_of_admin, "").await;
    drop(silent);
    let members: i64 = sqlx::query_scalar("select count(*) from members")
        .fetch_one(target.database.db())
        .await
        .unwrap();
    assert_eq!(members, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_open_files_keep_no_callback_out() {
    let target = Target::open(Some(400)).await;
    let log = target.replica.log();
    assert!(log.contains("allows few connections"), "{log}");
    let callbacks = target.replica.callbacks;
    let silent = target.attack(300, callbacks, "").await;
    let halves = target.attack(300, callbacks, &head("guess")).await;
    let admin = target.attack(300, target.replica.admin, "").await;
    assert_eq!(target.callbacks(20).await.1, 0);
    drop((silent, halves, admin));
}

/// The sum of what a stranger may try at once, and its price. `cargo test --test it hostile --
/// --ignored --nocapture` prints it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and 6,000 open files"]
async fn thousands_of_hostile_connections_of_each_kind_cost_a_bounded_sum() {
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let target = Target::open(Some(1024)).await;
    let callbacks = target.replica.callbacks;
    target.callbacks(100).await;
    let before = target.replica.memory();
    println!(
        "| Kind | Longest wait of 100 signed callbacks | 503 | Peak memory |\n|---|---|---|---|"
    );
    let answered = || format!("{}Content-Length: 2\r\n\r\n{{}}", head("guess"));
    let filled = |token| slow_body(token) + &" ".repeat(999_998);
    let kinds: [(&str, &dyn Fn() -> String); 10] = [
        ("silent", &String::new),
        ("half a head", &|| head(TOKEN)),
        ("half a head of 390 KB", &|| {
            format!("{}X: {}", head(TOKEN), "x".repeat(390_000))
        }),
        ("answered once and kept", &answered),
        ("100 requests, no answer read", &|| answered().repeat(100)),
        ("an unsigned body that does not end", &|| slow_body("guess")),
        ("a short one", &|| {
            head("guess") + "Content-Length: 100\r\n\r\n{"
        }),
        ("a signed body that does not end", &|| slow_body(TOKEN)),
        ("1 MB unsigned, one byte missing", &|| filled("guess")),
        ("1 MB signed, one byte missing", &|| filled(TOKEN)),
    ];
    for (kind, sent) in kinds {
        let sent = sent();
        let attack = target.attack(5000, callbacks, &sent);
        let (open, during) = tokio::join!(attack, target.callbacks(50));
        let after = target.callbacks(50).await;
        let (longest, late) = (during.0.max(after.0), during.1 + after.1);
        let peak = target.replica.peak_memory() / 1024;
        let open_now = open.len();
        println!("| {open_now} × {kind} | {longest:?} | {late} | {peak} MiB |");
        assert!(peak < 512, "{kind}: {peak} MiB");
        drop(open);
    }
    let began = Instant::now();
    while target.replica.memory() > before + 64 * 1024 && began.elapsed() < PATIENCE {
        pause().await;
    }
    let left = target.replica.memory() / 1024;
    println!(
        "before {} MiB, {:?} after the last {left} MiB",
        before / 1024,
        began.elapsed()
    );
    assert!(left < before / 1024 + 64);
    target.replica.check_log();
}
