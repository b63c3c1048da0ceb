//! What the overview asks for once a second.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::sessions::{cookie, from_page};
use crate::support::api::{VIEWER, api, send};
use crate::support::process::until;
use crate::support::stage::Stage;

const NOW: &str = "/console/now?range=short";

async fn now(stage: &Stage, range: &str) -> Value {
    let url = format!("{}/console/now?range={range}", stage.admin_url());
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn a_restored_member_is_shown_to_every_open_page() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    let restored = async |count: usize| {
        let restored = async || now(&stage, "short").await["restored"].take();
        let all = async || restored().await.as_array().unwrap().len() == count;
        until("members are restored", all).await;
        restored().await
    };
    assert_eq!(restored(0).await, json!([]));

    stage.chat.join("class-7", &["vip1", "anna"]).await.unwrap();
    let joined = restored(1).await;
    stage.chat.drop_offline("class-7", &["vip1"]).await.unwrap();
    stage.chat.come_back("class-7", &["vip1"]).await.unwrap();
    let both = restored(2).await;
    assert_eq!(both[1], joined[0], "the latest comes first");
    assert_eq!(both[0]["group"], "class-7");
    assert_eq!(both[0]["account"], "vip1");
    assert_eq!(both[0]["marks"], json!([1001]));
    assert!(both[0]["delay_seconds"].as_f64().unwrap() > 0.0);

    until("the delay is counted", async || {
        now(&stage, "short").await["point"]["median_delay"].is_f64()
    })
    .await;
    let short = now(&stage, "short").await;
    assert_eq!(short["status"]["database"], "ok");
    assert!(!short["points"].as_array().unwrap().is_empty());
    // No half minute has passed.
    assert_eq!(now(&stage, "long").await["points"], json!([]));
    stage.close().await;
}

#[tokio::test]
async fn only_signed_in_pages_are_answered_and_so_many_at_once() {
    let api = api().await;
    let signed_out = send(from_page(&api, Method::GET, NOW)).await;
    assert_eq!(signed_out.refusal(), (401, "unauthorized"));
    let cookie = cookie(&api, VIEWER).await;
    let ask = || send(from_page(&api, Method::GET, NOW).header("cookie", &cookie));
    // A look that cannot read the table takes seconds, and all wait for it.
    let mut locked = api.db().begin().await.unwrap();
    sqlx::query("lock table members in access exclusive mode")
        .execute(&mut *locked)
        .await
        .unwrap();
    let answers = join_all((0..65).map(|_| ask())).await;
    let refused: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].problem(), "too-many-requests");
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        64
    );
    assert_eq!(ask().await.status, 200);
}

#[tokio::test]
async fn the_page_is_answered_while_the_database_is_down() {
    let api = api().await;
    let cookie = cookie(&api, VIEWER).await;
    api.db().close().await;
    let now = send(from_page(&api, Method::GET, NOW).header("cookie", &cookie)).await;
    assert_eq!(now.body["status"]["database"], "unreachable");
    assert_eq!(now.body["status"]["queue"], json!(null));
}
