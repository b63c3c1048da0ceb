//! Every case of the answer table, over real HTTP and with an intake that records.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::Method;
use chrono::DateTime;
use reqwest::{Body, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::callback::{
    ANSWER_WITHIN, CallbackSettings, CallbackState, Intake, InvalidPath, MAX_BODY_BYTES, NotStored,
    Recorded, RequestOverLimit, Signatures, router,
};
use crate::domain::{EventTime, GroupId, MemberEvent, RoomEnd};

pub(super) const NOW: i64 = 1_760_000_000;
pub(super) const JOIN: &str = "Group.CallbackAfterNewMemberJoin";
pub(super) const PATH: &str = "/callback/s3cret";

/// Everything that was stored.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) events: Vec<MemberEvent>,
    destroyed: Vec<RoomEnd>,
    alerts: Vec<RequestOverLimit>,
}

/// Takes events at once and stores them in tasks of its own as soon as its gate is open.
pub(super) struct Recorder {
    taken: watch::Sender<usize>,
    pub(super) open: watch::Sender<bool>,
    pub(super) stored: Arc<watch::Sender<Stored>>,
    pub(super) refusal: Mutex<Option<NotStored>>,
}

impl Recorder {
    pub(super) fn new(open: bool) -> Arc<Self> {
        Arc::new(Self {
            taken: watch::Sender::new(0),
            open: watch::Sender::new(open),
            stored: Arc::new(watch::Sender::new(Stored::default())),
            refusal: Mutex::new(None),
        })
    }

    pub(super) fn stored(&self) -> Stored {
        self.stored.borrow().clone()
    }

    async fn store(
        &self,
        change: impl FnOnce(&mut Stored) + Send + 'static,
    ) -> Result<(), NotStored> {
        self.taken.send_modify(|count| *count += 1);
        if let Some(refusal) = *self.refusal.lock().unwrap() {
            return Err(refusal);
        }
        let (mut open, stored) = (self.open.subscribe(), Arc::clone(&self.stored));
        let storing = tokio::spawn(async move {
            open.wait_for(|open| *open).await.unwrap();
            stored.send_modify(change);
        });
        storing.await.map_err(|_| NotStored::Unavailable)
    }
}

impl Intake for Recorder {
    async fn record(&self, events: Vec<MemberEvent>) -> Result<Recorded, NotStored> {
        self.store(|stored| stored.events.extend(events)).await?;
        Ok(Recorded::Stored)
    }

    async fn room_destroyed(&self, end: RoomEnd) -> Result<(), NotStored> {
        self.store(move |stored| stored.destroyed.push(end)).await
    }

    fn over_limit(&self, alert: RequestOverLimit) {
        self.stored.send_modify(|stored| stored.alerts.push(alert));
    }
}

struct Listener {
    address: SocketAddr,
    recorder: Arc<Recorder>,
    client: reqwest::Client,
}

impl Listener {
    async fn start() -> Self {
        Self::start_with(&["token", "next-token"], Recorder::new(true), ANSWER_WITHIN).await
    }

    async fn start_with(tokens: &[&str], recorder: Arc<Recorder>, answer_within: Duration) -> Self {
        let clock = Arc::new(|| DateTime::from_timestamp(NOW, 0).unwrap());
        let settings = settings(PATH, tokens, answer_within);
        let state = CallbackState::new(settings, Arc::clone(&recorder), clock).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router(state)).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            address,
            recorder,
            client,
        }
    }

    fn request(&self, method: Method, path_and_query: &str) -> RequestBuilder {
        self.client
            .request(method, format!("http://{}{path_and_query}", self.address))
    }

    /// A callback that is right in every way but for what the body says.
    async fn post(&self, body: &Value) -> Response {
        let query = signed_query(body["CallbackCommand"].as_str().unwrap());
        self.post_raw(&query, body.to_string()).await
    }

    async fn post_raw(&self, query: &str, body: impl Into<Body>) -> Response {
        let request = self.request(Method::POST, &format!("{PATH}?{query}"));
        request.body(body).send().await.unwrap()
    }
}

pub(super) fn settings(path: &str, tokens: &[&str], answer_within: Duration) -> CallbackSettings {
    let tokens = tokens.iter().map(|token| (*token).into()).collect();
    CallbackSettings {
        path: path.to_owned(),
        sdk_app_id: 1_400_000_000,
        signatures: Signatures::new(tokens, Duration::from_secs(60)),
        answer_within,
        forward: None,
    }
}

pub(super) fn query_with(app: &str, command: &str, token: &str, time: i64) -> String {
    let sign = hex::encode(Sha256::digest(format!("{token}{time}")));
    format!(
        "SdkAppid={app}&CallbackCommand={command}&contenttype=json&ClientIP=203.0.113.7\
         &OptPlatform=Android&RequestID=5f0c&RequestTime={time}&Sign={sign}"
    )
}

pub(super) fn signed_query(command: &str) -> String {
    query_with("1400000000", command, "token", NOW)
}

pub(super) fn join() -> Value {
    json!({"CallbackCommand": JOIN, "GroupId": "room-7", "Type": "AVChatRoom", "JoinType": "Apply",
        "Operator_Account": "alice", "NewMemberList": [{"Member_Account": "alice"}],
        "EventTime": NOW * 1000})
}

pub(super) async fn assert_ok(response: Response) {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = response.text().await.unwrap();
    assert_eq!(
        body,
        r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#
    );
}

/// The status, the shape, and what the reason says.
pub(super) async fn assert_refused(response: Response, status: StatusCode, says: &str) {
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

#[tokio::test]
async fn a_member_event_is_answered_with_ok_once_it_is_stored() {
    let recorder = Recorder::new(false);
    let listener =
        Listener::start_with(&["token"], Arc::clone(&recorder), Duration::from_secs(60)).await;
    let callback = join();
    let posting = listener.post(&callback);
    tokio::pin!(posting);
    let mut taken = recorder.taken.subscribe();
    tokio::select! {
        _ = &mut posting => panic!("answered before the event was stored"),
        taken = taken.wait_for(|taken| *taken == 1) => assert!(taken.is_ok()),
    }
    assert_eq!(recorder.stored(), Stored::default());
    recorder.open.send_replace(true);
    assert_ok(posting.await).await;
    assert_eq!(recorder.stored().events[0].account.as_str(), "alice");
}

#[tokio::test]
async fn each_of_the_three_member_events_is_recorded() {
    let listener = Listener::start().await;
    let member = json!([{"Member_Account": "alice"}]);
    assert_ok(listener.post(&join()).await).await;
    let exit = json!({"CallbackCommand": "Group.CallbackAfterMemberExit", "GroupId": "room-7",
        "Type": "AVChatRoom", "ExitMemberList": member});
    assert_ok(listener.post(&exit).await).await;
    for event_type in ["Online", "Offline"] {
        let body = json!({"CallbackCommand": "Group.CallbackOnMemberStateChange",
            "GroupId": "room-7", "EventType": event_type, "MemberList": member});
        assert_ok(listener.post(&body).await).await;
    }
    let events = listener.recorder.stored().events;
    let sources: Vec<_> = events.iter().map(|event| event.source.as_str()).collect();
    assert_eq!(sources, ["join", "exit", "online", "offline"]);
}

#[tokio::test]
async fn an_event_that_needs_no_storing_is_answered_with_ok() {
    let listener = Listener::start().await;
    let mut public = join();
    public["Type"] = json!("Public");
    assert_ok(listener.post(&public).await).await;
    let mut anonymous = join();
    anonymous["NewMemberList"] = json!([{"Member_Account": "@TLS#144115"}]);
    assert_ok(listener.post(&anonymous).await).await;
    assert_eq!(*listener.recorder.taken.borrow(), 0);
}

#[tokio::test]
async fn a_destroyed_room_is_recorded() {
    let listener = Listener::start().await;
    let body = json!({"CallbackCommand": "Group.CallbackAfterGroupDestroyed", "GroupId": "room-7",
        "Type": "AVChatRoom", "EventTime": NOW * 1000});
    assert_ok(listener.post(&body).await).await;
    let destroyed = listener.recorder.stored().destroyed;
    assert_eq!(destroyed.len(), 1);
    assert_eq!(destroyed[0].group, GroupId::parse("room-7").unwrap());
    assert_eq!(destroyed[0].at, Some(EventTime::from_number(NOW * 1000)));
}

#[tokio::test]
async fn an_alert_of_chat_is_passed_on() {
    let listener = Listener::start().await;
    let body = json!({"CallbackCommand": "Alert.RequestOverLimit", "Request": 171, "Limit": 200,
        "ServiceName": "group_open_avchatroom_http_svc", "Command": "modify_user_info"});
    assert_ok(listener.post(&body).await).await;
    assert_eq!(listener.recorder.stored().alerts[0].request, 171);
}

#[tokio::test]
async fn any_other_command_is_answered_with_ok() {
    let listener = Listener::start().await;
    for command in [
        "State.StateChange",
        "Group.CallbackAfterCreateGroup",
        "Never.HeardOf",
    ] {
        assert_ok(listener.post(&json!({"CallbackCommand": command})).await).await;
    }
    assert_eq!(listener.recorder.stored(), Stored::default());
}

#[tokio::test]
async fn the_body_is_json_whatever_its_content_type() {
    let listener = Listener::start().await;
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json",
    ] {
        let path = format!("{PATH}?{}", signed_query(JOIN));
        let request = listener
            .request(Method::POST, &path)
            .header("content-type", content_type);
        assert_ok(request.body(join().to_string()).send().await.unwrap()).await;
    }
    assert_eq!(listener.recorder.stored().events.len(), 3);
}

#[tokio::test]
async fn a_wrong_or_missing_sdk_app_id_is_forbidden() {
    let listener = Listener::start().await;
    let right = signed_query(JOIN);
    for query in [
        query_with("1400000001", JOIN, "token", NOW),
        query_with("", JOIN, "token", NOW),
        right.replace("SdkAppid=", "sdkappid="),
    ] {
        let response = listener.post_raw(&query, join().to_string()).await;
        assert_refused(response, StatusCode::FORBIDDEN, "SdkAppid").await;
    }
    assert_eq!(*listener.recorder.taken.borrow(), 0);
}

#[tokio::test]
async fn a_bad_or_missing_sign_is_forbidden() {
    let listener = Listener::start().await;
    for (query, says) in [
        (
            query_with("1400000000", JOIN, "guess", NOW),
            "Sign was not made",
        ),
        (
            signed_query(JOIN).replace("&Sign=", "&Sing="),
            "Sign is missing",
        ),
        (
            signed_query(JOIN).replace("&RequestTime=", "&Time="),
            "RequestTime is missing",
        ),
        ("SdkAppid=1400000000".to_owned(), "Sign is missing"),
    ] {
        let response = listener.post_raw(&query, join().to_string()).await;
        assert_refused(response, StatusCode::FORBIDDEN, says).await;
    }
    assert_eq!(*listener.recorder.taken.borrow(), 0);
}

#[tokio::test]
async fn every_token_of_a_rotation_is_accepted() {
    let listener = Listener::start().await;
    for token in ["token", "next-token"] {
        let query = query_with("1400000000", JOIN, token, NOW);
        assert_ok(listener.post_raw(&query, join().to_string()).await).await;
    }
}

#[tokio::test]
async fn without_tokens_no_sign_is_required() {
    let listener = Listener::start_with(&[], Recorder::new(true), ANSWER_WITHIN).await;
    let query = format!("SdkAppid=1400000000&CallbackCommand={JOIN}");
    assert_ok(listener.post_raw(&query, join().to_string()).await).await;
}

#[tokio::test]
async fn a_request_time_too_old_or_too_far_ahead_is_forbidden() {
    let listener = Listener::start().await;
    for time in [NOW - 61, NOW + 61] {
        let query = query_with("1400000000", JOIN, "token", time);
        let response = listener.post_raw(&query, join().to_string()).await;
        assert_refused(response, StatusCode::FORBIDDEN, "RequestTime is 61 s away").await;
    }
    for time in [NOW - 60, NOW + 60] {
        let query = query_with("1400000000", JOIN, "token", time);
        assert_ok(listener.post_raw(&query, join().to_string()).await).await;
    }
}

#[tokio::test]
async fn another_command_in_the_url_than_in_the_body_is_forbidden() {
    let listener = Listener::start().await;
    let query = signed_query("Group.CallbackAfterMemberExit");
    let response = listener.post_raw(&query, join().to_string()).await;
    assert_refused(response, StatusCode::FORBIDDEN, "the same in URL and body").await;
    assert_eq!(*listener.recorder.taken.borrow(), 0);
}

#[tokio::test]
async fn what_is_not_json_is_a_bad_request() {
    let listener = Listener::start().await;
    for body in ["", "not json", "[]", "{\"CallbackCommand\":"] {
        let response = listener.post_raw(&signed_query(JOIN), body).await;
        assert_refused(response, StatusCode::BAD_REQUEST, "must be a JSON object").await;
    }
}

#[tokio::test]
async fn a_member_event_without_its_required_fields_is_a_bad_request() {
    let listener = Listener::start().await;
    for (field, says) in [
        ("GroupId", "GroupId is missing; it must be"),
        ("NewMemberList", "NewMemberList is missing; it must be"),
    ] {
        let mut body = join();
        body.as_object_mut().unwrap().remove(field);
        assert_refused(listener.post(&body).await, StatusCode::BAD_REQUEST, says).await;
    }
}

#[tokio::test]
async fn a_refusal_does_not_depend_on_the_body_before_the_sender_is_known() {
    let listener = Listener::start().await;
    let forged = query_with("1400000000", JOIN, "guess", NOW);
    let response = listener.post_raw(&forged, "not json").await;
    assert_refused(response, StatusCode::FORBIDDEN, "Sign").await;
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_taken_and_a_longer_one_is_too_large() {
    let listener = Listener::start().await;
    let mut body = join().to_string().into_bytes();
    body.resize(MAX_BODY_BYTES, b' ');
    assert_ok(listener.post_raw(&signed_query(JOIN), body.clone()).await).await;
    body.push(b' ');
    let response = listener.post_raw(&signed_query(JOIN), body).await;
    assert_refused(response, StatusCode::PAYLOAD_TOO_LARGE, "1 MiB").await;
    assert_eq!(listener.recorder.stored().events.len(), 1);
}

#[tokio::test]
async fn a_long_body_without_a_stated_length_is_too_large() {
    let listener = Listener::start().await;
    let chunks = |count: usize| {
        let mut chunks = vec![Ok::<_, std::io::Error>(join().to_string().into_bytes())];
        chunks.resize_with(count, || Ok(vec![b' '; 64 * 1024]));
        Body::wrap_stream(futures::stream::iter(chunks))
    };
    assert_ok(listener.post_raw(&signed_query(JOIN), chunks(16)).await).await;
    let response = listener.post_raw(&signed_query(JOIN), chunks(18)).await;
    assert_refused(response, StatusCode::PAYLOAD_TOO_LARGE, "1 MiB").await;
}

#[tokio::test]
async fn a_wrong_method_is_not_allowed() {
    let listener = Listener::start().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = listener.request(method, PATH).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "POST");
        assert_refused(response, StatusCode::METHOD_NOT_ALLOWED, "posted").await;
    }
}

#[tokio::test]
async fn another_path_is_not_found() {
    let listener = Listener::start().await;
    for path in [
        "/",
        "/callback",
        "/callback/s3cret/",
        "/callback/s3creT",
        "/callback/s3cret%20",
    ] {
        let path = format!("{path}?{}", signed_query(JOIN));
        for method in [Method::POST, Method::GET] {
            let response = listener.request(method, &path).body(join().to_string());
            let response = response.send().await.unwrap();
            assert_refused(response, StatusCode::NOT_FOUND, "nothing here").await;
        }
    }
}

#[tokio::test]
async fn what_is_not_stored_in_time_is_unavailable_and_stored_later() {
    let recorder = Recorder::new(false);
    let soon = Duration::from_millis(50);
    let listener = Listener::start_with(&["token"], Arc::clone(&recorder), soon).await;
    let response = listener.post(&join()).await;
    assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, "not stored yet").await;
    assert_eq!(recorder.stored(), Stored::default());
    recorder.open.send_replace(true);
    let mut stored = recorder.stored.subscribe();
    let stored = stored
        .wait_for(|stored| !stored.events.is_empty())
        .await
        .unwrap();
    assert_eq!(stored.events[0].account.as_str(), "alice");
}

#[tokio::test]
async fn what_the_intake_cannot_take_is_unavailable() {
    let listener = Listener::start().await;
    for (refusal, says) in [
        (NotStored::Full, "too many"),
        (NotStored::Unavailable, "cannot"),
    ] {
        *listener.recorder.refusal.lock().unwrap() = Some(refusal);
        let response = listener.post(&join()).await;
        assert_refused(response, StatusCode::SERVICE_UNAVAILABLE, says).await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let soon = Duration::from_millis(50);
    let listener = Listener::start_with(&["token"], Recorder::new(true), soon).await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let response = listener
        .post_raw(&signed_query(JOIN), Body::wrap_stream(never))
        .await;
    assert_refused(response, StatusCode::REQUEST_TIMEOUT, "in time").await;
}

#[test]
fn a_path_that_no_request_can_have_is_refused() {
    let clock = crate::clock::system();
    for path in ["", "callback", "/a b", "/a?b", "/a#b", "/ä"] {
        let settings = settings(path, &["token"], ANSWER_WITHIN);
        let refused = CallbackState::new(settings, Recorder::new(true), Arc::clone(&clock));
        assert_eq!(refused.err(), Some(InvalidPath), "{path}");
    }
}
