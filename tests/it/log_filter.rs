//! The log of a replica that runs: what it says at the start, and how it is changed.

use reqwest::Client;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::process::{Orders, Replica, until};

const TOKENS: &str = "eve:editor:editor-secret-of-eve,vic:viewer:viewer-secret-of-vic";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_filter_is_changed_while_the_replica_runs_and_by_editors_alone() {
    let database = database().await;
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.url().to_string(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: vec![("STICKYMARK__ADMIN__TOKENS", TOKENS.to_owned())],
    };
    let replica = Replica::start(&orders, directory.path().join("log")).await;
    says_its_settings(&replica.log());
    let url = format!("http://{}/v1/log", replica.admin);
    let client = Client::new();
    let put = async |token: &str, body: Value| {
        let request = client.put(&url).bearer_auth(token).json(&body);
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let noisy = json!({"filter": "info,stickymark=debug"});
    assert_eq!(put("viewer-secret-of-vic", noisy.clone()).await.0, 403);
    let (status, problem) = put("editor-secret-of-eve", json!({"filter": "stickymark=loud"})).await;
    assert_eq!(status, 422);
    assert_eq!(problem["errors"][0]["pointer"], "/filter");
    assert!(!replica.log().contains("\"DEBUG\""));
    let changed = put("editor-secret-of-eve", noisy.clone()).await;
    assert_eq!(changed, (200, noisy.clone()));
    let lost = format!("http://{}/elsewhere", replica.callbacks);
    client.get(lost).send().await.unwrap();
    until("a line of level debug", || async {
        replica.log().contains("\"DEBUG\"")
    })
    .await;
    let read = client.get(&url).bearer_auth("viewer-secret-of-vic");
    let read = read.send().await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap(), noisy);
}

fn says_its_settings(log: &str) {
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let of = |section: &str| {
        let mut lines = lines.iter();
        lines
            .find(|line| line["section"] == section)
            .map(|line| line["settings"].as_str().unwrap())
            .unwrap_or_else(|| panic!("{section} is not told:\n{log}"))
    };
    assert!(of("chat").contains("secret_key=(set)"));
    assert!(of("admin").contains("eve (editor)"));
    assert!(of("reapply").contains("lease=3s"));
    assert!(!log.contains("secret-of"), "{log}");
    let warned = lines.iter().any(|line| {
        line["level"] == "WARN"
            && line["message"]
                .as_str()
                .unwrap()
                .starts_with("resync.interval")
    });
    assert!(warned, "{log}");
    assert!(lines.iter().any(|line| line["version"].is_string()));
}
