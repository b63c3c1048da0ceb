//! The facts of the simulated Chat that other tests rely on, over real HTTP: a caller with a
//! UserSig, and a receiver of callbacks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

use super::{SAMPLE_SDK_APP_ID as APP, SAMPLE_SECRET_KEY as KEY, *};
use crate::chat::UserSigKey;
use crate::domain::Account;

const ROOM: &str = "@TGS#room-7";
const TOKEN: &str = "xxxxyyyy";
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator without latency, and both of its sides.
struct Chat {
    running: Running,
    control: Simulated,
    http: reqwest::Client,
}

impl Chat {
    /// With these members in the room.
    async fn with(members: &[impl AsRef<str>]) -> Self {
        let mut options = Options::default();
        options.settings.latency_ms = 0;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = start(options, listener).unwrap();
        let control = running.client().unwrap().waiting();
        if !members.is_empty() {
            control.join(ROOM, members).await.unwrap();
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            running,
            control,
            http,
        }
    }

    /// Sends a call with a good query.
    async fn call(&self, command: &str, body: &Value) -> Value {
        let answer = self.send(command, &query(&[]), &body.to_string()).await;
        answer.json().await.unwrap()
    }

    async fn send(&self, command: &str, query: &str, body: &str) -> reqwest::Response {
        let service = match command {
            "get_online_member_num" => "group_open_http_svc",
            _ => "group_open_avchatroom_http_svc",
        };
        let url = format!("{}/v4/{service}/{command}?{query}", self.running.url());
        self.http
            .post(url)
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    }

    /// Sets (1) or deletes (2) the same marks of members.
    async fn modify(&self, command: i64, who: &[impl AsRef<str>], marks: &[i64]) -> Value {
        let body = modify_body(command, who, marks);
        self.call("modify_user_info", &body).await
    }

    /// The error code of setting a mark.
    async fn set(&self, who: &[&str], mark: i64) -> i64 {
        code(&self.modify(1, who, &[mark]).await)
    }

    async fn marks(&self, account: &str) -> Vec<u32> {
        let marks = self.control.marks(ROOM).await.unwrap();
        marks[account].iter().copied().collect()
    }

    async fn moves(&self, movement: Movement, who: &[&str]) -> Moved {
        self.control.moves(movement, ROOM, who).await.unwrap()
    }

    async fn inject(&self, fault: Fault) -> u64 {
        self.control.inject(&fault).await.unwrap()
    }

    async fn configure(&self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            latency_ms: 0,
            ..Settings::default()
        };
        change(&mut settings);
        self.control.configure(&settings).await.unwrap();
    }

    /// Every page of the online list.
    async fn pages(&self, mark: Option<i64>) -> Vec<Vec<String>> {
        let (mut pages, mut timestamp) = (Vec::new(), json!(0));
        loop {
            let body = json!({ "GroupId": ROOM, "Timestamp": timestamp, "Mark": mark });
            let page = self.call("get_members", &body).await;
            pages.push(accounts(&page).into_iter().map(str::to_owned).collect());
            timestamp = page["NextTimestamp"].clone();
            if timestamp == 0 {
                return pages;
            }
        }
    }
}

fn modify_body(command: i64, who: &[impl AsRef<str>], marks: &[i64]) -> Value {
    let member = |who: &str| json!({ "Member_Account": who, "Marks": marks });
    let members: Vec<Value> = who.iter().map(|who| member(who.as_ref())).collect();
    json!({ "GroupId": ROOM, "CommandType": command, "MemberList": members })
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number:04}")).collect()
}

/// The accounts in an answer of `modify_user_info` or `get_members`.
fn accounts(answer: &Value) -> Vec<&str> {
    let members = answer["MemberList"].as_array().unwrap();
    let names = members.iter().map(|member| &member["Member_Account"]);
    names.map(|name| name.as_str().unwrap()).collect()
}

fn code(answer: &Value) -> i64 {
    let code = answer["ErrorCode"].as_i64().unwrap();
    let status = if code == 0 { "OK" } else { "FAIL" };
    assert_eq!(answer["ActionStatus"], status);
    code
}

/// The query of an administrator's call, with some of its values replaced; `""` leaves one out.
fn query(changes: &[(&str, &str)]) -> String {
    let (app, sig) = (APP.to_string(), user_sig("administrator", KEY));
    let mut values = BTreeMap::from([
        ("sdkappid", app.as_str()),
        ("identifier", "administrator"),
        ("usersig", &sig),
        ("random", "4294967295"),
        ("contenttype", "json"),
    ]);
    values.extend(changes.iter().copied());
    values.retain(|_, value| !value.is_empty());
    serde_urlencoded::to_string(values).unwrap()
}

/// A UserSig that is good for a day.
fn user_sig(account: &str, key: &str) -> String {
    let key = UserSigKey::new(APP.into(), SecretString::from(key));
    let day = Duration::from_secs(86_400);
    let sig = key.sign(&Account::parse(account).unwrap(), day, chrono::Utc::now());
    sig.unwrap().expose_secret().to_owned()
}

#[tokio::test]
async fn each_fault_of_the_query_has_its_code() {
    let chat = Chat::with(&["alice"]).await;
    // What can be wrong with a UserSig is tested beside the code that reads it.
    let other_key = user_sig("administrator", "another key");
    let alice = user_sig("alice", KEY);
    let cases: [(&[(&str, &str)], i64); 8] = [
        (&[], 0),
        (&[("sdkappid", "")], 60025),
        (&[("sdkappid", "1400000001")], 70020),
        (&[("usersig", "")], 60025),
        (&[("usersig", &other_key)], 70009),
        (&[("usersig", &alice), ("identifier", "alice")], 60010),
        (&[("random", "4294967296")], 60025),
        (&[("contenttype", "")], 60025),
    ];
    for (changes, wanted) in cases {
        let body = json!({ "GroupId": ROOM }).to_string();
        let query = query(changes);
        let answer = chat.send("get_online_member_num", &query, &body).await;
        assert_eq!(code(&answer.json().await.unwrap()), wanted, "{changes:?}");
    }
}

#[tokio::test]
async fn each_fault_of_a_body_has_its_code_and_changes_nothing() {
    let chat = Chat::with(&["alice"]).await;
    let many = names(501);
    let eleven: Vec<i64> = (1000..1011).collect();
    let too_long = "a".repeat(65);
    let with = |key: &str, value: Value| {
        let mut body = modify_body(1, &["alice"], &[1000]);
        body[key] = value;
        body
    };
    for (body, wanted) in [
        (json!({}), 10011),
        (with("CommandType", "1".into()), 10011),
        (with("Mark", 1000.into()), 10011),
        (json!({ "GroupId": ROOM, "Timestamp": 0 }), 10011),
        (modify_body(1, &many, &[1000]), 10005),
        (modify_body(1, &[""; 0], &[1000]), 10004),
        (modify_body(3, &["alice"], &[1000]), 10004),
        (modify_body(1, &["alice", "alice"], &[1000]), 10004),
        (modify_body(1, &["alice"], &[]), 10004),
        (modify_body(1, &["alice"], &[1000, 1000]), 10004),
        (modify_body(1, &["alice"], &[999]), 10004),
        (modify_body(1, &["alice"], &[501]), 10004),
        (modify_body(1, &["alice"], &eleven), 10004),
        (modify_body(1, &["alice", &too_long], &[1000]), 10004),
    ] {
        let answer = chat.call("modify_user_info", &body).await;
        assert_eq!(code(&answer), wanted, "{answer}");
    }
    let (query, cut) = (query(&[]), r#"{"GroupId":"#);
    let answer = chat.send("modify_user_info", &query, cut).await;
    assert_eq!(code(&answer.json().await.unwrap()), 60003);
    let unknown = chat.call("modify_users_info", &json!({})).await;
    assert_eq!(code(&unknown), 60009);
    let check = json!({ "GroupId": ROOM, "Member_Account": many });
    assert_eq!(code(&chat.call("check_members", &check).await), 10005);
    assert!(chat.marks("alice").await.is_empty());
}

#[tokio::test]
async fn the_call_over_the_limit_is_refused_and_each_api_has_its_own_limit() {
    let (chat, receiver) = connected(&["alice"]).await;
    chat.configure(|settings| settings.calls_per_second = 20)
        .await;
    let body = json!({ "GroupId": ROOM });
    let calls = (0..100).map(|_| chat.call("get_online_member_num", &body));
    let codes = futures::future::join_all(calls).await;
    let codes: Vec<i64> = codes.iter().map(code).collect();
    let refused = codes.iter().filter(|code| **code == 60007).count();
    assert!(refused > 0 && codes.iter().all(|code| [0, 60007].contains(code)));
    assert_eq!(chat.set(&["alice"], 1000).await, 0);
    let count = chat.control.stats().await.unwrap().calls[&Api::GetOnlineMemberNum];
    assert_eq!((count.calls, count.errors), (100, refused as u64));
    assert!(count.peak_per_second > 20);
    until(|| !receiver.arrived().is_empty()).await;
    let wanted = json!({
        "CallbackCommand": "Alert.RequestOverLimit", "ServiceName": "group_open_http_svc",
        "Command": "get_online_member_num", "Request": 17, "Limit": 20,
    });
    assert_eq!(receiver.arrived()[0].body, wanted);
}

#[tokio::test]
async fn marks_are_added_and_removed_and_those_who_are_not_online_are_left_out() {
    let chat = Chat::with(&["alice", "bob"]).await;
    chat.moves(Movement::Drop, &["bob"]).await;
    let all = ["alice", "bob", "carol"];
    let answer = chat.modify(1, &all, &[1000, 1002]).await;
    let wanted = json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "CommandType": 1,
        "MemberList": [{ "Member_Account": "alice", "Marks": [1000, 1002] }],
    });
    assert_eq!(answer, wanted);
    chat.modify(1, &["alice"], &[1001]).await;
    assert_eq!(chat.marks("alice").await, [1000, 1001, 1002]);
    let answer = chat.modify(2, &["alice"], &[1001, 1005]).await;
    assert_eq!((code(&answer), &answer["CommandType"]), (0, &json!(2)));
    assert_eq!(chat.marks("alice").await, [1000, 1002]);
    assert_eq!(chat.set(&["bob", "carol"], 1000).await, 10004);
    chat.configure(|settings| settings.all_offline_code = 10019)
        .await;
    assert_eq!(chat.set(&["bob"], 1000).await, 10019);
}

#[tokio::test]
async fn mark_500_keeps_a_member_and_the_marks_through_a_drop_until_it_is_deleted() {
    let (chat, receiver) = connected(&["alice"]).await;
    let control = &chat.control;
    chat.modify(1, &["alice"], &[500, 1000]).await;
    chat.moves(Movement::Drop, &["alice"]).await;
    chat.moves(Movement::Back, &["alice"]).await;
    chat.moves(Movement::Drop, &["alice"]).await;
    assert!(receiver.arrived().is_empty());
    let alice = &control.room(ROOM).await.unwrap()["alice"];
    assert!(alice.online && !alice.connected);
    assert_eq!(chat.marks("alice").await, [500, 1000]);
    assert_eq!(code(&chat.modify(2, &["alice"], &[500]).await), 0);
    let alice = &control.room(ROOM).await.unwrap()["alice"];
    assert!(!alice.online && alice.marks.is_empty());
}

#[tokio::test]
async fn a_room_has_ten_distinct_marks_and_one_without_members_leaves_a_place() {
    let chat = Chat::with(&["alice", "bob"]).await;
    let nine: Vec<i64> = (1001..1010).collect();
    chat.modify(1, &["alice"], &nine).await;
    assert_eq!(chat.set(&["bob"], 1000).await, 0);
    assert_eq!(chat.set(&["bob"], 600).await, 10004);
    assert_eq!(chat.set(&["bob"], 1005).await, 0);
    chat.moves(Movement::Leave, &["alice"]).await;
    assert_eq!(chat.set(&["bob"], 600).await, 0);
}

#[tokio::test]
async fn the_member_after_the_thousandth_of_a_mark_is_omitted() {
    let names = names(1001);
    let chat = Chat::with(&names).await;
    for half in names[..998].chunks(499) {
        assert_eq!(accounts(&chat.modify(1, half, &[1000]).await).len(), 499);
    }
    let answer = chat.modify(1, &names[998..], &[1000, 1001]).await;
    assert_eq!(accounts(&answer), ["m0998", "m0999"]);
    // A member who has the mark may be named again, and another mark is not full.
    assert_eq!(chat.set(&["m0000"], 1000).await, 0);
    assert_eq!(chat.set(&["m1000"], 1001).await, 0);
}

#[tokio::test]
async fn pages_show_the_newest_thousand_but_a_mark_reaches_the_oldest() {
    let names = names(1200);
    let chat = Chat::with(&names).await;
    chat.moves(Movement::Drop, &["m1198"]).await;
    chat.modify(1, &["m0000", "m1199"], &[1000]).await;
    let pages = chat.pages(None).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [250; 4]);
    let newest = names.iter().rev().filter(|name| *name != "m1198");
    let newest: Vec<String> = newest.take(1000).cloned().collect();
    assert_eq!(pages.concat(), newest);
    assert_eq!(chat.pages(Some(1000)).await.concat(), ["m1199", "m0000"]);
    assert!(chat.pages(Some(1001)).await.concat().is_empty());
    // Mark 600 hides a member except from a search for a mark.
    chat.modify(1, &["m1199"], &[600]).await;
    assert_eq!(chat.pages(None).await.concat()[0], "m1197");
    assert_eq!(chat.pages(Some(1000)).await.concat(), ["m1199", "m0000"]);
    let body = json!({ "GroupId": ROOM, "Timestamp": 0 });
    let mut first = chat.call("get_members", &body).await["MemberList"][0].take();
    let joined = first["JoinTime"].take().as_i64().unwrap();
    assert!((chrono::Utc::now().timestamp() - joined).abs() < 60);
    let keys = json!({ "Member_Account": "m1197", "JoinTime": null, "NickName": "", "Avatar": "" });
    assert_eq!(first, keys, "no marks in the list");
}

#[tokio::test]
async fn those_who_are_online_are_named_and_counted() {
    let chat = Chat::with(&["alice", "bob", "carol"]).await;
    chat.moves(Movement::Drop, &["bob"]).await;
    let who = ["carol", "bob", "dave", "alice"];
    let body = json!({ "GroupId": ROOM, "Member_Account": who });
    let answer = chat.call("check_members", &body).await;
    assert_eq!(answer["Member_Account"], json!(["carol", "alice"]));
    let body = json!({ "GroupId": ROOM });
    let answer = chat.call("get_online_member_num", &body).await;
    assert_eq!((code(&answer), &answer["OnlineMemberNum"]), (0, &json!(2)));
    chat.set(&["carol"], 1000).await;
    let members = &chat.control.rooms().await.unwrap()[ROOM];
    let state = members
        .values()
        .map(|member| (member.online, member.marks.len()));
    assert_eq!(
        state.collect::<Vec<_>>(),
        [(true, 0), (false, 0), (true, 1)]
    );
}

#[tokio::test]
async fn faults_strike_only_where_they_match_and_as_often_as_they_say() {
    let chat = Chat::with(&["alice", "bob"]).await;
    let refused = || Fault::new(Effect::ErrorCode(10002));
    chat.inject(refused().group(ROOM).account("alice").times(2))
        .await;
    chat.inject(refused().group("other")).await;
    chat.inject(refused().api(Api::GetMembers)).await;
    assert_eq!(chat.set(&["bob"], 1000).await, 0);
    assert_eq!(chat.set(&["bob", "alice"], 1001).await, 10002);
    assert_eq!(chat.control.faults().await.unwrap().len(), 3);
    assert_eq!(chat.set(&["alice"], 1000).await, 10002);
    assert_eq!(chat.control.faults().await.unwrap().len(), 2);
    assert_eq!(chat.marks("bob").await, [1000]);
    assert_eq!(chat.set(&["alice"], 1000).await, 0);
    chat.control.clear_all().await.unwrap();

    chat.inject(Fault::new(Effect::Omit).account("alice").times(1))
        .await;
    let answer = chat.modify(1, &["alice", "bob"], &[1002]).await;
    assert_eq!(accounts(&answer), ["bob"]);
    chat.inject(Fault::new(Effect::LateErrorCode(60008)).times(1))
        .await;
    assert_eq!(chat.set(&["alice"], 1003).await, 60008);
    chat.inject(Fault::new(Effect::HttpStatus(502)).times(1))
        .await;
    let body = modify_body(1, &["alice"], &[1004]).to_string();
    let answer = chat.send("modify_user_info", &query(&[]), &body).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.bytes().await.unwrap().is_empty());
    assert_eq!(chat.marks("alice").await, [1000, 1003]);
}

#[tokio::test]
async fn a_call_without_an_answer_overlaps_others_and_ends_with_its_caller_or_the_simulator() {
    for effect in [
        Effect::LostAnswer(LostAnswer::Hang),
        Effect::DelayMs(600_000),
    ] {
        let chat = Chat::with(&["alice", "bob"]).await;
        let control = chat.control.clone();
        chat.inject(Fault::new(effect).account("alice")).await;
        let sees = |marks| control.wait_for_marks(ROOM, "alice", marks, PATIENCE);
        tokio::select! {
            _ = chat.set(&["alice"], 1000) => panic!("an answer came"),
            seen = sees(&[1000]) => seen.unwrap(),
        }
        let count = async || control.stats().await.unwrap().calls[&Api::ModifyUserInfo];
        // The caller is dropped by now: its connection is closed, and the call ends.
        while control.calls().await.unwrap()[0].finished_at.is_none() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(count().await.most_at_once_in_a_room, 1);
        let short = async {
            sees(&[1000, 1001]).await.unwrap();
            assert_eq!(chat.set(&["bob"], 1000).await, 0);
        };
        tokio::select! {
            _ = chat.set(&["alice"], 1001) => panic!("an answer came"),
            () = short => {}
        }
        let calls = control.calls().await.unwrap();
        assert!(calls[1].overlaps(&calls[2]) && !calls[0].overlaps(&calls[2]));
        assert_eq!(
            (count().await.calls, count().await.most_at_once_in_a_room),
            (3, 2)
        );
        let stopped = tokio::time::timeout(PATIENCE, chat.running.stop()).await;
        stopped.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_fault_that_could_never_strike_is_refused_with_a_reason() {
    let chat = Chat::with(&["alice"]).await;
    let url = format!("{}/control/fault", chat.running.url());
    for (fault, reason) in [
        (json!({"effect": "omit", "count": 0}), "count"),
        (json!({"effect": "omit", "kind": "member_exit"}), "kind"),
    ] {
        let answer = chat.http.post(&url).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let text = answer.text().await.unwrap();
        assert!(text.contains(reason) && text.ends_with("}\n"), "{text}");
    }
}

/// One callback as it arrived.
#[derive(Debug, Clone)]
struct Arrived {
    query: HashMap<String, String>,
    body: Value,
}

impl Arrived {
    /// The command without its prefix and the accounts, e.g. `Online/Join alice`.
    fn short(&self) -> String {
        let body = &self.body;
        let list = ["NewMemberList", "ExitMemberList", "MemberList"];
        let members = list.iter().find_map(|key| body[key].as_array());
        let name = |member: &Value| member["Member_Account"].as_str().unwrap().to_owned();
        let names: Vec<String> = members.into_iter().flatten().map(name).collect();
        let what = match body["EventType"].as_str() {
            Some(event) => format!("{event}/{}", body["EventCause"].as_str().unwrap()),
            None => body["CallbackCommand"]
                .as_str()
                .unwrap()
                .replace("Group.CallbackAfter", ""),
        };
        format!("{what} {}", names.join(",")).trim_end().to_owned()
    }
}

/// A receiver of callbacks. It answers with OK, but first with what `script` has.
#[derive(Default)]
struct Receiver {
    arrived: Mutex<Vec<Arrived>>,
    script: Mutex<Vec<(StatusCode, &'static str)>>,
}

impl Receiver {
    /// With its address.
    async fn start() -> (Arc<Self>, String) {
        let receiver = Arc::new(Self::default());
        let app = Router::new().route("/hook", post(receive));
        let app = app.with_state(receiver.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// In the order of the alphabet, as requests may overtake each other; then forgets them.
    fn sorted(&self) -> String {
        let mut arrived = self.arrived.lock().unwrap();
        let mut short: Vec<String> = arrived.drain(..).map(|one| one.short()).collect();
        short.sort_unstable();
        short.join("; ")
    }
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    Query(query): Query<HashMap<String, String>>,
    Json(body): Json<Value>,
) -> (StatusCode, &'static str) {
    let next = receiver.script.lock().unwrap().pop();
    let arrived = Arrived { query, body };
    receiver.arrived.lock().unwrap().push(arrived);
    match next {
        Some((_, "silence")) => std::future::pending().await,
        next => next.unwrap_or((StatusCode::OK, r#"{"ActionStatus":"OK"}"#)),
    }
}

async fn connected(members: &[&str]) -> (Chat, Arc<Receiver>) {
    let (chat, (receiver, url)) = (Chat::with(members).await, Receiver::start().await);
    let token = Some(SecretString::from(TOKEN));
    chat.control.set_callback(Some(&url), token).await.unwrap();
    (chat, receiver)
}

#[tokio::test]
async fn every_movement_sends_the_callbacks_of_chat() {
    let (chat, receiver) = connected(&[]).await;
    let control = chat.control.sharing_callbacks(2);
    for (movement, wanted) in [
        (
            Movement::Join,
            "NewMemberJoin a,b; NewMemberJoin c; Online/Join a,b; Online/Join c",
        ),
        (Movement::Join, ""),
        (
            Movement::Drop,
            "Offline/HeartbeatInterrupt a,b; Offline/HeartbeatInterrupt c",
        ),
        (
            Movement::Back,
            "Online/HeartbeatRecover a,b; Online/HeartbeatRecover c",
        ),
        (
            Movement::Leave,
            "MemberExit a,b; MemberExit c; Offline/Quit a,b; Offline/Quit c",
        ),
    ] {
        let moved = control.moves(movement, ROOM, &["a", "b", "c"]);
        let moved = moved.await.unwrap();
        let count = wanted.split("; ").filter(|one| !one.is_empty()).count();
        assert_eq!((moved.callbacks, moved.delivered), (count, count));
        assert_eq!(moved.changed, if wanted.is_empty() { 0 } else { 3 });
        let now = |callback: &Arrived| callback.body["EventTime"] == moved.at;
        assert!(receiver.arrived().iter().all(now));
        assert_eq!(receiver.sorted(), wanted);
    }
    chat.control.destroy(ROOM).await.unwrap();
    assert_eq!(receiver.sorted(), "GroupDestroyed");
}

#[tokio::test]
async fn a_callback_carries_the_query_the_sign_and_the_body_that_chat_documents() {
    let (chat, receiver) = connected(&[]).await;
    let moved = chat.moves(Movement::Join, &["alice"]).await;
    let arrived = receiver.arrived();
    let find = |command: &str| {
        let of = |callback: &&Arrived| callback.query["CallbackCommand"] == command;
        arrived.iter().find(of).unwrap()
    };
    let join = find("Group.CallbackAfterNewMemberJoin");
    assert_eq!(join.query["SdkAppid"], "1400000000");
    assert_eq!(join.query["contenttype"], "json");
    assert_eq!(join.query["OptPlatform"], "Android");
    assert!(join.query.contains_key("ClientIP"));
    let time = &join.query["RequestTime"];
    let sign = hex::encode(Sha256::digest(format!("{TOKEN}{time}")));
    assert_eq!(join.query["Sign"], sign);
    assert!((chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap()).abs() < 60);
    let wanted = json!({
        "CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": ROOM,
        "Type": "AVChatRoom", "JoinType": "Apply", "Operator_Account": "alice",
        "NewMemberList": [{ "Member_Account": "alice" }], "EventTime": moved.at,
    });
    assert_eq!(join.body, wanted);
    let online = find("Group.CallbackOnMemberStateChange");
    assert!(!online.query.contains_key("ClientIP"));
    let wanted = json!({
        "CallbackCommand": "Group.CallbackOnMemberStateChange", "GroupId": ROOM,
        "EventType": "Online", "EventCause": "Join",
        "MemberList": [{ "Member_Account": "alice" }], "EventTime": moved.at,
    });
    assert_eq!(online.body, wanted);
}

#[tokio::test]
async fn an_answer_that_is_wrong_or_late_is_a_failure_and_not_retried() {
    for answers in [
        [
            (StatusCode::SERVICE_UNAVAILABLE, "{}"),
            (StatusCode::OK, "fine"),
        ],
        [(StatusCode::OK, "silence"); 2],
    ] {
        let (chat, receiver) = connected(&[]).await;
        receiver.script.lock().unwrap().extend(answers);
        let moved = chat.moves(Movement::Join, &["alice"]).await;
        assert_eq!((moved.callbacks, moved.delivered), (2, 0));
        assert_eq!(receiver.arrived().len(), 2);
        let sent = chat.control.stats().await.unwrap().callbacks[&Kind::NewMemberJoin];
        assert_eq!((sent.queued, sent.delivered, sent.failed), (1, 0, 1));
    }
}

#[tokio::test]
async fn callbacks_are_lost_repeated_and_held() {
    let (chat, receiver) = connected(&[]).await;
    let lose = Fault::new(Effect::LoseCallback).kind(Kind::MemberStateChange);
    chat.inject(lose.times(1)).await;
    chat.moves(Movement::Join, &["alice", "bob"]).await;
    let wanted = "NewMemberJoin alice; NewMemberJoin bob; Online/Join bob";
    assert_eq!(receiver.sorted(), wanted);
    assert!(chat.control.faults().await.unwrap().is_empty());

    chat.inject(Fault::new(Effect::DuplicateCallback(2)).times(1))
        .await;
    chat.moves(Movement::Drop, &["bob"]).await;
    let wanted = ["Offline/HeartbeatInterrupt bob"; 3].join("; ");
    assert_eq!(receiver.sorted(), wanted);

    let hold = Fault::new(Effect::HoldCallback).account("alice");
    let held = chat.inject(hold.times(1)).await;
    let dropped = chat.moves(Movement::Drop, &["alice"]).await;
    let back = chat.moves(Movement::Back, &["alice"]).await;
    assert_eq!((dropped.callbacks, back.delivered), (0, 1));
    assert_eq!(receiver.sorted(), "Online/HeartbeatRecover alice");
    chat.control.clear(held).await.unwrap();
    until(|| !receiver.arrived().is_empty()).await;
    let late = receiver.arrived().remove(0);
    assert_eq!(late.short(), "Offline/HeartbeatInterrupt alice");
    assert!(late.body["EventTime"].as_i64().unwrap() < back.at);
}

/// Waits for something that no call announces.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
