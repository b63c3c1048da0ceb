//! Import and export of rules over REST.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api, VIEWER, api, named, send};

fn ndjson(rules: &[Value]) -> String {
    rules.iter().map(|rule| format!("{rule}\n")).collect()
}

async fn import(api: &Api, query: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/v1/rules/import?{query}");
    let request = api.request(Method::POST, &path).body(body);
    send(request.header("content-type", "application/x-ndjson")).await
}

async fn export(api: &Api, query: &str) -> String {
    let path = format!("/v1/rules/export?{query}");
    let answer = api.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
    answer.text().await.unwrap()
}

async fn ids(api: &Api) -> Vec<String> {
    let list = api.get("/v1/rules?limit=500").await;
    list.ids().into_iter().map(str::to_owned).collect()
}

fn counts(answer: &Answer) -> (u64, u64, u64, u64) {
    let count = |name: &str| answer.body[name].as_u64().unwrap();
    (
        count("created"),
        count("updated"),
        count("unchanged"),
        count("removed"),
    )
}

fn labelled(id: &str, label: &str, mark: u32) -> Value {
    let mut rule = named(id, "room", id, &[mark]);
    rule["label"] = json!(label);
    rule
}

fn ten(label: &str) -> Vec<Value> {
    let rule = |n: u32| labelled(&format!("{label}-{n}"), label, 1000 + n % 3);
    (0..10).map(rule).collect()
}

#[tokio::test]
async fn a_merge_makes_and_changes_rules_and_leaves_the_others() {
    let api = api().await;
    assert_eq!(
        counts(&import(&api, "", ndjson(&ten("a"))).await),
        (10, 0, 0, 0)
    );
    let brought = [
        labelled("a-0", "a", 1000),
        labelled("a-1", "a", 1005),
        labelled("new", "a", 1000),
    ];
    let answer = import(&api, "mode=merge", ndjson(&brought)).await;
    assert_eq!((answer.status, counts(&answer)), (200, (1, 1, 1, 0)));
    assert_eq!(answer.body["dry_run"], false);
    assert!(answer.body.get("changes").is_none());
    assert_eq!(ids(&api).await.len(), 11);
    let changed = api.get("/v1/rules/a-1").await.body;
    assert_eq!(
        (&changed["marks"], &changed["version"]),
        (&json!([1005]), &json!(2))
    );
    assert_eq!(api.get("/v1/rules/a-0").await.body["version"], 1);
    let history = api.get("/v1/rules/a-1/history").await.body;
    assert_eq!(history["items"][1]["actor"], "eve");
    assert_eq!(history["items"][1]["before"]["marks"], json!([1001]));
}

#[tokio::test]
async fn an_export_imported_again_changes_nothing() {
    let api = api().await;
    let mut rules: Vec<Value> = (0..2100)
        .map(|n| labelled(&format!("r{n}"), "many", 1000))
        .collect();
    rules.push(json!({
        "id": "odd", "group": "a\\**", "account": "老师*", "marks": [4_294_967_295u32, 500],
        "enabled": false, "starts_at": "2030-01-01T00:00:00.123456Z", "ends_at": null,
        "label": "odd", "note": "a \"note\"\nof two lines\t\u{1f600}",
    }));
    assert_eq!(import(&api, "", ndjson(&rules)).await.status, 200);
    let text = export(&api, "").await;
    assert_eq!(text.lines().count(), 2101);
    let again = import(&api, "mode=replace", text.clone()).await;
    assert_eq!(counts(&again), (0, 0, 2101, 0));
    assert_eq!(export(&api, "").await, text);
    assert_eq!(export(&api, "label=odd").await.lines().count(), 1);
    assert_eq!(export(&api, "label=none").await, "");
}

#[tokio::test]
async fn every_bad_line_is_reported_and_nothing_is_imported() {
    let api = api().await;
    let lines = [
        named("good", "room", "ann", &[1000]).to_string(),
        "{oops".to_owned(),
        String::new(),
        json!({"id": "x", "group": "room", "account": "ann", "marks": [7], "label": "a\nb"})
            .to_string(),
        json!({"group": "room", "account": "ann", "marks": [1000]}).to_string(),
        named("good", "room", "bob", &[1000]).to_string(),
        named("export", "room", "bob", &[1000]).to_string(),
    ];
    let answer = import(&api, "", lines.join("\n")).await;
    assert_eq!(answer.refusal(), (422, "invalid-input"));
    let errors = answer.body["errors"].as_array().unwrap();
    let places: Vec<_> = errors
        .iter()
        .map(|error| {
            (
                error["line"].as_u64().unwrap(),
                error["pointer"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            (2, ""),
            (4, "/marks/0"),
            (4, "/label"),
            (5, "/id"),
            (6, "/id"),
            (7, "/id")
        ]
    );
    assert_eq!(answer.body["bad_lines"], 5);
    assert!(ids(&api).await.is_empty());
    let many = import(&api, "", "{}\n".repeat(1000)).await;
    assert_eq!(many.body["bad_lines"], 1000);
    let lines: BTreeSet<u64> = many.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["line"].as_u64().unwrap())
        .collect();
    assert!(lines.into_iter().eq(1..=1000), "every line is named");
}

#[tokio::test]
async fn a_replace_removes_what_it_does_not_bring_but_only_within_its_label() {
    let api = api().await;
    import(&api, "", ndjson(&[ten("a"), ten("b")].concat())).await;
    let mut left = ten("a");
    left.truncate(8);
    left[0]["marks"] = json!([1009]);
    for rule in &mut left {
        rule.as_object_mut().unwrap().remove("label");
    }
    let answer = import(&api, "mode=replace&label=a", ndjson(&left)).await;
    assert_eq!((answer.status, counts(&answer)), (200, (0, 1, 7, 2)));
    assert_eq!(ids(&api).await.len(), 18);
    let foreign = import(
        &api,
        "mode=replace&label=a",
        ndjson(&[labelled("c", "b", 1000)]),
    )
    .await;
    assert_eq!(foreign.body["errors"][0]["pointer"], "/label");
    let stolen = named("b-0", "room", "b-0", &[1000]);
    let stolen = import(&api, "label=a", ndjson(&[stolen])).await;
    assert_eq!(
        (stolen.status, &stolen.body["errors"][0]["line"]),
        (422, &json!(1))
    );
    assert_eq!(api.get("/v1/rules/b-0").await.body["label"], "b");
}

#[tokio::test]
async fn a_replace_that_would_remove_too_much_is_refused_and_says_what_would_allow_it() {
    let api = api().await;
    import(&api, "", ndjson(&ten("a"))).await;
    let mut left = ten("a");
    left.truncate(7);
    let refused = import(&api, "mode=replace", ndjson(&left)).await;
    assert_eq!(refused.refusal(), (409, "too-many-removals"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(
        detail.contains("3 of 10") && detail.contains("max_removals=3"),
        "{detail}"
    );
    assert_eq!(import(&api, "mode=replace", "").await.status, 409);
    assert_eq!(
        import(&api, "mode=replace&max_removals=2", ndjson(&left))
            .await
            .status,
        409
    );
    assert_eq!(ids(&api).await.len(), 10);
    let shown = import(&api, "mode=replace&dry_run=true", ndjson(&left)).await;
    assert_eq!((shown.status, counts(&shown)), (200, (0, 0, 7, 3)));
    assert!(
        shown.body["refusal"]
            .as_str()
            .unwrap()
            .contains("max_removals=3")
    );
    let done = import(&api, "mode=replace&max_removals=3", ndjson(&left)).await;
    assert_eq!(counts(&done), (0, 0, 7, 3));
    assert_eq!(ids(&api).await.len(), 7);
}

#[tokio::test]
async fn a_dry_run_shows_every_change_and_does_none() {
    let api = api().await;
    import(&api, "", ndjson(&ten("a"))).await;
    let before = export(&api, "").await;
    let mut wanted = ten("a");
    wanted.remove(9);
    wanted[0]["marks"] = json!([1009]);
    wanted.push(labelled("zoe", "a", 1001));
    let shown = import(&api, "mode=replace&dry_run=true", ndjson(&wanted)).await;
    assert_eq!((shown.status, counts(&shown)), (200, (1, 1, 8, 1)));
    assert_eq!(shown.body["dry_run"], true);
    let changes = shown.body["changes"].as_array().unwrap();
    let actions: Vec<_> = changes
        .iter()
        .map(|one| (&one["id"], &one["action"]))
        .collect();
    assert_eq!(
        actions,
        [
            (&json!("a-9"), &json!("deleted")),
            (&json!("a-0"), &json!("updated")),
            (&json!("zoe"), &json!("created")),
        ]
    );
    assert_eq!(changes[1]["before"]["marks"], json!([1000]));
    assert_eq!(changes[1]["after"]["marks"], json!([1009]));
    assert_eq!(
        (&changes[2]["before"], &changes[0]["after"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(export(&api, "").await, before);
    assert_eq!(api.get("/v1/rules/zoe/history").await.status, 404);
    let members: i64 = sqlx::query_scalar("select count(*) from members where account = 'zoe'")
        .fetch_one(api.db())
        .await
        .unwrap();
    assert_eq!(members, 0);
    let real = import(&api, "mode=replace", ndjson(&wanted)).await;
    assert_eq!(counts(&real), counts(&shown));
}

#[tokio::test]
async fn a_dry_run_waits_for_no_writer() {
    let api = api().await;
    import(&api, "", ndjson(&ten("a"))).await;
    let mut writer = api.db().begin().await.unwrap();
    for lock in [
        "select pg_advisory_xact_lock(('x' || encode('sm.rules', 'hex'))::bit(64)::bigint)",
        "select from rules for update",
        "select from rule_shapes for update",
        "select from room_demands for update",
    ] {
        sqlx::query(lock).execute(&mut *writer).await.unwrap();
    }
    let mut wanted = ten("a");
    wanted[0]["marks"] = json!([1009]);
    let write = import(&api, "", ndjson(&wanted));
    let write = tokio::time::timeout(std::time::Duration::from_millis(300), write).await;
    assert!(write.is_err(), "a write waits");
    let imported = import(&api, "dry_run=true", ndjson(&wanted));
    let ask =
        async |method, path: &str, body: Value| send(api.request(method, path).json(&body)).await;
    let deletion = json!({"ids": ["a-1"], "action": "delete"});
    let changed = ask(Method::PATCH, "/v1/rules?dry_run=true", deletion);
    let account = json!({"account": "a-2"});
    let erased = ask(Method::POST, "/v1/erase?dry_run=true", account);
    let wait = std::time::Duration::from_secs(10);
    let (imported, changed, erased) =
        tokio::time::timeout(wait, async { tokio::join!(imported, changed, erased) })
            .await
            .expect("no dry run waits");
    assert_eq!(counts(&imported), (0, 1, 9, 0));
    assert_eq!(counts(&changed), (0, 0, 0, 1));
    assert_eq!((erased.status, &erased.body["rules"]), (200, &json!(1)));
}

/// Few rooms and many marks, so that every other import is refused.
#[tokio::test]
async fn a_dry_run_answers_what_the_import_answers() {
    let api = api().await;
    let mut random = StdRng::seed_from_u64(14);
    let mut seen = BTreeMap::new();
    for round in 0..150 {
        let rules: Vec<Value> = (0..random.random_range(1..8))
            .map(|_| {
                let group = ["*", "r*", "room", "hall"][random.random_range(0..4)];
                let first = 1000 + random.random_range(0..16);
                let marks: Vec<u32> = (first..first + 5).collect();
                let id = format!("r{}", random.random_range(0..12));
                let mut rule = named(&id, group, "*", &marks);
                rule["enabled"] = json!(random.random_bool(0.8));
                match random.random_range(0..4) {
                    0 => rule["ends_at"] = json!("2020-01-01T00:00:00Z"),
                    1 => rule["starts_at"] = json!("2100-01-01T00:00:00Z"),
                    2 => rule["ends_at"] = json!("2100-01-01T00:00:00Z"),
                    _ => {}
                }
                (id, rule)
            })
            .collect::<BTreeMap<_, _>>()
            .into_values()
            .collect();
        let mode = ["merge", "replace&max_removals=100"][round % 2];
        let before = export(&api, "").await;
        let dry = import(&api, &format!("mode={mode}&dry_run=true"), ndjson(&rules)).await;
        assert_eq!(export(&api, "").await, before);
        let real = import(&api, &format!("mode={mode}"), ndjson(&rules)).await;
        assert_eq!(dry.status, real.status, "{rules:?}");
        match real.status {
            200 => assert_eq!(counts(&dry), counts(&real)),
            _ => assert_eq!(dry.body["detail"], real.body["detail"], "{rules:?}"),
        }
        *seen.entry(real.status).or_insert(0) += 1;
    }
    assert!(seen[&200] > 20 && seen[&409] > 20, "{seen:?}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_before_the_body_counts() {
    let api = api().await;
    for (name, value) in [
        ("mode", "both"),
        ("max_removals", "-1"),
        ("dry_run", "maybe"),
        ("colour", "red"),
    ] {
        let wrong = import(&api, &format!("{name}={value}"), "").await;
        assert_eq!(wrong.refusal(), (400, "invalid-parameter"));
        assert_eq!(wrong.body["errors"][0]["parameter"], name);
    }
    assert_eq!(import(&api, "max_removals=3", "").await.status, 400);
    let request = api
        .request(Method::POST, "/v1/rules/import")
        .json(&json!({}));
    assert_eq!(send(request).await.problem(), "unsupported-media-type");
    let viewer = api
        .bare(Method::POST, "/v1/rules/import")
        .bearer_auth(VIEWER);
    assert_eq!(send(viewer).await.problem(), "forbidden");
    let read = api
        .bare(Method::GET, "/v1/rules/export")
        .bearer_auth(VIEWER);
    assert_eq!(send(read).await.status, 200);
    let long = import(&api, "", vec![b'\n'; 64 * 1024 * 1024 + 1]).await;
    assert_eq!(long.refusal(), (413, "body-too-large"));
}

#[tokio::test]
async fn an_export_takes_the_filters_of_the_list() {
    let api = api().await;
    import(&api, "", ndjson(&[ten("a"), ten("b")].concat())).await;
    for query in [
        "q=a-3",
        "label=b&mark=1001",
        "matches_group=room&matches_account=b-2",
        "enabled=false",
        "group=room&account=a-0",
        "",
    ] {
        let listed = api.get(&format!("/v1/rules?{query}")).await;
        let exported = export(&api, query).await;
        let exported: Vec<Value> = exported
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            exported,
            *listed.body["items"].as_array().unwrap(),
            "{query}"
        );
    }
    let wrong = api.get("/v1/rules/export?sort=updated").await;
    assert_eq!(wrong.refusal(), (400, "invalid-parameter"));
}

/// Says how long it took, and demands nothing of it: machines differ.
#[tokio::test]
async fn a_hundred_thousand_rules_are_imported_in_one_go() {
    let api = api().await;
    let rules: Vec<Value> = (0..100_000u32)
        .map(|n| {
            let (room, account) = (format!("room-{}", n / 50), format!("account-{n}"));
            let mut rule = named(&format!("rule-{n}"), &room, &account, &[1000 + n % 5]);
            rule["label"] = json!("many");
            rule
        })
        .collect();
    let text = ndjson(&rules);
    let began = std::time::Instant::now();
    let made = import(&api, "label=many", text.clone()).await;
    assert_eq!((made.status, counts(&made)), (200, (100_000, 0, 0, 0)));
    eprintln!("imported after {:?}", began.elapsed());
    let again = import(&api, "mode=replace&label=many", text).await;
    assert_eq!(counts(&again), (0, 0, 100_000, 0));
    eprintln!("imported again after {:?}", began.elapsed());
}
