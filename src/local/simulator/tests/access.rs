//! Who may call, and in what form.

use serde_json::json;

use super::harness::{Chat, ROOM, code, query, user_sig};
use crate::local::simulator::{SAMPLE_SDK_APP_ID as APP, SAMPLE_SECRET_KEY as KEY};

#[tokio::test]
async fn each_fault_of_the_query_has_its_code() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    let now = chrono::Utc::now().timestamp();
    let old = user_sig(APP, "administrator", KEY, now - 86_500);
    let other_key = user_sig(APP, "administrator", "another key", now);
    let other_app = user_sig(APP + 1, "administrator", KEY, now);
    let alice = user_sig(APP, "alice", KEY, now);
    let cases: [(&[(&str, &str)], i64); 15] = [
        (&[], 0),
        (&[("sdkappid", "")], 60012),
        (&[("sdkappid", "seven")], 60006),
        (&[("sdkappid", "1400000001")], 70020),
        (&[("identifier", "")], 60025),
        (&[("usersig", "")], 70002),
        (&[("usersig", "eJwrSS0uAQ")], 70003),
        (&[("usersig", &old)], 70001),
        (&[("usersig", &other_key)], 70009),
        (&[("usersig", &other_app)], 70014),
        (&[("usersig", &alice)], 70013),
        (&[("usersig", &alice), ("identifier", "alice")], 60010),
        (&[("random", "4294967296")], 60025),
        (&[("random", "")], 60025),
        (&[("contenttype", "")], 60025),
    ];
    for (changes, wanted) in cases {
        let body = json!({ "GroupId": ROOM }).to_string();
        let answer = chat
            .raw("get_online_member_num", &query(changes), body)
            .await;
        assert_eq!(code(&answer), wanted, "{changes:?}: {answer}");
    }
}

#[tokio::test]
async fn json_that_is_none_and_json_of_another_shape_have_their_codes() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    let member = r#"{"Member_Account":"alice","Marks":[1000]}"#;
    let cases = [
        (
            format!(r#"{{"GroupId":"{ROOM}","CommandType":1,"MemberList":[{member}]}}"#),
            0,
        ),
        (
            format!(r#"{{"GroupId":"{ROOM}","CommandType":1,"MemberList":[{member},]}}"#),
            60003,
        ),
        (String::new(), 60003),
        (r#"{"GroupId":"#.to_owned(), 60003),
        ("{}".to_owned(), 10011),
        (
            format!(r#"{{"GroupId":"{ROOM}","CommandType":"1","MemberList":[{member}]}}"#),
            10011,
        ),
        (
            format!(r#"{{"Groupid":"{ROOM}","CommandType":1,"MemberList":[{member}]}}"#),
            10011,
        ),
    ];
    for (body, wanted) in cases {
        let answer = chat
            .raw("modify_user_info", &query(&[]), body.clone())
            .await;
        assert_eq!(code(&answer), wanted, "{body}");
    }
    let large = format!(r#"{{"GroupId":"{}"}}"#, "x".repeat(1024 * 1024));
    assert_eq!(
        code(&chat.raw("modify_user_info", &query(&[]), large).await),
        60003
    );
}

#[tokio::test]
async fn an_unknown_command_is_told_with_status_200() {
    let chat = Chat::start().await;
    let answer = chat.call("modify_users_info", &json!({})).await;
    assert_eq!(code(&answer), 60009);
    let wrong_service = format!("{}/v4/group_open_http_svc/get_members", chat.running.url());
    let answer = reqwest::get(wrong_service).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(code(&answer.json().await.unwrap()), 60009);
}

#[tokio::test]
async fn the_call_over_the_limit_is_refused_and_each_api_has_its_own_limit() {
    let chat = Chat::with(|settings| settings.calls_per_second = 20).await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    let body = json!({ "GroupId": ROOM });
    let calls = (0..100).map(|_| chat.call("get_online_member_num", &body));
    let codes: Vec<i64> = futures::future::join_all(calls)
        .await
        .iter()
        .map(code)
        .collect();
    let refused = codes.iter().filter(|code| **code == 60007).count();
    assert!(codes.iter().all(|code| [0, 60007].contains(code)));
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
    // However slow this machine is, no second of the log may hold more than the limit.
    let calls = chat.control.calls().await.unwrap();
    let admitted: Vec<i64> = calls
        .iter()
        .filter(|call| call.error_code == 0 && call.command_type.is_none())
        .map(|call| call.received_at)
        .collect();
    assert_eq!(admitted.len() + refused, 100);
    assert!(refused > 0);
    // The log reads the clock in whole milliseconds, and a little before the limit does.
    assert!(admitted.windows(21).all(|run| run[20] - run[0] >= 900));
    let stats = chat.control.stats().await.unwrap();
    let count = stats.calls[&crate::local::simulator::Api::GetOnlineMemberNum];
    assert_eq!((count.calls, count.over_limit), (100, refused as u64));
    assert!(count.peak_per_second > 20);
}
