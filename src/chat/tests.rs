//! The client against small servers over real HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use url::Url;

use super::*;
use crate::config::{ChatSettings, Settings};
use crate::domain::{Account, GroupId, Mark};

const SECRET_KEY: &str = "a-key-that-must-stay-secret";

/// A call as it arrived.
#[derive(Clone)]
struct Heard {
    path: String,
    query: HashMap<String, String>,
    body: Value,
}

type Respond = Arc<dyn Fn() -> Response + Send + Sync>;

/// Answers every call in the same way and remembers what it heard.
#[derive(Clone)]
struct FakeChat {
    heard: Arc<Mutex<Vec<Heard>>>,
    respond: Respond,
}

impl FakeChat {
    async fn start(respond: impl Fn() -> Response + Send + Sync + 'static) -> (Self, Url) {
        let chat = Self {
            heard: Arc::default(),
            respond: Arc::new(respond),
        };
        let router = Router::new().fallback(hear).with_state(chat.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = url_of(listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (chat, url)
    }

    async fn answering(answer: Value) -> (Self, Url) {
        Self::start(move || axum::Json(answer.clone()).into_response()).await
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }
}

async fn hear(
    State(chat): State<FakeChat>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice(&body).unwrap();
    let path = uri.path().to_owned();
    chat.heard.lock().unwrap().push(Heard { path, query, body });
    (chat.respond)()
}

fn url_of(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}")).unwrap()
}

fn settings(base_url: Url) -> ChatSettings {
    let mut settings = Settings::load(None, [("", ""); 0]).unwrap().chat;
    settings.base_url = Some(base_url);
    settings.sdk_app_id = Some(1_400_000_000);
    settings.secret_key = Some(SECRET_KEY.into());
    settings
}

fn client(base_url: Url) -> ChatClient {
    ChatClient::new(&settings(base_url), Budgets::none()).unwrap()
}

fn account(text: &str) -> Account {
    Account::parse(text).unwrap()
}

fn room() -> GroupId {
    GroupId::parse("@TGS#room").unwrap()
}

fn member(name: &str, marks: &[i64]) -> MemberMarks {
    let marks = marks.iter().map(|mark| Mark::parse(*mark).unwrap());
    MemberMarks {
        account: account(name),
        marks: marks.collect(),
    }
}

async fn set(client: &ChatClient) -> Result<ModifyAnswer, ChatError> {
    let members = [member("alice", &[1002, 1000]), member("bob", &[1000])];
    client
        .modify_user_info(&room(), CommandType::Set, &members)
        .await
}

/// Answers one call with bytes that need not be HTTP; then it hangs up, or waits for ever.
async fn raw_chat(answer: &'static [u8], hangs_up: bool) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url_of(listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
        connection.write_all(answer).await.unwrap();
        if !hangs_up {
            std::future::pending::<()>().await;
        }
    });
    url
}

const BEGUN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{";

#[tokio::test]
async fn a_call_carries_what_chat_demands() {
    let answer = json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "CommandType": 1,
        "MemberList": [{"Member_Account": "alice", "Marks": [1000]}, {"Member_Account": "eve"}]});
    let (chat, url) = FakeChat::answering(answer).await;
    let client = client(url.join("/under/here/").unwrap());
    let done = set(&client).await.unwrap();
    let marks = [Mark::parse(1000).unwrap()].into();
    assert_eq!(done.confirmed, [(account("alice"), marks)].into());
    set(&client).await.unwrap();

    let heard = chat.heard();
    let call = &heard[0];
    assert_eq!(
        call.path,
        "/under/here/v4/group_open_avchatroom_http_svc/modify_user_info"
    );
    assert_eq!(call.query["sdkappid"], "1400000000");
    assert_eq!(call.query["identifier"], "administrator");
    assert_eq!(call.query["contenttype"], "json");
    assert!(call.query["usersig"].len() > 100);
    assert!(call.query["random"].parse::<u32>().is_ok());
    assert_ne!(call.query["random"], heard[1].query["random"]);
    let members = json!([{"Member_Account": "alice", "Marks": [1000, 1002]},
        {"Member_Account": "bob", "Marks": [1000]}]);
    let body = json!({"GroupId": "@TGS#room", "CommandType": 1, "MemberList": members});
    assert_eq!(call.body, body);
}

#[tokio::test]
async fn the_reading_calls_go_where_they_belong() {
    let answer = json!({"ActionStatus": "OK", "ErrorCode": 0, "OnlineMemberNum": 7,
        "NextTimestamp": 42, "MemberList": [{"Member_Account": "alice"}],
        "Member_Account": ["bob", "eve"]});
    let (chat, url) = FakeChat::answering(answer).await;
    let client = client(url);
    let page = client
        .get_members(&room(), 0, Mark::parse(1000).ok())
        .await
        .unwrap();
    assert_eq!((page.members[0].as_str(), page.next), ("alice", Some(42)));
    client.get_members(&room(), 1, None).await.unwrap();
    let asked = [account("alice"), account("bob")];
    let present = client.check_members(&room(), &asked).await.unwrap();
    assert_eq!(present, [account("bob")]);
    assert_eq!(client.get_online_member_num(&room()).await.unwrap(), 7);

    let rooms = "/v4/group_open_avchatroom_http_svc";
    let heard = chat.heard();
    assert_eq!(heard.len(), 4);
    for (call, (path, body)) in heard.iter().zip([
        (
            format!("{rooms}/get_members"),
            json!({"GroupId": "@TGS#room", "Timestamp": 0, "Mark": 1000}),
        ),
        (
            format!("{rooms}/get_members"),
            json!({"GroupId": "@TGS#room", "Timestamp": 1}),
        ),
        (
            format!("{rooms}/check_members"),
            json!({"GroupId": "@TGS#room", "Member_Account": ["alice", "bob"]}),
        ),
        (
            "/v4/group_open_http_svc/get_online_member_num".to_owned(),
            json!({"GroupId": "@TGS#room"}),
        ),
    ]) {
        assert_eq!((&call.path, &call.body), (&path, &body));
    }
}

#[tokio::test]
async fn a_call_over_a_limit_is_not_sent() {
    let (chat, url) = FakeChat::answering(json!({"ErrorCode": 0})).await;
    let client = client(url);
    let many = |count, marks: i64| -> Vec<_> {
        (0..count)
            .map(|n| member(&format!("a{n}"), &[1000 + n % marks]))
            .collect()
    };
    for (members, broken) in [
        (vec![], InvalidCall::NoMembers),
        (many(501, 1), InvalidCall::TooManyMembers(501)),
        (many(11, 11), InvalidCall::TooManyMarks(11)),
        (
            [many(2, 1), many(1, 1)].concat(),
            InvalidCall::MemberTwice(account("a0")),
        ),
        (vec![member("a", &[])], InvalidCall::NoMarks(account("a"))),
    ] {
        for command in [CommandType::Set, CommandType::Delete] {
            let refused = client.modify_user_info(&room(), command, &members).await;
            assert_eq!(refused, Err(ChatError::Invalid(broken.clone())));
        }
    }
    let accounts: Vec<_> = (0..501).map(|n| account(&format!("a{n}"))).collect();
    assert!(client.check_members(&room(), &accounts).await.is_err());
    assert!(
        client
            .check_members(&room(), &[account("a"), account("a")])
            .await
            .is_err()
    );
    assert!(chat.heard().is_empty());
    let most = many(500, 10);
    client
        .modify_user_info(&room(), CommandType::Set, &most)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_refusal_keeps_code_and_words_but_no_signature() {
    let (chat, url) = FakeChat::start(|| StatusCode::IM_A_TEAPOT.into_response()).await;
    set(&client(url)).await.unwrap_err();
    let sig = chat.heard()[0].query["usersig"].clone();

    let info = format!("bad\nurl ?usersig={sig}&random=1");
    let answer = json!({"ActionStatus": "FAIL", "ErrorCode": 10007, "ErrorInfo": info});
    let (_, url) = FakeChat::answering(answer).await;
    let error = set(&client(url)).await.unwrap_err();
    assert_eq!(error.code().map(ErrorCode::get), Some(10007));
    assert_eq!(error.class(), ErrorClass::Configuration);
    assert!(error.advice().unwrap().contains("AVChatRoom"));
    assert!(!error.in_doubt());
    let shown = format!("{error} {error:?}");
    assert!(shown.contains("bad url ?[long text]&random=1"), "{shown}");
    assert!(!shown.contains(&sig[..100]));
}

#[tokio::test]
async fn an_http_status_is_no_answer_of_chat_and_no_redirect_is_followed() {
    for (status, class, in_doubt) in [
        (StatusCode::BAD_GATEWAY, ErrorClass::Retry, true),
        (StatusCode::TOO_MANY_REQUESTS, ErrorClass::SlowDown, false),
        (StatusCode::NOT_FOUND, ErrorClass::Configuration, false),
        (StatusCode::PAYLOAD_TOO_LARGE, ErrorClass::Split, false),
        (
            StatusCode::TEMPORARY_REDIRECT,
            ErrorClass::Configuration,
            false,
        ),
    ] {
        let (chat, url) =
            FakeChat::start(move || (status, [(header::LOCATION, "/")], "{}").into_response())
                .await;
        let error = set(&client(url)).await.unwrap_err();
        assert_eq!(error, ChatError::HttpStatus(status.as_u16()));
        assert_eq!((error.class(), error.in_doubt()), (class, in_doubt));
        assert_eq!(error.advice().is_some(), class == ErrorClass::Configuration);
        assert_eq!(chat.heard().len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_bad_answer() {
    let endless = vec![b' '; 3 * 1024 * 1024];
    for body in [
        b"".to_vec(),
        b"<html>".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        endless,
    ] {
        let (_, url) = FakeChat::start(move || body.clone().into_response()).await;
        let error = set(&client(url)).await.unwrap_err();
        assert!(matches!(error, ChatError::BadAnswer(_)), "{error:?}");
        assert!(error.in_doubt());
    }
    let (_, url) = FakeChat::answering(json!({"ActionStatus": "FAIL", "ErrorCode": 0})).await;
    assert!(matches!(
        set(&client(url)).await.unwrap_err(),
        ChatError::BadAnswer(_)
    ));
}

#[tokio::test]
async fn an_answer_that_never_comes_or_never_ends_is_a_timeout() {
    for answer in [&b""[..], BEGUN] {
        let mut settings = settings(raw_chat(answer, false).await);
        settings.request_timeout = Duration::from_millis(300);
        let client = ChatClient::new(&settings, Budgets::none()).unwrap();
        let error = set(&client).await.unwrap_err();
        assert_eq!(error, ChatError::Timeout);
        assert!(error.in_doubt());
    }
}

#[tokio::test]
async fn a_connection_that_breaks_leaves_the_call_in_doubt_and_one_that_is_refused_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = url_of(listener.local_addr().unwrap());
    drop(listener);
    for (url, in_doubt) in [
        (raw_chat(b"", true).await, true),
        (raw_chat(BEGUN, true).await, true),
        (nobody, false),
    ] {
        let error = set(&client(url)).await.unwrap_err();
        assert_eq!(error.in_doubt(), in_doubt, "{error:?}");
        assert_eq!(matches!(error, ChatError::Unreachable(_)), !in_doubt);
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("usersig") && !shown.contains("sdkappid"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_refused_signature_is_replaced_and_the_call_made_once_more() {
    let refuse = || {
        // A signature names the second in which it was made.
        std::thread::sleep(Duration::from_millis(1100));
        axum::Json(json!({"ActionStatus": "FAIL", "ErrorCode": 70001})).into_response()
    };
    let (chat, url) = FakeChat::start(refuse).await;
    let error = set(&client(url)).await.unwrap_err();
    assert_eq!(error.class(), ErrorClass::NewSignature);
    assert!(error.advice().unwrap().contains("chat.secret_key"));
    let heard = chat.heard();
    assert_eq!(heard.len(), 2);
    assert_ne!(heard[0].query["usersig"], heard[1].query["usersig"]);
}

#[test]
fn neither_settings_nor_client_show_the_key() {
    let settings = settings("https://console.tim.qq.com".parse().unwrap());
    let client = ChatClient::new(&settings, Budgets::none()).unwrap();
    assert!(!format!("{settings:?} {client:?}").contains(SECRET_KEY));
}

proptest! {
    // Each case starts a server and a client.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_account_and_group_reaches_chat_as_it_is(name in "[^\\pC]{1,8}", group in "[ -~]{1,48}") {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (chat, url) = FakeChat::answering(json!({"ErrorCode": 0})).await;
            let settings = ChatSettings { admin_account: account(&name), ..settings(url) };
            let client = ChatClient::new(&settings, Budgets::none()).unwrap();
            let group = GroupId::parse(&group).unwrap();
            client.check_members(&group, &[account(&name)]).await.unwrap();
            let call = &chat.heard()[0];
            assert_eq!(call.query["identifier"], name);
            assert_eq!(call.body["GroupId"], group.as_str());
            assert_eq!(call.body["Member_Account"][0], name.as_str());
        });
    }
}
