//! What coming and going does to marks.

use super::harness::{Chat, ROOM, code};

#[tokio::test]
async fn marks_are_wiped_by_a_leave_and_by_a_drop_and_stay_away() {
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
async fn a_movement_tells_whom_it_changed() {
    let chat = Chat::start().await;
    let control = &chat.control;
    let joined = control
        .join(ROOM, &["alice", "bob", "alice"])
        .await
        .unwrap();
    assert_eq!((joined.changed, joined.unchanged), (2, 1));
    let again = control.join(ROOM, &["alice"]).await.unwrap();
    assert_eq!((again.changed, again.unchanged), (0, 1));
    let dropped = control
        .drop_offline(ROOM, &["alice", "nobody"])
        .await
        .unwrap();
    assert_eq!((dropped.changed, dropped.unchanged), (1, 1));
    let back = control.come_back(ROOM, &["alice", "bob"]).await.unwrap();
    assert_eq!((back.changed, back.unchanged), (1, 1));
    let left = control.leave(ROOM, &["alice", "nobody"]).await.unwrap();
    assert_eq!((left.changed, left.unchanged), (1, 1));
    assert!(joined.at < dropped.at && dropped.at < back.at && back.at < left.at);
}

#[tokio::test]
async fn mark_500_keeps_a_member_and_his_marks_through_a_drop_until_it_runs_out() {
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
async fn a_member_kept_only_by_mark_500_falls_when_it_is_deleted() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[500, 1000]).await;
    chat.control.drop_offline(ROOM, &["alice"]).await.unwrap();
    assert_eq!(code(&chat.modify(2, &["alice"], &[500]).await), 0);
    let alice = &chat.control.room(ROOM).await.unwrap().members["alice"];
    assert!(!alice.online && alice.marks.is_empty());
}

#[tokio::test]
async fn three_days_end_mark_500_by_themselves() {
    use crate::domain::{Account, GroupId, Mark};
    use crate::local::simulator::room::Marking;
    use crate::local::simulator::rooms::{Movement, Rooms};

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
        room.mark(&wanted, Marking::Add, now, |_| true).unwrap();
    };
    set(&mut rooms, 0);
    rooms.apply(Movement::Drop, &group, &all, 1, DAY).unwrap();
    set(&mut rooms, DAY);
    assert!(rooms.expire(4 * DAY - 1).is_empty());
    assert_eq!(rooms.expire(4 * DAY).len(), 1);
    assert!(!rooms.find(&group).unwrap().member(&alice).unwrap().online);
}
