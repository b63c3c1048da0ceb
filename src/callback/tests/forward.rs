//! What the backend gets, what Chat gets, and that our own recording does not depend on either.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use futures::stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use url::Url;

use super::{
    BEFORE_JOIN, Front, JOIN, LONG, NOW, PATH, SOON, Setup, assert_ok, assert_refused, exchange,
    join, query_with, signed_query,
};
use crate::callback::forward::Forward;
use crate::config::ForwardFailure;

const AGREED: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":"backend"}"#;
/// The longest answer that is passed on.
const LONGEST: usize = 64 * 1024;
/// An answer as of a backend that lets no member in.
const NO: &str = r#" {"ActionStatus": "OK", "ErrorInfo":"nicht so, \u00e4h", "ErrorCode":1}"#;

/// A callback backend that remembers.
struct Backend {
    address: SocketAddr,
    received: watch::Receiver<Vec<Request<Bytes>>>,
}

impl Backend {
    /// Answers every callback with what `answer` gives.
    async fn start<F, R>(answer: impl Fn() -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = R> + Send,
        R: IntoResponse,
    {
        let (sender, received) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let handler = move |request: Request<Body>| {
            let (sender, answer) = (Arc::clone(&sender), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = to_bytes(body, usize::MAX).await.unwrap();
                sender.send_modify(|all| all.push(Request::from_parts(head, body)));
                answer().await
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Router::new()
            .fallback(handler)
            .into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, received }
    }

    /// Agrees to everything once the gate is open.
    async fn gated() -> (Self, watch::Sender<bool>) {
        let (gate, opened) = watch::channel(false);
        let answer = move || {
            let mut opened = opened.clone();
            async move {
                opened.wait_for(|open| *open).await.unwrap();
                AGREED
            }
        };
        (Self::start(answer).await, gate)
    }

    fn url(&self) -> Url {
        url(self.address)
    }

    /// What has come when `count` callbacks have.
    async fn received(&self, count: usize) -> Vec<Request<Bytes>> {
        let mut received = self.received.clone();
        let received = received.wait_for(|all| all.len() >= count).await.unwrap();
        received.clone()
    }

    fn was_spared(&self) -> bool {
        self.received.borrow().is_empty()
    }
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}/im/s3cret-path").parse().unwrap()
}

async fn unused_address() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url(listener.local_addr().unwrap())
}

/// Answers each connection once with bytes that need not be HTTP, and hangs up.
async fn raw_backend(answer: &'static [u8]) -> Url {
    counting_backend(answer).await.0
}

/// The same, with the number of connections that it closed.
async fn counting_backend(answer: &'static [u8]) -> (Url, watch::Receiver<i32>) {
    let (closed, closes) = watch::channel(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 16 * 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(read > 0);
            stream.write_all(answer).await.unwrap();
            drop(stream);
            closed.send_modify(|count| *count += 1);
        }
    });
    (url(address), closes)
}

/// Forwarding with time enough, so that only what a test makes slow is slow.
fn setup(url: Url) -> Setup {
    setup_for(&url, ForwardFailure::Auto)
}

fn setup_for(url: &Url, on_failure: ForwardFailure) -> Setup {
    let mut setup = Setup::default();
    let metrics = setup.listener.metrics.clone();
    let mut forward = Forward::new(url, on_failure, metrics).unwrap();
    forward.answer_within = LONG;
    setup.listener.forward = Some(Arc::new(forward));
    setup
}

fn forward(setup: &mut Setup) -> &mut Forward {
    let forward = setup.listener.forward.as_mut();
    Arc::get_mut(forward.unwrap()).unwrap()
}

async fn front(url: Url) -> Front {
    setup(url).start().await
}

/// A backend that agrees to everything, in front of it a listener.
async fn agreed() -> (Backend, Front) {
    let backend = Backend::start(async || AGREED).await;
    let front = front(backend.url()).await;
    (backend, front)
}

async fn answering<R>(answer: R) -> Url
where
    R: IntoResponse + Clone + Send + Sync + 'static,
{
    Backend::start(move || ready(answer.clone())).await.url()
}

fn before_join() -> Value {
    json!({"CallbackCommand": BEFORE_JOIN})
}

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
    let query = odd_query();
    let length = body.len();
    let request = format!(
        "POST {PATH}?{query} HTTP/1.1\r\nHost: chat.example\r\n{head}Content-Length: {length}\r\n\
         \r\n{body}"
    );
    exchange(front, &request).await
}

/// Posts a member event, which must be answered with OK and recorded, and a "before" event, which
/// must be an HTTP error, so that the console decides. Both must be counted as `outcome`.
async fn assert_failed(front: Front, outcome: &str, status: StatusCode) {
    assert_ok(front.post(&join()).await).await;
    assert_eq!(front.events(), 1);
    assert_refused(front.post(&before_join()).await, status, outcome).await;
    front.assert_forwarded(outcome, 2);
}

#[tokio::test]
async fn query_and_body_reach_the_backend_byte_for_byte_after_the_query_of_its_url() {
    let backend = Backend::start(async || AGREED).await;
    for (own, expected) in [
        ("/im/s3cret-path", "/im/s3cret-path?"),
        ("/im?token=s3cret&x=%7e", "/im?token=s3cret&x=%7e&"),
        ("/im?", "/im?&"),
        ("?a", "/?a&"),
        ("", "/?"),
    ] {
        let url = format!("http://{}{own}", backend.address);
        let front = front(url.parse().unwrap()).await;
        let answer = post_by_hand(&front, "Connection: close\r\n", &odd_body()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(AGREED), "{answer}");
        let received = backend.received(1).await.pop().unwrap();
        assert_eq!(received.method(), "POST");
        assert_eq!(
            received.uri().to_string(),
            expected.to_owned() + &odd_query()
        );
        assert_eq!(received.body(), &odd_body());
        front.assert_forwarded("answered", 1);
    }
}

#[tokio::test]
async fn headers_go_on_except_those_of_one_connection() {
    let (backend, front) = agreed().await;
    let head = "Content-Type: text/plain; charset=x\r\nUser-Agent: Chat\r\nX-Request-Id: 7\r\n\
        traceparent: TRACE\r\n\
        X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
        Connection: close, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n\
        Proxy-Authorization: Basic eA==\r\nAccept-Encoding: gzip\r\nExpect: 100-continue\r\n";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    post_by_hand(&front, &head.replace("TRACE", trace), &odd_body()).await;
    let received = &backend.received(1).await[0];
    let headers = received.headers().iter();
    let mut headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    assert_eq!(
        headers,
        [
            ("accept-encoding", "identity"),
            ("content-length", odd_body().len().to_string().as_str()),
            ("content-type", "text/plain; charset=x"),
            ("host", backend.address.to_string().as_str()),
            ("traceparent", trace),
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
async fn an_answer_below_500_is_passed_on_as_it_came_and_counted() {
    let elsewhere = Backend::start(async || "{}").await;
    let location = elsewhere.url().to_string();
    let longest = format!("{{\"ErrorInfo\":\"{}\"}}", "x".repeat(LONGEST - 16));
    let json = (CONTENT_TYPE, "application/json; charset=GBK");
    let text = (CONTENT_TYPE, "text/plain");
    let elsewhere_is = (LOCATION, location.as_str());
    for (statuses, header, body, outcome) in [
        (&[200][..], &json, NO, "answered"),
        (&[200], &json, &longest, "answered"),
        (&[200], &text, "", "not_json"),
        (&[200], &text, "success", "not_json"),
        (&[200], &text, "<html></html>", "not_json"),
        (&[200], &json, "[]", "not_json"),
        (&[200], &json, "{\"ErrorCode\":0", "not_json"),
        (&[200], &json, "{} {}", "not_json"),
        (&[200], &(CONTENT_ENCODING, "gzip"), "{}", "not_json"),
        (&[400, 401, 403, 404], &text, "who are you?", "bad_status"),
        (&[301, 302, 307, 308], &elsewhere_is, "{}", "redirect"),
    ] {
        for status in statuses {
            let status = StatusCode::from_u16(*status).unwrap();
            let (name, value) = header;
            let headers = [(name.clone(), (*value).to_owned())];
            let front = front(answering((status, headers, body.to_owned())).await).await;
            for callback in [join(), before_join()] {
                let answer = front.post(&callback).await;
                assert_eq!(answer.status(), status);
                assert_eq!(answer.headers()[name], value);
                assert_eq!(answer.text().await.unwrap(), body);
            }
            front.assert_forwarded(outcome, 2);
            assert_eq!(front.events(), 1);
        }
    }
    assert!(elsewhere.was_spared(), "a redirect was followed");
    let old = front(raw_backend(b"HTTP/1.0 200 OK\r\n\r\nsuccess").await).await;
    let answer = old.post(&join()).await;
    assert_eq!(answer.text().await.unwrap(), "success");
    old.assert_forwarded("not_json", 1);
}

#[tokio::test]
async fn what_proved_its_origin_and_is_json_goes_on_and_nothing_else() {
    let (backend, front) = agreed().await;
    let json = |command: &str| json!({"CallbackCommand": command, "GroupId": "room-7"}).to_string();
    let unreadable = json!({"CallbackCommand": JOIN, "GroupId": "g".repeat(49)}).to_string();
    let ours = |command| query_with("1400000000", command, "token", NOW);
    // Tencent's pages print one name of the third command for the URL and another for the body.
    let (live, lives) = (
        "Live.CallbackMemberStateChanged",
        "Live.CallbackAfterMemberStateChanged",
    );
    let destroyed = "Group.CallbackAfterGroupDestroyed";
    let old = query_with("1400000000", JOIN, "token", NOW - 61);
    let mut public = join();
    public["Type"] = json!("Public");
    let mut gone_on = 0;
    for (query, body, status, goes_on) in [
        (ours(JOIN), join().to_string(), 200, true),
        (ours(JOIN), public.to_string(), 200, true),
        (ours(destroyed), json(destroyed), 200, true),
        (ours(live), json(lives), 200, true),
        (ours("Never.HeardOf"), json("Never.HeardOf"), 200, true),
        (ours(JOIN), unreadable, 400, true),
        (ours(JOIN), "not json".to_owned(), 400, false),
        (ours(BEFORE_JOIN), join().to_string(), 403, false),
        (old, join().to_string(), 403, false),
        (
            query_with("1400000000", JOIN, "guess", NOW),
            join().to_string(),
            403,
            false,
        ),
        (
            query_with("1", JOIN, "token", NOW),
            join().to_string(),
            403,
            false,
        ),
    ] {
        let response = front.post_raw(&query, body.clone()).await;
        assert_eq!(response.status().as_u16(), status, "{query}");
        if status == 200 {
            assert_eq!(response.text().await.unwrap(), AGREED);
        }
        gone_on += usize::from(goes_on);
        let received = backend.received(gone_on).await;
        assert_eq!(received.len(), gone_on, "{query}");
        assert!(!goes_on || received[gone_on - 1].body() == &body, "{query}");
    }
    front.assert_forwarded("answered", 6);
    assert_eq!(front.events(), 1);
}

#[tokio::test]
async fn recording_and_forwarding_wait_for_each_other_only_at_the_end() {
    // The backend answers when the event is heard, and it is stored when the backend has got it.
    let (backend, stored) = Backend::gated().await;
    let front = setup(backend.url()).uncommitted().start().await;
    let mut heard = front.heard.subscribe();
    let body = join();
    let opening = async {
        backend.received(1).await;
        drop(heard.wait_for(|heard| !heard.events.is_empty()).await);
        stored.send_replace(true);
        front.gate.send_replace(true);
    };
    let (response, ()) = tokio::join!(front.post(&body), opening);
    assert_eq!(response.text().await.unwrap(), AGREED);
}

#[tokio::test]
async fn what_is_not_stored_is_unavailable_whatever_the_backend_says() {
    let backend = Backend::start(async || AGREED).await;
    let mut setup = setup(backend.url()).uncommitted();
    setup.listener.answer_within = SOON;
    let response = setup.start().await.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "not stored yet").await;
    backend.received(1).await;
}

#[tokio::test]
async fn connections_to_the_backend_are_kept() {
    let (backend, front) = agreed().await;
    for _ in 0..3 {
        front.post(&join()).await.bytes().await.unwrap();
    }
    let received = backend.received(3).await;
    let peer = |got: &Request<Bytes>| got.extensions().get::<ConnectInfo<SocketAddr>>().unwrap().0;
    assert!(received.iter().all(|got| peer(got) == peer(&received[0])));
}

#[tokio::test]
async fn no_callback_is_lost_to_a_kept_connection_that_the_backend_closed() {
    // A promise to keep the connection, which a restart breaks.
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let (url, mut closes) = counting_backend(answer).await;
    let front = front(url).await;
    for sent in 1..=20 {
        let answer = front.post(&before_join()).await;
        assert_eq!(answer.text().await.unwrap(), "{}");
        closes.wait_for(|closed| *closed == sent).await.unwrap();
    }
    front.assert_forwarded("answered", 20);
}

#[tokio::test]
async fn the_call_to_the_backend_is_completed_when_chat_hangs_up() {
    let (backend, gate) = Backend::gated().await;
    let front = setup(backend.url()).uncommitted().start().await;
    let posting = tokio::spawn(front.posting(&join()).send());
    let mut heard = front.heard.subscribe();
    drop(heard.wait_for(|heard| !heard.events.is_empty()).await);
    backend.received(1).await;
    posting.abort();
    let mut waiting = None;
    front
        .heard
        .send_modify(|heard| waiting = heard.uncommitted.pop());
    waiting.unwrap().closed().await;
    gate.send_replace(true);
    while front
        .counted("stickymark_forward_requests_total")
        .is_empty()
    {
        tokio::task::yield_now().await;
    }
    front.assert_forwarded("answered", 1);
}

#[tokio::test]
async fn a_backend_that_is_down_slow_or_answers_badly_does_no_harm() {
    const SWITCHING: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    const BROKEN_OFF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{";
    let mut no_tls = answering("{}").await;
    no_tls.set_scheme("https").unwrap();
    let status = async |status| answering((StatusCode::from_u16(status).unwrap(), "{}")).await;
    let endless = Backend::start(async || {
        let pieces = std::iter::repeat_with(|| Ok::<_, Infallible>("{\"x\":1}"));
        Body::from_stream(stream::iter(pieces))
    })
    .await;
    let stalled = async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    for backend in [
        Backend::start(pending::<()>).await,
        Backend::start(stalled).await,
    ] {
        let mut setup = setup(backend.url());
        forward(&mut setup).answer_within = SOON;
        assert_failed(setup.start().await, "timeout", StatusCode::GATEWAY_TIMEOUT).await;
    }
    for (url, outcome) in [
        (unused_address().await, "unreachable"),
        ("http://backend.invalid/im".parse().unwrap(), "unreachable"),
        (no_tls, "unreachable"),
        (raw_backend(b"garbage\r\n\r\n").await, "bad_answer"),
        (raw_backend(b"").await, "bad_answer"),
        (raw_backend(BROKEN_OFF).await, "bad_answer"),
        (status(500).await, "bad_status"),
        (status(502).await, "bad_status"),
        (status(503).await, "bad_status"),
        (raw_backend(SWITCHING).await, "bad_status"),
        (answering("x".repeat(LONGEST + 1)).await, "oversized"),
        (endless.url(), "oversized"),
    ] {
        assert_failed(front(url).await, outcome, StatusCode::BAD_GATEWAY).await;
    }
}

#[tokio::test]
async fn more_callbacks_than_may_wait_are_answered_at_once() {
    let backend = Backend::start(pending::<()>).await;
    let mut setup = setup(backend.url());
    forward(&mut setup).places = Semaphore::new(1);
    let front = setup.start().await;
    let first = tokio::spawn(front.posting(&join()).send());
    backend.received(1).await;
    assert_ok(front.post(&join()).await).await;
    let response = front.post(&before_join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "overloaded").await;
    front.assert_forwarded("overloaded", 2);
    assert_eq!(front.events(), 2);
    assert!(!first.is_finished());
}

#[tokio::test]
async fn the_operator_may_decide_what_failures_are_answered_with() {
    for (on_failure, joined, before) in [
        (ForwardFailure::Auto, 200, 502),
        (ForwardFailure::Ok, 200, 200),
        (ForwardFailure::Fail, 502, 502),
    ] {
        let front = setup_for(&unused_address().await, on_failure).start().await;
        for (command, status) in [
            (JOIN, joined),
            ("State.StateChange", joined),
            ("C2C.CallbackAfterSendMsg", joined),
            ("C2C.CallbackBeforeSendMsg", before),
            ("Sns.CallbackPrevFriendAdd", before),
        ] {
            let mut body = join();
            body["CallbackCommand"] = json!(command);
            let answer = front.post(&body).await;
            assert_eq!(answer.status().as_u16(), status, "{on_failure:?} {command}");
        }
    }
}

#[tokio::test]
async fn a_callback_that_comes_back_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let itself = format!("http://{}{PATH}", listener.local_addr().unwrap());
    let front = setup(itself.parse().unwrap()).start_on(listener);
    assert_ok(front.post(&join()).await).await;
    let counted = front.counted("stickymark_forward_requests_total");
    assert_eq!(
        counted,
        [("bad_status".to_owned(), 1), ("loop".to_owned(), 1)]
    );
    assert_eq!(front.events(), 1);
    let again = front.posting(&join());
    let again = again.header("x-stickymark-forwarded", "1");
    let response = again.send().await.unwrap();
    let says = "callback.forward_url leads back";
    assert_refused(response, StatusCode::LOOP_DETECTED, says).await;
}
