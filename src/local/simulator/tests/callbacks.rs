//! Callbacks, as their receiver sees them.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Chat, PATIENCE, ROOM, Receiver, Scripted};
use crate::domain::{Account, GroupId};
use crate::local::simulator::callbacks::{Delivery, Event, Target};
use crate::local::simulator::faults::Faults;
use crate::local::simulator::{Effect, Fault, Kind, KindCount, Simulated};

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
        let moved = match movement {
            "join" => control.join(ROOM, &["alice"]).await.unwrap(),
            "drop" => control.drop_offline(ROOM, &["alice"]).await.unwrap(),
            "back" => control.come_back(ROOM, &["alice"]).await.unwrap(),
            _ => control.leave(ROOM, &["alice"]).await.unwrap(),
        };
        assert_eq!(receiver.sorted(), wanted);
        let both = (wanted.len(), wanted.len());
        assert_eq!((moved.callbacks, moved.delivered), both);
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
async fn several_members_can_share_a_callback() {
    let (_chat, receiver, control) = connected().await;
    let control = control.sharing_callbacks(2);
    let joined = control.join(ROOM, &["a", "b", "c"]).await.unwrap();
    assert_eq!(joined.callbacks, 4);
    let wanted = [
        "NewMemberJoin a,b",
        "NewMemberJoin c",
        "Online/Join a,b",
        "Online/Join c",
    ];
    assert_eq!(receiver.sorted(), wanted);
}

#[tokio::test]
async fn no_callback_is_sent_for_a_member_kept_online_by_mark_500() {
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
async fn an_answer_other_than_200_with_json_is_a_failure_and_not_retried() {
    let (_chat, receiver, control) = connected().await;
    receiver.script(vec![
        Scripted::Status(503, "{}"),
        Scripted::Status(200, "fine"),
    ]);
    let moved = control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!((moved.callbacks, moved.delivered), (2, 0));
    assert_eq!(receiver.arrived().len(), 2);
    let sent = count(&control, Kind::NewMemberJoin).await;
    assert_eq!((sent.queued, sent.delivered, sent.failed), (1, 0, 1));
}

#[tokio::test]
async fn a_callback_that_is_not_answered_within_two_seconds_is_a_failure_and_not_retried() {
    let (_chat, receiver, control) = connected().await;
    receiver.script(vec![Scripted::Silence, Scripted::Silence]);
    let moved = control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!((moved.callbacks, moved.delivered), (2, 0));
    assert_eq!(receiver.arrived().len(), 2);
}

#[tokio::test]
async fn lost_callbacks_never_arrive() {
    let (_chat, receiver, control) = connected().await;
    let fault = Fault::new(Effect::LoseCallback).kind(Kind::MemberStateChange);
    control.inject(&fault.times(1)).await.unwrap();
    control.join(ROOM, &["alice", "bob"]).await.unwrap();
    let wanted = [
        "NewMemberJoin alice",
        "NewMemberJoin bob",
        "Online/Join bob",
    ];
    assert_eq!(receiver.sorted(), wanted);
    assert!(control.faults().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_fraction_loses_the_same_callbacks_for_the_same_seed() {
    let names: Vec<String> = (0..100).map(|number| format!("member{number}")).collect();
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (_chat, receiver, control) = connected().await;
        let fault = Fault::new(Effect::LoseCallback).fraction(0.5, 7);
        control.inject(&fault).await.unwrap();
        control.join(ROOM, &names).await.unwrap();
        runs.push(receiver.sorted());
    }
    assert_eq!(runs[0], runs[1]);
    assert!((50..150).contains(&runs[0].len()), "{}", runs[0].len());
}

#[tokio::test]
async fn a_duplicated_callback_arrives_again_with_the_same_body() {
    let (_chat, receiver, control) = connected().await;
    let fault = Fault::new(Effect::DuplicateCallback(2)).kind(Kind::NewMemberJoin);
    control.inject(&fault).await.unwrap();
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
    let fault = Fault::new(Effect::HoldCallback).account("alice").times(1);
    let held = control.inject(&fault).await.unwrap();
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

#[test]
fn a_shuffle_changes_the_order_of_the_callbacks_that_it_matches() {
    let group = GroupId::parse(ROOM).unwrap();
    let event = |name: String| Event::join(&group, vec![Account::parse(&name).unwrap()], 0);
    let target = Arc::new(Target {
        sdk_app_id: 1,
        url: "http://127.0.0.1/".parse().unwrap(),
        token: None,
    });
    let delivery = |number: u32| Delivery {
        target: target.clone(),
        event: event(format!("m{number}")),
        report: None,
    };
    let mut faults = Faults::default();
    faults.add(Fault::new(Effect::ShuffleCallbacks)).unwrap();
    let sent = faults.route((0..9).map(delivery).collect());
    let sent: Vec<&str> = sent
        .iter()
        .map(|(one, _)| one.event.accounts[0].as_str())
        .collect();
    let mut sorted = sent.clone();
    sorted.sort_unstable();
    assert_eq!(sorted.len(), 9);
    assert_ne!(sent, sorted);
}

/// Waits for something that no call announces.
async fn until(holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}
