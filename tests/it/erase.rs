//! Erasing an account, and the retention of the history of rules.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use stickymark::testing::database::Db;
use stickymark::testing::rules::delete_old_history;

use crate::support::api::{VIEWER, api, named, send};
use crate::support::database;
use crate::support::stage::Stage;

/// All that the database holds, as text.
async fn everything(db: &Db) -> String {
    let mut all = String::new();
    for table in [
        "rules",
        "rule_history",
        "rule_changes",
        "members",
        "unreached_members",
        "rooms",
    ] {
        let rows = format!("select coalesce(string_agg(t::text, '\n'), '') from {table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(rows))
            .fetch_one(db)
            .await
            .unwrap();
        all += &rows;
    }
    all
}

async fn erase(stage: &Stage, query: &str, account: &str) -> Value {
    let url = format!("{}/v1/erase{query}", stage.admin_url());
    let body = json!({"account": account});
    let answer = Client::new().post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_account_is_found_nowhere_and_loses_its_marks() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("one", "class-7", "li wei", &[1000]).await;
    stage
        .patch_rule("one", json!({"note": "Li Wei, until June"}))
        .await;
    stage.put_rule("two", "class-8", "li wei", &[1001]).await;
    stage.delete_rule("two").await;
    stage.put_rule("all", "class-*", "*", &[1002]).await;
    let both = ["li wei", "mei"].map(str::to_owned);
    for room in ["class-7", "class-8"] {
        stage.chat.join(room, &both).await.unwrap();
        stage.sees(room, "mei", &[1002]).await;
    }
    stage.sees("class-7", "li wei", &[1000, 1002]).await;
    stage.rests().await;

    let found = json!({"dry_run": true, "rules": 1, "members": 2, "history": 5});
    let before = everything(stage.db()).await;
    assert_eq!(erase(&stage, "?dry_run=true", "li wei").await, found);
    assert_eq!(everything(stage.db()).await, before);

    // Without the rule over all members no new row may come.
    stage.patch_rule("all", json!({"account": "m*"})).await;
    stage.sees("class-8", "li wei", &[]).await;
    stage.rests().await;
    let erased = erase(&stage, "", "li wei").await;
    let counts = (&erased["rules"], &erased["history"]);
    assert_eq!(counts, (&json!(1), &json!(5)));
    // The row in class-8 may be gone with its last rule.
    assert!(erased["members"].as_u64().unwrap() >= 1, "{erased}");
    stage.sees("class-7", "li wei", &[]).await;
    stage.sees("class-7", "mei", &[1002]).await;

    let url = format!("{}/v1/rules/one/history", stage.admin_url());
    let history: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    let entries = history["items"].as_array().unwrap();
    let actions: Vec<&str> = entries
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["created", "updated", "deleted"]);
    let pseudonym = entries[0]["after"]["account"].as_str().unwrap();
    assert!(pseudonym.starts_with("erased-"));
    assert_eq!(entries[1]["before"]["account"], pseudonym);
    assert_eq!(entries[2]["before"]["account"], pseudonym);
    assert_eq!(entries[2]["before"]["note"], "");
    assert_eq!(entries[2]["before"]["marks"], json!([1000]));
    // The sweep that removed the mark had to write a row; it goes with the next ones.
    let sweep = async || {
        sqlx::query("update rooms set sweep_due_at = now()")
            .execute(stage.db())
            .await
            .unwrap();
        let gone = "select not exists (select from members where account = 'li wei')";
        let gone: bool = sqlx::query_scalar(gone)
            .fetch_one(stage.db())
            .await
            .unwrap();
        gone
    };
    crate::support::process::until("the row is deleted", sweep).await;
    let after = everything(stage.db()).await;
    assert!(
        !after.contains("li wei") && !after.contains("Li Wei"),
        "{after}"
    );
    assert_eq!(
        erase(&stage, "", "li wei").await,
        json!({"dry_run": false, "rules": 0, "members": 0, "history": 0})
    );
    stage.close().await;
}

#[tokio::test]
async fn only_exactly_this_account_is_erased_and_only_by_an_editor() {
    let api = api().await;
    for (id, account) in [("star", r"vip\*"), ("prefix", "vip*"), ("other", "vip")] {
        api.post(named(id, "g*", account, &[1000])).await;
    }
    let erase = |body: Value| api.bare(Method::POST, "/v1/erase").json(&body);
    let vip = json!({"account": "vip*"});
    let refused = send(erase(vip.clone()).bearer_auth(VIEWER)).await;
    assert_eq!(refused.refusal(), (403, "forbidden"));
    let erased = send(api.request(Method::POST, "/v1/erase").json(&vip)).await;
    assert_eq!(
        erased.body,
        json!({"dry_run": false, "rules": 1, "members": 0, "history": 2})
    );
    assert_eq!(api.get("/v1/rules").await.ids(), ["other", "prefix"]);
    let kept = api.get("/v1/rules/prefix/history").await.body;
    assert_eq!(kept["items"][0]["after"]["account"], "vip*");
    for (body, pointer) in [
        (json!({"account": ""}), "/account"),
        (json!({"account": "a".repeat(65)}), "/account"),
        (json!({"account": "a", "group": "g"}), "/group"),
    ] {
        let wrong = send(api.request(Method::POST, "/v1/erase").json(&body)).await;
        assert_eq!((wrong.status, wrong.pointers()), (422, vec![pointer]));
    }
    let missing = send(api.request(Method::POST, "/v1/erase").json(&json!({}))).await;
    assert_eq!(missing.refusal(), (422, "invalid-input"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_older_than_the_limit_is_deleted_by_whichever_replica_and_the_rest_stays() {
    let database = database().await;
    let entries = "insert into rule_history (rule_id, at, actor, action)
        select 'r', now() - interval '1 day' * n, 'eve', 'updated'
        from generate_series(3000, 1, -1) as n";
    sqlx::query(entries).execute(database.db()).await.unwrap();
    // What has not reached the members would stay.
    let carried = "update propagation set sequence = (select max(sequence) from rule_history)";
    sqlx::query(carried).execute(database.db()).await.unwrap();
    let keep = Duration::from_secs(400 * 24 * 60 * 60);
    let replica = || async { while delete_old_history(database.db(), keep).await.unwrap() > 0 {} };
    tokio::join!(replica(), replica());
    let rest = "select count(*) = 399 and min(at) > now() - interval '400 days' from rule_history";
    let rest = sqlx::query_scalar::<_, bool>(rest).fetch_one(database.db());
    assert!(rest.await.unwrap());
}
