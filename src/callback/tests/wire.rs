//! What bodies of all kinds are read as.

use chrono::{DateTime, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::callback::wire::{
    Callback, OverLimit, Query, Receipt, Unreadable, parse as parse_receipt,
};
use crate::domain::{Account, EventSource, EventTime, GroupId, MemberEvent, RequestId, RoomEnd};

const JOIN: &str = "Group.CallbackAfterNewMemberJoin";
const EXIT: &str = "Group.CallbackAfterMemberExit";
const STATE: &str = "Group.CallbackOnMemberStateChange";
const DESTROYED: &str = "Group.CallbackAfterGroupDestroyed";
const ALERT: &str = "Alert.RequestOverLimit";

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_100, 0).unwrap()
}

fn request() -> RequestId {
    RequestId::parse("5f0c-7").unwrap()
}

fn parse(body: &[u8], url_command: &str, now: DateTime<Utc>) -> Result<Callback, Unreadable> {
    let request = &request();
    parse_receipt(body, url_command, Receipt { request, now })
}

fn read(body: &Value) -> Result<Callback, Unreadable> {
    let command = body["CallbackCommand"].as_str().unwrap_or("?").to_owned();
    parse(body.to_string().as_bytes(), &command, now())
}

fn with(mut body: Value, changes: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    body
}

fn without(mut body: Value, key: &str) -> Value {
    body.as_object_mut().unwrap().remove(key).unwrap();
    body
}

fn join() -> Value {
    json!({"CallbackCommand": JOIN, "GroupId": "room-7", "Type": "AVChatRoom", "JoinType": "Apply",
        "Operator_Account": "alice", "NewMemberList": [{"Member_Account": "alice"}],
        "EventTime": 1_760_000_000_123_i64})
}

fn state_change() -> Value {
    json!({"CallbackCommand": STATE, "GroupId": "room-7", "EventType": "Online",
        "EventCause": "HeartbeatRecover",
        "MemberList": [{"Member_Account": "alice"}, {"Member_Account": "bob"}],
        "EventTime": "1760000000123"})
}

fn exit() -> Value {
    json!({"CallbackCommand": EXIT, "GroupId": "room-7", "Type": "AVChatRoom", "ExitType": "Quit",
        "Operator_Account": "alice", "ExitMemberList": [{"Member_Account": "alice"}],
        "EventTime": 1_760_000_000_123_i64})
}

fn events(accounts: &[&str], source: EventSource, at: Option<i64>) -> Callback {
    let event = |account: &&str| MemberEvent {
        group: GroupId::parse("room-7").unwrap(),
        account: Account::parse(account).unwrap(),
        source,
        at: at.map(EventTime::from_number),
        request: request(),
    };
    Callback::Members(accounts.iter().map(event).collect())
}

const AT: Option<i64> = Some(1_760_000_000_123);

#[test]
fn each_member_event_is_read_with_its_source_and_time() {
    assert_eq!(read(&join()), Ok(events(&["alice"], EventSource::Join, AT)));
    assert_eq!(read(&exit()), Ok(events(&["alice"], EventSource::Exit, AT)));
    assert_eq!(
        read(&state_change()),
        Ok(events(&["alice", "bob"], EventSource::Online, AT))
    );
    let offline = with(state_change(), json!({"EventType": "Offline"}));
    assert_eq!(
        read(&offline),
        Ok(events(&["alice", "bob"], EventSource::Offline, AT))
    );
}

#[test]
fn a_destroyed_room_needs_no_list_of_members() {
    let body = json!({"CallbackCommand": DESTROYED, "GroupId": "room-7", "Type": "AVChatRoom",
        "Owner_Account": "host", "Name": "Friday show", "EventTime": 1_760_000_000_123_i64});
    let end = RoomEnd {
        group: GroupId::parse("room-7").unwrap(),
        at: AT.map(EventTime::from_number),
        request: request(),
    };
    assert_eq!(read(&body), Ok(Callback::RoomDestroyed(end)));
}

#[test]
fn an_event_time_is_a_number_or_a_number_in_quotes_or_absent() {
    let timed = |time: Value| read(&with(join(), json!({"EventTime": time}))).unwrap();
    for time in [
        json!(1_760_000_000_123_i64),
        json!("1760000000123"),
        json!(" 1760000000123 "),
    ] {
        assert_eq!(timed(time), events(&["alice"], EventSource::Join, AT));
    }
    let in_five_minutes = (now().timestamp() + 300) * 1000;
    let ahead = events(&["alice"], EventSource::Join, Some(in_five_minutes));
    assert_eq!(timed(json!(in_five_minutes)), ahead);
    let absent = events(&["alice"], EventSource::Join, None);
    for time in [
        json!(in_five_minutes + 1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(0),
        json!(-5),
        json!(1.5),
        json!(""),
        json!("soon"),
        json!(null),
        json!(true),
        json!([1_760_000_000_123_i64]),
        json!({"ms": 1}),
    ] {
        assert_eq!(timed(time.clone()), absent, "{time}");
    }
    assert_eq!(read(&without(join(), "EventTime")), Ok(absent.clone()));
    let huge = join().to_string().replace("1760000000123", "1e999999");
    assert_eq!(parse(huge.as_bytes(), JOIN, now()), Ok(absent));
}

#[test]
fn what_is_optional_may_be_missing_and_what_is_unknown_may_be_there() {
    let bare = without(without(state_change(), "EventCause"), "EventTime");
    assert_eq!(
        read(&bare),
        Ok(events(&["alice", "bob"], EventSource::Online, None))
    );
    let bare = without(without(join(), "Type"), "Operator_Account");
    assert_eq!(read(&bare), Ok(events(&["alice"], EventSource::Join, AT)));
    let odd = with(
        join(),
        json!({"New": {"a": [1e300, null]}, "Operator_Account": 7, "Limit": {}}),
    );
    assert_eq!(read(&odd), Ok(events(&["alice"], EventSource::Join, AT)));
}

#[test]
fn groups_that_are_no_live_rooms_are_ignored() {
    for body in [join(), exit(), state_change()] {
        for other in [
            json!({"Type": "Public"}),
            json!({"Type": 7}),
            json!({"Type": "Community", "GroupId": "g".repeat(50), "NewMemberList": "none"}),
        ] {
            assert_eq!(read(&with(body.clone(), other)), Ok(Callback::Other));
        }
    }
    let destroyed = json!({"CallbackCommand": DESTROYED, "GroupId": "g", "Type": "Community"});
    assert_eq!(read(&destroyed), Ok(Callback::Other));
    let in_other_letters = with(join(), json!({"Type": "AvChatRoom"}));
    let expected = events(&["alice"], EventSource::Join, AT);
    assert_eq!(read(&in_other_letters), Ok(expected));
}

#[test]
fn who_can_carry_no_mark_does_not_cost_the_others_of_the_list() {
    let list = json!([{"Member_Account": "@TLS#144115"}, {"Member_Account": "alice"},
        {"Member_Account": "a".repeat(65)}, {"Member_Account": "a\u{1b}[31m"}, {},
        {"Member_Account": 7}, null, {"Member_Account": "老师", "Role": "x"}]);
    let body = with(join(), json!({"NewMemberList": list}));
    assert_eq!(
        read(&body),
        Ok(events(&["alice", "老师"], EventSource::Join, AT))
    );
    let empty = with(join(), json!({"NewMemberList": []}));
    assert_eq!(read(&empty), Ok(Callback::Members(vec![])));
}

#[test]
fn an_event_type_that_nobody_knows_is_ignored() {
    let away = with(state_change(), json!({"EventType": "Away"}));
    assert_eq!(read(&away), Ok(Callback::Other));
}

#[test]
fn a_required_field_that_is_missing_or_wrong_is_named() {
    for (body, says) in [
        (without(join(), "GroupId"), "missing field `GroupId`"),
        (
            with(join(), json!({"GroupId": 7})),
            "GroupId: invalid type: integer `7`, expected a string",
        ),
        (
            with(join(), json!({"GroupId": "g".repeat(49)})),
            "GroupId: a group id has at most 48 bytes",
        ),
        (
            with(exit(), json!({"GroupId": "gruppe-ä"})),
            "GroupId: a group id is printable ASCII",
        ),
        (
            without(join(), "NewMemberList"),
            "missing field `NewMemberList`",
        ),
        (
            with(exit(), json!({"ExitMemberList": "alice"})),
            "ExitMemberList: invalid type: string",
        ),
        (
            with(state_change(), json!({"MemberList": {}})),
            "MemberList: invalid type: map",
        ),
        (
            with(state_change(), json!({"MemberList": ["bob"]})),
            "MemberList: invalid type: string",
        ),
        (
            with(
                state_change(),
                json!({"MemberList": [{"Member_Account": ""}]}),
            ),
            "MemberList: an account must not be empty",
        ),
        (
            without(state_change(), "EventType"),
            "missing field `EventType`",
        ),
        (
            with(state_change(), json!({"EventType": true})),
            "EventType: invalid type: boolean",
        ),
        (
            json!({"CallbackCommand": DESTROYED}),
            "missing field `GroupId`",
        ),
    ] {
        let error = read(&body).unwrap_err();
        assert!(matches!(error, Unreadable::Field(_)));
        assert!(error.to_string().starts_with(says), "{error}");
    }
}

#[test]
fn an_alert_is_read_if_it_names_an_api() {
    let alert = json!({"CallbackCommand": ALERT, "ServiceName": "group_open_avchatroom_http_svc",
        "Command": "modify_user_info", "Request": 171, "Limit": "200"});
    let over_limit = |limit| OverLimit {
        service_name: "group_open_avchatroom_http_svc".to_owned(),
        command: "modify_user_info".to_owned(),
        request: Some(171),
        limit,
    };
    let expected = Callback::OverLimit(over_limit(Some(200)));
    assert_eq!(read(&alert), Ok(expected));
    let without_limit = Callback::OverLimit(over_limit(None));
    assert_eq!(read(&without(alert.clone(), "Limit")), Ok(without_limit));
    assert_eq!(read(&without(alert, "Command")), Ok(Callback::Other));
}

#[test]
fn url_and_body_must_name_the_same_command_if_it_is_used() {
    let body = join().to_string();
    for url_command in ["", EXIT, "group.callbackafternewmemberjoin"] {
        let error = parse(body.as_bytes(), url_command, now()).unwrap_err();
        assert_eq!(error, Unreadable::CommandsDiffer);
    }
    for body in ["{}", r#"{"CallbackCommand":"Live.Other"}"#] {
        let error = parse(body.as_bytes(), JOIN, now()).unwrap_err();
        assert_eq!(error, Unreadable::CommandsDiffer);
        for url_command in ["", "Live.One"] {
            assert_eq!(
                parse(body.as_bytes(), url_command, now()),
                Ok(Callback::Other)
            );
        }
    }
}

#[test]
fn of_a_query_the_first_of_each_key_counts_and_the_rest_is_skipped() {
    let query = Query::parse("a=b&&=&%zz&RequestId=1&SdkAppid=%31&Sign&SdkAppid=2&RequestID=2");
    assert_eq!(query.sdk_app_id, "1");
    assert_eq!(query.command, "");
    assert_eq!(query.sign.as_deref(), Some(""));
    assert_eq!(query.request_time, None);
    assert_eq!(query.request_id.as_deref(), Some("1"));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for body in [
        "",
        "null",
        "7",
        "\"x\"",
        "[\"Group.X\"]",
        "{",
        "{}}",
        "{\"a\":1,}",
        "\u{feff}{}",
    ] {
        let error = parse(body.as_bytes(), JOIN, now()).unwrap_err();
        assert!(matches!(error, Unreadable::NotJson(_)), "{body}");
    }
    let error = parse(b"\x1f\x8b\x08", JOIN, now()).unwrap_err();
    assert!(
        error.to_string().contains("compressed with gzip"),
        "{error}"
    );
    let not_utf8 = b"{\"CallbackCommand\":\"\xff\"}";
    assert!(parse(not_utf8, JOIN, now()).is_err());
    let twice = r#"{"CallbackCommand":"a","CallbackCommand":"a"}"#;
    // Which of the two is meant is not known.
    assert!(matches!(
        parse(twice.as_bytes(), "a", now()),
        Err(Unreadable::NotJson(_))
    ));
}

#[test]
fn deep_nesting_is_survived_wherever_it_stands() {
    for key in ["Unknown", "GroupId", "NewMemberList", "EventTime", "Type"] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
            let body = format!(r#"{{"CallbackCommand":"{JOIN}","{key}":{deep}}}"#);
            let read = parse(body.as_bytes(), JOIN, now());
            // Another type of group is ignored, whatever it is.
            assert_eq!(read == Ok(Callback::Other), key == "Type", "{key}");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("Member_Account|.{0,3}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300), command in ".{0,9}") {
        let _ = parse(&body, &command, now());
    }

    #[test]
    fn no_json_in_any_field_panics(
        command in prop_oneof![Just(JOIN), Just(EXIT), Just(STATE), Just(DESTROYED), Just(ALERT)],
        fields in proptest::collection::hash_map(
            prop_oneof![
                Just("GroupId"), Just("Type"), Just("EventType"), Just("EventTime"),
                Just("NewMemberList"), Just("ExitMemberList"), Just("MemberList"),
                Just("ServiceName"), Just("Command"), Just("Request"), Just("Limit"),
            ],
            any_json(),
            0..8,
        ),
    ) {
        let mut body = json!({"CallbackCommand": command});
        for (key, value) in fields {
            body[key] = value;
        }
        if let Err(error) = read(&body) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
            prop_assert!(error.to_string().len() < 400);
        }
    }

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
            let Ok(Callback::Members(events)) = parse(body.as_bytes(), STATE, now()) else {
                return Err(TestCaseError::fail(body));
            };
            prop_assert_eq!(events[0].account.as_str(), &name);
            prop_assert_eq!(events[0].group.as_str(), &group);
            prop_assert_eq!(events[0].at, Some(EventTime::from_number(seconds * 1000)));
        }
    }
}
