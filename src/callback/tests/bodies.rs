//! Bodies and queries as Chat, gateways and the pages write them, and as they must not be. `bodies.jsonl`
//! has one a line, with the answer and what reaches the inbox.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Front, NOW, exit, join, query_with, sign, state_change};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    /// As it is, but for `{now}` and `{sign}`; without both it is signed. Absent: that of the command.
    query: Option<String>,
    #[serde(default = "token")]
    token: String,
    /// Seconds from now to `RequestTime`.
    #[serde(default)]
    seconds: i64,
    /// Text as it is, or JSON.
    #[serde(default)]
    body: Value,
    base64: Option<String>,
    /// An event, in place of a body, with changes.
    base: Option<String>,
    #[serde(default)]
    with: Map<String, Value>,
    #[serde(default)]
    without: Vec<String>,
    status: u16,
    /// How the reason of a refusal begins.
    says: Option<String>,
    /// As counted in the metrics.
    outcome: Option<String>,
    /// Account and source, or a room and `destroyed`.
    #[serde(default)]
    events: Vec<String>,
    /// Their time in milliseconds; 0 is none.
    at: Option<i64>,
}

fn token() -> String {
    "token".to_owned()
}

impl Case {
    fn query(&self, body: &[u8]) -> String {
        let now = NOW + self.seconds;
        let Some(query) = &self.query else {
            let body: Value = serde_json::from_slice(body).unwrap();
            let command = body["CallbackCommand"].as_str().unwrap();
            return query_with("1400000000", command, &self.token, now);
        };
        let query = match query.contains("{sign}") {
            true => query.clone(),
            false => format!("{query}&RequestTime={{now}}&Sign={{sign}}"),
        };
        let query = query.replace("{now}", &now.to_string());
        query.replace("{sign}", &sign(&self.token, now))
    }

    fn body(&self) -> Vec<u8> {
        let mut event = match (self.base.as_deref(), &self.base64, &self.body) {
            (None, Some(text), _) => return STANDARD.decode(text).unwrap(),
            (None, None, Value::String(text)) => return text.clone().into_bytes(),
            (None, None, body) => return body.to_string().into_bytes(),
            (Some("join"), ..) => join(),
            (Some("exit"), ..) => exit(),
            (Some("state change"), ..) => state_change(),
            (Some(other), ..) => panic!("no event {other}"),
        };
        let fields = event.as_object_mut().unwrap();
        fields.extend(self.with.clone());
        fields.retain(|field, _| !self.without.contains(field));
        event.to_string().into_bytes()
    }
}

#[tokio::test]
async fn every_known_form_of_a_callback_has_its_right_answer() {
    let front = Front::start().await;
    for line in include_str!("bodies.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let (about, body) = (&case.about, case.body());
        let query = case.query(&body);
        let counts = || front.counted("stickymark_callbacks_total");
        let before = counts();
        let answer = front.post_raw(&query, body).await;
        let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, case.status, "{about}: {answer}");
        let reason = answer["ErrorInfo"].as_str().unwrap();
        let starts = reason.starts_with(case.says.as_deref().unwrap_or_default());
        assert!(starts && reason.len() < 400, "{about}: {reason}");
        assert!(!reason.contains(char::is_control), "{about}: {reason}");
        let shape = if status == 200 {
            ("OK", 0)
        } else {
            ("FAIL", 1)
        };
        assert_eq!(
            (&answer["ActionStatus"], &answer["ErrorCode"]),
            (&shape.0.into(), &shape.1.into())
        );
        if let Some(outcome) = &case.outcome {
            let count = |counts: Vec<(String, u64)>| -> u64 {
                let counts = counts.into_iter().filter(|(name, _)| name == outcome);
                counts.map(|(_, count)| count).sum()
            };
            assert_eq!(count(counts()), count(before) + 1, "{about}: {outcome}");
        }
        let mut heard = super::Heard::default();
        front
            .heard
            .send_modify(|all| std::mem::swap(all, &mut heard));
        let members = heard.events.iter();
        let members = members.map(|event| format!("{} {}", event.account, event.source.as_str()));
        let rooms = heard
            .destroyed
            .iter()
            .map(|end| format!("{} destroyed", end.group));
        assert_eq!(
            members.chain(rooms).collect::<Vec<_>>(),
            case.events,
            "{about}"
        );
        if let Some(at) = case.at {
            let expected = Some(at).filter(|at| *at != 0);
            let members = heard.events.iter().map(|event| event.at);
            for found in members.chain(heard.destroyed.iter().map(|end| end.at)) {
                assert_eq!(found.map(|at| at.millis()), expected, "{about}");
            }
        }
    }
}
