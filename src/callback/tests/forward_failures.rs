//! A backend that does not help: Chat is answered, members are recorded, each failure is counted.

use std::future::{pending, ready};

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_ENCODING, LOCATION};
use reqwest::Response;
use tokio::net::TcpListener;
use url::Url;

use super::backend::{Backend, Front, LONG, SOON, endless, forwarding, raw_backend, url};
use super::listener::{JOIN, Recorder, assert_ok, assert_refused, join, signed_query};
use crate::callback::{Forward, ForwardOutcome, ForwardSettings};
use crate::config::ForwardFailure;

/// A large answer of this many bytes.
fn answer_of(bytes: usize) -> String {
    format!("{{\"ErrorInfo\":\"{}\"}}", "x".repeat(bytes - 16))
}

async fn unused_address() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    url(listener.local_addr().unwrap())
}

/// Posts a member event; it must be recorded and the failure counted as `outcome`.
async fn post(forward: ForwardSettings, outcome: ForwardOutcome) -> Response {
    let front = Front::with(forward, Recorder::new(true), LONG).await;
    let response = front.post(&join()).await;
    assert_eq!(front.recorder.stored().events.len(), 1);
    assert_eq!(front.counted(), [(outcome, 1)]);
    response
}

/// By default Chat hears that all is well.
async fn assert_counts_as(url: Url, outcome: ForwardOutcome) {
    assert_ok(post(forwarding(url), outcome).await).await;
}

async fn assert_slow(backend: &Backend) {
    let mut forward = forwarding(backend.url());
    forward.answer_within = SOON;
    assert_ok(post(forward, ForwardOutcome::Slow).await).await;
}

#[tokio::test]
async fn a_slow_backend_is_not_waited_for() {
    assert_slow(&Backend::start(pending::<()>).await).await;
    assert_slow(&Backend::start(async || endless()).await).await;
}

#[tokio::test]
async fn a_backend_that_is_down_does_no_harm() {
    assert_counts_as(unused_address().await, ForwardOutcome::Down).await;
    let unknown = "http://backend.invalid/im".parse().unwrap();
    assert_counts_as(unknown, ForwardOutcome::Down).await;
    let backend = Backend::start(async || "{}").await;
    let mut no_tls = backend.url();
    no_tls.set_scheme("https").unwrap();
    assert_counts_as(no_tls, ForwardOutcome::Down).await;
}

#[tokio::test]
async fn what_is_not_http_or_breaks_off_is_broken() {
    for answer in [
        "garbage\r\n\r\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n{}",
    ] {
        let url = raw_backend(answer.as_bytes()).await;
        assert_counts_as(url, ForwardOutcome::Broken).await;
    }
}

#[tokio::test]
async fn what_chat_could_not_read_is_broken() {
    for answer in ["", "OK", "<html></html>", "[]", "{\"ErrorCode\":0", "{} {}"] {
        let backend = Backend::start(move || ready(answer)).await;
        assert_counts_as(backend.url(), ForwardOutcome::Broken).await;
    }
    let compressed = [(CONTENT_ENCODING, "gzip")];
    let backend = Backend::start(move || ready((compressed.clone(), "{}"))).await;
    assert_counts_as(backend.url(), ForwardOutcome::Broken).await;
}

#[tokio::test]
async fn an_error_of_the_backend_is_its_fault() {
    for status in [500, 502, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let backend = Backend::start(move || ready((status, "{}"))).await;
        assert_counts_as(backend.url(), ForwardOutcome::Faulty).await;
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Backend::start(async || "{}").await;
    for status in [301, 302, 307, 308] {
        let status = StatusCode::from_u16(status).unwrap();
        let location = [(LOCATION, elsewhere.url().to_string())];
        let backend = Backend::start(move || ready((status, location.clone(), "{}"))).await;
        assert_counts_as(backend.url(), ForwardOutcome::Redirect).await;
    }
    assert!(elsewhere.was_spared());
}

#[tokio::test]
async fn an_answer_of_64_kib_is_handed_on_and_a_longer_one_is_not() {
    const LIMIT: usize = 64 * 1024;
    let backend = Backend::start(async || answer_of(LIMIT)).await;
    let response = Front::of(backend.url()).await.post(&join()).await;
    assert_eq!(response.text().await.unwrap(), answer_of(LIMIT));
    let stated = Backend::start(async || answer_of(LIMIT + 1)).await;
    assert_counts_as(stated.url(), ForwardOutcome::Oversized).await;
    let unstated = Backend::start(async || {
        let pieces = std::iter::repeat_with(|| Ok::<_, std::convert::Infallible>("{\"x\":1}"));
        Body::from_stream(futures::stream::iter(pieces))
    })
    .await;
    assert_counts_as(unstated.url(), ForwardOutcome::Oversized).await;
}

#[tokio::test]
async fn more_callbacks_than_may_wait_are_answered_at_once() {
    let backend = Backend::start(pending::<()>).await;
    let mut forward = forwarding(backend.url());
    forward.at_once = 2;
    let front = Front::with(forward, Recorder::new(true), LONG).await;
    let first = tokio::spawn(
        front
            .request(&signed_query(JOIN))
            .body(join().to_string())
            .send(),
    );
    backend.received(1).await;
    // Of 70 KiB, and so one too many for the place that is left.
    let mut long = join().to_string();
    long.push_str(&" ".repeat(70 * 1024));
    let response = front.request(&signed_query(JOIN)).body(long).send().await;
    assert_ok(response.unwrap()).await;
    assert_eq!(front.counted(), [(ForwardOutcome::Busy, 1)]);
    let second = tokio::spawn(
        front
            .request(&signed_query(JOIN))
            .body(join().to_string())
            .send(),
    );
    backend.received(2).await;
    assert_ok(front.post(&join()).await).await;
    assert_eq!(front.counted(), [(ForwardOutcome::Busy, 2)]);
    assert_eq!(front.recorder.stored().events.len(), 4);
    assert!(!first.is_finished() && !second.is_finished());
}

#[tokio::test]
async fn failures_are_http_errors_if_the_operator_wants_so() {
    let fail = |url| ForwardSettings {
        on_failure: ForwardFailure::Fail,
        ..forwarding(url)
    };
    let down = post(fail(unused_address().await), ForwardOutcome::Down).await;
    assert_refused(down, StatusCode::BAD_GATEWAY, "did not help: down").await;
    let backend = Backend::start(pending::<()>).await;
    let mut slow = fail(backend.url());
    slow.answer_within = SOON;
    let slow = post(slow, ForwardOutcome::Slow).await;
    assert_refused(slow, StatusCode::GATEWAY_TIMEOUT, "slow").await;
    let mut busy = fail(backend.url());
    busy.at_once = 0;
    let busy = post(busy, ForwardOutcome::Busy).await;
    assert_refused(busy, StatusCode::SERVICE_UNAVAILABLE, "busy").await;
}

#[tokio::test]
async fn a_callback_that_comes_back_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let itself = format!("http://{}/callback/s3cret", listener.local_addr().unwrap());
    let forward = forwarding(itself.parse().unwrap());
    let front = Front::on(listener, forward, Recorder::new(true), LONG);
    assert_ok(front.post(&join()).await).await;
    assert_eq!(front.counted(), [(ForwardOutcome::Faulty, 1)]);
    assert_eq!(front.recorder.stored().events.len(), 1);
    let again = front.request(&signed_query(JOIN));
    let again = again
        .header("x-stickymark-forwarded", "1")
        .body(join().to_string());
    let response = again.send().await.unwrap();
    assert_refused(
        response,
        StatusCode::LOOP_DETECTED,
        "callback.forward_url leads back",
    )
    .await;
}

#[tokio::test]
async fn the_path_of_the_backend_is_not_shown() {
    let settings = forwarding("https://backend.example:8443/s3cret".parse().unwrap());
    let forward = Forward::new(settings.clone()).unwrap();
    for shown in [format!("{settings:?}"), format!("{forward:?}")] {
        assert!(shown.contains("https://backend.example:8443"), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_url_that_cannot_be_called_with_chats_query_is_refused() {
    for url in [
        "ftp://backend/",
        "http://backend/?a=b",
        "http://backend/#a",
        "http://u:p@backend/",
    ] {
        let refused = Forward::new(forwarding(url.parse().unwrap()));
        assert!(refused.is_err(), "{url}");
    }
}
