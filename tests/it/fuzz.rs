//! Whatever comes from outside: no panic, no 5xx, nothing that grows, nothing that the database
//! could choke on. On the real routers, with the real parsers.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use chrono::Utc;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;
use serde_json::{Value, json};
use stickymark::testing::api::Readiness;
use stickymark::testing::api::{self, AdminState};
use stickymark::testing::callback::{Arrivals, Events, Listener};
use stickymark::testing::config::{AdminToken, Role, Settings};
use stickymark::testing::database::Db;
use stickymark::testing::members::{Inbox, Settling};
use stickymark::testing::metrics::Metrics;
use stickymark::testing::rules::filter::{FilterSettings, RuleFilter};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::support::{database, insert_rule, replica};

const APP: &str = "1400000000";

/// The callback listener on this database.
fn callbacks(db: &Db, tokens: &[&str]) -> Router {
    let tokens = tokens
        .iter()
        .map(|token| ("STICKYMARK__CALLBACK__TOKENS", *token));
    let settings = Settings::load(None, tokens).unwrap().callback;
    let settling = Settling {
        settle: std::time::Duration::ZERO,
        max_wait: std::time::Duration::ZERO,
    };
    let replica = replica(db);
    let (inbox, writer) = Inbox::new(&replica, settling);
    tokio::spawn(writer.run(CancellationToken::new()));
    // Without its follower the filter lets everything pass.
    let (filter, _) = RuleFilter::new(&replica, inbox.clone(), FilterSettings::default());
    let events = Events::new(inbox, filter, Vec::new());
    let arrivals = Arrivals::since(chrono::Utc::now());
    let app = APP.parse().unwrap();
    let listener = Listener::new(&settings, app, events, arrivals, Metrics::default());
    listener.unwrap().router()
}

/// A value of any shape, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,60}".prop_map(Value::from),
        "(room|class|vip)-?[0-9*\\\\]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            proptest::collection::btree_map(any_key(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "GroupId",
        "Member_Account",
        "EventTime",
        "Type",
        "EventType",
        "MemberList",
        "NewMemberList",
        "ExitMemberList",
        "CallbackCommand",
        "id",
        "group",
        "account",
        "marks",
        "enabled",
        "starts_at",
        "ends_at",
        "label",
        "note",
        "version",
    ];
    prop_oneof![
        proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        any::<String>()
    ]
}

/// What is changed about a good document, one change after the other.
#[derive(Debug, Clone)]
enum Change {
    Replace(usize, Value),
    Remove(usize),
    Add(String, Value),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<usize>(), any_json()).prop_map(|(place, value)| Change::Replace(place, value)),
        any::<usize>().prop_map(Change::Remove),
        (any_key(), any_json()).prop_map(|(key, value)| Change::Add(key, value)),
    ];
    proptest::collection::vec(change, 0..3)
}

fn changed(mut document: Value, changes: Vec<Change>) -> Value {
    for change in changes {
        let Value::Object(fields) = &mut document else {
            return document;
        };
        let keys: Vec<String> = fields.keys().cloned().collect();
        let key = |place: usize| {
            keys.get(place % keys.len().max(1))
                .cloned()
                .unwrap_or_default()
        };
        match change {
            Change::Replace(place, value) => drop(fields.insert(key(place), value)),
            Change::Remove(place) => drop(fields.remove(&key(place))),
            Change::Add(key, value) => drop(fields.insert(key, value)),
        }
    }
    document
}

/// What happens to the text on the way.
fn damaged(text: String) -> impl Strategy<Value = Vec<u8>> {
    let bytes = text.into_bytes();
    let length = bytes.len();
    let cut = (Just(bytes.clone()), 0..=length).prop_map(|(mut bytes, at)| {
        bytes.truncate(at);
        bytes
    });
    let flipped =
        (Just(bytes.clone()), 0..length.max(1), any::<u8>()).prop_map(|(mut bytes, at, with)| {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= with;
            }
            bytes
        });
    prop_oneof![6 => Just(bytes), 1 => cut, 1 => flipped]
}

/// A command and a body for it: good, nearly good, or anything at all.
fn callback_bodies() -> impl Strategy<Value = (String, Vec<u8>)> {
    let good = prop_oneof![
        Just(
            json!({"CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": "room-1",
            "Type": "AVChatRoom", "EventTime": 1_760_000_000_123_i64,
            "NewMemberList": [{"Member_Account": "vip1"}, {"Member_Account": "vip2"}]})
        ),
        Just(
            json!({"CallbackCommand": "Group.CallbackAfterMemberExit", "GroupId": "room-1",
            "Type": "AVChatRoom", "EventTime": "1760000000123",
            "ExitMemberList": [{"Member_Account": "vip1"}]})
        ),
        Just(
            json!({"CallbackCommand": "Group.CallbackOnMemberStateChange", "GroupId": "room-1",
            "EventType": "Online", "EventTime": 1_760_000_000_123_i64,
            "MemberList": [{"Member_Account": "vip1"}]})
        ),
        Just(
            json!({"CallbackCommand": "Group.CallbackAfterGroupDestroyed", "GroupId": "room-1",
            "Type": "AVChatRoom", "EventTime": 1_760_000_000_123_i64})
        ),
        Just(
            json!({"CallbackCommand": "Alert.RequestOverLimit", "Command": "modify_user_info",
            "ServiceName": "group_open_avchatroom_http_svc", "Request": 171, "Limit": 200})
        ),
    ];
    let members = proptest::collection::vec(any::<String>(), 1..6).prop_map(|names| {
        let members: Vec<Value> = names
            .into_iter()
            .map(|name| json!({"Member_Account": name}))
            .collect();
        json!({"CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": "room-1",
            "NewMemberList": members})
    });
    let nearly = (prop_oneof![3 => good, 1 => members], changes())
        .prop_map(|(body, changes)| (command_of(&body), changed(body, changes).to_string()));
    let deep = (
        0_usize..40_000,
        proptest::sample::select(vec!["[", "{\"a\":", "{\"MemberList\":["]),
    )
        .prop_map(|(depth, opening)| (String::new(), opening.repeat(depth)));
    let documents = prop_oneof![8 => nearly, 1 => deep].prop_flat_map(|(command, text)| {
        damaged(text).prop_map(move |body| (command.clone(), body))
    });
    let anything = (
        any::<String>(),
        proptest::collection::vec(any::<u8>(), 0..400),
    );
    prop_oneof![9 => documents, 1 => anything]
}

fn command_of(body: &Value) -> String {
    body["CallbackCommand"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// Printable ASCII but for what ends a query.
fn any_query() -> impl Strategy<Value = String> {
    "[!-\"$-~]{0,120}"
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

/// The status, and the body, which is JSON and short.
async fn answer(router: &Router, request: Request<Body>) -> (u16, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1024 * 1024)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[test]
fn no_callback_body_brings_the_listener_down_or_stores_what_the_database_refuses() {
    let runtime = runtime();
    let database = runtime.block_on(database());
    runtime.block_on(insert_rule(database.db(), "*", "*", &[1000]));
    let router = runtime.block_on(async { callbacks(database.db(), &[]) });
    let outcome = runner(3000).run(&callback_bodies(), |(command, body)| {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("SdkAppid", APP)
            .append_pair("CallbackCommand", &command)
            .finish();
        let request = Request::post(format!("/callback?{query}"))
            .body(Body::from(body))
            .unwrap();
        // 503 would mean that the database refuses an event.
        let (status, answer) = runtime.block_on(answer(&router, request));
        prop_assert!(matches!(status, 200 | 400 | 403), "{status}");
        let word = if status == 200 { "OK" } else { "FAIL" };
        prop_assert_eq!(&answer["ActionStatus"], word);
        prop_assert!(answer.to_string().len() < 1000, "{answer}");
        Ok(())
    });
    outcome.unwrap();
    runtime.block_on(async {
        let members: i64 = sqlx::query_scalar("select count(*) from members")
            .fetch_one(database.db())
            .await
            .unwrap();
        assert!(
            members > 100,
            "the fuzz found too few good bodies: {members}"
        );
    });
}

#[test]
fn no_query_path_or_header_of_a_callback_brings_the_listener_down() {
    let runtime = runtime();
    let router = runtime.block_on(async {
        let nowhere = Db::new_lazy("postgres://127.0.0.1:1/none".parse().unwrap(), 1);
        callbacks(&nowhere, &["token"])
    });
    let methods = proptest::sample::select(vec!["POST", "POST", "POST", "GET", "PUT", "OPTIONS"]);
    let paths = prop_oneof![3 => Just("/callback".to_owned()), 1 => "/[!-\"$->@-~]{0,40}"];
    let pieces = proptest::collection::vec(
        prop_oneof![
            Just(format!("SdkAppid={APP}")),
            Just("CallbackCommand=Group.CallbackAfterNewMemberJoin".to_owned()),
            "Sign=[0-9a-fA-F%]{0,70}",
            any::<i64>().prop_map(|time| format!("RequestTime={time}")),
            "RequestTime=[0-9]{0,40}",
            Just(format!("RequestTime={}", Utc::now().timestamp())),
            any_query(),
        ],
        0..7,
    );
    let headers = proptest::collection::vec(("[A-Za-z-]{1,20}", "[ -~]{0,80}"), 0..4);
    let cases = (methods, paths, pieces, headers);
    let outcome = runner(3000).run(&cases, |(method, path, pieces, headers)| {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}?{}", pieces.join("&")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = json!({"CallbackCommand": "Group.CallbackAfterNewMemberJoin",
            "GroupId": "room-1", "NewMemberList": [{"Member_Account": "vip1"}]});
        let Ok(request) = request.body(Body::from(body.to_string())) else {
            // No HTTP server would hand this on.
            return Ok(());
        };
        let (status, _) = runtime.block_on(answer(&router, request));
        let is_health_check = path == "/" && method == "GET";
        prop_assert!(
            matches!(status, 400 | 403 | 404 | 405) || is_health_check,
            "{status}"
        );
        Ok(())
    });
    outcome.unwrap();
}

/// A request to the management API.
#[derive(Debug, Clone)]
struct Order {
    method: &'static str,
    path: String,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn names() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["class-1", "class-2", "class-3", "class-4"])
}

fn good_rule(group: &str) -> Value {
    json!({"group": group, "account": "teacher*", "marks": [1000, 1001],
        "enabled": true, "starts_at": null, "ends_at": "2030-01-01T00:00:00Z",
        "label": "school", "note": "x"})
}

/// A new rule without a flaw, so that spoilt orders meet rules that exist, however the dice fall.
fn new_rules() -> impl Strategy<Value = Order> {
    names().prop_map(|group| Order {
        method: "POST",
        path: "/v1/rules".to_owned(),
        content_type: "application/json",
        headers: Vec::new(),
        body: good_rule(group).to_string().into_bytes(),
    })
}

fn spoilt_orders() -> impl Strategy<Value = Order> {
    let good = (names(), any::<bool>()).prop_map(|(name, named)| {
        let mut rule = good_rule(name);
        if named {
            rule["id"] = json!(name);
        }
        rule
    });
    let body = (good, changes()).prop_map(|(body, changes)| changed(body, changes).to_string());
    let body = body.boxed();
    let lines = proptest::collection::vec(body.clone(), 0..5).prop_map(|lines| lines.join("\n"));
    let bodies =
        prop_oneof![4 => body, 1 => lines, 1 => any_json().prop_map(|json| json.to_string())]
            .prop_flat_map(damaged);
    let id = prop_oneof![3 => names().prop_map(str::to_owned), 1 => "[!-\"$->@-~]{1,70}"];
    let paths = prop_oneof![
        3 => Just("/v1/rules".to_owned()),
        3 => id.clone().prop_map(|id| format!("/v1/rules/{id}")),
        1 => id.prop_map(|id| format!("/v1/rules/{id}/history")),
        1 => Just("/v1/rules/import".to_owned()),
        1 => Just("/v1/explain".to_owned()),
        1 => Just("/v1/members".to_owned()),
        1 => Just("/v1/erase".to_owned()),
        1 => Just("/v1/members/retry".to_owned()),
        1 => Just("/v1/rooms/resync".to_owned()),
        1 => "/[!-\"$->@-~]{0,40}",
    ];
    let some = proptest::collection::vec(
        prop_oneof![
            "(group|account|mark|label|enabled|limit|after|mode|dry_run|max_removals|state)=[!-\"$-%'-~]{0,30}",
            any_query(),
        ],
        0..3,
    );
    let parameters = prop_oneof![3 => Just(Vec::new()), 1 => some];
    let methods = vec!["GET", "POST", "POST", "PUT", "PUT", "PATCH", "DELETE"];
    let types = vec![
        "application/json",
        "application/json",
        "application/json",
        "application/json",
        "application/merge-patch+json",
        "application/x-ndjson",
        "text/plain",
    ];
    let some = proptest::collection::vec(
        (
            proptest::sample::select(vec!["if-match", "if-none-match", "x-request-id"]),
            "[ -~]{0,40}",
        ),
        0..2,
    );
    let headers = prop_oneof![3 => Just(Vec::new()), 1 => some];
    let parts = (
        proptest::sample::select(methods),
        paths,
        parameters,
        proptest::sample::select(types),
        headers,
        bodies,
    );
    parts.prop_map(
        |(method, path, parameters, content_type, headers, body)| Order {
            method,
            path: match parameters.is_empty() {
                true => path,
                false => format!("{path}?{}", parameters.join("&")),
            },
            content_type,
            headers,
            body,
        },
    )
}

#[test]
fn no_request_to_the_management_api_is_answered_with_5xx() {
    let runtime = runtime();
    let (database, router) = runtime.block_on(async {
        let database = database().await;
        let db = database.db().clone();
        let readiness = Readiness::new(db.clone());
        let token = AdminToken {
            name: "fuzz".to_owned(),
            role: Role::Editor,
            secret: SecretString::from("secret"),
        };
        (
            database,
            api::router(AdminState::new(replica(&db), readiness, &[token])),
        )
    });
    let orders = prop_oneof![1 => new_rules(), 9 => spoilt_orders()];
    let outcome = runner(1000).run(&orders, |order| {
        let mut request = Request::builder()
            .method(order.method)
            .uri(&order.path)
            .header("authorization", "Bearer secret")
            .header("content-type", order.content_type);
        for (name, value) in &order.headers {
            request = request.header(*name, value);
        }
        let Ok(request) = request.body(Body::from(order.body.clone())) else {
            return Ok(());
        };
        let (status, answer) = runtime.block_on(answer(&router, request));
        prop_assert!(status < 500, "{status} {answer}");
        Ok(())
    });
    outcome.unwrap();
    let rules: i64 = runtime
        .block_on(sqlx::query_scalar("select count(*) from rule_history").fetch_one(database.db()))
        .unwrap();
    // Of a thousand orders a hundred are flawless, give or take: no throw of the dice fails this.
    assert!(rules > 10, "the fuzz wrote too few rules: {rules}");
}
