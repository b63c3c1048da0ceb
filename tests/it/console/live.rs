//! What happens now, as a page that watches is told.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::sessions::{cookie, from_page};
use crate::support::api::{VIEWER, api, send};
use crate::support::stage::{PATIENCE, Stage};

/// A stream of events, read.
struct Events {
    response: Response,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
        }
    }

    /// The next event: its name and its data; `None` when the stream has ended.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                let read = field("event: ").map(|name| {
                    let data = field("data: ").unwrap();
                    (name.to_owned(), serde_json::from_str(data).unwrap())
                });
                self.text = rest.to_owned();
                match read {
                    Some(read) => return Some(read),
                    // A comment that keeps the connection alive.
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.expect("no event came").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The first event of what happens now that is like this.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..60 {
            let (name, data) = self.next().await.unwrap();
            if name == "now" && wanted(&data) {
                return data;
            }
        }
        panic!("never told");
    }
}

#[tokio::test]
async fn a_restored_member_is_told_to_whoever_watches() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    let url = format!("{}/console/events", stage.admin_url());
    let mut events = Events::of(reqwest::get(&url).await.unwrap());
    let (first, past) = events.next().await.unwrap();
    assert!(first == "past" && past.is_array());
    let somebody = |now: &Value| now["restored"][0] != json!(null);

    stage.chat.join("class-7", &["vip1", "anna"]).await.unwrap();
    events.until(somebody).await;
    stage.chat.drop_offline("class-7", &["vip1"]).await.unwrap();
    stage.chat.come_back("class-7", &["vip1"]).await.unwrap();
    let now = events.until(somebody).await;
    let restored = &now["restored"][0];
    assert_eq!(restored["group"], "class-7");
    assert_eq!(restored["account"], "vip1");
    assert_eq!(restored["marks"], json!([1001]));
    assert!(restored["delay_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(now["status"]["database"], "ok");
    let told = |now: &Value| now["point"]["median_delay"].as_f64().is_some();
    events.until(told).await;

    // Who comes later is told of what was, and of nobody a second time.
    let mut later = Events::of(reqwest::get(&url).await.unwrap());
    let (_, past) = later.next().await.unwrap();
    assert!(!past.as_array().unwrap().is_empty());
    let (_, now) = later.next().await.unwrap();
    assert_eq!(now["restored"], json!([]));
    stage.close().await;
}

#[tokio::test]
async fn a_replica_that_ends_does_not_wait_for_those_who_watch() {
    let stage = Stage::open(&[]).await;
    let url = format!("{}/console/events", stage.admin_url());
    let mut events = Events::of(reqwest::get(&url).await.unwrap());
    events.next().await.unwrap();
    let all = async { while events.next().await.is_some() {} };
    let both = async { tokio::join!(stage.close(), all) };
    tokio::time::timeout(Duration::from_secs(30), both)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_who_may_read_may_watch_and_only_so_many_at_once() {
    let api = api().await;
    let nobody = send(from_page(&api, Method::GET, "/console/events")).await;
    assert_eq!((nobody.status, nobody.problem()), (401, "unauthorized"));
    let cookie = cookie(&api, VIEWER).await;
    let watch = || from_page(&api, Method::GET, "/console/events").header("cookie", &cookie);
    let mut seats = Vec::new();
    for _ in 0..64 {
        seats.push(Events::of(watch().send().await.unwrap()));
    }
    let refused = send(watch()).await;
    assert_eq!(
        (refused.status, refused.problem()),
        (429, "too-many-requests")
    );
    seats.clear();
    let again = async {
        while watch().send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn the_page_is_told_also_when_the_database_is_away() {
    let api = api().await;
    let cookie = cookie(&api, VIEWER).await;
    api.pool().close().await;
    let watch = from_page(&api, Method::GET, "/console/events").header("cookie", &cookie);
    let mut events = Events::of(watch.send().await.unwrap());
    let now = events.until(|_| true).await;
    assert_eq!(now["status"]["database"], "unreachable");
    assert_eq!(now["status"]["queue"], json!(null));
}
