//! Setting and deleting marks.

use serde_json::json;

use super::harness::{Chat, ROOM, accounts, code, modify_body};

#[tokio::test]
async fn the_answer_has_the_keys_that_chat_documents() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    let answer = chat.modify(1, &["alice", "bob"], &[1000, 1002]).await;
    let wanted = json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "CommandType": 1,
        "MemberList": [{ "Member_Account": "alice", "Marks": [1000, 1002] }],
    });
    assert_eq!(answer, wanted);
    assert_eq!(chat.marks("alice").await, [1000, 1002]);
}

#[tokio::test]
async fn set_adds_and_delete_takes_away() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000, 1001]).await;
    chat.modify(1, &["alice"], &[1002]).await;
    assert_eq!(chat.marks("alice").await, [1000, 1001, 1002]);
    let answer = chat.modify(2, &["alice"], &[1001, 1005]).await;
    assert_eq!((code(&answer), &answer["CommandType"]), (0, &json!(2)));
    assert_eq!(chat.marks("alice").await, [1000, 1002]);
}

#[tokio::test]
async fn set_can_be_told_to_replace() {
    let chat = Chat::with(|settings| settings.set_replaces = true).await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000, 1001]).await;
    chat.modify(1, &["alice"], &[1002]).await;
    assert_eq!(chat.marks("alice").await, [1002]);
}

#[tokio::test]
async fn a_call_in_which_nobody_is_online_fails_with_the_chosen_code() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!(
        code(&chat.modify(1, &["bob", "carol"], &[1000]).await),
        10004
    );
    let mut settings = chat.control.settings().await.unwrap();
    settings.all_offline_code = 10019;
    chat.control.configure(&settings).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 10019);
}

#[tokio::test]
async fn requests_that_chat_forbids_change_nothing() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    let many: Vec<String> = (0..501).map(|number| format!("member{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let eleven: Vec<i64> = (1000..1011).collect();
    let too_long = "a".repeat(33);
    let cases = [
        (modify_body(1, &many, &[1000]), 10005),
        (modify_body(1, &[], &[1000]), 10004),
        (modify_body(3, &["alice"], &[1000]), 10004),
        (modify_body(1, &["alice", "alice"], &[1000]), 10004),
        (modify_body(1, &["alice"], &[]), 10004),
        (modify_body(1, &["alice"], &[1000, 1000]), 10004),
        (modify_body(1, &["alice"], &[999]), 10004),
        (modify_body(1, &["alice"], &[501]), 10004),
        (modify_body(1, &["alice"], &[4_294_967_296]), 10004),
        (modify_body(1, &["alice"], &eleven), 10004),
        (modify_body(1, &["alice", &too_long], &[1000]), 10004),
    ];
    for (body, wanted) in cases {
        let answer = chat.call("modify_user_info", &body).await;
        assert_eq!(code(&answer), wanted, "{answer}");
    }
    assert!(chat.marks("alice").await.is_empty());
}

#[tokio::test]
async fn five_hundred_members_go_into_one_call() {
    let chat = Chat::start().await;
    let names: Vec<String> = (0..500).map(|number| format!("member{number}")).collect();
    chat.control.join(ROOM, &names).await.unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answer = chat.modify(1, &names, &[1000]).await;
    assert_eq!(accounts(&answer), names);
}

#[tokio::test]
async fn a_room_holds_ten_distinct_marks_and_one_nobody_has_makes_room() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    let nine: Vec<i64> = (1001..1010).collect();
    chat.modify(1, &["alice"], &nine).await;
    assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 0);
    assert_eq!(code(&chat.modify(1, &["bob"], &[600]).await), 10004);
    assert_eq!(code(&chat.modify(1, &["bob"], &[1005]).await), 0);
    chat.control.leave(ROOM, &["alice"]).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["bob"], &[600]).await), 0);
}

#[tokio::test]
async fn the_member_after_the_thousandth_of_a_mark_is_omitted() {
    let chat = Chat::start().await;
    let names: Vec<String> = (0..1001).map(|number| format!("member{number}")).collect();
    chat.control.join(ROOM, &names).await.unwrap();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for half in names[..998].chunks(499) {
        assert_eq!(accounts(&chat.modify(1, half, &[1000]).await).len(), 499);
    }
    let answer = chat.modify(1, &names[998..], &[1000, 1001]).await;
    assert_eq!(accounts(&answer), ["member998", "member999"]);
    assert!(chat.marks("member1000").await.is_empty());
    // Who has the mark already may be named again, and another mark is not full.
    assert_eq!(code(&chat.modify(1, &["member0"], &[1000]).await), 0);
    assert_eq!(code(&chat.modify(1, &["member1000"], &[1001]).await), 0);
}

#[tokio::test]
async fn rooms_that_never_were_and_rooms_that_are_gone_have_different_codes() {
    let chat = Chat::start().await;
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10015);
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.control.destroy(ROOM).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10010);
    chat.control.create(ROOM, "host", "again").await.unwrap();
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
    let body = json!({ "GroupId": "g".repeat(49), "Timestamp": 0 });
    assert_eq!(code(&chat.call("get_members", &body).await), 10015);
}
