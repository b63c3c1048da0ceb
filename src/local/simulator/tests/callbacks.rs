//! Callbacks, as their receiver sees them.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::harness::{Chat, PATIENCE, ROOM, Receiver, Scripted};
use crate::local::simulator::{
    CallbackEffect, CallbackFault, Kind, KindCount, MoveMembers, Simulated,
};

async fn connected() -> (Chat, Receiver, Simulated) {
    let (chat, receiver) = (Chat::start().await, Receiver::start().await);
    chat.control
        .set_callback(Some(&receiver.url), None)
        .await
        .unwrap();
    let waiting = chat.control.waiting();
    (chat, receiver, waiting)
}

async fn count(control: &Simulated, kind: Kind) -> KindCount {
    let stats = control.stats().await.unwrap();
    stats.callbacks.get(&kind).copied().unwrap_or_default()
}

#[tokio::test]
async fn every_movement_sends_the_callbacks_of_chat() {
    let (_chat, receiver, control) = connected().await;
    let steps = [
        ("join", vec!["NewMemberJoin alice", "Online/Join alice"]),
        ("drop", vec!["Offline/HeartbeatInterrupt alice"]),
        ("back", vec!["Online/HeartbeatRecover alice"]),
        ("leave", vec!["MemberExit alice", "Offline/Quit alice"]),
    ];
    for (movement, wanted) in steps {
        receiver.forget();
        let command = MoveMembers {
            group: ROOM.to_owned(),
            accounts: vec!["alice".to_owned()],
            wait: true,
            ..MoveMembers::default()
        };
        let moved = control.move_members(movement, command).await.unwrap();
        assert_eq!(receiver.sorted(), wanted);
        assert_eq!(
            (moved.callbacks, moved.delivered, moved.failed),
            (wanted.len(), wanted.len(), 0)
        );
        assert!(
            receiver
                .arrived()
                .iter()
                .all(|callback| callback.body["EventTime"] == moved.at)
        );
    }
    receiver.forget();
    control.destroy(ROOM).await.unwrap();
    assert_eq!(receiver.short(), ["GroupDestroyed"]);
}

#[tokio::test]
async fn a_callback_carries_the_query_the_sign_and_the_body_that_chat_documents() {
    let (_chat, receiver, control) = connected().await;
    let token = Some(SecretString::from("xxxxyyyy"));
    control
        .set_callback(Some(&receiver.url), token)
        .await
        .unwrap();
    let moved = control.join(ROOM, &["alice"]).await.unwrap();
    let arrived = receiver.arrived();
    let find = |command: &str| {
        arrived
            .iter()
            .find(|callback| callback.query["CallbackCommand"] == command)
            .unwrap()
    };
    let join = find("Group.CallbackAfterNewMemberJoin");
    assert_eq!(join.query["SdkAppid"], "1400000000");
    assert_eq!(join.query["contenttype"], "json");
    assert_eq!(join.query["OptPlatform"], "Android");
    assert!(join.query.contains_key("ClientIP"));
    let time = &join.query["RequestTime"];
    let sign = hex::encode(Sha256::digest(format!("xxxxyyyy{time}")));
    assert_eq!(join.query["Sign"], sign);
    assert!((chrono::Utc::now().timestamp() - time.parse::<i64>().unwrap()).abs() < 60);
    let wanted = json!({
        "CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": ROOM,
        "Type": "AVChatRoom", "JoinType": "Apply", "Operator_Account": "alice",
        "NewMemberList": [{ "Member_Account": "alice" }], "EventTime": moved.at,
    });
    assert_eq!(join.body, wanted);
    let online = find("Group.CallbackOnMemberStateChange");
    assert!(!online.query.contains_key("ClientIP"));
    let wanted = json!({
        "CallbackCommand": "Group.CallbackOnMemberStateChange", "GroupId": ROOM,
        "EventType": "Online", "EventCause": "Join",
        "MemberList": [{ "Member_Account": "alice" }], "EventTime": moved.at,
    });
    assert_eq!(online.body, wanted);
}

#[tokio::test]
async fn an_exit_tells_whether_the_member_was_thrown_out() {
    let (_chat, receiver, control) = connected().await;
    control.create(ROOM, "host", "Friday show").await.unwrap();
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    receiver.forget();
    control.leave(ROOM, &["alice"]).await.unwrap();
    control.kick(ROOM, &["bob"]).await.unwrap();
    let arrived = receiver.arrived();
    let exits: Vec<_> = arrived
        .iter()
        .filter(|one| one.body["ExitType"].is_string())
        .collect();
    let told = |place: usize| {
        (
            &exits[place].body["ExitType"],
            &exits[place].body["Operator_Account"],
        )
    };
    assert_eq!(told(0), (&json!("Quit"), &json!("alice")));
    assert_eq!(told(1), (&json!("Kicked"), &json!("host")));
    receiver.forget();
    control.destroy(ROOM).await.unwrap();
    let body = &receiver.arrived()[0].body;
    assert_eq!(
        (&body["Owner_Account"], &body["Name"]),
        (&json!("host"), &json!("Friday show"))
    );
}

#[tokio::test]
async fn several_members_can_share_a_callback() {
    let (_chat, receiver, control) = connected().await;
    let command = MoveMembers {
        group: ROOM.to_owned(),
        accounts: ["a", "b", "c"].map(str::to_owned).into(),
        wait: true,
        members_per_callback: 2,
        kicked: false,
    };
    control.move_members("join", command).await.unwrap();
    let wanted = [
        "NewMemberJoin a,b",
        "NewMemberJoin c",
        "Online/Join a,b",
        "Online/Join c",
    ];
    assert_eq!(receiver.sorted(), wanted);
}

#[tokio::test]
async fn no_callback_goes_out_for_a_member_whom_mark_500_keeps() {
    let (chat, receiver, control) = connected().await;
    control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[500]).await;
    receiver.forget();
    control.drop_offline(ROOM, &["alice"]).await.unwrap();
    control.come_back(ROOM, &["alice"]).await.unwrap();
    assert!(receiver.short().is_empty());
    control.drop_offline(ROOM, &["alice"]).await.unwrap();
    control.expire(ROOM, &["alice"]).await.unwrap();
    assert_eq!(receiver.short(), ["Offline/HeartbeatInterrupt alice"]);
}

#[tokio::test]
async fn kinds_that_are_switched_off_are_not_sent() {
    let (_chat, receiver, control) = connected().await;
    let kinds = [Kind::NewMemberJoin];
    control
        .set_callback_kinds(Some(&receiver.url), None, kinds)
        .await
        .unwrap();
    control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!(receiver.short(), ["NewMemberJoin alice"]);
    assert_eq!(count(&control, Kind::MemberStateChange).await.unsent, 1);
}

#[tokio::test]
async fn an_answer_other_than_200_with_json_is_a_failure_and_not_tried_again() {
    let (_chat, receiver, control) = connected().await;
    receiver.script(vec![
        Scripted::Status(503, "{}"),
        Scripted::Status(200, "fine"),
    ]);
    let moved = control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!((moved.callbacks, moved.delivered, moved.failed), (2, 0, 2));
    assert_eq!(receiver.arrived().len(), 2);
}

#[tokio::test]
async fn only_a_timeout_is_tried_again_and_only_if_told_so() {
    let (_chat, receiver, control) = connected().await;
    let mut settings = control.settings().await.unwrap();
    settings.callback_timeout_ms = 100;
    control.configure(&settings).await.unwrap();
    control
        .set_callback_kinds(Some(&receiver.url), None, [Kind::NewMemberJoin])
        .await
        .unwrap();
    receiver.script(vec![Scripted::Silence]);
    assert_eq!(control.join(ROOM, &["alice"]).await.unwrap().failed, 1);
    assert_eq!(receiver.arrived().len(), 1);
    settings.callback_retries = 2;
    // Long enough for the last try, which is answered, on any machine.
    settings.callback_timeout_ms = 3000;
    control.configure(&settings).await.unwrap();
    receiver.script(vec![Scripted::Silence, Scripted::Status(200, "{}")]);
    assert_eq!(control.join(ROOM, &["bob"]).await.unwrap().delivered, 1);
    let sent = count(&control, Kind::NewMemberJoin).await;
    assert_eq!((sent.timed_out, sent.retried, sent.delivered), (1, 1, 1));
}

#[tokio::test]
async fn lost_callbacks_never_arrive_and_are_counted() {
    let (_chat, receiver, control) = connected().await;
    let mut fault = CallbackFault::new(CallbackEffect::Lose);
    (fault.kind, fault.count) = (Some(Kind::MemberStateChange), Some(1));
    control.inject_callback(&fault).await.unwrap();
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    assert_eq!(
        receiver.sorted(),
        [
            "NewMemberJoin alice",
            "NewMemberJoin bob",
            "Online/Join bob"
        ]
    );
    assert_eq!(count(&control, Kind::MemberStateChange).await.lost, 1);
    assert!(control.faults().await.unwrap().callbacks.is_empty());
}

#[tokio::test]
async fn a_fraction_loses_the_same_callbacks_for_the_same_seed() {
    let names: Vec<String> = (0..100).map(|number| format!("member{number}")).collect();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (_chat, receiver, control) = connected().await;
        let mut fault = CallbackFault::new(CallbackEffect::Lose);
        (fault.fraction, fault.seed) = (Some(0.5), 7);
        control.inject_callback(&fault).await.unwrap();
        control.join(ROOM, &names).await.unwrap();
        runs.push(receiver.sorted());
    }
    assert_eq!(runs[0], runs[1]);
    assert!((50..150).contains(&runs[0].len()), "{}", runs[0].len());
}

#[tokio::test]
async fn a_duplicated_callback_arrives_again_with_the_same_body() {
    let (_chat, receiver, control) = connected().await;
    let mut fault = CallbackFault::new(CallbackEffect::Duplicate(2));
    fault.kind = Some(Kind::NewMemberJoin);
    control.inject_callback(&fault).await.unwrap();
    let moved = control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!((moved.callbacks, moved.delivered), (4, 4));
    let arrived = receiver.arrived();
    let joins: Vec<_> = arrived
        .iter()
        .filter(|one| one.body["JoinType"].is_string())
        .collect();
    assert_eq!(joins.len(), 3);
    assert!(joins.iter().all(|one| one.body == joins[0].body));
}

#[tokio::test]
async fn a_held_callback_arrives_when_the_fault_is_cleared() {
    let (_chat, receiver, control) = connected().await;
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    receiver.forget();
    let mut fault = CallbackFault::new(CallbackEffect::Hold);
    (fault.account, fault.count) = (Some("alice".to_owned()), Some(1));
    let held = control.inject_callback(&fault).await.unwrap();
    let dropped = control.drop_offline(ROOM, &["alice"]).await.unwrap();
    let back = control.come_back(ROOM, &["alice"]).await.unwrap();
    assert_eq!((dropped.callbacks, back.delivered), (0, 1));
    assert_eq!(receiver.short(), ["Online/HeartbeatRecover alice"]);
    control.clear(held).await.unwrap();
    until(|| receiver.arrived().len() == 2).await;
    let late = &receiver.arrived()[1];
    assert_eq!(late.short(), "Offline/HeartbeatInterrupt alice");
    assert!(late.body["EventTime"].as_i64().unwrap() < back.at);
}

#[tokio::test]
async fn an_api_at_more_than_four_fifths_of_its_limit_raises_an_alert() {
    let (chat, receiver, control) = connected().await;
    let mut settings = control.settings().await.unwrap();
    settings.calls_per_second = 5;
    control.configure(&settings).await.unwrap();
    let body = json!({ "GroupId": ROOM });
    let calls = (0..30).map(|_| chat.call("get_online_member_num", &body));
    futures::future::join_all(calls).await;
    until(|| !receiver.arrived().is_empty()).await;
    let wanted = json!({
        "CallbackCommand": "Alert.RequestOverLimit", "ServiceName": "group_open_http_svc",
        "Command": "get_online_member_num", "Request": 5, "Limit": 5,
    });
    assert_eq!(receiver.arrived()[0].body, wanted);
}

/// Waits on something that no call announces.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
