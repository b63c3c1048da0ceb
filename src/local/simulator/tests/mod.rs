//! Tests of the simulated Chat over real HTTP: a simulator on a free port, a caller with its own
//! UserSig, and a receiver of callbacks.

mod callbacks;
mod control;
mod rest;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Options, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Settings, Simulated, start};

const ROOM: &str = "@TGS#room-7";
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulator without latency, and both of its sides.
struct Chat {
    running: Running,
    control: Simulated,
    http: reqwest::Client,
}

impl Chat {
    async fn start() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut options = Options::default();
        options.settings.latency_ms = 0;
        change(&mut options.settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = start(options, listener).unwrap();
        let control = running.client().unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            running,
            control,
            http,
        }
    }

    /// Sends a call with a good query.
    async fn call(&self, command: &str, body: &Value) -> Value {
        self.raw(command, &query(&[]), body.to_string()).await
    }

    async fn raw(&self, command: &str, query: &str, body: String) -> Value {
        let answer = self.send(command, query, body).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    async fn send(
        &self,
        command: &str,
        query: &str,
        body: String,
    ) -> reqwest::Result<reqwest::Response> {
        let service = match command {
            "get_online_member_num" => "group_open_http_svc",
            _ => "group_open_avchatroom_http_svc",
        };
        let url = format!("{}/v4/{service}/{command}?{query}", self.running.url());
        self.http.post(url).body(body).send().await
    }

    /// Sets (1) or deletes (2) the same marks of members.
    async fn modify(&self, command: i64, who: &[&str], marks: &[i64]) -> Value {
        self.call("modify_user_info", &modify_body(command, who, marks))
            .await
    }

    async fn marks(&self, account: &str) -> Vec<u32> {
        let marks = self.control.marks(ROOM).await.unwrap();
        marks[account].iter().copied().collect()
    }
}

fn modify_body(command: i64, who: &[&str], marks: &[i64]) -> Value {
    let member = |account: &&str| json!({ "Member_Account": account, "Marks": marks });
    let members: Vec<Value> = who.iter().map(member).collect();
    json!({ "GroupId": ROOM, "CommandType": command, "MemberList": members })
}

/// The accounts in an answer of `modify_user_info` or `get_members`.
fn accounts(answer: &Value) -> Vec<&str> {
    let members = answer["MemberList"].as_array().unwrap();
    members
        .iter()
        .map(|member| member["Member_Account"].as_str().unwrap())
        .collect()
}

fn code(answer: &Value) -> i64 {
    let code = answer["ErrorCode"].as_i64().unwrap();
    let status = if code == 0 { "OK" } else { "FAIL" };
    assert_eq!(answer["ActionStatus"], status);
    code
}

/// The query of an administrator's call, with some of its values replaced; `""` leaves one out.
fn query(changes: &[(&str, &str)]) -> String {
    let now = chrono::Utc::now().timestamp();
    let sig = user_sig(SAMPLE_SDK_APP_ID, "administrator", SAMPLE_SECRET_KEY, now);
    let app = SAMPLE_SDK_APP_ID.to_string();
    let mut values = BTreeMap::from([
        ("sdkappid", app.as_str()),
        ("identifier", "administrator"),
        ("usersig", &sig),
        ("random", "4294967295"),
        ("contenttype", "json"),
    ]);
    values.extend(changes.iter().copied());
    values.retain(|_, value| !value.is_empty());
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(values)
        .finish()
}

/// A UserSig that is good for a day.
fn user_sig(app: u32, account: &str, key: &str, time: i64) -> String {
    let lines = format!(
        "TLS.identifier:{account}\nTLS.sdkappid:{app}\nTLS.time:{time}\nTLS.expire:86400\n"
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(lines.as_bytes());
    let document = json!({
        "TLS.ver": "2.0", "TLS.identifier": account, "TLS.sdkappid": app,
        "TLS.expire": 86400, "TLS.time": time,
        "TLS.sig": STANDARD.encode(mac.finalize().into_bytes()),
    });
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(document.to_string().as_bytes()).unwrap();
    let text = STANDARD.encode(zlib.finish().unwrap());
    text.replace('+', "*").replace('/', "-").replace('=', "_")
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
        let names: Vec<&str> = members
            .into_iter()
            .flatten()
            .map(|member| member["Member_Account"].as_str().unwrap())
            .collect();
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

/// A receiver of callbacks.
struct Receiver {
    url: String,
    state: Arc<ReceiverState>,
}

#[derive(Default)]
struct ReceiverState {
    arrived: Mutex<Vec<Arrived>>,
    /// The next answers; then 200 with the OK body.
    script: Mutex<Vec<Scripted>>,
}

/// An answer other than the usual one.
enum Scripted {
    Status(u16, &'static str),
    Silence,
}

impl Receiver {
    async fn start() -> Self {
        let state = Arc::new(ReceiverState::default());
        let app = Router::new()
            .route("/hook", post(receive))
            .with_state(state.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, state }
    }

    fn script(&self, mut answers: Vec<Scripted>) {
        answers.reverse();
        *self.state.script.lock().unwrap() = answers;
    }

    fn arrived(&self) -> Vec<Arrived> {
        self.state.arrived.lock().unwrap().clone()
    }

    fn short(&self) -> Vec<String> {
        self.arrived().iter().map(Arrived::short).collect()
    }

    /// In the order of the alphabet, as requests may overtake each other.
    fn sorted(&self) -> Vec<String> {
        let mut short = self.short();
        short.sort_unstable();
        short
    }

    fn forget(&self) {
        self.state.arrived.lock().unwrap().clear();
    }
}

async fn receive(
    State(state): State<Arc<ReceiverState>>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> (StatusCode, String) {
    let body = serde_json::from_slice(&body).unwrap();
    state.arrived.lock().unwrap().push(Arrived { query, body });
    let scripted = state.script.lock().unwrap().pop();
    match scripted {
        Some(Scripted::Status(status, body)) => {
            (StatusCode::from_u16(status).unwrap(), body.to_owned())
        }
        Some(Scripted::Silence) => std::future::pending().await,
        None => {
            let ok = json!({ "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "" });
            (StatusCode::OK, ok.to_string())
        }
    }
}
