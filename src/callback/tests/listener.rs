//! The cases of the answer table that bodies and queries do not decide, and connections.

use std::convert::Infallible;
use std::sync::Arc;

use axum::http::Method;
use futures::stream;
use reqwest::{Body, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    Front, JOIN, NOW, PATH, SOON, Setup, assert_ok, assert_refused, exchange, join, query_with,
    signed_query,
};
use crate::callback::listener::MAX_BODY_BYTES;

fn endless() -> Body {
    Body::wrap_stream(stream::pending::<Result<Vec<u8>, Infallible>>())
}

#[tokio::test]
async fn a_member_event_is_answered_with_ok_once_it_is_stored() {
    let front = Setup::default().uncommitted().start().await;
    let callback = join();
    let posting = front.post(&callback);
    tokio::pin!(posting);
    let mut heard = front.heard.subscribe();
    tokio::select! {
        _ = &mut posting => panic!("answered before the event was stored"),
        heard = heard.wait_for(|heard| heard.events.len() == 1) => assert!(heard.is_ok()),
    }
    front.gate.send_replace(true);
    assert_ok(posting.await).await;
    assert_eq!(front.accounts(), ["alice"]);
    front.assert_callback("stored", 1);
}

#[tokio::test]
async fn a_stranger_is_refused_before_the_body_is_read() {
    let front = Front::start().await;
    let query = query_with("1400000000", JOIN, "guess", NOW);
    // Longer than what is dropped for a refusal; the rest never comes.
    for head in [
        "Content-Length: 1000000\r\n",
        "Content-Length: 100\r\nExpect: 100-continue\r\n",
    ] {
        let request = format!("POST {PATH}?{query} HTTP/1.1\r\nHost: x\r\n{head}\r\n");
        let answer = exchange(&front, &request).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
    front.assert_callback("bad_signature", 2);
}

#[tokio::test]
async fn the_connection_of_a_refused_callback_is_kept_if_its_body_is_short() {
    let front = Front::start().await;
    let refused = query_with("1400000000", JOIN, "guess", NOW);
    let taken = signed_query(JOIN);
    let body = join().to_string();
    let length = body.len();
    let post = |query, more| {
        format!(
            "POST {PATH}?{query} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let requests = post(refused, "") + &post(taken, "Connection: close\r\n");
    let answers = exchange(&front, &requests).await;
    assert!(answers.starts_with("HTTP/1.1 403"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200 OK\r\n"), "{answers}");
    assert_eq!(front.events(), 1);
}

#[tokio::test]
async fn every_form_of_http_that_is_legal_is_answered_whatever_its_content_type() {
    let front = Front::start().await;
    let query = signed_query(JOIN);
    let body = join().to_string();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    for (line, head, body) in [
        (
            format!("{PATH}?{query} HTTP/1.0"),
            format!("Content-Type: text/plain\r\nContent-Length: {length}"),
            &body,
        ),
        (
            format!("http://chat.example{PATH}?{query} HTTP/1.1"),
            format!("Connection: close\r\nContent-Length: {length}"),
            &body,
        ),
        (
            format!("{PATH}?{query} HTTP/1.1"),
            "Connection: close\r\nTransfer-Encoding: chunked\r\n\
             Content-Type: application/x-www-form-urlencoded"
                .to_owned(),
            &chunked,
        ),
        (
            format!(
                "{PATH}?&[x]={{|}}&&Nick=100%&x=%zz&=&ü=%E5%91&{query}&SdkAppid=2&Sign HTTP/1.1"
            ),
            format!("Connection: close\r\nContent-Length: {length}"),
            &body,
        ),
        (
            format!("{PATH}?{query} HTTP/1.1"),
            format!("Connection: close\r\nExpect: 100-continue\r\nContent-Length: {length}"),
            &body,
        ),
    ] {
        let request = format!("POST {line}\r\nHost: x\r\n{head}\r\n\r\n{body}");
        let answer = exchange(&front, &request).await;
        let asked_for = answer.starts_with("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(asked_for, head.contains("Expect"), "{answer}");
        assert!(answer.contains(" 200 OK\r\n"), "{line}: {answer}");
        assert!(answer.ends_with(r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#));
    }
    front.assert_callback("stored", 5);
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_taken_and_a_longer_one_is_too_large() {
    let front = Front::start().await;
    let filled = |length| {
        let mut body = join().to_string().into_bytes();
        body.resize(length, b' ');
        body
    };
    // Chunked: its length is not known before its end.
    let in_chunks = |body: Vec<u8>| {
        let chunks: Vec<_> = body.chunks(64 * 1024).map(<[u8]>::to_vec).collect();
        Body::wrap_stream(stream::iter(chunks.into_iter().map(Ok::<_, Infallible>)))
    };
    for body in [
        filled(MAX_BODY_BYTES).into(),
        in_chunks(filled(MAX_BODY_BYTES)),
    ] {
        assert_ok(front.post_raw(&signed_query(JOIN), body).await).await;
    }
    let longer = filled(MAX_BODY_BYTES + 1);
    for body in [longer.clone().into(), in_chunks(longer)] {
        let response = front.post_raw(&signed_query(JOIN), body).await;
        assert_refused(response, StatusCode::PAYLOAD_TOO_LARGE, "1 MiB").await;
    }
    assert_eq!(front.events(), 2);
}

#[tokio::test]
async fn the_sum_of_the_bodies_held_is_bounded() {
    let mut setup = Setup::default();
    setup.listener.room_for_bodies = Arc::new(Semaphore::new(100));
    let front = setup.start().await;
    let response = front.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "too many bodies").await;
    front.assert_callback("not_stored", 1);
    for _ in 0..10 {
        let unused = json!({"CallbackCommand": "Never.HeardOf"});
        assert_ok(front.post(&unused).await).await;
    }
}

#[tokio::test]
async fn what_is_no_callback_is_answered_by_its_method_and_path() {
    let front = Front::start().await;
    for method in [Method::GET, Method::HEAD] {
        let response = front.request(method, "/?x=y").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.text().await.unwrap(), "");
    }
    let counted = || front.counted("stickymark_callbacks_total");
    assert_eq!(counted(), [], "load balancers are not counted");
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = front.request(method, PATH).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "POST");
        assert_refused(response, StatusCode::METHOD_NOT_ALLOWED, "POST").await;
    }
    front.assert_callback("not_found", 4);
    let (ours, other) = (signed_query(JOIN), query_with("1", JOIN, "token", NOW));
    let mut elsewhere = vec![(Method::GET, format!("/callback?{ours}"))];
    for path in [
        "/",
        "/callback",
        "/callback/s3cret/",
        "/callback/s3creT",
        "//callback/s3cret",
    ] {
        elsewhere.extend([&ours, &other].map(|query| (Method::POST, format!("{path}?{query}"))));
    }
    for (method, path) in elsewhere {
        let request = front.request(method, &path).body(join().to_string());
        let response = request.send().await.unwrap();
        assert_refused(response, StatusCode::NOT_FOUND, "nothing here").await;
    }
    let expected = [("not_found", 10), ("other_path", 5)];
    assert_eq!(
        counted(),
        expected.map(|(outcome, count)| (outcome.to_owned(), count))
    );
}

#[tokio::test]
async fn what_is_not_stored_in_time_is_unavailable_and_stored_later() {
    let mut setup = Setup::default().uncommitted();
    setup.listener.answer_within = SOON;
    let front = setup.start().await;
    let response = front.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "not stored yet").await;
    assert_eq!(front.accounts(), ["alice"]);
    front.assert_callback("not_stored", 1);
}

#[tokio::test]
async fn what_the_inbox_drops_is_unavailable() {
    let front = Setup::default().uncommitted().start().await;
    let mut heard = front.heard.subscribe();
    let dropping = async {
        let arrived = heard.wait_for(|heard| !heard.events.is_empty()).await;
        drop(arrived.unwrap());
        front.heard.send_modify(|heard| heard.uncommitted.clear());
    };
    let body = join();
    let (response, ()) = tokio::join!(front.post(&body), dropping);
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "shutting down").await;
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let mut setup = Setup::default();
    setup.listener.answer_within = SOON;
    let front = setup.start().await;
    let response = front.post_raw(&signed_query(JOIN), endless()).await;
    assert_refused(response, StatusCode::REQUEST_TIMEOUT, "in time").await;
    front.assert_callback("too_slow", 1);
}
