//! Chat's side: access, marks, lists, presence.

use serde_json::{Value, json};

use super::{Chat, ROOM, accounts, code, modify_body, query, user_sig};
use crate::domain::{Account, GroupId, Mark};
use crate::local::simulator::rooms::{Movement, Rooms};
use crate::local::simulator::{Api, SAMPLE_SDK_APP_ID as APP, SAMPLE_SECRET_KEY as KEY};

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
async fn a_body_that_is_not_json_and_json_of_another_shape_have_their_codes() {
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
async fn an_unknown_command_is_answered_with_status_200() {
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
    let count = chat.control.stats().await.unwrap().calls[&Api::GetOnlineMemberNum];
    assert_eq!((count.calls, count.errors), (100, refused as u64));
    assert!(count.peak_per_second > 20);
}

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
async fn set_adds_and_delete_removes() {
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
async fn a_call_without_online_members_fails_with_the_chosen_code() {
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
    let too_long = "a".repeat(Account::MAX_BYTES + 1);
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
async fn a_room_has_ten_distinct_marks_and_one_without_members_leaves_a_place() {
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
    // A member who has the mark may be named again, and another mark is not full.
    assert_eq!(code(&chat.modify(1, &["member0"], &[1000]).await), 0);
    assert_eq!(code(&chat.modify(1, &["member1000"], &[1001]).await), 0);
}

#[tokio::test]
async fn rooms_that_never_existed_and_destroyed_rooms_have_different_codes() {
    let chat = Chat::start().await;
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10015);
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.control.destroy(ROOM).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10010);
    chat.control.create(ROOM).await.unwrap();
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
    let body = json!({ "GroupId": "g".repeat(GroupId::MAX_BYTES + 1), "Timestamp": 0 });
    assert_eq!(code(&chat.call("get_members", &body).await), 10015);
}

/// Every page of the online list.
async fn all_pages(chat: &Chat, mark: Option<i64>) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut timestamp = json!(0);
    loop {
        let mut body = json!({ "GroupId": ROOM, "Timestamp": timestamp });
        if let Some(mark) = mark {
            body["Mark"] = mark.into();
        }
        let page = chat.call("get_members", &body).await;
        assert_eq!(code(&page), 0, "{page}");
        pages.push(accounts(&page).into_iter().map(str::to_owned).collect());
        timestamp = page["NextTimestamp"].clone();
        if timestamp == 0 {
            return pages;
        }
    }
}

#[tokio::test]
async fn a_member_of_the_list_has_no_marks_in_it() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000]).await;
    let mut answer = chat
        .call("get_members", &json!({ "GroupId": ROOM, "Timestamp": 0 }))
        .await;
    let joined = answer["MemberList"][0]["JoinTime"].take().as_i64().unwrap();
    assert!((chrono::Utc::now().timestamp() - joined).abs() < 60);
    let wanted = json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "NextTimestamp": 0,
        "MemberList":
            [{ "Member_Account": "alice", "JoinTime": null, "NickName": "", "Avatar": "" }],
    });
    assert_eq!(answer, wanted);
}

#[tokio::test]
async fn pages_show_each_online_member_once_newest_first() {
    let chat = Chat::with(|settings| settings.page_size = 4).await;
    let names: Vec<String> = (0..12).map(|number| format!("member{number:02}")).collect();
    chat.control.join(ROOM, &names).await.unwrap();
    chat.control
        .drop_offline(ROOM, &["member05"])
        .await
        .unwrap();
    let pages = all_pages(&chat, None).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 3]);
    let mut wanted: Vec<String> = names
        .into_iter()
        .filter(|name| name != "member05")
        .collect();
    wanted.reverse();
    assert_eq!(pages.concat(), wanted);
}

#[tokio::test]
async fn the_list_shows_the_newest_thousand_but_a_mark_reaches_the_oldest() {
    let chat = Chat::start().await;
    let names: Vec<String> = (0..1200)
        .map(|number| format!("member{number:04}"))
        .collect();
    chat.control.join(ROOM, &names).await.unwrap();
    chat.modify(1, &["member0000", "member1199"], &[1000]).await;
    let pages = all_pages(&chat, None).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [250; 4]);
    assert_eq!(pages.concat().last().unwrap(), "member0200");
    assert_eq!(
        all_pages(&chat, Some(1000)).await.concat(),
        ["member1199", "member0000"]
    );
    assert!(all_pages(&chat, Some(1001)).await.concat().is_empty());
}

#[tokio::test]
async fn mark_600_hides_a_member_except_from_a_search_for_a_mark_they_have() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.modify(1, &["alice"], &[600, 1000]).await;
    assert_eq!(all_pages(&chat, None).await.concat(), ["bob"]);
    assert_eq!(all_pages(&chat, Some(1000)).await.concat(), ["alice"]);
}

#[tokio::test]
async fn check_members_names_the_members_who_are_online() {
    let chat = Chat::start().await;
    chat.control
        .join(ROOM, &["alice", "bob", "carol"])
        .await
        .unwrap();
    chat.control.drop_offline(ROOM, &["bob"]).await.unwrap();
    let check = |who: Value| json!({ "GroupId": ROOM, "Member_Account": who });
    let answer = chat
        .call(
            "check_members",
            &check(json!(["carol", "bob", "dave", "alice"])),
        )
        .await;
    let wanted = json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "",
        "Member_Account": ["carol", "alice"],
    });
    assert_eq!(answer, wanted);
    let many: Vec<String> = (0..501).map(|number| number.to_string()).collect();
    assert_eq!(
        code(&chat.call("check_members", &check(json!(many))).await),
        10005
    );
}

#[tokio::test]
async fn the_online_number_excludes_members_who_dropped() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control.drop_offline(ROOM, &["bob"]).await.unwrap();
    let answer = chat
        .call("get_online_member_num", &json!({ "GroupId": ROOM }))
        .await;
    assert_eq!((code(&answer), &answer["OnlineMemberNum"]), (0, &json!(1)));
}

#[tokio::test]
async fn marks_are_cleared_by_a_leave_and_by_a_drop_and_do_not_return() {
    let chat = Chat::start().await;
    let control = &chat.control;
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.modify(1, &["alice", "bob"], &[1000]).await;
    control.drop_offline(ROOM, &["alice"]).await.unwrap();
    assert!(chat.marks("alice").await.is_empty());
    assert_eq!(chat.marks("bob").await, [1000]);
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10004);
    control.come_back(ROOM, &["alice"]).await.unwrap();
    assert!(chat.marks("alice").await.is_empty());
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
    control.leave(ROOM, &["alice"]).await.unwrap();
    assert!(!control.marks(ROOM).await.unwrap().contains_key("alice"));
    control.join(ROOM, &["alice"]).await.unwrap();
    assert!(chat.marks("alice").await.is_empty());
}

#[tokio::test]
async fn a_movement_counts_the_members_it_changed() {
    let chat = Chat::start().await;
    let control = &chat.control;
    let joined = control
        .join(ROOM, &["alice", "bob", "alice"])
        .await
        .unwrap();
    let again = control.join(ROOM, &["alice"]).await.unwrap();
    let dropped = control
        .drop_offline(ROOM, &["alice", "carol"])
        .await
        .unwrap();
    let back = control.come_back(ROOM, &["alice", "bob"]).await.unwrap();
    let left = control.leave(ROOM, &["alice", "carol"]).await.unwrap();
    let changed = [joined, again, dropped, back, left].map(|moved| moved.changed);
    assert_eq!(changed, [2, 0, 1, 1, 1]);
    assert!(joined.at < dropped.at && dropped.at < back.at && back.at < left.at);
}

#[tokio::test]
async fn mark_500_keeps_a_member_and_the_marks_through_a_drop_until_it_expires() {
    let chat = Chat::start().await;
    let control = &chat.control;
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.modify(1, &["alice", "bob"], &[500, 1000]).await;
    control.drop_offline(ROOM, &["alice", "bob"]).await.unwrap();
    let alice = &control.room(ROOM).await.unwrap().members["alice"];
    assert!(alice.online && !alice.connected);
    assert_eq!(chat.marks("alice").await, [500, 1000]);
    control.come_back(ROOM, &["alice"]).await.unwrap();
    assert_eq!(chat.marks("alice").await, [500, 1000]);
    control.expire(ROOM, &["alice", "bob"]).await.unwrap();
    assert_eq!(chat.marks("alice").await, [1000]);
    let bob = &control.room(ROOM).await.unwrap().members["bob"];
    assert!(!bob.online && bob.marks.is_empty());
}

#[tokio::test]
async fn a_member_kept_only_by_mark_500_goes_offline_when_it_is_deleted() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[500, 1000]).await;
    chat.control.drop_offline(ROOM, &["alice"]).await.unwrap();
    assert_eq!(code(&chat.modify(2, &["alice"], &[500]).await), 0);
    let alice = &chat.control.room(ROOM).await.unwrap().members["alice"];
    assert!(!alice.online && alice.marks.is_empty());
}

#[tokio::test]
async fn mark_500_expires_after_three_days() {
    const DAY: i64 = 24 * 60 * 60 * 1000;
    let (group, alice) = (
        GroupId::parse(ROOM).unwrap(),
        Account::parse("alice").unwrap(),
    );
    let mut rooms = Rooms::default();
    let all = [alice.clone()];
    rooms.apply(Movement::Join, &group, &all, 1, 0).unwrap();
    let wanted = [(alice.clone(), vec![Mark::ALWAYS_ONLINE])];
    let set = |rooms: &mut Rooms, now| {
        let room = rooms.find(&group).unwrap();
        room.mark(&wanted, true, now, |_| true).unwrap();
    };
    set(&mut rooms, 0);
    rooms.apply(Movement::Drop, &group, &all, 1, DAY).unwrap();
    set(&mut rooms, DAY);
    assert!(rooms.expire(4 * DAY - 1).is_empty());
    assert_eq!(rooms.expire(4 * DAY).len(), 1);
    assert!(!rooms.find(&group).unwrap().member(&alice).unwrap().online);
}
