//! Imports of rules as no sane program writes them: broken lines of every kind among good ones, any
//! ends of lines, cut into pieces anywhere. Each bad line is told by its number, no good line is
//! blamed, and nothing is answered with 5xx.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::convert::Infallible;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use secrecy::SecretString;
use serde_json::{Value, json};
use stickymark::testing::api::Readiness;
use stickymark::testing::api::{self, AdminState};
use stickymark::testing::config::{AdminToken, Role};
use tower::ServiceExt;

use crate::support::{TestDatabase, database, replica};

/// Longest line that is read.
const MAX_LINE: usize = 64 * 1024;

/// A line, and whether it is right.
#[derive(Debug, Clone)]
enum Line {
    Good {
        note: String,
    },
    Blank(&'static str),
    Bad(Vec<u8>),
    /// A good line, but for the id of the line before it that was good.
    Again,
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    let rule = || json!({"id": "bad", "group": "room", "account": "ann", "marks": [1000]});
    let changed = |key: &'static str, value: Value| {
        let mut rule = rule();
        rule[key] = value;
        rule.to_string().into_bytes()
    };
    let cut = (1..rule().to_string().len()).prop_map(move |at| {
        let mut text = rule().to_string().into_bytes();
        text.truncate(at);
        text
    });
    let wrong_utf8 = proptest::sample::select(vec![
        &b"\xff"[..],
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc0\xaf",
        b"\x80",
    ])
    .prop_map(|bytes| {
        let mut text = br#"{"id":"bad","group":"room","account":"ann"#.to_vec();
        text.extend_from_slice(bytes);
        text.extend_from_slice(br#"","marks":[1000]}"#);
        text
    });
    let deep = (
        1usize..30_000,
        proptest::sample::select(vec!["[", "{\"a\":"]),
        any::<bool>(),
    )
        .prop_map(|(depth, opening, inside)| {
            let deep = opening.repeat(depth.min(MAX_LINE / 8));
            match inside {
                true => format!(r#"{{"id":"bad","group":"room","account":"ann","marks":{deep}"#),
                false => deep,
            }
            .into_bytes()
        });
    let long = (MAX_LINE + 1..3 * MAX_LINE, any::<bool>()).prop_map(move |(length, padded)| {
        let mut text = match padded {
            true => rule().to_string().into_bytes(),
            false => Vec::new(),
        };
        text.resize(length, if padded { b' ' } else { b'x' });
        text
    });
    let fields = proptest::sample::select(vec![
        changed("marks", json!([])),
        changed("marks", json!([7])),
        changed("marks", json!([1000, 1000.5])),
        changed("marks", json!("1000")),
        changed("account", json!("")),
        changed("account", json!("a\u{0}b")),
        changed("group", json!("é")),
        changed("group", json!(null)),
        changed("id", json!("")),
        changed("id", json!(7)),
        changed("colour", json!("red")),
        changed("starts_at", json!("tomorrow")),
        changed("enabled", json!("yes")),
        br#"{"id":"a","id":"b","group":"room","account":"ann","marks":[1000]}"#.to_vec(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"1e999".to_vec(),
        b"{}{}".to_vec(),
        b"\x00".to_vec(),
        b",".to_vec(),
    ]);
    let bad = prop_oneof![
        3 => cut, 3 => wrong_utf8, 2 => deep, 1 => long, 6 => fields,
    ];
    let line = prop_oneof![
        10 => "[ -~]{0,40}|\\PC{0,20}".prop_map(|note| Line::Good { note }),
        2 => proptest::sample::select(vec!["", " ", "\t", "  \t "]).prop_map(Line::Blank),
        4 => bad.prop_map(Line::Bad),
        1 => Just(Line::Again),
    ];
    proptest::collection::vec(line, 0..25)
}

/// The text of the lines, with ends of lines in turn as given, the numbers of the bad ones, and how
/// many are good.
fn written(lines: &[Line], ends: &[&str], last_end: bool) -> (Vec<u8>, BTreeSet<u64>, u64) {
    let (mut text, mut bad, mut good) = (Vec::new(), BTreeSet::new(), 0);
    let mut last_good = None;
    for (place, line) in lines.iter().enumerate() {
        let number = place as u64 + 1;
        let rule = |id: &str, note: &str| {
            let rule = json!({"id": id, "group": format!("room-{id}"), "account": "ann",
                "marks": [1000], "note": note});
            rule.to_string().into_bytes()
        };
        match line {
            Line::Good { note } => {
                let id = format!("good-{number}");
                text.extend(rule(&id, note));
                (last_good, good) = (Some(id), good + 1);
            }
            Line::Again => match &last_good {
                Some(id) => {
                    text.extend(rule(id, ""));
                    bad.insert(number);
                }
                None => {
                    let id = format!("good-{number}");
                    text.extend(rule(&id, ""));
                    (last_good, good) = (Some(id), good + 1);
                }
            },
            Line::Blank(blank) => text.extend(blank.bytes()),
            Line::Bad(line) => {
                text.extend(line);
                bad.insert(number);
            }
        }
        if last_end || place + 1 < lines.len() {
            text.extend(ends[place % ends.len()].bytes());
        }
    }
    (text, bad, good)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn router() -> (TestDatabase, Router) {
    let database = database().await;
    let db = database.db().clone();
    let token = AdminToken {
        name: "fuzz".to_owned(),
        role: Role::Editor,
        secret: SecretString::from("secret"),
    };
    let readiness = Readiness::new(db.clone());
    let state = AdminState::new(replica(&db), readiness, &[token]);
    (database, api::router(state))
}

async fn import(router: &Router, text: &[u8], piece: usize) -> (u16, Value) {
    let pieces: Vec<Result<Bytes, Infallible>> = text
        .chunks(piece.max(1))
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let request = Request::post("/v1/rules/import?dry_run=true")
        .header("authorization", "Bearer secret")
        .header("content-type", "application/x-ndjson")
        .body(Body::from_stream(futures::stream::iter(pieces)))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 16 * 1024 * 1024)
        .await
        .unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

fn told(answer: &Value) -> BTreeSet<u64> {
    let errors = answer["errors"].as_array().unwrap();
    errors
        .iter()
        .map(|error| error["line"].as_u64().unwrap())
        .collect()
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    })
}

#[test]
fn every_bad_line_of_an_import_is_told_by_its_number_and_no_good_one() {
    let runtime = runtime();
    let (_database, router) = runtime.block_on(router());
    let ends = proptest::collection::vec(proptest::sample::select(vec!["\n", "\r\n"]), 1..4);
    let pieces = prop_oneof![1usize..200, 1000usize..100_000];
    let cases = (lines(), ends, any::<bool>(), pieces);
    let (refused, taken) = (Cell::new(0), Cell::new(0));
    let outcome = runner(600).run(&cases, |(lines, ends, last_end, piece)| {
        let (text, bad, good) = written(&lines, &ends, last_end);
        let (status, answer) = runtime.block_on(import(&router, &text, piece));
        let of_its_kind = if bad.is_empty() { &taken } else { &refused };
        of_its_kind.set(of_its_kind.get() + 1);
        if bad.is_empty() {
            prop_assert_eq!(status, 200, "{}", answer);
            prop_assert_eq!(&answer["created"], good, "{}", answer);
        } else {
            prop_assert_eq!(status, 422, "{}", answer);
            prop_assert_eq!(&answer["bad_lines"], bad.len() as u64, "{}", answer);
            prop_assert_eq!(told(&answer), bad, "{}", answer);
            prop_assert!(answer.to_string().len() < 100_000);
        }
        Ok(())
    });
    outcome.unwrap();
    let (taken, refused) = (taken.get(), refused.get());
    assert!(refused > 60 && taken > 6, "{refused} bad, {taken} good");
}

#[test]
fn noise_for_an_import_is_refused_line_by_line() {
    let runtime = runtime();
    let (_database, router) = runtime.block_on(router());
    let noise = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..3000),
        "(\\PC|[\\x00-\\x1f\\n\\r]){0,500}".prop_map(String::into_bytes),
        proptest::collection::vec(
            proptest::sample::select(b"{}[]\",:\n\r\\u00 ".to_vec()),
            0..2000
        ),
    ];
    let outcome = runner(400).run(&(noise, 1usize..3000), |(text, piece)| {
        let (status, answer) = runtime.block_on(import(&router, &text, piece));
        let lines = text.split(|byte| *byte == b'\n').count() as u64;
        prop_assert!(matches!(status, 200 | 422), "{status} {answer}");
        if status == 422 {
            prop_assert!(answer["bad_lines"].as_u64().unwrap() <= lines);
            prop_assert!(told(&answer).iter().all(|line| (1..=lines).contains(line)));
        }
        Ok(())
    });
    outcome.unwrap();
}
