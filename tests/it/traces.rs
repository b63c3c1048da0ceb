//! A collector gets the spans of a replica that runs, over real HTTP: a receiver of the test's own, and,
//! where `STICKYMARK_TEST_COLLECTOR` names the program of Rotel, that one before it.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::{Router, routing};
use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::json;
use stickymark::testing::local::simulator::{Options, SAMPLE_SDK_APP_ID, start};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::support::process::{Orders, Replica, until};
use crate::support::{database, insert_rule};

const JOIN: &str = "Group.CallbackAfterNewMemberJoin";

/// What came.
#[derive(Default)]
struct Received {
    services: Vec<String>,
    spans: Vec<Span>,
}

type Collector = Arc<Mutex<Received>>;

/// Takes what OTLP over HTTP sends, as a collector does.
async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut bytes = Vec::new();
    match headers.get("content-encoding") {
        Some(gzip) if gzip == "gzip" => {
            GzDecoder::new(&*body).read_to_end(&mut bytes).unwrap();
        }
        _ => bytes.extend_from_slice(&body),
    }
    let request = ExportTraceServiceRequest::decode(&*bytes).unwrap();
    let mut received = collector.lock().await;
    for resource in request.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        let name = attributes
            .iter()
            .find(|attribute| attribute.key == "service.name");
        let name = name.and_then(|name| name.value.clone()?.value);
        if let Some(Value::StringValue(name)) = name {
            received.services.push(name);
        }
        let spans = resource.scope_spans.into_iter();
        received.spans.extend(spans.flat_map(|scope| scope.spans));
    }
    Vec::new()
}

async fn collector() -> (String, Collector) {
    let collector = Collector::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/v1/traces", routing::post(take))
        .with_state(Arc::clone(&collector));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, collector)
}

fn text(span: &Span, key: &str) -> Option<String> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        other => Some(format!("{other:?}")),
    }
}

fn number(span: &Span, key: &str) -> Option<i64> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key == key)?;
    match found.value.clone()?.value? {
        Value::IntValue(number) => Some(number),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_callback_record_round_call_and_settle_with_their_relations() {
    let (endpoint, collector) = collector().await;
    gets_spans_with_their_relations(endpoint, collector).await;
}

/// `.ci/checks/traces` installs it. What it hands on was understood by a receiver of another project.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a collector: STICKYMARK_TEST_COLLECTOR=/path/to/rotel-agent"]
async fn a_collector_of_others_takes_them_and_hands_them_on() {
    let (behind, received) = collector().await;
    let program = std::env::var("STICKYMARK_TEST_COLLECTOR").expect("the program of a collector");
    let directory = tempfile::tempdir().unwrap();
    let (http, grpc) = (free_address().await, free_address().await);
    let mut rotel = Command::new(program);
    rotel
        .args([
            "start",
            "--exporter",
            "otlp",
            "--otlp-exporter-protocol",
            "http",
        ])
        .args(["--otlp-exporter-endpoint", &behind])
        .args(["--otlp-http-endpoint", &http, "--otlp-grpc-endpoint", &grpc])
        .arg("--pid-file")
        .arg(directory.path().join("pid"))
        .kill_on_drop(true);
    let _running = rotel.spawn().unwrap();
    until("the collector listens", || async {
        TcpStream::connect(&http).await.is_ok()
    })
    .await;
    gets_spans_with_their_relations(format!("http://{http}"), received).await;
}

async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

async fn gets_spans_with_their_relations(endpoint: String, collector: Collector) {
    let database = database().await;
    insert_rule(database.db(), "class-7", "teacher10", &[1000]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let simulator = start(Options::default(), listener).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.url().to_string(),
        chat: simulator.url(),
        environment: vec![
            ("STICKYMARK__TELEMETRY__OTLP_ENDPOINT", endpoint),
            (
                "STICKYMARK__LOG__FILTER",
                "info,stickymark=debug".to_owned(),
            ),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
        ],
    };
    let mut replica = Replica::start(&orders, directory.path().join("log")).await;
    let chat = simulator.client().unwrap().waiting();
    chat.join("class-7", &["teacher10".to_owned()])
        .await
        .unwrap();
    let query = format!(
        "SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={JOIN}&contenttype=json&RequestID=5f0c-7"
    );
    let callback = json!({"CallbackCommand": JOIN, "GroupId": "class-7", "Type": "AVChatRoom",
        "NewMemberList": [{"Member_Account": "teacher10"}]});
    let post = reqwest::Client::new()
        .post(format!("http://{}/callback?{query}", replica.callbacks))
        .json(&callback);
    assert_eq!(post.send().await.unwrap().status(), 200);
    let names = ["callback", "record", "round", "call", "write_back"];
    until("all spans", || async {
        let received = collector.lock().await;
        let mut spans = received.spans.iter();
        names
            .iter()
            .all(|name| spans.clone().any(|span| span.name == *name))
            && spans.any(|span| text(span, "outcome").as_deref() == Some("stored"))
    })
    .await;
    replica.signal("INT");
    assert!(replica.ended().await.success(), "{}", replica.log());
    let received = collector.lock().await;
    assert!(received.services.iter().all(|name| name == "stickymark"));
    let by_id: BTreeMap<&[u8], &Span> = received
        .spans
        .iter()
        .map(|span| (&span.span_id[..], span))
        .collect();
    let stored = received
        .spans
        .iter()
        .find(|span| text(span, "outcome").as_deref() == Some("stored"))
        .unwrap();
    assert_eq!(stored.name, "callback");
    assert_eq!(text(stored, "request_id").as_deref(), Some("5f0c-7"));
    assert_eq!(
        (stored.kind(), number(stored, "http.response.status_code")),
        (SpanKind::Server, Some(200))
    );
    // One trace from the callback to the marked member.
    let in_trace = |name: &str| {
        let mut spans = received.spans.iter();
        let span = spans.find(|span| span.name == name && span.trace_id == stored.trace_id);
        span.unwrap_or_else(|| panic!("{name} is not in the trace: {:#?}", received.spans))
    };
    for (name, kind, parent) in [
        ("record", SpanKind::Client, "callback"),
        ("round", SpanKind::Consumer, "callback"),
        ("call", SpanKind::Client, "round"),
        ("write_back", SpanKind::Client, "round"),
    ] {
        let span = in_trace(name);
        let above = by_id.get(&span.parent_span_id[..]);
        assert_eq!(above.map(|above| above.name.as_str()), Some(parent));
        assert_eq!(span.kind(), kind, "{name}");
        assert_eq!(number(span, "members"), Some(1), "{name}");
    }
    for name in ["record", "round"] {
        let requests = text(in_trace(name), "request_ids");
        assert_eq!(requests.as_deref(), Some("5f0c-7"), "{name}");
    }
    let call = in_trace("call");
    assert_eq!(text(call, "server.address").as_deref(), Some("127.0.0.1"));
    assert_eq!(number(call, "http.response.status_code"), Some(200));
    let system = text(in_trace("write_back"), "db.system.name");
    assert_eq!(system.as_deref(), Some("postgresql"));
    // The same trace in the log.
    let trace_id = hex::encode(&stored.trace_id);
    for message in ["answered", "decided"] {
        let log = replica.log();
        let mut lines = log
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let found = lines.any(|line: serde_json::Value| {
            line["message"] == message && line["trace_id"] == trace_id
        });
        assert!(found, "{message} of {trace_id}:\n{log}");
    }
    assert!(
        received.spans.iter().all(|span| span.events.is_empty()),
        "log lines stay here"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_down_does_no_harm_and_its_path_stays_secret() {
    let database = database().await;
    let directory = tempfile::tempdir().unwrap();
    let nowhere = free_address().await;
    let orders = Orders {
        database: database.url().to_string(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: vec![
            (
                "STICKYMARK__TELEMETRY__OTLP_ENDPOINT",
                format!("http://{nowhere}/tenants/hidden"),
            ),
            ("OTEL_BSP_SCHEDULE_DELAY", "100".to_owned()),
        ],
    };
    let mut replica = Replica::start(&orders, directory.path().join("log")).await;
    let unknown = format!("http://{}/elsewhere", replica.callbacks);
    let answer = reqwest::get(unknown).await.unwrap();
    assert_eq!(answer.status(), 404);
    until("a warning", || async {
        replica.log().contains("could not send traces")
    })
    .await;
    replica.signal("INT");
    assert!(replica.ended().await.success());
    let log = replica.log();
    assert!(log.contains("refused"), "the cause is logged: {log}");
    assert!(!log.contains("hidden"), "{log}");
}
