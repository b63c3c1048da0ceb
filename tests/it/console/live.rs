//! The stream of events that the overview receives.

use std::time::Duration;

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::sessions::{cookie, from_page};
use crate::support::api::{VIEWER, api, send};
use crate::support::stage::{PATIENCE, Stage};

/// A stream of events.
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

    /// The first `now` event that is `wanted`.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..60 {
            let (name, data) = self.next().await.unwrap();
            if name == "now" && wanted(&data) {
                return data;
            }
        }
        panic!("no such event");
    }
}

#[tokio::test]
async fn a_restored_member_is_sent_to_every_open_page() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    let url = format!("{}/console/events", stage.admin_url());
    let mut events = Events::of(reqwest::get(&url).await.unwrap());
    let (first, past) = events.next().await.unwrap();
    assert!(first == "past" && past["seconds"].is_array());
    let restored_one = |now: &Value| now["restored"][0] != json!(null);

    stage.chat.join("class-7", &["vip1", "anna"]).await.unwrap();
    events.until(restored_one).await;
    stage.chat.drop_offline("class-7", &["vip1"]).await.unwrap();
    stage.chat.come_back("class-7", &["vip1"]).await.unwrap();
    let now = events.until(restored_one).await;
    let restored = &now["restored"][0];
    assert_eq!(restored["group"], "class-7");
    assert_eq!(restored["account"], "vip1");
    assert_eq!(restored["marks"], json!([1001]));
    assert!(restored["delay_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(now["status"]["database"], "ok");
    let delayed = |now: &Value| now["point"]["median_delay"].as_f64().is_some();
    events.until(delayed).await;

    // A page that opens later receives the past points, and no restored member again.
    let mut later = Events::of(reqwest::get(&url).await.unwrap());
    let (_, past) = later.next().await.unwrap();
    assert!(!past["seconds"].as_array().unwrap().is_empty());
    let (_, now) = later.next().await.unwrap();
    assert_eq!(now["restored"], json!([]));
    stage.close().await;
}

#[tokio::test]
async fn a_replica_that_stops_does_not_wait_for_open_pages() {
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
async fn only_signed_in_pages_receive_events_and_their_number_is_limited() {
    let api = api().await;
    let signed_out = send(from_page(&api, Method::GET, "/console/events")).await;
    assert_eq!(
        (signed_out.status, signed_out.problem()),
        (401, "unauthorized")
    );
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
async fn the_page_receives_events_while_the_database_is_down() {
    let api = api().await;
    let cookie = cookie(&api, VIEWER).await;
    api.db().close().await;
    let watch = from_page(&api, Method::GET, "/console/events").header("cookie", &cookie);
    let mut events = Events::of(watch.send().await.unwrap());
    let now = events.until(|_| true).await;
    assert_eq!(now["status"]["database"], "unreachable");
    assert_eq!(now["status"]["queue"], json!(null));
}
