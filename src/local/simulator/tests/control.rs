//! The control API: faults, the log of calls, rooms.

use std::time::Duration;

use serde_json::json;

use super::{Chat, PATIENCE, ROOM, accounts, code, modify_body, query};
use crate::domain::Account;
use crate::local::simulator::{
    Api, CalledMember, ControlError, Effect, Fault, Kind, LostAnswer, Settings,
};

async fn with_alice() -> Chat {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat
}

#[tokio::test]
async fn a_call_with_an_injected_error_code_does_nothing_as_often_as_its_count() {
    let chat = with_alice().await;
    let fault = Fault::new(Effect::ErrorCode(10002))
        .api(Api::ModifyUserInfo)
        .times(2);
    chat.control.inject(&fault).await.unwrap();
    for _ in 0..2 {
        assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10002);
    }
    assert!(chat.marks("alice").await.is_empty());
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
}

#[tokio::test]
async fn a_fault_strikes_only_where_all_its_conditions_match() {
    let chat = with_alice().await;
    let fault = Fault::new(Effect::ErrorCode(10002))
        .group(ROOM)
        .account("alice");
    chat.control.inject(&fault).await.unwrap();
    let elsewhere = Fault::new(Effect::ErrorCode(60008)).group("other");
    chat.control.inject(&elsewhere).await.unwrap();
    let only_lists = Fault::new(Effect::ErrorCode(60008)).api(Api::GetMembers);
    chat.control.inject(&only_lists).await.unwrap();
    assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 0);
    assert_eq!(
        code(&chat.modify(1, &["bob", "alice"], &[1000]).await),
        10002
    );
    assert_eq!(chat.control.faults().await.unwrap().len(), 3);
    chat.control.clear_all().await.unwrap();
    assert_eq!(code(&chat.modify(1, &["bob", "alice"], &[1000]).await), 0);
}

#[tokio::test]
async fn a_late_error_code_hides_that_the_call_took_effect() {
    let chat = with_alice().await;
    chat.control
        .inject(&Fault::new(Effect::LateErrorCode(60008)).times(1))
        .await
        .unwrap();
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 60008);
    assert_eq!(chat.marks("alice").await, [1000]);
}

#[tokio::test]
async fn an_http_status_comes_without_a_body() {
    let chat = with_alice().await;
    chat.control
        .inject(&Fault::new(Effect::HttpStatus(502)).times(1))
        .await
        .unwrap();
    let body = modify_body(1, &["alice"], &[1000]).to_string();
    let answer = chat
        .send("modify_user_info", &query(&[]), body)
        .await
        .unwrap();
    assert_eq!(answer.status(), 502);
    assert!(answer.bytes().await.unwrap().is_empty());
    assert!(chat.marks("alice").await.is_empty());
}

#[tokio::test]
async fn a_delayed_call_takes_effect_before_its_answer_comes() {
    let chat = with_alice().await;
    chat.control
        .inject(&Fault::new(Effect::DelayMs(600_000)).times(1))
        .await
        .unwrap();
    let call = chat.modify(1, &["alice"], &[1000]);
    let seen = chat
        .control
        .wait_for_marks(ROOM, "alice", &[1000], PATIENCE);
    tokio::select! {
        _ = call => panic!("the answer was not delayed"),
        seen = seen => seen.unwrap(),
    }
}

#[tokio::test]
async fn an_answer_is_lost_after_the_call_took_effect() {
    let chat = with_alice().await;
    let lost = Fault::new(Effect::LostAnswer(LostAnswer::Close)).times(1);
    chat.control.inject(&lost).await.unwrap();
    let body = modify_body(1, &["alice"], &[1000]).to_string();
    let error = chat
        .send("modify_user_info", &query(&[]), body)
        .await
        .unwrap_err();
    assert!(!error.is_timeout() && !error.is_connect(), "{error:?}");
    assert_eq!(chat.marks("alice").await, [1000]);
    let calls = chat.control.calls().await.unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].answered, ["alice"]);
    assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 0);
}

#[tokio::test]
async fn a_hanging_call_ends_when_its_caller_stops_waiting() {
    let chat = with_alice().await;
    let lost = Fault::new(Effect::LostAnswer(LostAnswer::Hang)).times(1);
    chat.control.inject(&lost).await.unwrap();
    let call = chat.modify(1, &["alice"], &[1000]);
    tokio::select! {
        _ = call => panic!("an answer came"),
        seen = chat.control.wait_for_marks(ROOM, "alice", &[1000], PATIENCE) => seen.unwrap(),
    }
    // The caller is dropped by now: its connection is closed, and the call ends.
    while chat.control.calls().await.unwrap()[0].ended.is_none() {
        let moment = chat.control.moment().await.unwrap();
        chat.control
            .moment_after(moment, Duration::from_millis(50))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn an_omitted_member_is_treated_as_offline() {
    let chat = with_alice().await;
    let fault = Fault::new(Effect::Omit).account("alice").times(2);
    chat.control.inject(&fault).await.unwrap();
    let answer = chat.modify(1, &["alice", "bob"], &[1000]).await;
    assert_eq!(accounts(&answer), ["bob"]);
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10004);
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
}

#[tokio::test]
async fn the_log_contains_requests_and_answers() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice", "bob"], &[1000]).await;
    chat.call(
        "get_members",
        &json!({ "GroupId": ROOM, "Timestamp": 0, "Mark": 1000 }),
    )
    .await;
    chat.modify(9, &["alice"], &[1000]).await;
    let calls = chat.control.calls().await.unwrap();
    assert_eq!(
        calls.iter().map(|call| call.seq).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let called = |account: &str| CalledMember {
        account: account.to_owned(),
        marks: vec![1000],
    };
    assert_eq!(calls[0].members, [called("alice"), called("bob")]);
    assert_eq!(calls[0].answered, ["alice"]);
    assert_eq!((calls[0].command_type, calls[0].error_code), (Some(1), 0));
    assert_eq!(calls[0].group.as_deref(), Some(ROOM));
    assert_eq!(calls[1].api, Api::GetMembers);
    assert_eq!(
        (calls[2].command_type, calls[2].error_code),
        (Some(9), 10004)
    );
    assert!(
        calls
            .iter()
            .all(|call| call.finished_at >= Some(call.received_at))
    );
    assert!(!calls[0].overlaps(&calls[1]) && !calls[1].overlaps(&calls[2]));
    assert_eq!(chat.control.calls_after(2).await.unwrap().len(), 1);
    assert_eq!(
        chat.control
            .calls_of(Api::ModifyUserInfo, ROOM)
            .await
            .unwrap()
            .len(),
        2
    );
    assert!(
        chat.control
            .calls_of(Api::ModifyUserInfo, "other")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn calls_that_run_at_once_overlap() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control
        .inject(&Fault::new(Effect::DelayMs(600_000)).account("alice"))
        .await
        .unwrap();
    let long = chat.modify(1, &["alice"], &[1000]);
    let short = async {
        chat.control
            .wait_for_marks(ROOM, "alice", &[1000], PATIENCE)
            .await
            .unwrap();
        assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 0);
    };
    tokio::select! {
        _ = long => panic!("the answer was not delayed"),
        () = short => {}
    }
    let calls = chat.control.calls().await.unwrap();
    assert!(calls[0].overlaps(&calls[1]) && calls[1].overlaps(&calls[0]));
    let count = chat.control.stats().await.unwrap().calls[&Api::ModifyUserInfo];
    assert_eq!((count.calls, count.most_at_once_in_a_room), (2, 2));
}

#[tokio::test]
async fn the_client_reads_a_log_longer_than_a_page() {
    let chat = Chat::with(|settings| settings.calls_per_second = 100_000).await;
    let body = json!({ "GroupId": ROOM });
    for _ in 0..21 {
        let calls = (0..50).map(|_| chat.call("get_online_member_num", &body));
        futures::future::join_all(calls).await;
    }
    let calls = chat.control.calls().await.unwrap();
    assert_eq!(calls.len(), 1050);
    assert!(calls.iter().zip(1..).all(|(call, seq)| call.seq == seq));
}

fn reason<T: std::fmt::Debug>(result: Result<T, ControlError>) -> (u16, String) {
    match result {
        Err(ControlError::Refused { status, reason }) => (status.as_u16(), reason),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_command_that_makes_no_sense_is_refused_with_a_reason() {
    let chat = Chat::start().await;
    let control = &chat.control;
    let unknown = control.drop_offline("other", &["alice"]).await;
    assert_eq!(reason(unknown).0, 404);
    let (status, text) = reason(
        control
            .join(ROOM, &["a".repeat(Account::MAX_BYTES + 1)])
            .await,
    );
    assert_eq!(status, 400);
    assert!(text.contains("bytes"), "{text}");
    control.create(ROOM).await.unwrap();
    assert_eq!(reason(control.create(ROOM).await).0, 409);
    control.destroy(ROOM).await.unwrap();
    assert_eq!(reason(control.join(ROOM, &["alice"]).await).0, 409);
    let query = control
        .set_callback(Some("http://127.0.0.1/hook?key=1"), None)
        .await;
    assert!(reason(query).1.contains("no query"));
    for (fault, what) in [
        (Fault::new(Effect::HttpStatus(99)), "http_status"),
        (Fault::new(Effect::Omit).times(0), "count"),
        (Fault::new(Effect::Omit).kind(Kind::MemberExit), "kind"),
        (Fault::new(Effect::LoseCallback).api(Api::GetMembers), "api"),
    ] {
        let (_, text) = reason(control.inject(&fault).await);
        assert!(text.contains(what), "{text}");
    }
    let settings = Settings {
        page_size: 0,
        ..Settings::default()
    };
    let (_, text) = reason(control.configure(&settings).await);
    assert!(text.contains("page_size"), "{text}");
    let url = |path: &str| format!("{}/control/{path}", chat.running.url());
    let unknown = reqwest::get(url("rename")).await.unwrap();
    assert_eq!(unknown.status(), 400);
    let text = unknown.text().await.unwrap();
    assert!(text.contains("rename") && text.ends_with("}\n"), "{text}");
}

#[tokio::test]
async fn the_list_of_rooms_counts_members_and_marks() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control.drop_offline(ROOM, &["bob"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000, 1001]).await;
    let rooms = chat.control.rooms().await.unwrap();
    assert_eq!((rooms[0].members, rooms[0].online), (2, 1));
    assert_eq!(rooms[0].marks, [(1000, 1), (1001, 1)].into());
}

#[tokio::test]
async fn ten_thousand_members_move_in_one_command() {
    let chat = Chat::start().await;
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("member{number}"))
        .collect();
    assert_eq!(
        chat.control.join(ROOM, &names).await.unwrap().changed,
        10_000
    );
    assert_eq!(
        chat.control
            .drop_offline(ROOM, &names)
            .await
            .unwrap()
            .changed,
        10_000
    );
    assert_eq!(
        chat.control.come_back(ROOM, &names).await.unwrap().changed,
        10_000
    );
    assert_eq!(chat.control.rooms().await.unwrap()[0].online, 10_000);
}

#[tokio::test]
async fn it_stops_while_a_call_hangs() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.control
        .inject(&Fault::new(Effect::DelayMs(600_000)))
        .await
        .unwrap();
    let (control, url) = (chat.control.clone(), chat.running.url());
    let seen = control.wait_for_marks(ROOM, "alice", &[1000], PATIENCE);
    tokio::select! {
        _ = chat.modify(1, &["alice"], &[1000]) => panic!("the answer was not delayed"),
        seen = seen => seen.unwrap(),
    }
    tokio::time::timeout(PATIENCE, chat.running.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(reqwest::get(url).await.is_err());
}
