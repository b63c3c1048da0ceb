//! The server of the listeners over real sockets.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::routing::{any, get, post};
use futures::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::service::listening::*;
use crate::service::*;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);
const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

const PATIENT: Limits = Limits {
    connections: 10,
    head: LONG,
    silence: LONG,
    keeps_strangers: true,
};

async fn start(limits: Limits, router: axum::Router) -> (SocketAddr, CancellationToken) {
    let (listener, address) = listen("a.key", "127.0.0.1:0".parse().unwrap()).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve((listener, router), limits, stop.clone()));
    (address, stop)
}

fn hello() -> axum::Router {
    axum::Router::new().route("/", get(async || "hello"))
}

/// Says hello once the gate is open; each body is told when its request begins.
fn gated() -> (axum::Router, watch::Sender<bool>, mpsc::Receiver<Bytes>) {
    let gate = watch::Sender::new(false);
    let (began, begins) = mpsc::channel(2);
    let opened = gate.subscribe();
    let waits = async move |body: Bytes| {
        began.send(body).await.unwrap();
        opened.clone().wait_for(|open| *open).await.unwrap();
        "hello"
    };
    (axum::Router::new().route("/", any(waits)), gate, begins)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

async fn send(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads one answer that says hello.
async fn is_answered(stream: &mut TcpStream) {
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\nhello") {
        let mut piece = [0; 1000];
        let read = stream.read(&mut piece).await.unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer += std::str::from_utf8(&piece[..read]).unwrap();
    }
}

/// What is read until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset also is a close.
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let limits = Limits {
        head: SHORT,
        ..PATIENT
    };
    let (address, _stop) = start(limits, hello()).await;
    for half in ["G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut stream = connect(address).await;
        send(&mut stream, half).await;
        assert_eq!(rest(&mut stream).await, "");
        let mut kept = connect(address).await;
        send(&mut kept, REQUEST).await;
        is_answered(&mut kept).await;
        send(&mut kept, half).await;
        assert_eq!(rest(&mut kept).await, "");
    }
}

#[tokio::test]
async fn a_silent_connection_is_closed_before_and_after_a_request() {
    let limits = Limits {
        silence: SHORT,
        ..PATIENT
    };
    let (address, _stop) = start(limits, hello()).await;
    let mut stream = connect(address).await;
    assert_eq!(rest(&mut stream).await, "");
    let mut stream = connect(address).await;
    send(&mut stream, REQUEST).await;
    is_answered(&mut stream).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_kept_connection_may_be_silent_for_longer_than_a_head_may_take() {
    let limits = Limits {
        head: SHORT,
        ..PATIENT
    };
    let (address, _stop) = start(limits, hello()).await;
    let mut stream = connect(address).await;
    for _ in 0..2 {
        tokio::time::sleep(3 * SHORT).await;
        send(&mut stream, REQUEST).await;
        is_answered(&mut stream).await;
    }
}

#[tokio::test]
async fn a_request_that_is_being_handled_has_no_limit_here() {
    let limits = Limits {
        head: SHORT,
        silence: SHORT,
        ..PATIENT
    };
    let slow = async || {
        tokio::time::sleep(4 * SHORT).await;
        "hello"
    };
    let (address, _stop) = start(limits, axum::Router::new().route("/", get(slow))).await;
    let mut stream = connect(address).await;
    send(&mut stream, REQUEST).await;
    is_answered(&mut stream).await;
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_closed() {
    let limits = Limits {
        silence: 4 * SHORT,
        ..PATIENT
    };
    struct Answer(mpsc::Sender<()>);
    impl Drop for Answer {
        fn drop(&mut self) {
            self.0.try_send(()).unwrap();
        }
    }
    let (dropped, mut drops) = mpsc::channel(1);
    let endless = async move || {
        let answer = Answer(dropped.clone());
        let pieces = stream::repeat_with(move || {
            let _alive = &answer;
            Ok::<_, Infallible>(Bytes::from(vec![b'x'; 64 * 1024]))
        });
        Body::from_stream(pieces)
    };
    let (address, _stop) = start(limits, axum::Router::new().route("/", get(endless))).await;
    let mut stream = connect(address).await;
    send(&mut stream, REQUEST).await;
    assert_eq!(drops.recv().await, Some(()));
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let (address, _stop) = start(PATIENT, hello()).await;
    let mut stream = connect(address).await;
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100_000));
    // The server may close before all of it is sent.
    let _ = stream.write_all(long.as_bytes()).await;
    let answer = rest(&mut stream).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_new_connection_replaces_the_one_that_is_silent_for_longest() {
    let limits = Limits {
        connections: 3,
        ..PATIENT
    };
    let hello = hello().route("/", post(async || "hello"));
    let (address, _stop) = start(limits, hello).await;
    let post = REQUEST.replace("GET", "POST");
    let mut trusted = connect(address).await;
    send(&mut trusted, &post).await;
    is_answered(&mut trusted).await;
    // An answer to a read, which any stranger gets, is no merit.
    let mut first = connect(address).await;
    send(&mut first, REQUEST).await;
    is_answered(&mut first).await;
    let mut second = connect(address).await;
    send(&mut second, "GET").await;
    let mut third = connect(address).await;
    assert_eq!(rest(&mut first).await, "");
    let mut fourth = connect(address).await;
    assert_eq!(rest(&mut second).await, "");
    for stream in [&mut trusted, &mut third, &mut fourth] {
        send(stream, &post).await;
        is_answered(stream).await;
    }
    // All of them are trusted by now.
    let _fifth = connect(address).await;
    assert_eq!(rest(&mut trusted).await, "");
}

#[tokio::test]
async fn a_connection_with_a_request_is_not_replaced() {
    let limits = Limits {
        connections: 1,
        ..PATIENT
    };
    let (waits, gate, mut begins) = gated();
    let (address, _stop) = start(limits, waits).await;
    let mut first = connect(address).await;
    send(&mut first, REQUEST).await;
    begins.recv().await.unwrap();
    let mut second = connect(address).await;
    send(&mut second, REQUEST).await;
    gate.send_replace(true);
    is_answered(&mut first).await;
    is_answered(&mut second).await;
}

#[tokio::test]
async fn a_connection_is_replaced_while_the_body_of_its_request_is_incomplete_but_not_later() {
    let limits = Limits {
        connections: 1,
        ..PATIENT
    };
    let (waits, gate, mut begins) = gated();
    let (address, _stop) = start(limits, waits).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    let mut half = connect(address).await;
    send(&mut half, &format!("{head}who")).await;
    let mut whole = connect(address).await;
    assert_eq!(rest(&mut half).await, "");
    send(&mut whole, &format!("{head}whole")).await;
    assert_eq!(begins.recv().await.unwrap(), "whole");
    let mut next = connect(address).await;
    tokio::time::sleep(4 * SHORT).await;
    gate.send_replace(true);
    is_answered(&mut whole).await;
    send(&mut next, &format!("{head}whole")).await;
    is_answered(&mut next).await;
}

#[tokio::test]
async fn a_connection_is_kept_while_a_request_is_handled_whose_body_is_not_read() {
    let limits = Limits {
        connections: 1,
        ..PATIENT
    };
    let gate = watch::Sender::new(false);
    let opened = gate.subscribe();
    let waits = async move || {
        opened.clone().wait_for(|open| *open).await.unwrap();
        "hello"
    };
    let router = axum::Router::new().route("/", any(waits));
    let (address, _stop) = start(limits, router).await;
    let mut unread = connect(address).await;
    let request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nwhole";
    send(&mut unread, request).await;
    tokio::time::sleep(SHORT).await;
    let _next = connect(address).await;
    tokio::time::sleep(4 * SHORT).await;
    gate.send_replace(true);
    is_answered(&mut unread).await;
}

#[tokio::test]
async fn a_stranger_gets_one_answer_while_all_connections_are_in_use() {
    let limits = Limits {
        connections: 2,
        ..PATIENT
    };
    let (address, _stop) = start(limits, hello()).await;
    let mut alone = connect(address).await;
    send(&mut alone, REQUEST).await;
    is_answered(&mut alone).await;
    let mut stranger = connect(address).await;
    send(&mut stranger, &REQUEST.repeat(3)).await;
    let answers = rest(&mut stranger).await;
    assert_eq!(answers.matches("hello").count(), 1, "{answers}");
    send(&mut alone, REQUEST).await;
    is_answered(&mut alone).await;
}

#[tokio::test]
async fn a_stranger_that_is_not_kept_gets_one_answer() {
    let limits = Limits {
        keeps_strangers: false,
        ..PATIENT
    };
    let router = hello().route("/post", post(async || "hello"));
    let (address, _stop) = start(limits, router).await;
    for stranger in [REQUEST, "POST /unknown HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = connect(address).await;
        send(&mut stream, &stranger.repeat(3)).await;
        let answers = rest(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1").count(), 1, "{answers}");
    }
    let mut known = connect(address).await;
    for request in ["POST /post HTTP/1.1\r\nHost: x\r\n\r\n", REQUEST] {
        send(&mut known, request).await;
        is_answered(&mut known).await;
    }
}

#[tokio::test]
async fn a_listener_that_stops_answers_what_it_was_asked_and_closes_the_rest() {
    let (waits, gate, mut begins) = gated();
    let (address, stop) = start(PATIENT, waits).await;
    let mut asking = connect(address).await;
    let mut silent = connect(address).await;
    send(&mut asking, "POST / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    begins.recv().await.unwrap();
    stop.cancel();
    assert_eq!(rest(&mut silent).await, "");
    gate.send_replace(true);
    is_answered(&mut asking).await;
    assert_eq!(rest(&mut asking).await, "");
}

#[tokio::test]
async fn a_request_that_is_on_its_way_when_the_listener_stops_is_answered() {
    let (address, stop) = start(PATIENT, hello()).await;
    let mut accepted = connect(address).await;
    tokio::time::sleep(SHORT).await;
    // This one waits to be accepted: the server shares the thread of this test.
    let mut waiting = connect(address).await;
    stop.cancel();
    tokio::time::sleep(SHORT).await;
    assert!(TcpStream::connect(address).await.is_err());
    send(&mut accepted, REQUEST).await;
    send(&mut waiting, REQUEST).await;
    for stream in [&mut accepted, &mut waiting] {
        is_answered(stream).await;
        assert_eq!(rest(stream).await, "");
    }
}

#[tokio::test]
async fn all_addresses_of_ipv6_include_those_of_ipv4() {
    let (listener, address) = listen("a.key", "[::]:0".parse().unwrap()).unwrap();
    let client = TcpStream::connect(("127.0.0.1", address.port())).await;
    assert!(client.is_ok());
    let taken = listen("a.key", SocketAddr::from(([0, 0, 0, 0], address.port())));
    assert!(matches!(
        taken,
        Err(StartError::Listen { key: "a.key", .. })
    ));
    drop(listener);
}
