//! Bodies and queries as Chat, gateways and the pages write them: `bodies.jsonl` has one a line, with
//! the status of the answer and the events that reach the inbox.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{Front, NOW};

#[derive(Deserialize)]
struct Case {
    about: String,
    query: String,
    #[serde(default)]
    body: String,
    base64: Option<String>,
    status: u16,
    /// Account and source.
    events: Vec<String>,
}

impl Case {
    /// The query with a signature, in its place if it has one.
    fn signed_query(&self) -> String {
        let (now, sign) = (NOW.to_string(), Sha256::digest(format!("token{NOW}")));
        let query = match self.query.contains("{sign}") {
            true => self.query.clone(),
            false => format!("{}&RequestTime={{now}}&Sign={{sign}}", self.query),
        };
        let query = query.replace("{now}", &now);
        query.replace("{sign}", &hex::encode(sign))
    }

    fn body(&self) -> Vec<u8> {
        match &self.base64 {
            Some(text) => STANDARD.decode(text).unwrap(),
            None => self.body.clone().into_bytes(),
        }
    }
}

#[tokio::test]
async fn every_known_form_of_a_callback_has_its_right_answer() {
    let front = Front::start().await;
    for line in include_str!("bodies.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        let answer = front.post_raw(&case.signed_query(), case.body()).await;
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, case.status, "{}: {text}", case.about);
        let mut events = Vec::new();
        front.heard.send_modify(|heard| {
            let all = heard.events.drain(..);
            events.extend(all.map(|event| format!("{} {}", event.account, event.source.as_str())));
        });
        assert_eq!(events, case.events, "{}", case.about);
    }
}
