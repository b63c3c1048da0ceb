//! The delay that forwarding adds: `cargo bench --bench forward`.
//!
//! A small backend of its own process decides about "before" events, as the one does that was there
//! before Stickymark. The same callbacks go to it directly, as Chat would, and through a `stickymark
//! serve` of another process that forwards to it, in turn. All of it is real HTTP on this machine, on
//! the same cores; the difference is what an app pays for having Stickymark in front.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::{Json, Router};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

const ROUNDS: usize = 4000;
const WARM_UP: usize = 400;
const APP: &str = "1400000000";
const BEFORE: &str = "Group.CallbackBeforeApplyJoinGroup";
const JOINED: &str = "Group.CallbackAfterNewMemberJoin";

/// Lets everybody join but Mallory.
async fn decide(Json(callback): Json<Value>) -> Json<Value> {
    let refused = callback["Requestor_Account"] == "mallory";
    Json(json!({"ActionStatus": "OK", "ErrorCode": i32::from(refused), "ErrorInfo": ""}))
}

async fn backend() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(decide);
    axum::serve(listener, router).await.unwrap();
}

/// The backend in a process of its own, and where it listens.
async fn start_backend() -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("--backend")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.next_line().await.unwrap().unwrap();
    (child, address.parse().unwrap())
}

/// A service that forwards to the backend, with a private PostgreSQL and a rule for Alice, and where it
/// takes callbacks.
async fn start_service(
    client: &reqwest::Client,
    backend: SocketAddr,
    data: &std::path::Path,
) -> (Child, SocketAddr) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stickymark"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STICKYMARK") {
            command.env_remove(&name);
        }
    }
    let mut child = command
        .arg("serve")
        .env("STICKYMARK__CHAT__SDK_APP_ID", APP)
        .env("STICKYMARK__CHAT__SECRET_KEY", "key")
        .env("STICKYMARK__CHAT__BASE_URL", "http://127.0.0.1:9")
        .env("STICKYMARK__DATABASE__PATH", data)
        .env("STICKYMARK__CALLBACK__LISTEN", "127.0.0.1:0")
        .env(
            "STICKYMARK__CALLBACK__FORWARD_URL",
            format!("http://{backend}/callback"),
        )
        .env("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0")
        .env("STICKYMARK__LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (callbacks, admin) = loop {
        let text = lines.next_line().await.unwrap().expect("it listens");
        let line: Value = serde_json::from_str(&text).unwrap_or_default();
        if line["message"] == "listening" {
            let address = |key: &str| line[key].as_str().unwrap().to_owned();
            break (address("callbacks"), address("admin"));
        }
        if line["level"] == "ERROR" || line.is_null() {
            eprintln!("{text}");
        }
    };
    // Its log must not fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let rule = json!({"group": "room-7", "account": "alice", "marks": [1000]});
    let put = client
        .put(format!("http://{admin}/v1/rules/alice"))
        .json(&rule);
    assert!(put.send().await.unwrap().status().is_success());
    (child, callbacks.parse().unwrap())
}

fn body(command: &str, account: &str) -> Value {
    match command {
        BEFORE => json!({"CallbackCommand": BEFORE, "GroupId": "room-7", "Type": "AVChatRoom",
            "Requestor_Account": account, "EventTime": 1_670_574_414_123_i64}),
        _ => json!({"CallbackCommand": JOINED, "GroupId": "room-7", "Type": "AVChatRoom",
            "NewMemberList": [{"Member_Account": account}], "EventTime": 1_670_574_414_123_i64}),
    }
}

/// Sends one callback; how long its answer took, and what the backend decided.
async fn post(
    client: &reqwest::Client,
    to: SocketAddr,
    command: &str,
    account: &str,
) -> (Duration, i64) {
    let query = format!("SdkAppid={APP}&CallbackCommand={command}&contenttype=json&RequestID=5f0c");
    let request = client
        .post(format!("http://{to}/callback?{query}"))
        .json(&body(command, account));
    let start = Instant::now();
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let answer: Value = response.json().await.unwrap();
    (start.elapsed(), answer["ErrorCode"].as_i64().unwrap())
}

/// The delays of all callbacks, to the one and to the other in turn.
async fn measure(
    client: &reqwest::Client,
    ways: [SocketAddr; 2],
    command: &str,
    at_once: usize,
) -> [Vec<Duration>; 2] {
    let mut delays = [Vec::new(), Vec::new()];
    for round in 0..(ROUNDS + WARM_UP) / at_once {
        for (way, delays) in ways.into_iter().zip(&mut delays) {
            let calls = (0..at_once).map(|_| post(client, way, command, "alice"));
            let took = join_all(calls).await.into_iter().map(|(took, _)| took);
            if round * at_once >= WARM_UP {
                delays.extend(took);
            }
        }
    }
    delays
}

fn percentile(delays: &mut [Duration], percent: usize) -> Duration {
    delays.sort_unstable();
    delays[(delays.len() - 1) * percent / 100]
}

fn main() {
    let is_backend = std::env::args().any(|argument| argument == "--backend");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    // `cargo test --all-targets` runs it too.
    match std::env::args().any(|argument| argument == "--bench") {
        _ if is_backend => runtime.block_on(backend()),
        true => runtime.block_on(run()),
        false => println!("cargo bench --bench forward"),
    }
}

async fn run() {
    let data = tempfile::tempdir().unwrap();
    let (_backend, direct) = start_backend().await;
    let client = reqwest::Client::builder().no_proxy();
    let client = client.timeout(Duration::from_secs(10)).build().unwrap();
    let place = data.path().join("data");
    let (mut service, through) = start_service(&client, direct, &place).await;
    let (_, refused) = post(&client, through, BEFORE, "mallory").await;
    assert_eq!(refused, 1, "the backend decides");
    println!("| Callback | At once | | Directly | Through Stickymark | Added |");
    println!("|---|---|---|---|---|---|");
    for (name, command) in [("\"before\" event", BEFORE), ("join, stored", JOINED)] {
        for at_once in [1, 16] {
            let mut delays = measure(&client, [direct, through], command, at_once).await;
            for (percentage, percent) in [("median", 50), ("99 %", 99)] {
                let [a, b] = delays.each_mut().map(|all| percentile(all, percent));
                let added = b.saturating_sub(a);
                println!("| {name} | {at_once} | {percentage} | {a:.2?} | {b:.2?} | {added:.2?} |");
            }
        }
    }
    // So that it stops its PostgreSQL.
    let order = format!("kill -INT {}", service.id().unwrap());
    let order = ["-c", order.as_str()];
    Command::new("/bin/sh").args(order).status().await.unwrap();
    service.wait().await.unwrap();
}
