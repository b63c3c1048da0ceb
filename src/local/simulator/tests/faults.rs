//! Faults of REST calls.

use std::time::Duration;

use super::harness::{Chat, PATIENCE, ROOM, accounts, code, modify_body, query};
use crate::local::simulator::{Api, Effect, Fault, LostAnswer};

async fn with_alice() -> Chat {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat
}

#[tokio::test]
async fn an_error_code_strikes_as_often_as_told_and_does_nothing_else() {
    let chat = with_alice().await;
    let fault = Fault::new(Effect::ErrorCode(10002))
        .api(Api::ModifyUserInfo)
        .times(2);
    let id = chat.control.inject(&fault).await.unwrap();
    for _ in 0..2 {
        assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 10002);
    }
    assert!(chat.marks("alice").await.is_empty());
    assert_eq!(code(&chat.modify(1, &["alice"], &[1000]).await), 0);
    let calls = chat.control.calls().await.unwrap();
    let struck: Vec<bool> = calls.iter().map(|call| call.faults == [id]).collect();
    assert_eq!(struck, [true, true, false]);
}

#[tokio::test]
async fn a_fault_strikes_only_where_all_its_conditions_hold() {
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
    assert_eq!(chat.control.faults().await.unwrap().calls.len(), 3);
    chat.control.clear_all().await.unwrap();
    assert_eq!(code(&chat.modify(1, &["bob", "alice"], &[1000]).await), 0);
}

#[tokio::test]
async fn a_late_error_code_hides_that_the_call_was_carried_out() {
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
async fn a_delayed_call_is_carried_out_before_its_answer_comes() {
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
async fn an_answer_is_lost_after_the_call_was_carried_out() {
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
    assert!(calls[0].answer_lost);
    assert_eq!(calls[0].answered, ["alice"]);
    assert_eq!(code(&chat.modify(1, &["bob"], &[1000]).await), 0);
}

#[tokio::test]
async fn a_hanging_call_ends_when_its_caller_gives_up() {
    let chat = with_alice().await;
    let lost = Fault::new(Effect::LostAnswer(LostAnswer::Hang)).times(1);
    chat.control.inject(&lost).await.unwrap();
    let call = chat.modify(1, &["alice"], &[1000]);
    tokio::select! {
        _ = call => panic!("an answer came"),
        seen = chat.control.wait_for_marks(ROOM, "alice", &[1000], PATIENCE) => seen.unwrap(),
    }
    // The caller is dropped by now: his connection is closed, and the call ends.
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
