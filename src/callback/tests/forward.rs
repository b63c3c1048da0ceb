//! What the backend gets, what Chat gets, and that our own recording goes its own way.

use std::future::{pending, ready};
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use chrono::DateTime;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use super::backend::{Backend, Front, LONG, NO, SOON, forwarding};
use super::listener::{
    JOIN, NOW, PATH, Recorder, assert_refused, join, query_with, settings, signed_query,
};
use crate::callback::{
    CallbackState, Forward, ForwardOutcome, Intake, NotStored, Recorded, RequestOverLimit, router,
};
use crate::domain::{MemberEvent, RoomEnd};

const BEFORE_JOIN: &str = "Group.CallbackBeforeApplyJoinGroup";
const AGREED: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"backend"}"#;

fn odd_body() -> String {
    format!("\r\n\t{{ \"CallbackCommand\" :\"{BEFORE_JOIN}\",\n\n \"x\":  1.0e0, \"x\":2 }} \n\t ")
}

/// The keys in no usual order, some empty, some twice, with characters that a URL parser rewrites.
fn odd_query() -> String {
    let usual = signed_query(BEFORE_JOIN);
    let (head, sign) = usual.split_once("&RequestTime=").unwrap();
    format!("z='%7e'&RequestTime={sign}&&a=%2B+%e4|^`{{}}\\[]&ü=ß&b&{head}&=&b=?/&")
}

async fn post_by_hand(front: &Front, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let query = odd_query();
    let length = body.len();
    let request = format!(
        "POST {PATH}?{query} HTTP/1.1\r\nHost: chat.example\r\n{head}Content-Length: {length}\r\n\
         \r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn query_and_body_reach_the_backend_byte_for_byte() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    let answer = post_by_hand(&front, "Connection: close\r\n", &odd_body()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(AGREED), "{answer}");
    let received = &backend.received(1).await[0];
    assert_eq!(received.method, "POST");
    let expected = format!("/im/s3cret-path?{}", odd_query());
    assert_eq!(received.path_and_query, expected);
    assert_eq!(received.body, odd_body());
    assert_eq!(front.counted(), [(ForwardOutcome::Ok, 1)]);
}

#[tokio::test]
async fn headers_go_on_but_for_those_of_one_connection() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    let head = "Content-Type: text/plain; charset=x\r\nUser-Agent: Chat\r\nX-Request-Id: 7\r\n\
        traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
        X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
        Connection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
        Proxy-Authorization: Basic eA==\r\nAccept-Encoding: gzip\r\nExpect: 100-continue\r\n";
    post_by_hand(&front, head, &odd_body()).await;
    let received = &backend.received(1).await[0];
    let mut headers: Vec<_> = received.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    let headers: Vec<_> = headers
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("accept-encoding", "identity"),
            ("content-length", odd_body().len().to_string().as_str()),
            ("content-type", "text/plain; charset=x"),
            ("host", backend.address.to_string().as_str()),
            (
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            ),
            ("user-agent", "Chat"),
            ("x-forwarded-for", "203.0.113.7, 10.0.0.1, 127.0.0.1"),
            ("x-forwarded-host", "chat.example"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "7"),
            ("x-stickymark-forwarded", "1"),
        ]
    );
}

#[tokio::test]
async fn the_answer_to_a_before_event_is_the_backends() {
    let json = [(CONTENT_TYPE, "application/json; charset=GBK")];
    let backend = Backend::start(move || ready((json.clone(), NO))).await;
    let front = Front::of(backend.url()).await;
    let answer = front.post(&json!({"CallbackCommand": BEFORE_JOIN})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers()["content-type"],
        "application/json; charset=GBK"
    );
    assert_eq!(answer.text().await.unwrap(), NO);
}

#[tokio::test]
async fn a_refusal_of_the_backend_is_handed_on_and_counted() {
    let backend = Backend::start(async || (StatusCode::FORBIDDEN, "who are you?")).await;
    let front = Front::of(backend.url()).await;
    let answer = front.post(&join()).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert_eq!(answer.text().await.unwrap(), "who are you?");
    assert_eq!(front.counted(), [(ForwardOutcome::Refused, 1)]);
    assert_eq!(front.recorder.stored().events.len(), 1);
}

#[tokio::test]
async fn every_command_goes_on_known_or_not() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    let destroyed = json!({"CallbackCommand": "Group.CallbackAfterGroupDestroyed",
        "GroupId": "room-7", "Type": "AVChatRoom"});
    let mut public = join();
    public["Type"] = json!("Public");
    let unknown = json!({"CallbackCommand": "Never.HeardOf"});
    let bodies = [join(), public, destroyed, unknown];
    for body in &bodies {
        assert_eq!(front.post(body).await.text().await.unwrap(), AGREED);
    }
    let received = backend.received(bodies.len()).await;
    let received = received
        .iter()
        .map(|got| serde_json::from_slice(&got.body).unwrap());
    assert_eq!(received.collect::<Vec<Value>>(), bodies);
    assert_eq!(front.recorder.stored().events.len(), 1);
}

#[tokio::test]
async fn what_fails_our_checks_does_not_reach_the_backend() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    let right = signed_query(JOIN);
    for (query, body, status) in [
        (query_with("1", JOIN, "token", NOW), join().to_string(), 403),
        (
            query_with("1400000000", JOIN, "guess", NOW),
            join().to_string(),
            403,
        ),
        (
            query_with("1400000000", JOIN, "token", NOW - 61),
            join().to_string(),
            403,
        ),
        (signed_query(BEFORE_JOIN), join().to_string(), 403),
        (right.clone(), "not json".to_owned(), 400),
    ] {
        let response = front.request(&query).body(body).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{query}");
    }
    assert!(backend.was_spared());
    assert_eq!(front.counted(), []);
}

#[tokio::test]
async fn a_member_event_that_we_cannot_read_goes_on_but_is_a_bad_request() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    let mut body = join();
    body["GroupId"] = json!("g".repeat(49));
    let response = front.post(&body).await;
    assert_refused(response, StatusCode::BAD_REQUEST, "GroupId").await;
    assert_eq!(backend.received(1).await[0].body, body.to_string());
}

#[tokio::test]
async fn recording_and_forwarding_wait_for_each_other_only_at_the_end() {
    let recorder = Recorder::new(false);
    let stored = Arc::clone(&recorder.stored);
    // The backend answers when the event is stored, which happens when the backend has got it.
    let backend = Backend::start(move || {
        let mut stored = stored.subscribe();
        async move {
            stored
                .wait_for(|stored| !stored.events.is_empty())
                .await
                .unwrap();
            AGREED
        }
    })
    .await;
    let front = Front::with(forwarding(backend.url()), Arc::clone(&recorder), LONG).await;
    let body = join();
    let opening = async {
        backend.received(1).await;
        recorder.open.send_replace(true);
    };
    let (response, ()) = tokio::join!(front.post(&body), opening);
    assert_eq!(response.text().await.unwrap(), AGREED);
}

#[tokio::test]
async fn what_is_not_stored_is_unavailable_whatever_the_backend_says() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    *front.recorder.refusal.lock().unwrap() = Some(NotStored::Full);
    let response = front.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "too many").await;
    let closed = Recorder::new(false);
    let front = Front::with(forwarding(backend.url()), closed, SOON).await;
    let response = front.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "not stored yet").await;
    backend.received(2).await;
}

#[tokio::test]
async fn connections_to_the_backend_are_kept() {
    let backend = Backend::start(async || AGREED).await;
    let front = Front::of(backend.url()).await;
    for _ in 0..3 {
        front.post(&join()).await.bytes().await.unwrap();
    }
    let received = backend.received(3).await;
    assert!(received.iter().all(|got| got.peer == received[0].peer));
}

/// Never stores, and tells when it is not waited for any more.
struct Forsaken(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl Intake for Forsaken {
    async fn record(&self, _: Vec<MemberEvent>) -> Result<Recorded, NotStored> {
        let (sender, mut receiver) = oneshot::channel();
        self.0.send(sender).unwrap();
        pending::<()>().await;
        receiver.close();
        Ok(Recorded::Stored)
    }

    async fn room_destroyed(&self, _: RoomEnd) -> Result<(), NotStored> {
        Ok(())
    }

    fn over_limit(&self, _: RequestOverLimit) {}
}

#[tokio::test]
async fn the_backend_is_heard_out_when_chat_hangs_up() {
    let gate = watch::Sender::new(false);
    let opened = gate.subscribe();
    let backend = Backend::start(move || {
        let mut opened = opened.clone();
        async move {
            opened.wait_for(|open| *open).await.unwrap();
            AGREED
        }
    })
    .await;
    let (sender, mut recordings) = mpsc::unbounded_channel();
    let forward = Forward::new(forwarding(backend.url())).unwrap();
    let mut settings = settings(PATH, &["token"], LONG);
    settings.forward = Some(forward.clone());
    let clock = Arc::new(|| DateTime::from_timestamp(NOW, 0).unwrap());
    let state = CallbackState::new(settings, Forsaken(sender), clock).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}{PATH}?{}",
        listener.local_addr().unwrap(),
        signed_query(JOIN)
    );
    tokio::spawn(async move { axum::serve(listener, router(state)).await });

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let posting = tokio::spawn(client.post(url).body(join().to_string()).send());
    let mut recording = recordings.recv().await.unwrap();
    backend.received(1).await;
    posting.abort();
    recording.closed().await;
    gate.send_replace(true);
    while forward.counts().get(ForwardOutcome::Ok) == 0 {
        tokio::task::yield_now().await;
    }
}
