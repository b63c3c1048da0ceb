//! The log of calls.

use serde_json::json;

use super::harness::{Chat, ROOM, code};
use crate::local::simulator::{Api, CalledMember, Effect, Fault};

#[tokio::test]
async fn the_log_tells_what_was_asked_and_what_was_answered() {
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
    assert_eq!((calls[1].api, calls[1].mark), (Api::GetMembers, Some(1000)));
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
async fn calls_under_way_together_overlap() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control
        .inject(&Fault::new(Effect::DelayMs(600_000)).account("alice"))
        .await
        .unwrap();
    let long = chat.modify(1, &["alice"], &[1000]);
    let short = async {
        let patience = super::harness::PATIENCE;
        chat.control
            .wait_for_marks(ROOM, "alice", &[1000], patience)
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
    assert_eq!((count.most_at_once, count.most_at_once_in_a_room), (2, 2));
    assert_eq!((count.calls, count.members, count.most_members), (2, 2, 1));
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

#[test]
fn the_log_is_bounded_by_calls_and_by_the_members_they_name() {
    use crate::local::simulator::calls::CallLog;
    let mut log = CallLog::default();
    for _ in 0..100_010 {
        let seq = log.begin(Api::GetMembers);
        log.end(seq, Api::GetMembers, None, false);
    }
    assert_eq!(log.after(0).count(), 100_000);
    assert_eq!(log.after(0).next().unwrap().seq, 11);
    assert!(log.record(10).is_none() && log.record(11).is_some());
    let member = CalledMember {
        account: "alice".to_owned(),
        marks: vec![1000],
    };
    for _ in 0..2010 {
        let seq = log.begin(Api::ModifyUserInfo);
        log.describe(
            seq,
            Api::ModifyUserInfo,
            Some(ROOM),
            vec![member.clone(); 500],
        );
        log.end(seq, Api::ModifyUserInfo, Some(ROOM), false);
    }
    assert_eq!(log.after(0).count(), 2000);
}
