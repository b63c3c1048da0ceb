//! What cannot be told from an answer: alerts, and bodies that are hard to read.

use chrono::DateTime;
use proptest::prelude::*;
use serde_json::json;

use super::{JOIN, NOW, STATE};
use crate::callback::answer::Refusal;
use crate::callback::wire::{self, Callback, OverLimit};
use crate::domain::{EventTime, RequestId};

fn parse(body: &str, url_command: &str) -> Result<Callback, Refusal> {
    let now = DateTime::from_timestamp(NOW, 0).unwrap();
    let request = RequestId::generate();
    wire::parse(body.as_bytes(), url_command, &request, now)
}

#[test]
fn an_alert_is_read_if_it_names_an_api() {
    let read = |without: &str| {
        let mut alert = json!({"CallbackCommand": "Alert.RequestOverLimit", "Request": 171, "Limit": "200",
            "ServiceName": "group_open_avchatroom_http_svc", "Command": "modify_user_info"});
        alert.as_object_mut().unwrap().remove(without);
        parse(&alert.to_string(), "Alert.RequestOverLimit")
    };
    let over_limit = |limit| {
        Callback::OverLimit(OverLimit {
            service_name: "group_open_avchatroom_http_svc".to_owned(),
            command: "modify_user_info".to_owned(),
            request: Some(171),
            limit,
        })
    };
    assert_eq!(read(""), Ok(over_limit(Some(200))));
    assert_eq!(read("Limit"), Ok(over_limit(None)));
    assert_eq!(read("Command"), Ok(Callback::Other));
}

#[test]
fn deep_nesting_is_survived_wherever_it_stands() {
    for key in ["Unknown", "GroupId", "NewMemberList", "EventTime", "Type"] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let read = parse(
                &format!(r#"{{"CallbackCommand":"{JOIN}","{key}":{deep}}}"#),
                JOIN,
            );
            // Another type of group is ignored, whatever it is.
            assert_eq!(read == Ok(Callback::Other), key == "Type", "{key}");
        }
    }
}

proptest! {
    #[test]
    fn an_event_is_read_however_its_texts_are_escaped(
        name in "[^\\pC@]{1,8}", group in "[ -~]{1,48}", seconds in 1_700_000_000i64..1_760_000_000,
    ) {
        let escaped: String = name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let group_json = serde_json::to_string(&group).unwrap();
        for account in [serde_json::to_string(&name).unwrap(), format!("\"{escaped}\"")] {
            let body = format!(
                r#" {{"CallbackCommand":"{STATE}","GroupId":{group_json},"EventType":"Online",
                "MemberList":[{{"Member_Account":{account}}}],"EventTime":{seconds}000}}"#
            );
            let Ok(Callback::Members(events)) = parse(&body, STATE) else {
                return Err(TestCaseError::fail(body));
            };
            prop_assert_eq!(events[0].account.as_str(), &name);
            prop_assert_eq!(events[0].group.as_str(), &group);
            prop_assert_eq!(events[0].at, Some(EventTime::from_number(seconds * 1000)));
        }
    }
}
