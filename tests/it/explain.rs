//! Explanations over REST: why a member has, or lacks, a mark.

use reqwest::Method;
use serde_json::{Value, json};
use stickymark::testing::local::simulator::{Api as ChatApi, Effect, Fault};

use crate::support::api::{Answer, Api, VIEWER, api, named, send};
use crate::support::stage::Stage;
use crate::support::wait_for_row;
use stickymark::testing::rules::propagate;

async fn explain(api: &Api, account: &str) -> Answer {
    api.get(&format!("/v1/explain?group=class-7&account={account}"))
        .await
}

async fn put(api: &Api, id: &str, group: &str, account: &str, more: Value) {
    let mut rule = named(id, group, account, &[1000]);
    let more = more.as_object().unwrap().clone();
    rule.as_object_mut().unwrap().extend(more);
    assert_eq!(api.put(id, rule).await.status, 201, "{id}");
}

fn near(answer: &Answer) -> Vec<(&str, &str)> {
    let rules = answer.body["near"].as_array().unwrap();
    assert!(rules.iter().all(|near| near["detail"].is_string()));
    rules
        .iter()
        .map(|near| {
            let id = near["rule"]["id"].as_str().unwrap();
            (id, near["reason"].as_str().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn rules_that_match_and_rules_that_nearly_do_are_told_apart() {
    let api = api().await;
    put(
        &api,
        "in-force",
        "class-*",
        "ann",
        json!({"marks": [1000, 1001]}),
    )
    .await;
    put(&api, "everybody", "class-7", "*", json!({"marks": [1002]})).await;
    put(&api, "off", "class-7", "ann", json!({"enabled": false})).await;
    let past = json!({"ends_at": "2020-01-01T00:00:00Z"});
    put(&api, "over", "class-7", "ann", past).await;
    let future = json!({"starts_at": "2090-01-01T00:00:00Z"});
    put(&api, "later", "class-7", "a*", future).await;
    put(&api, "elsewhere", "Class-7", "ann", json!({})).await;
    put(&api, "somebody", "class-7", "Ann", json!({})).await;
    put(&api, "unrelated", "class-8", "bob", json!({})).await;
    let answer = explain(&api, "ann").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body["desired"], json!([1000, 1001, 1002]));
    let matched = answer.body["matched"].as_array().unwrap();
    let ids: Vec<_> = matched.iter().map(|rule| &rule["id"]).collect();
    assert_eq!(ids, ["everybody", "in-force"]);
    assert_eq!(answer.body["matched_total"], 2);
    assert_eq!(
        near(&answer),
        [
            ("later", "not-started"),
            ("over", "ended"),
            ("off", "disabled"),
            ("elsewhere", "other-room"),
            ("somebody", "other-account"),
        ]
    );
    assert_eq!(answer.body["room"]["marks"], json!([1000, 1001, 1002]));
    assert_eq!(answer.body["room"]["at_mark_limit"], false);
}

#[tokio::test]
async fn a_member_without_a_rule_is_explained() {
    let api = api().await;
    let answer = explain(&api, "nobody").await;
    assert_eq!(
        answer.body["summary"],
        "No rule matches this member in this room."
    );
    assert_eq!(answer.body["member"], Value::Null);
    assert_eq!(answer.body["pending"], Value::Null);
    assert_eq!(answer.body["room"]["state"], "unknown");
    put(&api, "off", "class-7", "ann", json!({"enabled": false})).await;
    let answer = explain(&api, "ann").await;
    let summary = answer.body["summary"].as_str().unwrap();
    assert!(summary.contains("none is in effect now"), "{summary}");
}

#[tokio::test]
async fn lists_are_bounded_and_say_how_many_there_are() {
    let api = api().await;
    for n in 0..25 {
        put(&api, &format!("in-{n}"), "class-7", "ann", json!({})).await;
        put(
            &api,
            &format!("out-{n}"),
            &format!("other-{n}"),
            "ann",
            json!({}),
        )
        .await;
    }
    let answer = explain(&api, "ann").await;
    assert_eq!(answer.body["matched"].as_array().unwrap().len(), 20);
    assert_eq!(answer.body["matched_total"], 25);
    assert_eq!(near(&answer).len(), 20);
}

#[tokio::test]
async fn what_is_pending_and_what_failed_is_said_in_words() {
    let api = api().await;
    put(&api, "rule", "class-7", "ann", json!({})).await;
    let under_way = explain(&api, "ann").await.body;
    assert_eq!(under_way["under_way"], json!(["rule"]));
    let summary = under_way["summary"].as_str().unwrap();
    assert!(
        summary.contains("has not reached this room yet"),
        "{summary}"
    );
    propagate(api.db()).await.unwrap();
    let pending = explain(&api, "ann").await.body;
    assert_eq!(pending["under_way"], json!([]));
    assert!(pending["pending"]["since"].is_string(), "{pending}");
    assert!(pending["pending"]["next_attempt_at"].is_string());
    assert_eq!(pending["room"]["state"], "live");
    sqlx::query("update members set tries = 2, last_error = 'Chat left the member out'")
        .execute(api.db())
        .await
        .unwrap();
    let left_out = explain(&api, "ann").await.body;
    for text in [&left_out["summary"], &left_out["pending"]["last_error"]] {
        let text = text.as_str().unwrap();
        assert!(text.contains("Chat left the member out"), "{text}");
    }
    sqlx::query(
        "update members set failed_at = now(), pending_since = null, due_at = null, \
         last_error = 'Chat says no'",
    )
    .execute(api.db())
    .await
    .unwrap();
    sqlx::query("update rooms set gone_at = now()")
        .execute(api.db())
        .await
        .unwrap();
    let gone = explain(&api, "ann").await.body;
    assert_eq!(gone["room"]["state"], "gone");
    assert!(gone["summary"].as_str().unwrap().contains("destroyed"));
    sqlx::query("update rooms set gone_at = null")
        .execute(api.db())
        .await
        .unwrap();
    let failed = explain(&api, "ann").await.body;
    let summary = failed["summary"].as_str().unwrap();
    assert!(
        summary.contains("Chat says no") && summary.contains("retry"),
        "{summary}"
    );
    assert_eq!(failed["pending"], Value::Null);
}

#[tokio::test]
async fn a_mark_that_chat_confirmed_is_explained_by_its_event() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("rule", "class-7", "ann", &[1000]).await;
    stage.chat.create("class-7").await.unwrap();
    stage.chat.join("class-7", &["ann"]).await.unwrap();
    stage.sees("class-7", "ann", &[1000]).await;
    stage.rests().await;
    let url = format!("{}/v1/explain?group=class-7&account=ann", stage.admin_url());
    let answer = send(reqwest::Client::new().get(url)).await.body;
    assert_eq!(answer["member"]["marks"], json!([1000]), "{answer}");
    assert_eq!(answer["member"]["state"], "applied");
    assert!(answer["member"]["confirmed_at"].is_string());
    assert!(answer["member"]["event"].is_string());
    assert!(
        answer["summary"]
            .as_str()
            .unwrap()
            .contains("confirmed all of them")
    );
    stage.close().await;
}

#[tokio::test]
async fn what_chat_confirmed_and_what_became_of_it_is_told_as_it_was() {
    let stage = Stage::open(&[("STICKYMARK__RESYNC__INTERVAL", "0s")]).await;
    let marks = [2001, 2002];
    stage.put_rule("rule", "class-7", "ann", &marks).await;
    let chat = stage.chat.waiting();
    chat.join("class-7", &["ann"]).await.unwrap();
    stage.sees("class-7", "ann", &[2001, 2002]).await;
    stage.rests().await;
    let told = async || {
        let url = format!("{}/v1/explain?group=class-7&account=ann", stage.admin_url());
        send(reqwest::Client::new().get(url)).await.body
    };
    chat.drop_offline("class-7", &["ann"]).await.unwrap();
    let dropped = told().await;
    assert_eq!(
        dropped["summary"],
        "Rules require marks 2001 and 2002. Chat confirmed marks 2001 and 2002; the member dropped, \
         and Chat removed them. Not in the room, as far as is known; marks will be set when they join."
    );
    assert_eq!(dropped["member"]["marks"], json!([]));
    assert_eq!(dropped["member"]["confirmed_marks"], json!(marks));
    assert!(dropped["member"]["confirmed_at"].is_string());

    // Back, while Chat fails: what was confirmed before is no lie, and is not what the member has.
    let fault = Fault::new(Effect::HttpStatus(502)).api(ChatApi::ModifyUserInfo);
    let fault = stage.chat.inject(&fault).await.unwrap();
    chat.come_back("class-7", &["ann"]).await.unwrap();
    wait_for_row(stage.db(), "select last_error is not null from members").await;
    let back = told().await["summary"].as_str().unwrap().to_owned();
    let before = "Chat confirmed marks 2001 and 2002; the member came back after that";
    assert!(back.contains(before) && back.contains("502"), "{back}");
    stage.chat.clear(fault).await.unwrap();
    stage.sees("class-7", "ann", &[2001, 2002]).await;

    // What Chat did confirm: that the marks are removed.
    stage.delete_rule("rule").await;
    stage.put_rule("off", "class-7", "ann", &[2001]).await;
    stage.sees("class-7", "ann", &[2001]).await;
    stage.patch_rule("off", json!({"enabled": false})).await;
    stage.sees("class-7", "ann", &[]).await;
    stage.rests().await;
    let removed = told().await;
    assert_eq!(removed["member"]["confirmed_marks"], json!([]));
    assert_eq!(
        removed["summary"],
        "Rules match this member, but none is in effect now. In the room, with no marks managed by \
         Stickymark."
    );
    stage.close().await;
}

#[tokio::test]
async fn a_question_without_room_or_member_is_refused() {
    let api = api().await;
    for (query, name) in [
        ("group=%C3%A4&account=b", "group"),
        ("group=a", "account"),
        ("group=a&account=b&colour=red", "colour"),
    ] {
        let wrong = api.get(&format!("/v1/explain?{query}")).await;
        assert_eq!(wrong.refusal(), (400, "invalid-parameter"));
        assert_eq!(wrong.body["errors"][0]["parameter"], name);
    }
    let path = "/v1/explain?group=a&account=b";
    let viewer = api.bare(Method::GET, path).bearer_auth(VIEWER);
    assert_eq!(send(viewer).await.status, 200);
    assert_eq!(send(api.bare(Method::GET, path)).await.status, 401);
}
