//! Whether callbacks arrive: what each replica's status says of all replicas.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use stickymark::testing::local::simulator::SAMPLE_SDK_APP_ID;

use crate::support::stage::{PATIENCE, Stage};

const JOIN: &str = "Group.CallbackAfterNewMemberJoin";
const QUERY: &str = "CallbackCommand=Group.CallbackAfterNewMemberJoin&RequestTime=1&Sign=00";

/// Waits until the status of every replica has this state, and returns what each says of callbacks.
async fn all_say(stage: &Stage, state: &str) -> Vec<Value> {
    let waiting = async {
        loop {
            let statuses = stage.statuses().await.into_iter();
            let callbacks: Vec<_> = statuses.map(|status| status["callbacks"].clone()).collect();
            if callbacks.iter().all(|said| said["state"] == state) {
                return callbacks;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect(state)
}

fn last_at<'a>(said: &'a Value, command: &str) -> &'a Value {
    let kinds = said["kinds"].as_array().unwrap();
    let kind = kinds.iter().find(|kind| kind["command"] == command);
    &kind.unwrap()["last_at"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_says_what_arrived_at_any_of_them() {
    let mut stage = Stage::open(&[]).await;
    stage.add_replica().await;
    for said in all_say(&stage, "none").await {
        let summary = said["summary"].as_str().unwrap();
        assert!(summary.starts_with("no callback since 20"), "{summary}");
        assert!(summary.contains("is the URL registered in the Chat console"));
        assert_eq!(said["last_at"], Value::Null);
    }

    let url = format!(
        "{}?SdkAppid={SAMPLE_SDK_APP_ID}&{QUERY}",
        stage.callback_url()
    );
    for _ in 0..12 {
        let refused = Client::new().post(&url).body("{}").send().await.unwrap();
        assert_eq!(refused.status(), 403);
    }
    for said in all_say(&stage, "refused").await {
        assert_eq!(
            said["summary"],
            "12 of 12 refused in the last 5 minutes: Sign was not made with a token of this service; \
             compare callback.tokens with the token in the Chat console"
        );
        assert_eq!(said["refusals"][0]["code"], "wrong_sign");
        assert_eq!(said["refusals"][0]["requests"], 12);
    }

    for member in 0..13 {
        stage
            .chat
            .join("class-7", &[format!("pupil-{member}")])
            .await
            .unwrap();
    }
    for said in all_say(&stage, "ok").await {
        assert!(last_at(&said, JOIN).is_string() && said["last_at"].is_string());
        assert_eq!(
            last_at(&said, "Group.CallbackAfterGroupDestroyed"),
            &json!(null)
        );
        assert!(said["accepted"].as_u64().unwrap() > 12);
        assert_eq!(said["refused"], 12);
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_to_another_path_are_shown_with_it() {
    let stage = Stage::open(&[]).await;
    let url = format!(
        "{}/?SdkAppid={SAMPLE_SDK_APP_ID}&{QUERY}",
        stage.callback_url()
    );
    assert_eq!(Client::new().post(&url).send().await.unwrap().status(), 404);
    let said = &all_say(&stage, "other_path").await[0];
    assert_eq!(
        said["summary"],
        "callbacks come to {callback.path}/, which is not callback.path; correct the URL in the Chat console"
    );
    assert_eq!(said["other_paths"][0]["requests"], 1);
    stage.close().await;
}
