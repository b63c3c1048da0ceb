//! Members, rooms and the status over REST.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Api, VIEWER, api, send};
use crate::support::stage::Stage;

async fn member(api: &Api, group: &str, account: &str, presence: &str, extra: &str) {
    let values = match extra {
        "pending" => "now(), now(), null, null",
        "failed" => "null, null, 'Chat says no', now()",
        _ => "null, null, null, null",
    };
    let statement = format!(
        "insert into members (group_id, account, presence, pending_since, due_at, last_error, \
         failed_at) values ($1, $2, $3, {values})"
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(group)
        .bind(account)
        .bind(presence)
        .execute(api.db())
        .await
        .unwrap();
}

async fn room(api: &Api, group: &str, gone: bool) {
    sqlx::query("insert into rooms (group_id, gone_at) values ($1, case when $2 then now() end)")
        .bind(group)
        .bind(gone)
        .execute(api.db())
        .await
        .unwrap();
}

fn pairs(page: &Value) -> Vec<(String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| (text(item, "group"), text(item, "account")))
        .collect()
}

async fn post(api: &Api, path: &str, body: Value) -> crate::support::api::Answer {
    send(api.request(Method::POST, path).json(&body)).await
}

#[tokio::test]
async fn members_are_found_by_room_account_and_state() {
    let api = api().await;
    member(&api, "a", "ann", "present", "").await;
    member(&api, "a", "bob", "absent", "").await;
    member(&api, "b", "ann", "present", "failed").await;
    member(&api, "b", "cid", "unknown", "pending").await;
    for (query, expected) in [
        ("group=a", vec![("a", "ann"), ("a", "bob")]),
        ("account=ann", vec![("a", "ann"), ("b", "ann")]),
        ("state=applied", vec![("a", "ann")]),
        ("state=offline", vec![("a", "bob")]),
        ("state=failed", vec![("b", "ann")]),
        ("state=pending&group=b", vec![("b", "cid")]),
        ("group=c", vec![]),
    ] {
        let found = api.get(&format!("/v1/members?{query}")).await;
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(group, account)| (group.to_owned(), account.to_owned()))
            .collect();
        assert_eq!(pairs(&found.body), expected, "{query}");
    }
    let failed = api.get("/v1/members?state=failed").await.body;
    assert_eq!(failed["items"][0]["last_error"], "Chat says no");
    assert_eq!(failed["items"][0]["marks"], json!([]));
    for (name, value) in [
        ("state", "happy"),
        ("group", "%C3%A4"),
        ("after", "x"),
        ("colour", "red"),
    ] {
        let wrong = api.get(&format!("/v1/members?{name}={value}")).await;
        assert_eq!(wrong.refusal(), (400, "invalid-parameter"));
        assert_eq!(wrong.body["errors"][0]["parameter"], name);
    }
}

#[tokio::test]
async fn pages_of_members_miss_nobody_and_repeat_nobody_while_rows_come_and_go() {
    let api = api().await;
    for account in ["b", "d", "f", "h"] {
        member(&api, "room", account, "present", "").await;
    }
    let first = api.get("/v1/members?limit=2").await.body;
    let cursor = first["next"].as_str().unwrap();
    sqlx::query("delete from members where account in ('b', 'd', 'f')")
        .execute(api.db())
        .await
        .unwrap();
    member(&api, "room", "a", "present", "").await;
    member(&api, "room", "g", "present", "").await;
    let second = api
        .get(&format!("/v1/members?limit=2&after={cursor}"))
        .await;
    let accounts: Vec<_> = pairs(&second.body).into_iter().map(|pair| pair.1).collect();
    assert_eq!(accounts, ["g", "h"]);
    assert_eq!(second.body["next"], Value::Null);
    let foreign = api.get(&format!("/v1/rooms?after={cursor}")).await;
    assert_eq!(foreign.problem(), "invalid-parameter");
}

#[tokio::test]
async fn members_given_up_become_due_where_somebody_asks_and_only_there() {
    let api = api().await;
    for (group, account) in [("a", "ann"), ("a", "bob"), ("b", "ann")] {
        member(&api, group, account, "present", "failed").await;
    }
    member(&api, "a", "cid", "present", "").await;
    let answer = post(
        &api,
        "/v1/members/retry",
        json!({"group": "a", "account": "ann"}),
    )
    .await;
    assert_eq!((answer.status, &answer.body), (200, &json!({"retried": 1})));
    let pending = api.get("/v1/members?state=pending").await.body;
    assert_eq!(pairs(&pending), [("a".to_owned(), "ann".to_owned())]);
    let rest = post(&api, "/v1/members/retry", json!({})).await;
    assert_eq!(rest.body, json!({"retried": 2}));
    for (field, value) in [("group", ""), ("account", "x\n")] {
        let wrong = post(&api, "/v1/members/retry", json!({field: value})).await;
        let pointer = format!("/{field}");
        assert_eq!((wrong.status, wrong.pointers()), (422, vec![&*pointer]));
    }
    let unknown = post(&api, "/v1/members/retry", json!({"groups": "a"})).await;
    assert_eq!(unknown.status, 422);
}

#[tokio::test]
async fn rooms_show_their_members_by_state_and_whether_they_are_gone() {
    let api = api().await;
    room(&api, "live", false).await;
    room(&api, "gone", true).await;
    member(&api, "live", "a", "present", "").await;
    member(&api, "live", "b", "present", "pending").await;
    member(&api, "live", "c", "absent", "").await;
    member(&api, "live", "d", "present", "failed").await;
    let rooms = api.get("/v1/rooms").await.body;
    assert_eq!(rooms["items"][0]["group"], "gone");
    assert_eq!(rooms["items"][0]["state"], "gone");
    assert_eq!(
        rooms["items"][1]["members"],
        json!({"pending": 1, "applied": 1, "offline": 1, "failed": 1})
    );
    let live = api.get("/v1/rooms?state=live").await.body;
    assert_eq!(live["items"].as_array().unwrap().len(), 1);
    let first = api.get("/v1/rooms?limit=1").await.body;
    let next = first["next"].as_str().unwrap();
    let second = api
        .get(&format!("/v1/rooms?limit=1&after={next}"))
        .await
        .body;
    assert_eq!(
        (&second["items"][0]["group"], &second["next"]),
        (&json!("live"), &Value::Null)
    );
    assert_eq!(live["counts"], json!({"live": 1, "gone": 1}));
    let one = api.get("/v1/rooms?group=gone&state=live").await.body;
    assert_eq!(one["counts"], json!({"live": 0, "gone": 1}));
}

#[tokio::test]
async fn the_last_event_of_a_room_is_that_of_its_latest_member() {
    let api = api().await;
    let all = "insert into rooms (group_id, last_event_at) values ('a', '2026-01-01T00:00:00Z'), ('b', now());
               insert into members (group_id, account, presence, heard_at)
               values ('a', 'ann', 'present', '2026-01-01T00:00:40Z')";
    sqlx::raw_sql(all).execute(api.db()).await.unwrap();
    let room = api.get("/v1/rooms?group=a").await.body;
    assert_eq!(room["items"][0]["last_event_at"], "2026-01-01T00:00:40Z");
    let explained = api.get("/v1/explain?group=a&account=bob").await.body;
    assert_eq!(explained["room"]["last_event_at"], "2026-01-01T00:00:40Z");
}

#[tokio::test]
async fn the_status_counts_rooms_whose_last_comparison_failed() {
    let api = api().await;
    let rooms = "insert into rooms (group_id, sweep_failures, gone_at)
                 values ('fails', 2, null), ('works', 0, null), ('gone', 1, now())";
    sqlx::query(rooms).execute(api.db()).await.unwrap();
    let status = api.get("/v1/status").await.body;
    assert_eq!(status["queue"]["rooms_failing"], 1);
}

/// They are read and sorted, others are read in the order of the index.
#[tokio::test]
async fn few_members_among_many_come_in_order_and_by_pages() {
    let api = api().await;
    let many = "insert into members (group_id, account, presence)
                select 'room-' || n % 7, 'account-' || n, 'present' from generate_series(1, 500) n";
    sqlx::query(many).execute(api.db()).await.unwrap();
    for (group, account) in [("b", "x"), ("a", "z"), ("b", "a"), ("a", "y")] {
        member(&api, group, account, "present", "pending").await;
    }
    let first = api.get("/v1/members?state=pending&limit=3").await.body;
    let pair = |group: &str, account: &str| (group.to_owned(), account.to_owned());
    assert_eq!(
        pairs(&first),
        [pair("a", "y"), pair("a", "z"), pair("b", "a")]
    );
    let next = first["next"].as_str().unwrap();
    let second = api
        .get(&format!("/v1/members?state=pending&limit=3&after={next}"))
        .await
        .body;
    assert_eq!(
        (pairs(&second), &second["next"]),
        (vec![pair("b", "x")], &Value::Null)
    );
    assert_eq!(second["counts"]["pending"], 4);
}

#[tokio::test]
async fn a_viewer_reads_but_neither_retries_nor_resyncs() {
    let api = api().await;
    for path in ["/v1/members", "/v1/rooms", "/v1/status"] {
        let read = send(api.bare(Method::GET, path).bearer_auth(VIEWER)).await;
        assert_eq!(read.status, 200, "{path}");
        assert_eq!(
            send(api.bare(Method::GET, path)).await.status,
            401,
            "{path}"
        );
    }
    for path in ["/v1/members/retry", "/v1/rooms/resync"] {
        let body = json!({"group": "a"});
        let write = api.bare(Method::POST, path).bearer_auth(VIEWER).json(&body);
        assert_eq!(send(write).await.problem(), "forbidden", "{path}");
    }
}

#[tokio::test]
async fn a_room_is_compared_when_somebody_asks_and_the_status_counts_it() {
    let stage = Stage::open(&[]).await;
    let base = stage.admin_url();
    let client = reqwest::Client::new();
    let body = json!({"group": "class-7"});
    let asked = client.post(format!("{base}/v1/rooms/resync")).json(&body);
    let asked = send(asked).await;
    assert_eq!(
        (asked.status, asked.body),
        (202, json!({"group": "class-7"}))
    );
    loop {
        let room = send(client.get(format!("{base}/v1/rooms?group=class-7")))
            .await
            .body;
        let sweep = &room["items"][0]["sweep"];
        if !sweep["at"].is_null() || sweep["failures"].as_i64() > Some(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let status = send(client.get(format!("{base}/v1/status"))).await.body;
    assert_eq!(status["database"], "ok");
    let counted = |name: &str| status["resync"][name].as_u64().unwrap();
    assert!(counted("rooms") + counted("failed") > 0, "{status}");
    let apis: Vec<_> = status["budgets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|budget| &budget["api"])
        .collect();
    assert_eq!(apis, ["modify_user_info", "check_members", "get_members"]);
    assert!(status["budgets"][0]["per_second"].as_f64().unwrap() > 1.0);
    assert_eq!(
        status["chat"],
        json!({"paused": false, "reason": null, "message": null, "advice": null, "since": null})
    );
    assert!(status["filter"].is_object());
    assert_eq!(status["queue"]["failed"], 0);
    stage.close().await;
}

#[tokio::test]
async fn the_status_answers_while_the_database_does_not() {
    let api = api().await;
    member(&api, "a", "ann", "present", "failed").await;
    let well = api.get("/v1/status").await.body;
    assert_eq!(
        well["failures"],
        json!([{"reason": "Chat says no", "members": 1, "message":
                {"code": "other", "params": {}, "detail": "Chat says no"}}])
    );
    api.db().close().await;
    let status = loop {
        let status = api.get("/v1/status").await;
        assert_eq!(status.status, 200);
        if status.body["database"] == "unreachable" {
            break status.body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(status["queue"], Value::Null);
}

#[tokio::test]
async fn members_are_counted_by_state_and_their_failures_have_codes() {
    let api = api().await;
    member(&api, "a", "ann", "present", "").await;
    member(&api, "a", "bob", "absent", "").await;
    member(&api, "b", "ann", "present", "failed").await;
    member(&api, "b", "cid", "unknown", "pending").await;
    let counts =
        async |query: &str| api.get(&format!("/v1/members?{query}")).await.body["counts"].clone();
    assert_eq!(
        counts("state=failed").await,
        json!({"pending": 1, "applied": 1, "offline": 1, "failed": 1})
    );
    assert_eq!(
        counts("group=a").await,
        json!({"pending": 0, "applied": 1, "offline": 1, "failed": 0})
    );
    let text = "Chat refused the call with 10004 (a parameter is illegal): no";
    sqlx::query("update members set last_error = $1 where failed_at is not null")
        .bind(text)
        .execute(api.db())
        .await
        .unwrap();
    let failed = api.get("/v1/members?state=failed").await;
    let message = &failed.body["items"][0]["message"];
    assert_eq!(
        (&message["code"], &message["detail"]),
        (&json!("chat-refused"), &json!(text))
    );
    assert_eq!(message["params"]["chat_code"], 10004);
    sqlx::query(
        "update members set last_error = 'Chat did not answer in time' where account = 'cid'",
    )
    .execute(api.db())
    .await
    .unwrap();
    let status = api.get("/v1/status").await;
    assert_eq!(status.body["retries"][0]["message"]["code"], "chat-timeout");
    assert_eq!(status.body["retries"][0]["members"], 1);
    assert_eq!(status.body["calls"]["failing_share"], 0.0);
    assert_eq!(
        status.body["failures"][0]["message"]["code"],
        "chat-refused"
    );
}

#[tokio::test]
async fn a_try_is_not_needed_while_calls_are_not_paused() {
    let api = api().await;
    let tried = post(&api, "/v1/chat/probe", json!({})).await;
    assert_eq!(
        (tried.status, &tried.body["outcome"]),
        (200, &json!("not-paused"))
    );
    let viewer = api.bare(Method::POST, "/v1/chat/probe").bearer_auth(VIEWER);
    assert_eq!(send(viewer).await.status, 403);
}
