//! What people are shown of the callbacks that arrived.

use axum::http::Method;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::{Front, JOIN, NOW, PATH, join, query_with, signed_query};
use crate::callback::answer::Refusal;
use crate::callback::{Arrivals, MINUTES};
use crate::metrics::CallbackCommand;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).unwrap()
}

#[tokio::test]
async fn refusals_are_kept_with_their_reason_and_what_proved_its_origin_with_its_command() {
    let front = Front::start().await;
    let body = || join().to_string();
    front.post(&join()).await;
    for _ in 0..2 {
        let guess = query_with("1400000000", JOIN, "guess", NOW);
        front.post_raw(&guess, body()).await;
    }
    let exit = "Group.CallbackAfterMemberExit";
    front.post(&json!({"CallbackCommand": exit})).await;
    let stranger = front.request(Method::GET, "/robots.txt");
    stranger.send().await.unwrap();

    let report = front.arrivals.report();
    let kinds: Vec<_> = report.latest.keys().collect();
    assert_eq!(kinds, [exit, JOIN], "refused for its body, but from Chat");
    let recent = report.recent(now());
    assert_eq!(recent.accepted, 1);
    let refused: Vec<_> = recent
        .refused
        .iter()
        .map(|(code, refused)| (&**code, refused.requests, &*refused.reason))
        .collect();
    assert_eq!(
        refused,
        [
            (
                "wrong_field",
                1,
                "missing field `GroupId` at line 1 column 51"
            ),
            (
                "wrong_sign",
                2,
                "Sign was not made with a token of this service"
            ),
        ]
    );
    assert!(report.other_paths.is_empty());
}

#[tokio::test]
async fn other_paths_are_few_short_printable_and_without_the_secret_path() {
    let front = Front::start().await;
    let long = format!("/{}", "x".repeat(5000));
    let paths = [
        "/1",
        "/callback",
        "/2",
        &format!("{PATH}/"),
        "/ü{}\"%0a",
        &long,
        "/callback",
    ];
    for path in paths {
        let request = front.request(Method::POST, &format!("{path}?{}", signed_query(JOIN)));
        request.send().await.unwrap();
    }
    let report = front.arrivals.report();
    let shown = report.other_paths.iter();
    let shown: Vec<_> = shown.map(|other| (&*other.path, other.requests)).collect();
    let cut = &long[..100];
    assert_eq!(
        shown,
        [
            ("/2", 1),
            ("{callback.path}/", 1),
            ("/%C3%BC%7B%7D%22%0a", 1),
            (cut, 1),
            ("/callback", 2),
        ]
    );
}

#[tokio::test]
async fn the_time_from_the_event_to_its_callback_is_measured() {
    let front = Front::start().await;
    for event_time in [
        json!(NOW * 1000 - 2000),
        json!(NOW * 1000 + 1000),
        json!(null),
    ] {
        let mut body = join();
        body["EventTime"] = event_time;
        front.post(&body).await;
    }
    let text = front.metrics.text().unwrap();
    for line in [
        "bucket{le=\"0.1\"} 1",
        "bucket{le=\"2\"} 2",
        "sum 2.0",
        "count 2",
    ] {
        let line = format!("stickymark_callback_event_lag_seconds_{line}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

#[test]
fn only_the_last_minutes_count() {
    let arrivals = Arrivals::since(now());
    for minute in 0..10 {
        let at = now() + TimeDelta::minutes(minute);
        arrivals.answered(at, Some(CallbackCommand::Join), None);
        arrivals.answered(at, None, Some(&Refusal::WrongSign));
        let recent = arrivals.report().recent(at);
        let expected = u64::try_from(minute + 1).unwrap().min(MINUTES as u64);
        assert_eq!(recent.accepted, expected);
        assert_eq!(recent.refused["wrong_sign"].requests, expected);
        assert_eq!(recent.refused["wrong_sign"].last_at, at);
    }
    let later = arrivals.report().recent(now() + TimeDelta::hours(1));
    assert_eq!((later.accepted, later.refused.len()), (0, 0));
}

#[test]
fn reports_of_replicas_add_up() {
    let [old, young] = [now(), now() + TimeDelta::seconds(30)].map(Arrivals::since);
    old.answered(now(), Some(CallbackCommand::Join), None);
    for (arrivals, path) in [(&old, "/a"), (&young, "/a"), (&young, "/b")] {
        arrivals.answered(now(), None, Some(&Refusal::OtherPath(path.to_owned())));
        arrivals.answered(now(), None, Some(&Refusal::WrongSign));
    }
    let written = serde_json::to_value(old.report()).unwrap();
    let mut all = young.report();
    all.merge(serde_json::from_value(written).unwrap());
    assert_eq!(all.since, now());
    assert_eq!(all.latest.get(JOIN), Some(&now()));
    let recent = all.recent(now());
    assert_eq!(recent.accepted, 1);
    assert_eq!(recent.refused["wrong_sign"].requests, 3);
    let paths: Vec<_> = all
        .other_paths
        .iter()
        .map(|other| (&*other.path, other.requests))
        .collect();
    assert_eq!(paths, [("/a", 2), ("/b", 1)]);
}
