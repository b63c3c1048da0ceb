//! The stage of the demo, as a browser sees it: the real program, its page, its pictures, its orders.

use std::process::Child;
use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

use crate::demo::{demo, place, read_until};

/// Longer than the slowest machine needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A demo that runs. Dropped, it is killed, and its database ends with it.
struct Demo {
    child: Child,
    url: String,
    http: reqwest::Client,
    _place: tempfile::TempDir,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Demo {
    /// Starts it and reads what it tells until a line holds this text.
    async fn start(until: &'static str) -> Self {
        tokio::task::spawn_blocking(move || {
            let place = place();
            let mut child = demo(place.path(), &[]).spawn().unwrap();
            let (told, mut rest) = read_until(&mut child, until);
            // A reader must go on, or the demo would end.
            std::thread::spawn(move || std::io::copy(&mut rest, &mut std::io::sink()));
            let line = told
                .lines()
                .find_map(|line| line.trim().strip_prefix("stage "));
            let url = line.unwrap().trim().to_owned();
            Self {
                child,
                url,
                http: reqwest::Client::builder().no_proxy().build().unwrap(),
                _place: place,
            }
        })
        .await
        .unwrap()
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    async fn order(&self, command: &Value) -> (StatusCode, Value) {
        answer(self.request(Method::POST, "/order").json(command)).await
    }

    async fn move_member(&self, movement: &str, group: &str, account: &str) {
        let body = json!({ movement: {"group": group, "accounts": [account]} });
        let answer = self.order(&body).await;
        assert_eq!(answer, (StatusCode::NO_CONTENT, Value::Null), "{body}");
    }

    /// The first picture of which this is true.
    async fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, picture) = answer(self.request(Method::GET, "/picture")).await;
            if status == StatusCode::OK && holds(&picture) {
                return picture;
            }
            assert!(began.elapsed() < PATIENCE, "never {what}: {picture:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_member(
        &self,
        account: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> Value {
        let holds = |picture: &Value| member(picture, "math-7", account).is_some_and(&holds);
        self.until(&format!("{account} {what}"), holds).await
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    let body = match text.is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status} {text:?}")),
    };
    (status, body)
}

fn member<'a>(picture: &'a Value, group: &str, account: &str) -> Option<&'a Value> {
    let room = room(picture, group)?;
    let mut members = room["members"].as_array()?.iter();
    members.find(|member| member["account"] == account)
}

fn room<'a>(picture: &'a Value, group: &str) -> Option<&'a Value> {
    let mut rooms = picture["rooms"].as_array()?.iter();
    rooms.find(|room| room["group"] == group)
}

fn carries(marks: &[u32]) -> impl Fn(&Value) -> bool {
    move |member| {
        member["state"] == "here"
            && member["marks"] == json!(marks)
            && member["wanted"] == json!(marks)
    }
}

#[tokio::test]
async fn a_visitor_of_the_stage_sees_marks_vanish_and_return() {
    let demo = Demo::start("/control/fault").await;
    demo.until_member("teacher-li", "marked", carries(&[1001]))
        .await;

    demo.move_member("drop", "math-7", "teacher-li").await;
    let dropped = |member: &Value| {
        member["state"] == "away"
            && member["marks"] == json!([])
            && member["wanted"] == json!([1001])
    };
    demo.until_member("teacher-li", "away", dropped).await;
    demo.move_member("back", "math-7", "teacher-li").await;
    let back = |member: &Value| carries(&[1001])(member) && member["delay"].is_u64();
    demo.until_member("teacher-li", "marked again", back).await;

    demo.move_member("leave", "math-7", "teacher-li").await;
    let gone = |member: &Value| member["state"] == "gone" && member["marks"] == json!([]);
    demo.until_member("teacher-li", "gone", gone).await;
    demo.move_member("join", "math-7", "teacher-li").await;
    let picture = demo
        .until_member("teacher-li", "marked after joining", back)
        .await;
    let told = |what: &'static str| {
        move |line: &Value| line["what"] == what && line["account"] == "teacher-li"
    };
    let news = picture["news"].as_array().unwrap();
    assert!(
        news.iter()
            .any(|line| told("lost")(line) && line["marks"] == json!([1001]))
    );
    assert!(
        news.iter()
            .any(|line| told("set")(line) && line["delay"].is_u64())
    );
    assert!(news.is_sorted_by(|one, next| one["id"].as_u64() > next["id"].as_u64()));
}

#[tokio::test]
async fn a_visitor_makes_chat_fail_and_recover_and_closes_a_room() {
    let demo = Demo::start("/control/fault").await;
    let order = async |command: Value| {
        let (status, _) = demo.order(&command).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
    };
    order(json!({"fault": {"effect": {"error_code": 60007}}})).await;
    let faulty = |p: &Value| {
        let mut faults = p["faults"].as_object().unwrap().values();
        faults.any(|fault| fault["effect"]["error_code"] == 60007)
    };
    let before = demo.until("too fast", faulty).await;
    demo.move_member("drop", "math-7", "mod-ana").await;
    demo.move_member("back", "math-7", "mod-ana").await;
    let refused =
        |picture: &Value| picture["calls"]["failed"].as_u64() > before["calls"]["failed"].as_u64();
    demo.until("a refused call", refused).await;
    let owed = |member: &Value| member["marks"] == json!([]) && member["wanted"] == json!([9001]);
    demo.until_member("mod-ana", "without the mark", owed).await;
    order(json!({"clear": {}})).await;
    demo.until("cleared", |p| p["faults"] == json!({})).await;
    demo.until_member("mod-ana", "marked", carries(&[9001]))
        .await;

    let destroy = json!({"destroy": {"group": "gala"}});
    order(destroy.clone()).await;
    let closed = |p: &Value| {
        room(p, "gala").is_some_and(|room| room["open"] == false)
            && member(p, "gala", "vip-1").is_some_and(|m| m["state"] == "gone")
    };
    demo.until("the gala closed", closed).await;
    let (status, problem) = demo.order(&destroy).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["detail"].as_str().unwrap().contains("destroyed"),
        "{problem}"
    );
    order(json!({"create": {"group": "gala"}})).await;
    demo.move_member("join", "gala", "vip-1").await;
    let open =
        |p: &Value| member(p, "gala", "vip-1").is_some_and(|m| m["marks"] == json!([2001, 2002]));
    demo.until("a VIP marked in the new gala", open).await;
}

#[tokio::test]
async fn the_stage_takes_orders_of_its_own_page_alone_and_only_when_the_show_is_over() {
    let demo = Demo::start("The lesson begins").await;
    let drop = json!({"drop": {"group": "math-7", "accounts": ["teacher-li"]}});
    let (status, problem) = demo.order(&drop).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("still playing"),
        "{problem}"
    );
    demo.until("playing", |p| p["playing"] == true).await;
    demo.until("handed over", |p| p["playing"] == false).await;

    let page = demo.request(Method::GET, "").send().await.unwrap();
    let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert!(page.text().await.unwrap().contains("/stage/stage.js"));

    let host = demo
        .url
        .strip_prefix("http://")
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    let own = format!("http://{host}");
    let post = || demo.request(Method::POST, "/order").json(&drop);
    for (name, value) in [
        ("origin", "http://evil.test"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("host", "evil.test"),
        ("host", "10.0.0.1:8081"),
    ] {
        let (status, problem) = answer(post().header(name, value)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{name}: {value}: {problem}");
    }
    let foreign = demo
        .request(Method::GET, "/picture")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(answer(foreign).await.0, StatusCode::FORBIDDEN);
    let simple = demo
        .request(Method::POST, "/order")
        .header("content-type", "text/plain");
    let simple = answer(simple.body(drop.to_string())).await;
    assert_eq!(simple.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);

    for (command, status) in [
        (json!({"fly": {"group": "math-7", "accounts": ["a"]}}), 400),
        (json!({"drop": {"group": "", "accounts": ["a"]}}), 400),
        (
            json!({"drop": {"group": "nowhere", "accounts": ["a"]}}),
            404,
        ),
        (json!({"create": {"group": "math-7"}}), 409),
        (json!({"create": {"group": "math-8", "more": 1}}), 400),
        (json!({"create": {"group": "x".repeat(70_000)}}), 413),
    ] {
        assert_eq!(demo.order(&command).await.0.as_u16(), status, "{command}");
    }

    let browser = post()
        .header("origin", own)
        .header("sec-fetch-site", "same-origin");
    assert_eq!(answer(browser).await.0, StatusCode::NO_CONTENT);
}
