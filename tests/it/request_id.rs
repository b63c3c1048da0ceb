//! One request is followed by its id: from the callback over the row of the member and the call to the
//! settled mark, in the log as in the API.

use reqwest::Client;
use serde_json::{Value, json};
use stickymark::testing::local::simulator::{
    Effect, Fault, Options, Running, SAMPLE_SDK_APP_ID, Simulated, start,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::process::{Orders, Replica, until};
use crate::support::{TestDatabase, database};

const JOIN: &str = "Group.CallbackAfterNewMemberJoin";

/// A replica with a simulated Chat that sends it no callbacks: the test does.
struct Room {
    replica: Replica,
    chat: Simulated,
    client: Client,
    _simulator: Running,
    _database: TestDatabase,
    _directory: TempDir,
}

impl Room {
    async fn open(log_filter: &str) -> Self {
        let database = database().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let simulator = start(Options::default(), listener).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let orders = Orders {
            database: database.url().to_string(),
            chat: simulator.url(),
            environment: vec![("STICKYMARK__LOG__FILTER", log_filter.to_owned())],
        };
        let room = Self {
            replica: Replica::start(&orders, directory.path().join("log")).await,
            chat: simulator.client().unwrap().waiting(),
            client: Client::new(),
            _simulator: simulator,
            _database: database,
            _directory: directory,
        };
        let teacher = ["teacher10".to_owned()];
        room.chat.join("class-7", &teacher).await.unwrap();
        room.put_rule("first", &[1000]).await;
        room.marked_by("first").await;
        room
    }

    async fn put_rule(&self, request_id: &str, marks: &[u32]) {
        let url = format!("http://{}/v1/rules/teacher", self.replica.admin);
        let rule = json!({"group": "class-7", "account": "teacher10", "marks": marks});
        let put = self.client.put(url).header("x-request-id", request_id);
        let answer = put.json(&rule).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    async fn joined(&self, request_id: &str) -> u16 {
        let query = format!("SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={JOIN}{request_id}");
        let body = json!({"CallbackCommand": JOIN, "GroupId": "class-7", "Type": "AVChatRoom",
            "NewMemberList": [{"Member_Account": "teacher10"}]});
        let url = format!("http://{}/callback?{query}", self.replica.callbacks);
        let answer = self.client.post(url).json(&body).send().await.unwrap();
        answer.status().as_u16()
    }

    async fn member(&self) -> Value {
        let url = format!(
            "http://{}/v1/members?group=class-7&account=teacher10",
            self.replica.admin
        );
        let answer = self.client.get(url).send().await.unwrap();
        let mut page: Value = answer.json().await.unwrap();
        page["items"].get_mut(0).map_or(Value::Null, Value::take)
    }

    /// Waits until the member carries marks that were confirmed because of this request.
    async fn marked_by(&self, request_id: &str) {
        until("marks by a request", || async {
            let member = self.member().await;
            member["request_id"] == request_id && member["state"] == "applied"
        })
        .await;
    }

    fn lines(&self) -> Vec<Value> {
        let log = self.replica.log();
        // The last one may be half written.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }
}

/// Whether a line says this, itself or by a span it stands in.
fn tells(line: &Value, message: &str, key: &str, value: &str) -> bool {
    line["message"] == message && (line[key] == value || line["span"][key] == value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callback_is_followed_by_its_id_to_the_settled_mark() {
    let room = Room::open("info,stickymark=debug").await;
    assert_eq!(room.joined("&RequestID=5f0c-7").await, 200);
    room.marked_by("5f0c-7").await;
    let steps = [
        ("answered", "request_id"),
        ("recorded", "request_ids"),
        ("Chat answered", "request_ids"),
        ("decided", "request_id"),
        ("written back", "request_ids"),
    ];
    // The line comes right after the write.
    until("a line for each step", || async {
        let lines = room.lines();
        steps.iter().all(|(message, key)| {
            let mut lines = lines.iter();
            lines.any(|line| tells(line, message, key, "5f0c-7"))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_a_fit_id_gets_one_and_a_write_of_a_rule_has_its_own() {
    let room = Room::open("info").await;
    let mut before = json!("first");
    for unfit in ["", "&RequestID=", "&RequestID=a%0Ab", "&RequestID=a,b"] {
        assert_eq!(room.joined(unfit).await, 200);
        // The filter may have learnt of the rule only now, and hand the callback in late.
        until("the request is known", || async {
            room.member().await["request_id"] != before
        })
        .await;
        before = room.member().await["request_id"].take();
        let id = before
            .as_str()
            .unwrap_or_else(|| panic!("{unfit:?} has none"));
        assert!(uuid::Uuid::parse_str(id).is_ok(), "{id} for {unfit:?}");
    }
    room.put_rule("deploy-42", &[1000, 1002]).await;
    room.marked_by("deploy-42").await;
    let url = format!("http://{}/v1/rules/teacher/history", room.replica.admin);
    let history: Value = room
        .client
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(history["items"][1]["request_id"], "deploy-42");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_name_the_requests_also_at_the_usual_filter() {
    let room = Room::open("info").await;
    let fault = Fault::new(Effect::ErrorCode(10002)).times(1);
    room.chat.inject(&fault).await.unwrap();
    assert_eq!(room.joined("&RequestID=5f0c-7").await, 200);
    room.marked_by("5f0c-7").await;
    let bad = format!(
        "http://{}/callback?SdkAppid=1&CallbackCommand={JOIN}&RequestID=5f0c-8",
        room.replica.callbacks
    );
    let refused = room.client.post(bad).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let refusal = "refused a callback that does not prove its origin";
    for (message, key, id) in [
        ("call failed", "request_ids", "5f0c-7"),
        (refusal, "request_id", "5f0c-8"),
    ] {
        // Another thread writes the log.
        until(message, || async {
            room.lines()
                .iter()
                .any(|line| tells(line, message, key, id))
        })
        .await;
    }
}
