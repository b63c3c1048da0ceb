//! The process: its signals, and its log when the reader is slow.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::{Value, json};
use stickymark::testing::local::simulator::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};

use crate::support::process::{Orders, Replica};
use crate::support::{TestDatabase, database};

fn url(database: &TestDatabase) -> String {
    database.url().to_string()
}

#[tokio::test]
async fn a_hang_up_stops_in_order_and_user_signals_do_nothing() {
    let database = database().await;
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: url(&database),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: Vec::new(),
    };
    let mut replica = Replica::start(&orders, directory.path().join("log")).await;
    replica.signal("USR1");
    replica.signal("USR2");
    let live = format!("http://{}/livez", replica.admin);
    assert_eq!(reqwest::get(live).await.unwrap().status(), 200);
    replica.signal("HUP");
    assert!(replica.ended().await.success());
    assert!(replica.log().contains("\"stopped\""), "{}", replica.log());
}

/// A process whose log is read only so far as a test reads it. Dropped, it is killed.
struct Logging {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Logging {
    fn start(database: &TestDatabase, format: &str, filter: &str) -> Self {
        let app = SAMPLE_SDK_APP_ID.to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_stickymark"))
            .arg("serve")
            .env_remove("NO_COLOR")
            .envs([
                ("STICKYMARK__CHAT__SDK_APP_ID", app.as_str()),
                ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
                ("STICKYMARK__CHAT__BASE_URL", "http://127.0.0.1:9"),
                ("STICKYMARK__CALLBACK__LISTEN", "127.0.0.1:0"),
                ("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0"),
                ("STICKYMARK__DATABASE__URL", &url(database)),
                ("STICKYMARK__LOG__FORMAT", format),
                ("STICKYMARK__LOG__FILTER", filter),
            ])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// Reads until it listens, and no further.
    fn listening(&mut self) -> String {
        let mut read = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "{read}");
            read.push_str(&line);
            if line.contains("listening") && line.contains("callbacks") {
                return read;
            }
        }
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

#[tokio::test]
async fn a_log_reader_that_stalls_does_not_stop_the_service_and_lost_lines_are_counted() {
    let database = database().await;
    let mut replica = Logging::start(&database, "json", "info");
    let read = replica.listening();
    let line: Value = serde_json::from_str(read.lines().last().unwrap()).unwrap();
    let admin = format!("http://{}", line["admin"].as_str().unwrap());
    let client = reqwest::Client::new();
    loop {
        for _ in 0..500 {
            // Each change of the filter is a line of the log.
            let change = client.put(format!("{admin}/v1/log"));
            let change = change.json(&json!({ "filter": "info" })).send();
            assert_eq!(change.await.unwrap().status(), 200);
        }
        let answer = client.get(format!("{admin}/metrics")).send().await.unwrap();
        let text = answer.text().await.unwrap();
        let dropped = text
            .lines()
            .find_map(|line| line.strip_prefix("stickymark_log_lines_dropped "));
        if dropped.unwrap().parse::<f64>().unwrap() > 0.0 {
            break;
        }
    }
}

#[tokio::test]
async fn a_log_that_no_terminal_shows_has_no_colours() {
    let database = database().await;
    let text = Logging::start(&database, "text", "info").listening();
    assert!(!text.contains('\u{1b}'), "{text}");
}
