//! The calls that only read.

use serde_json::{Value, json};

use super::harness::{Chat, ROOM, accounts, code};

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
async fn mark_600_hides_a_member_except_from_a_search_for_a_mark_he_has() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.modify(1, &["alice"], &[600, 1000]).await;
    assert_eq!(all_pages(&chat, None).await.concat(), ["bob"]);
    assert_eq!(all_pages(&chat, Some(1000)).await.concat(), ["alice"]);
}

#[tokio::test]
async fn check_members_names_those_who_are_online() {
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
async fn the_online_number_leaves_out_those_who_dropped() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control.drop_offline(ROOM, &["bob"]).await.unwrap();
    let answer = chat
        .call("get_online_member_num", &json!({ "GroupId": ROOM }))
        .await;
    assert_eq!((code(&answer), &answer["OnlineMemberNum"]), (0, &json!(1)));
}

#[tokio::test]
async fn group_info_tells_of_each_group_by_itself() {
    let chat = Chat::start().await;
    chat.control
        .create(ROOM, "host", "Friday show")
        .await
        .unwrap();
    let body = json!({ "GroupIdList": [ROOM, "other"] });
    let answer = chat.call("get_group_info", &body).await;
    assert_eq!(code(&answer), 0);
    let found = &answer["GroupInfo"][0];
    assert_eq!(
        (&found["Type"], &found["ErrorCode"]),
        (&json!("AVChatRoom"), &json!(0))
    );
    assert_eq!(answer["GroupInfo"][1]["ErrorCode"], 10015);
}
