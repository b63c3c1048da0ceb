//! The rules over REST.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::api::{api, named, rule, send};
use crate::support::process::until;
use stickymark::testing::rules::propagate;

#[tokio::test]
async fn a_rule_is_made_read_replaced_changed_and_removed() {
    let api = api().await;
    let body = json!({"id": "class-7-teacher", "group": "class-7", "account": "teacher10",
                      "marks": [1001, 1000], "label": "school"});
    let made = api.post(body).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.header("location"), "/v1/rules/class-7-teacher");
    assert_eq!(made.header("etag"), "\"1\"");
    let mut expected = json!({
        "id": "class-7-teacher", "group": "class-7", "account": "teacher10",
        "marks": [1000, 1001], "enabled": true, "starts_at": null, "ends_at": null,
        "label": "school", "note": "", "version": 1,
    });
    for time in ["created_at", "updated_at"] {
        assert!(made.body[time].as_str().unwrap().ends_with('Z'));
        expected[time] = made.body[time].clone();
    }
    assert_eq!(made.body, expected);
    let read = api.get("/v1/rules/class-7-teacher").await;
    assert_eq!((read.status, read.header("etag")), (200, "\"1\""));
    assert_eq!(read.body, expected);

    let replaced = api
        .put("class-7-teacher", rule("class-*", "teacher10", &[2000]))
        .await;
    assert_eq!((replaced.status, replaced.header("etag")), (200, "\"2\""));
    assert_eq!(
        replaced.body["label"], "",
        "what a PUT leaves out takes its default"
    );
    assert_eq!(replaced.body["created_at"], made.body["created_at"]);

    let patch = json!({"note": "until June", "ends_at": "2999-06-30T22:00:00+02:00"});
    let patched = api.patch("class-7-teacher", patch).await;
    assert_eq!((patched.status, patched.header("etag")), (200, "\"3\""));
    assert_eq!(patched.body["ends_at"], "2999-06-30T20:00:00Z");
    assert_eq!(patched.body["marks"], json!([2000]));

    let removed = api.delete("class-7-teacher").await;
    assert_eq!((removed.status, removed.body), (204, Value::Null));
    for gone in [
        api.get("/v1/rules/class-7-teacher").await,
        api.delete("class-7-teacher").await,
        api.patch("class-7-teacher", json!({})).await,
    ] {
        assert_eq!(gone.refusal(), (404, "not-found"));
    }
}

#[tokio::test]
async fn an_id_is_made_where_the_client_gives_none_and_a_taken_one_is_refused() {
    let api = api().await;
    let made = api.post(rule("g", "a", &[1000])).await;
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(made.header("location"), format!("/v1/rules/{id}"));

    let again = api.post(named(id, "other", "a", &[1000])).await;
    assert_eq!(again.refusal(), (409, "rule-exists"));
    let new = api.put("mine", rule("g", "b", &[1000])).await;
    assert_eq!(
        (new.status, new.header("location")),
        (201, "/v1/rules/mine")
    );
}

#[tokio::test]
async fn what_an_answer_says_can_be_sent_back_and_changes_nothing() {
    let api = api().await;
    let mut body = named("r", "a\\**", "*", &[500, 4_294_967_295]);
    body["ends_at"] = json!("2999-01-01T00:00:00.123456Z");
    body["note"] = json!("a\tb\nc");
    let made = api.post(body.clone()).await;
    assert_eq!(made.body["ends_at"], body["ends_at"]);
    let again = api.put("r", made.body.clone()).await;
    assert_eq!((again.status, &again.body), (200, &made.body));
    let patched = api
        .patch("r", json!({"enabled": true, "starts_at": null}))
        .await;
    assert_eq!(patched.header("etag"), "\"1\"");
    let history = api.get("/v1/rules/r/history").await;
    assert_eq!(history.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_written() {
    let api = api().await;
    let wrong = api
        .post(json!({"id": "a b", "group": "a*b", "account": "a".repeat(65), "marks": [1000, 999]}))
        .await;
    assert_eq!(wrong.refusal(), (422, "invalid-input"));
    assert_eq!(wrong.pointers(), ["/id", "/group", "/account", "/marks/1"]);
    let absent = api.post(json!({"group": null})).await;
    assert_eq!(absent.pointers(), ["/group", "/account", "/marks"]);
    let unknown = api
        .post(json!({"group": "a", "account": "b", "marks": [1000], "x/y": 1}))
        .await;
    assert_eq!((unknown.status, unknown.pointers()), (422, vec!["/x~1y"]));

    let other = api.put("r", named("s", "g", "a", &[1000])).await;
    assert_eq!(other.pointers(), ["/id"]);
    for (body, pointer) in [("[]", ""), (r#"{"group":"g","group":"h"}"#, "/group")] {
        let request = api.request(Method::PUT, "/v1/rules/r").body(body);
        let answer = send(request.header("content-type", "application/json")).await;
        assert_eq!((answer.status, answer.pointers()), (422, vec![pointer]));
    }
    assert_eq!(api.get("/v1/rules").await.ids(), Vec::<&str>::new());
}

#[tokio::test]
async fn a_stale_client_does_not_overwrite() {
    let api = api().await;
    api.post(named("r", "g", "a", &[1000])).await;
    let body = rule("g", "a", &[1001]);
    let path = "/v1/rules/r";
    let with = |method: Method, tag: &str| {
        api.request(method, path)
            .header("if-match", tag)
            .json(&body)
    };
    for tag in ["\"7\"", "W/\"1\"", "\"\""] {
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let stale = send(with(method, tag)).await;
            assert_eq!(stale.refusal(), (412, "precondition-failed"));
        }
    }
    assert_eq!(
        send(with(Method::PUT, "1")).await.problem(),
        "invalid-parameter"
    );
    assert_eq!(
        send(with(Method::PUT, "\"0\", \"1\"")).await.header("etag"),
        "\"2\""
    );
    let patch = api
        .request(Method::PATCH, path)
        .header("if-match", "*")
        .json(&json!({"note": "n"}));
    assert_eq!(send(patch).await.header("etag"), "\"3\"");

    let known = send(
        api.request(Method::GET, path)
            .header("if-none-match", "W/\"3\""),
    )
    .await;
    assert_eq!((known.status, known.header("etag")), (304, "\"3\""));
    let only_new = api
        .request(Method::PUT, path)
        .header("if-none-match", "*")
        .json(&body);
    assert_eq!(send(only_new).await.status, 412);
    let only_old = api
        .request(Method::PUT, "/v1/rules/new")
        .header("if-match", "*")
        .json(&body);
    assert_eq!(send(only_old).await.status, 412);
    assert_eq!(send(with(Method::DELETE, "\"3\"")).await.status, 204);
}

#[tokio::test]
async fn of_concurrent_writers_with_one_etag_exactly_one_wins() {
    let api = api().await;
    api.post(named("r", "g", "a", &[1000])).await;
    let writes = (0..8).map(|n| {
        let body = rule("g", "a", &[2000 + n]);
        send(
            api.request(Method::PUT, "/v1/rules/r")
                .header("if-match", "\"1\"")
                .json(&body),
        )
    });
    let mut statuses: Vec<u16> = futures::future::join_all(writes)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
}

#[tokio::test]
async fn a_merge_patch_is_checked_like_a_whole_rule() {
    let api = api().await;
    let body = json!({"id": "r", "group": "g", "account": "a", "marks": [1000], "label": "l",
                      "enabled": false, "starts_at": "2999-01-01T00:00:00Z"});
    api.post(body).await;
    let merge = api
        .request(Method::PATCH, "/v1/rules/r")
        .header("content-type", "application/merge-patch+json")
        .body(r#"{"starts_at": null, "enabled": null, "label": null, "marks": [3000]}"#);
    let patched = send(merge).await;
    assert_eq!(patched.status, 200);
    assert_eq!(patched.body["starts_at"], Value::Null);
    assert_eq!(
        (&patched.body["enabled"], &patched.body["label"]),
        (&json!(true), &json!(""))
    );

    for (patch, pointer) in [
        (json!({"group": null}), "/group"),
        (json!({"marks": []}), "/marks"),
        (json!({"colour": null}), "/colour"),
        (json!({"id": "s"}), "/id"),
        (json!({"label": {"x": 1}}), "/label"),
        (
            json!({"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"}),
            "/ends_at",
        ),
    ] {
        let refused = api.patch("r", patch).await;
        assert_eq!((refused.status, refused.pointers()), (422, vec![pointer]));
    }
}

#[tokio::test]
async fn filters_compare_exactly_find_beginnings_and_cover_rooms() {
    let api = api().await;
    for (id, group, account, marks, label) in [
        ("1", "class-7", "a", &[1000, 1001][..], "x"),
        ("2", "class-*", "a*", &[1001], "x"),
        ("3", "class-\\*", "*", &[1000], "y"),
        ("4", "*", "a", &[1000], ""),
    ] {
        let mut body = named(id, group, account, marks);
        body["label"] = json!(label);
        body["enabled"] = json!(id != "4");
        assert_eq!(api.post(body).await.status, 201);
    }
    for (query, ids) in [
        ("", &["1", "2", "3", "4"][..]),
        (
            "?group=&account=&mark=&label=&enabled=&limit=&after=",
            &["1", "2", "3", "4"],
        ),
        ("?group=class-7", &["1"]),
        ("?group=class-*", &["2"]),
        ("?group=class-%5C*", &["3"]),
        ("?group=*", &["4"]),
        ("?group=class", &[]),
        ("?account=a", &["1", "4"]),
        ("?account=a*", &["2"]),
        ("?mark=1001", &["1", "2"]),
        ("?mark=1002", &[]),
        ("?label=x&mark=1000", &["1"]),
        ("?enabled=false", &["4"]),
        ("?q=class", &["1", "2", "3"]),
        ("?q=class-*", &["1", "2", "3"]),
        ("?q=a", &["1", "2", "4"]),
        ("?q=y", &["3"]),
        ("?q=4", &["4"]),
        ("?q=%25", &[]),
        ("?q=lass", &[]),
        ("?matches_group=class-7", &["1", "2", "4"]),
        ("?matches_group=class-*", &["2", "3", "4"]),
        ("?matches_account=ab", &["2", "3"]),
        ("?matches_account=a&matches_group=class-7", &["1", "2", "4"]),
        (
            "?matches_account=a&matches_group=class-7&mark=1001",
            &["1", "2"],
        ),
        ("?matches_group=hall&q=4", &["4"]),
    ] {
        let page = api.get(&format!("/v1/rules{query}")).await;
        assert_eq!(
            (page.ids(), &page.body["total"]),
            (ids.to_vec(), &json!(ids.len())),
            "{query}"
        );
    }
}

#[tokio::test]
async fn the_latest_change_can_come_first_over_pages_with_a_total() {
    let api = api().await;
    for id in ["a", "b", "c", "d", "e"] {
        api.post(named(id, "g", id, &[1000])).await;
    }
    api.patch("b", json!({"note": "later"})).await;
    let (mut path, mut seen) = ("/v1/rules?sort=updated&limit=2".to_owned(), Vec::new());
    loop {
        let page = api.get(&path).await;
        assert_eq!(page.body["total"], 5);
        seen.extend(page.ids().into_iter().map(str::to_owned));
        match page.body["next"].as_str() {
            Some(next) => path = format!("/v1/rules?sort=updated&limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["b", "e", "d", "c", "a"]);
    let first = api.get("/v1/rules?limit=2").await;
    let next = first.body["next"].as_str().unwrap();
    let other = api
        .get(&format!("/v1/rules?sort=updated&after={next}"))
        .await;
    assert_eq!(other.problem(), "invalid-parameter");
    assert_eq!(other.body["errors"][0]["code"], "invalid-cursor");
}

#[tokio::test]
async fn many_rules_change_together_after_a_look_at_what_would_change() {
    let api = api().await;
    for id in ["a", "b", "c"] {
        api.post(named(id, "g", id, &[1000])).await;
    }
    let change = async |query: &str, body: Value| {
        send(
            api.request(Method::PATCH, &format!("/v1/rules{query}"))
                .json(&body),
        )
        .await
    };
    let off = json!({"ids": ["a", "b", "a"], "action": "disable"});
    let shown = change("?dry_run=true", off.clone()).await;
    assert_eq!((shown.status, &shown.body["updated"]), (200, &json!(2)));
    assert_eq!(shown.body["changes"][0]["after"]["enabled"], false);
    assert_eq!(api.get("/v1/rules?enabled=false").await.body["total"], 0);
    assert_eq!(change("", off).await.body["updated"], 2);
    assert_eq!(api.get("/v1/rules?enabled=false").await.ids(), ["a", "b"]);
    assert_eq!(api.get("/v1/rules/a").await.body["version"], 2);

    let unknown = change("", json!({"ids": ["a", "nope"], "action": "delete"})).await;
    assert_eq!((unknown.status, unknown.pointers()), (404, vec!["/ids/1"]));
    assert_eq!(unknown.body["errors"][0]["code"], "rule-not-found");
    assert_eq!(
        api.get("/v1/rules").await.body["total"],
        3,
        "all or nothing"
    );
    let gone = change("", json!({"ids": ["a", "b"], "action": "delete"})).await;
    assert_eq!(gone.body["removed"], 2);
    assert_eq!(api.get("/v1/rules").await.ids(), ["c"]);
    let history = api.get("/v1/rules/a/history").await;
    assert_eq!(history.body["items"][2]["action"], "deleted");

    // Ten marks in a room; the eleventh rule was disabled.
    for mark in 2000..2010 {
        let mut rule = named(&format!("m{mark}"), "hall", "a", &[mark]);
        rule["enabled"] = json!(mark != 2009);
        api.post(rule).await;
    }
    let mut over = named("over", "hall", "b", &[3000]);
    over["enabled"] = json!(false);
    api.post(over).await;
    let clash = change("", json!({"ids": ["m2009", "over"], "action": "enable"})).await;
    assert_eq!(clash.problem(), "mark-limit-exceeded");
    for (body, pointer) in [
        (json!({"ids": [], "action": "enable"}), "/ids"),
        (json!({"ids": ["a"], "action": "paint"}), "/action"),
        (json!({"ids": ["a b"], "action": "enable"}), "/ids/0"),
        (
            json!({"ids": (0..1001).map(|n| n.to_string()).collect::<Vec<_>>(), "action": "enable"}),
            "/ids",
        ),
    ] {
        let refused = change("", body).await;
        assert_eq!((refused.status, refused.pointers()), (422, vec![pointer]));
    }
}

/// So that a client can say it in its own language.
#[tokio::test]
async fn every_error_has_a_code_and_its_values() {
    let api = api().await;
    api.put("r", rule("g", "a", &[1000])).await;
    let invalid = api
        .put(
            "x",
            json!({"group": "a*b", "account": "", "marks": [7, 1000, 1000], "colour": 1}),
        )
        .await;
    assert_eq!(invalid.body["errors"][0]["code"], "unknown-field");
    assert_eq!(invalid.body["errors"][0]["params"]["field"], "colour");
    let invalid = api
        .put(
            "x",
            json!({"group": "a*b", "account": "", "marks": [7, 1000, 1000],
                   "starts_at": "soon", "label": "l".repeat(65), "note": "\u{7}"}),
        )
        .await;
    let errors = invalid.body["errors"].as_array().unwrap();
    let codes: Vec<&str> = errors
        .iter()
        .map(|one| one["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "star-inside",
            "empty-pattern",
            "invalid-mark",
            "duplicate-mark",
            "invalid-time",
            "text-too-long",
            "control-character"
        ]
    );
    assert_eq!(errors[2]["params"], json!({"given": 7}));
    assert_eq!(errors[5]["params"], json!({"max": 64, "actual": 65}));
    assert_eq!(
        invalid.body["code"], "other",
        "several errors in one sentence"
    );

    for (answer, code, params) in [
        (
            api.get("/v1/rules/nope").await,
            "rule-not-found",
            json!({"id": "nope"}),
        ),
        (
            api.post(named("r", "g", "a", &[1000])).await,
            "rule-exists",
            json!({"id": "r"}),
        ),
        (api.get("/v1/nothing").await, "no-such-path", json!({})),
        (
            send(
                api.request(Method::DELETE, "/v1/rules/r")
                    .header("if-match", "\"7\""),
            )
            .await,
            "version-conflict",
            json!({"id": "r", "version": 1}),
        ),
        (
            send(api.bare(Method::GET, "/v1/rules").bearer_auth("wrong")).await,
            "unknown-token",
            json!({}),
        ),
    ] {
        answer.problem();
        assert_eq!(
            (&answer.body["code"], &answer.body["params"]),
            (&json!(code), &params)
        );
    }
    for (query, code) in [
        ("limit=0", "invalid-limit"),
        ("limit=501", "invalid-limit"),
        ("mark=7", "invalid-mark"),
        ("mark=x", "not-a-number"),
        ("enabled=perhaps", "not-a-boolean"),
        ("sort=size", "unknown-variant"),
        ("colour=red", "unknown-parameter"),
        ("after=x", "invalid-cursor"),
        ("group=a&group=b", "repeated"),
        ("matches_group=%C3%A9", "group-not-ascii"),
        ("group=a*b", "star-inside"),
    ] {
        let answer = api.get(&format!("/v1/rules?{query}")).await;
        assert_eq!(answer.refusal(), (400, "invalid-parameter"));
        let (name, _) = query.split_once('=').unwrap();
        assert_eq!(answer.body["errors"][0]["parameter"], name);
        assert_eq!(answer.body["errors"][0]["code"], code, "{query}");
    }
}

/// Answers of several requests in a terminal stay apart.
#[tokio::test]
async fn every_body_ends_in_a_line_feed() {
    let api = api().await;
    api.put("r", rule("g", "a", &[1000])).await;
    for path in [
        "/v1/rules",
        "/v1/rules/r",
        "/v1/rules/export",
        "/v1/rules/nope",
        "/v1/rules/r/history",
        "/v1/members",
        "/v1/rooms",
        "/v1/status",
        "/v1/marks",
        "/v1/explain?group=g&account=a",
        "/openapi.json",
        "/readyz",
        "/metrics",
    ] {
        let text = api
            .request(Method::GET, path)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            text.ends_with('\n') && !text.ends_with("\n\n"),
            "{path}: {text:?}"
        );
    }
}

#[tokio::test]
async fn pages_neither_repeat_nor_leave_out_rules_while_others_come_and_go() {
    let api = api().await;
    for n in 0..10 {
        api.post(named(&format!("r{n}"), "g", &format!("a{n}"), &[1000]))
            .await;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut path = "/v1/rules?limit=3".to_owned();
    loop {
        let page = api.get(&path).await;
        seen.extend(page.ids().into_iter().map(str::to_owned));
        // Before, at and behind the cursor.
        api.delete(&seen[seen.len() - 1]).await;
        api.post(named(&format!("a{}", seen.len()), "g", "new", &[1000]))
            .await;
        api.delete("r8").await;
        match page.body["next"].as_str() {
            Some(next) => path = format!("/v1/rules?limit=3&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r9"]);
}

#[tokio::test]
async fn the_history_tells_who_did_what_and_survives_the_rule() {
    let api = api().await;
    let request = api
        .request(Method::POST, "/v1/rules")
        .header("x-request-id", "req-1");
    let made = send(request.json(&named("r", "g", "a", &[1000]))).await;
    assert_eq!(made.header("x-request-id"), "req-1");
    api.patch("r", json!({"note": "n"})).await;
    api.delete("r").await;
    let again = api.put("r", rule("h", "a", &[1000])).await;
    assert_eq!(
        again.body["version"], 3,
        "an ETag never names two states of one id"
    );

    let first = api.get("/v1/rules/r/history?limit=3").await;
    let items = first.body["items"].as_array().unwrap();
    let actions: Vec<&str> = items
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    assert_eq!(actions, ["created", "updated", "deleted"]);
    assert_eq!(items[0]["actor"], "eve");
    assert_eq!(items[0]["request_id"], "req-1");
    assert_eq!(items[0]["before"], Value::Null);
    assert_eq!(items[0]["after"], made.body);
    assert_eq!(items[1]["before"], made.body);
    assert_eq!(
        (&items[1]["after"]["note"], &items[1]["after"]["version"]),
        (&json!("n"), &json!(2))
    );
    assert_eq!(items[2]["after"], Value::Null);
    let next = first.body["next"].as_str().unwrap();
    let last = api.get(&format!("/v1/rules/r/history?after={next}")).await;
    assert_eq!(last.body["items"][0]["action"], "created");
    assert_eq!(last.body["next"], Value::Null);
    assert_eq!(
        api.get("/v1/rules/never/history").await.problem(),
        "not-found"
    );
}

#[tokio::test]
async fn a_new_exact_rule_makes_an_unknown_member_due() {
    let api = api().await;
    api.post(rule("room", "teacher", &[1000])).await;
    propagate(api.db()).await.unwrap();
    let due: Vec<(String, String, String)> =
        sqlx::query_as("select group_id, account, presence from members where due_at <= now()")
            .fetch_all(api.db())
            .await
            .unwrap();
    assert_eq!(due, [("room".into(), "teacher".into(), "unknown".into())]);
}

#[tokio::test]
async fn removing_a_rule_makes_members_present_due() {
    let api = api().await;
    api.post(named("r", "room-*", "teacher", &[1000])).await;
    sqlx::query(
        "insert into members (group_id, account, presence, marks)
         values ('room-1', 'teacher', 'present', '{1000}'), ('room-2', 'teacher', 'absent', '{}'),
                ('hall-1', 'teacher', 'present', '{}')",
    )
    .execute(api.db())
    .await
    .unwrap();
    api.delete("r").await;
    propagate(api.db()).await.unwrap();
    let due: Vec<String> = sqlx::query_scalar("select group_id from members where due_at <= now()")
        .fetch_all(api.db())
        .await
        .unwrap();
    assert_eq!(due, ["room-1"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_leaves_members_in_peace() {
    let api = api().await;
    api.post(named("r", "room", "teacher", &[1000])).await;
    propagate(api.db()).await.unwrap();
    sqlx::query("update members set presence = 'present', due_at = null")
        .execute(api.db())
        .await
        .unwrap();
    assert_eq!(
        api.put("r", rule("room", "teacher", &[1000])).await.status,
        200
    );
    // A disabled rule changes nothing for anybody either, wherever it may come or go.
    let mut everybody = named("off", "*", "*", &[1001]);
    everybody["enabled"] = json!(false);
    assert_eq!(api.post(everybody).await.status, 201);
    assert_eq!(api.delete("off").await.status, 204);
    propagate(api.db()).await.unwrap();
    let due: i64 = sqlx::query_scalar("select count(*) from members where due_at is not null")
        .fetch_one(api.db())
        .await
        .unwrap();
    assert_eq!(due, 0);
}

#[tokio::test]
async fn a_writer_that_hangs_makes_others_give_up_rather_than_wait_for_ever() {
    let api = api().await;
    let mut hanging = api.db().begin().await.unwrap();
    sqlx::query("lock table rules")
        .execute(&mut *hanging)
        .await
        .unwrap();
    let refused = api.put("r", rule("g", "a", &[1000])).await;
    assert_eq!(refused.refusal(), (503, "database-unavailable"));
    hanging.rollback().await.unwrap();
    assert_eq!(api.put("r", rule("g", "a", &[1000])).await.status, 201);
}

/// An import holds the turn for seconds. More writers than connections wait for it here.
#[tokio::test]
async fn writers_that_wait_for_their_turn_leave_the_connections_to_readers() {
    let api = api().await;
    let mut import = api.db().begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(i64::from_be_bytes(*b"sm.rules"))
        .execute(&mut *import)
        .await
        .unwrap();
    let writes = (0..20).map(|n| {
        let request = api.request(Method::PUT, &format!("/v1/rules/r{n}"));
        tokio::spawn(send(request.json(&rule("g", "a", &[1000]))))
    });
    let writes: Vec<_> = writes.collect();
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
         and database = (select oid from pg_database where datname = current_database())";
    until("one of them waits in the database", async || {
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(api.db())
            .await
            .unwrap();
        waiting > 0
    })
    .await;
    for _ in 0..20 {
        assert_eq!(api.get("/v1/rules").await.status, 200);
    }
    let held: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and state <> 'idle' and pid <> pg_backend_pid()",
    )
    .fetch_one(api.db())
    .await
    .unwrap();
    assert_eq!(held, 2, "the import, and the first of those who wait");
    import.commit().await.unwrap();
    for write in writes {
        assert_eq!(write.await.unwrap().status, 201);
    }
}

#[tokio::test]
async fn a_clash_names_rooms_marks_and_rules_and_writes_nothing() {
    let api = api().await;
    api.post(named("wide", "*", "vip", &[1000, 1001, 1002, 1003, 1004]))
        .await;
    api.post(named(
        "class",
        "class-*",
        "a*",
        &[2000, 2001, 2002, 2003, 2004],
    ))
    .await;
    let refused = api.put("narrow", rule("class-7", "b", &[1000, 3000])).await;
    assert_eq!(refused.refusal(), (409, "mark-limit-exceeded"));
    assert_eq!(refused.body["group"], "class-7");
    assert_eq!(refused.body["rules"], json!(["wide", "class", "narrow"]));
    assert_eq!(refused.body["marks"].as_array().unwrap().len(), 11);
    assert_eq!(
        api.get("/v1/rules/narrow").await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(api.get("/v1/rules/narrow/history").await.status, 404);

    // From above as well, by a patch, and by enabling what was kept disabled.
    assert_eq!(
        api.post(named("other", "hall", "b", &[3000])).await.status,
        201
    );
    assert_eq!(
        api.patch("other", json!({"group": "class-*"})).await.status,
        409
    );
    let mut disabled = rule("*", "c", &[3000]);
    disabled["enabled"] = json!(false);
    assert_eq!(api.put("sleeping", disabled).await.status, 201);
    assert_eq!(
        api.patch("sleeping", json!({"enabled": true})).await.status,
        409
    );
    // A rule that has ended, or rules in turn, are no obstacle.
    assert_eq!(
        api.patch("class", json!({"ends_at": "2020-01-01T00:00:00Z"}))
            .await
            .status,
        200
    );
    assert_eq!(
        api.patch("sleeping", json!({"enabled": true})).await.status,
        200
    );
}

#[tokio::test]
async fn concurrent_writers_cannot_together_break_the_limit() {
    let api = api().await;
    for round in 0..20 {
        // Rules of different shapes, so that no count they share makes them take turns.
        let writes = ["stage", "stage*", "sta*", "*"]
            .into_iter()
            .zip([1000, 2000, 3000, 4000]);
        let writes = writes.map(|(group, first)| {
            let marks: Vec<u32> = (first..first + 6).collect();
            let (api, id) = (&api, format!("r{first}"));
            async move { (api.put(&id, rule(group, "a", &marks)).await.status, id) }
        });
        let mut answers = futures::future::join_all(writes).await;
        answers.sort_unstable();
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert_eq!(statuses, [201, 409, 409, 409], "round {round}");
        api.delete(&answers[0].1).await;
    }
}
