//! The listener and forwarding over real HTTP, with a real inbox whose other end the test reads.

mod arrivals;
mod bodies;
mod forward;
mod listener;
mod signature;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use chrono::DateTime;
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use crate::callback::{Arrivals, Events, Listener};
use crate::chat::CallRate;
use crate::config::Settings;
use crate::database::Db;
use crate::domain::{MemberEvent, RoomEnd};
use crate::members::{Inbox, InboxWriter, Settling};
use crate::metrics::Metrics;
use crate::replica::Replica;
use crate::rules::filter::{FilterSettings, RuleFilter};

const NOW: i64 = 1_760_000_000;
const JOIN: &str = "Group.CallbackAfterNewMemberJoin";
const STATE: &str = "Group.CallbackOnMemberStateChange";
const BEFORE_JOIN: &str = "Group.CallbackBeforeApplyJoinGroup";
const PATH: &str = "/callback/s3cret";
/// Longer than any test runs: what ends by this time has failed.
const LONG: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(50);

/// What the inbox was handed.
#[derive(Debug, Default)]
struct Heard {
    events: Vec<MemberEvent>,
    destroyed: Vec<RoomEnd>,
    /// The waiters for the commit, if the gate is closed.
    uncommitted: Vec<oneshot::Sender<()>>,
}

/// A listener on a port of its own.
struct Front {
    address: SocketAddr,
    heard: watch::Sender<Heard>,
    /// Whether the inbox commits.
    gate: watch::Sender<bool>,
    arrivals: Arrivals,
    metrics: Metrics,
    client: reqwest::Client,
}

/// A listener that does not listen yet, and the other end of its inbox.
struct Setup {
    listener: Listener,
    writer: InboxWriter,
    commits: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let settings = Settings::load(
            None,
            [
                ("STICKYMARK__CALLBACK__PATH", PATH),
                ("STICKYMARK__CALLBACK__TOKENS", "token,next-token"),
            ],
        );
        let (events, writer) = events();
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let mut listener = Listener::new(
            &settings.unwrap().callback,
            1_400_000_000,
            events,
            Arrivals::since(now),
            Metrics::default(),
        )
        .unwrap();
        listener.clock = Arc::new(move || now);
        listener.answer_within = LONG;
        Self {
            listener,
            writer,
            commits: true,
        }
    }
}

impl Setup {
    /// The inbox commits nothing yet.
    fn uncommitted(self) -> Self {
        Self {
            commits: false,
            ..self
        }
    }

    async fn start(self) -> Front {
        self.start_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn start_on(self, socket: TcpListener) -> Front {
        let address = socket.local_addr().unwrap();
        let metrics = self.listener.metrics.clone();
        let arrivals = self.listener.arrivals.clone();
        let service = self.listener.router();
        let service = service.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(socket, service).await });
        let heard = watch::Sender::new(Heard::default());
        let gate = watch::Sender::new(self.commits);
        tokio::spawn(hear(self.writer, heard.clone(), gate.subscribe()));
        let client = reqwest::Client::builder().no_proxy().no_gzip();
        let client = client.redirect(reqwest::redirect::Policy::none());
        let client = client.build().unwrap();
        Front {
            address,
            heard,
            gate,
            arrivals,
            metrics,
            client,
        }
    }
}

/// An inbox without a database, behind a filter that knows no rule yet and so lets everything pass.
fn events() -> (Events, InboxWriter) {
    let db = Db::new_lazy("postgres://127.0.0.1:1/none".parse().unwrap(), 1);
    let replica = Replica::new(db, CallRate::new(1));
    let settling = Settling {
        settle: Duration::ZERO,
        max_wait: Duration::ZERO,
    };
    let (inbox, writer) = Inbox::new(&replica, settling);
    let (filter, _) = RuleFilter::new(&replica, inbox.clone(), FilterSettings::default());
    (Events::new(inbox, filter, Vec::new()), writer)
}

async fn hear(
    mut writer: InboxWriter,
    heard: watch::Sender<Heard>,
    mut gate: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            (events, ends) = writer.next() => heard.send_modify(|heard| {
                for (event, waiting) in events {
                    heard.events.push(event);
                    heard.uncommitted.extend(waiting.into_iter().map(|caller| caller.committed));
                }
                for (end, waiting) in ends {
                    heard.destroyed.push(end);
                    heard.uncommitted.extend(waiting.into_iter().map(|caller| caller.committed));
                }
            }),
            opened = gate.changed() => if opened.is_err() { return },
        }
        if *gate.borrow() {
            heard.send_modify(|heard| {
                for committed in heard.uncommitted.drain(..) {
                    let _ = committed.send(());
                }
            });
        }
    }
}

impl Front {
    async fn start() -> Self {
        Setup::default().start().await
    }

    fn request(&self, method: Method, path_and_query: &str) -> RequestBuilder {
        let url = format!("http://{}{path_and_query}", self.address);
        self.client.request(method, url)
    }

    /// A callback that is right in every way except for what the body says.
    async fn post(&self, body: &Value) -> Response {
        self.posting(body).send().await.unwrap()
    }

    fn posting(&self, body: &Value) -> RequestBuilder {
        let query = signed_query(body["CallbackCommand"].as_str().unwrap());
        let request = self.request(Method::POST, &format!("{PATH}?{query}"));
        request.body(body.to_string())
    }

    async fn post_raw(&self, query: &str, body: impl Into<Body>) -> Response {
        let request = self.request(Method::POST, &format!("{PATH}?{query}"));
        request.body(body).send().await.unwrap()
    }

    /// How many events came to the inbox.
    fn events(&self) -> usize {
        self.heard.borrow().events.len()
    }

    /// The accounts whose events came to the inbox.
    fn accounts(&self) -> Vec<String> {
        let heard = self.heard.borrow();
        let accounts = heard.events.iter().map(|event| event.account.to_string());
        accounts.collect()
    }

    /// Every value above zero of a counter, by the label `outcome`.
    fn counted(&self, counter: &str) -> Vec<(String, u64)> {
        let text = self.metrics.text().unwrap();
        let lines = text.lines().filter(|line| line.starts_with(counter));
        let counts = lines.map(|line| {
            let (_, outcome) = line.split_once("outcome=\"").unwrap();
            let (outcome, _) = outcome.split_once('"').unwrap();
            let (_, count) = line.rsplit_once(' ').unwrap();
            (outcome.to_owned(), count.parse().unwrap())
        });
        let mut counts: Vec<_> = counts.filter(|(_, count)| *count > 0).collect();
        counts.sort();
        counts
    }

    fn assert_callback(&self, outcome: &str, count: u64) {
        self.assert_counted("stickymark_callbacks_total", outcome, count);
    }

    fn assert_forwarded(&self, outcome: &str, count: u64) {
        self.assert_counted("stickymark_forward_requests_total", outcome, count);
    }

    fn assert_counted(&self, counter: &str, outcome: &str, count: u64) {
        assert_eq!(self.counted(counter), [(outcome.to_owned(), count)]);
    }
}

fn sign(token: &str, time: i64) -> String {
    hex::encode(Sha256::digest(format!("{token}{time}")))
}

fn query_with(app: &str, command: &str, token: &str, time: i64) -> String {
    let sign = sign(token, time);
    format!(
        "SdkAppid={app}&CallbackCommand={command}&contenttype=json&ClientIP=203.0.113.7\
         &OptPlatform=Android&RequestID=5f0c&RequestTime={time}&Sign={sign}"
    )
}

fn signed_query(command: &str) -> String {
    query_with("1400000000", command, "token", NOW)
}

fn join() -> Value {
    json!({"CallbackCommand": JOIN, "GroupId": "room-7", "Type": "AVChatRoom", "JoinType": "Apply",
        "Operator_Account": "alice", "NewMemberList": [{"Member_Account": "alice"}],
        "EventTime": NOW * 1000 + 123})
}

fn exit() -> Value {
    json!({"CallbackCommand": "Group.CallbackAfterMemberExit", "GroupId": "room-7",
        "Type": "AVChatRoom", "ExitType": "Quit", "Operator_Account": "alice",
        "ExitMemberList": [{"Member_Account": "alice"}], "EventTime": NOW * 1000 + 123})
}

fn state_change() -> Value {
    json!({"CallbackCommand": STATE, "GroupId": "room-7", "EventType": "Online",
        "EventCause": "HeartbeatRecover", "EventTime": (NOW * 1000 + 123).to_string(),
        "MemberList": [{"Member_Account": "alice"}, {"Member_Account": "bob"}]})
}

/// Sends these bytes and reads until the listener closes the connection.
async fn exchange(front: &Front, request: &str) -> String {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn assert_ok(response: Response) {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.text().await.unwrap();
    let ok = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;
    assert_eq!(body, ok);
}

/// The status, the shape, and what the reason says.
async fn assert_refused(response: Response, status: StatusCode, says: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body: Value = response.json().await.unwrap();
    let reason = body["ErrorInfo"].as_str().unwrap();
    assert!(reason.contains(says), "{reason}");
    assert_eq!(
        body,
        json!({"ActionStatus": "FAIL", "ErrorCode": 1, "ErrorInfo": reason})
    );
}
