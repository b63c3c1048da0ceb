//! The main job, end to end: callbacks in, marks set again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use stickymark::testing::chat::{CommandType, MemberMarks};
use stickymark::testing::domain::{Account, GroupId, Mark, MarkSet};
use stickymark::testing::local::simulator::{Api, Effect, Fault, Kind};

use crate::support::stage::{PATIENCE, Stage};
use crate::support::stall::Stall;

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number}"))
        .collect()
}

async fn column<T>(stage: &Stage, column: &str, account: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let sql = format!("select {column} from members where account = $1");
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(account)
        .fetch_one(stage.db())
        .await
        .unwrap()
}

#[tokio::test]
async fn the_two_callbacks_of_each_arrival_become_one_call_with_mixed_marks() {
    // Long enough that the callbacks of all three fall into it on any machine.
    let stage = Stage::open(&[
        ("STICKYMARK__REAPPLY__SETTLE", "1s"),
        ("STICKYMARK__REAPPLY__MAX_WAIT", "10s"),
    ])
    .await;
    stage.put_rule("vips", "class-*", "vip*", &[1001]).await;
    stage
        .put_rule("teacher", "class-7", "vip-teacher", &[1000])
        .await;
    stage.rests().await;
    let before = stage.mark_calls().await.len();
    stage
        .chat
        .join("class-7", &["vip-teacher", "vip1", "nobody"])
        .await
        .unwrap();
    stage.sees("class-7", "vip-teacher", &[1000, 1001]).await;
    stage.sees("class-7", "vip1", &[1001]).await;
    stage.rests().await;
    let calls = stage.mark_calls().await;
    assert_eq!(calls.len() - before, 1);
    assert_eq!(calls.last().unwrap().members.len(), 2);
    stage.close().await;
}

#[tokio::test]
async fn marks_return_after_a_drop_and_after_a_leave() {
    let stage = Stage::open(&[]).await;
    stage
        .put_rule("teacher", "class-7", "teacher", &[1000])
        .await;
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    stage
        .chat
        .drop_offline("class-7", &["teacher"])
        .await
        .unwrap();
    stage.sees("class-7", "teacher", &[]).await;
    stage.chat.come_back("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.chat.leave("class-7", &["teacher"]).await.unwrap();
    assert_eq!(
        column::<String>(&stage, "presence", "teacher").await,
        "absent"
    );
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.close().await;
}

#[tokio::test]
async fn after_a_partial_success_only_those_left_out_are_tried_again() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("all", "class-7", "*", &[1000]).await;
    let omit = Fault::new(Effect::Omit)
        .api(Api::ModifyUserInfo)
        .account("late")
        .times(1);
    stage.chat.inject(&omit).await.unwrap();
    stage
        .chat
        .join("class-7", &["early", "late"])
        .await
        .unwrap();
    stage.sees("class-7", "late", &[1000]).await;
    stage.rests().await;
    let calls = stage.mark_calls().await;
    let of = |account: &str| {
        calls
            .iter()
            .filter(|call| call.members.iter().any(|m| m.account == account))
            .count()
    };
    assert_eq!((of("early"), of("late")), (1, 2));
    assert_eq!(
        column::<i32>(&stage, "tries", "late").await,
        0,
        "it was no failure"
    );
    stage.close().await;
}

#[tokio::test]
async fn a_call_in_which_nobody_is_online_leads_to_later_tries_and_no_failure() {
    let stage = Stage::open(&[]).await;
    stage.chat.join("class-7", &["somebody"]).await.unwrap();
    stage
        .put_rule("absent", "class-7", "teacher", &[1000])
        .await;
    let fails = "select count(*) from members where tries = 1 and due_at > now()";
    while sqlx::query_scalar::<_, i64>(fails)
        .fetch_one(stage.db())
        .await
        .unwrap()
        == 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.mark_calls().await[0].error_code, 10004);
    assert_eq!(column::<i32>(&stage, "tries", "teacher").await, 1);
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.close().await;
}

#[tokio::test]
async fn a_late_offline_does_not_cost_the_marks() {
    let stage = Stage::open(&[]).await;
    stage
        .put_rule("teacher", "class-7", "teacher", &[1000])
        .await;
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    let hold = Fault::new(Effect::HoldCallback).kind(Kind::MemberStateChange);
    let held = stage.chat.inject(&hold.times(1)).await.unwrap();
    let (chat, hasty) = (&stage.chat, stage.chat.clone());
    let dropping = tokio::spawn(async move { hasty.drop_offline("class-7", &["teacher"]).await });
    stage.sees("class-7", "teacher", &[]).await;
    chat.come_back("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    chat.clear(held).await.unwrap();
    dropping.await.unwrap().unwrap();
    stage.rests().await;
    assert_eq!(
        column::<String>(&stage, "presence", "teacher").await,
        "present"
    );
    assert_eq!(
        stage.chat.marks("class-7").await.unwrap()["teacher"],
        BTreeSet::from([1000])
    );
    stage.close().await;
}

#[tokio::test]
async fn a_rule_edited_between_event_and_call_is_sent_as_it_is_then() {
    let stage = Stage::open(&[
        ("STICKYMARK__REAPPLY__SETTLE", "2s"),
        ("STICKYMARK__REAPPLY__MAX_WAIT", "10s"),
    ])
    .await;
    stage
        .put_rule("teachers", "class-7", "teacher*", &[1000])
        .await;
    stage.chat.join("class-7", &["teacher1"]).await.unwrap();
    stage.patch_rule("teachers", json!({"marks": [1002]})).await;
    stage.sees("class-7", "teacher1", &[1002]).await;
    stage.rests().await;
    let sent = stage.mark_calls().await;
    assert!(
        sent.iter()
            .all(|call| call.members.iter().all(|member| member.marks == [1002]))
    );
    stage.close().await;
}

#[tokio::test]
async fn a_rule_change_acts_at_once_on_members_present() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("vips", "class-7", "vip*", &[1001]).await;
    stage.chat.join("class-7", &["vip1", "vip2"]).await.unwrap();
    stage.sees("class-7", "vip1", &[1001]).await;
    stage
        .patch_rule("vips", json!({"marks": [1001, 1003]}))
        .await;
    stage.sees("class-7", "vip1", &[1001, 1003]).await;
    stage.patch_rule("vips", json!({"marks": [1003]})).await;
    stage.sees("class-7", "vip2", &[1003]).await;
    stage.patch_rule("vips", json!({"enabled": false})).await;
    stage.sees("class-7", "vip1", &[]).await;
    stage.patch_rule("vips", json!({"enabled": true})).await;
    stage.sees("class-7", "vip1", &[1003]).await;
    stage.delete_rule("vips").await;
    stage.sees("class-7", "vip1", &[]).await;
    stage.sees("class-7", "vip2", &[]).await;
    stage.rests().await;
    let marked: i64 = sqlx::query_scalar("select count(*) from members where marks <> '{}'")
        .fetch_one(stage.db())
        .await
        .unwrap();
    assert_eq!(marked, 0, "no rule matches a member any more");
    stage.close().await;
}

#[tokio::test]
async fn a_new_exact_rule_reaches_a_member_not_known_before() {
    let stage = Stage::open(&[]).await;
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage
        .put_rule("teacher", "class-7", "teacher", &[1000])
        .await;
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.rests().await;
    assert_eq!(
        column::<String>(&stage, "presence", "teacher").await,
        "present"
    );
    stage.close().await;
}

#[tokio::test]
async fn a_mark_that_no_rule_ever_named_is_never_taken_away() {
    let stage = Stage::open(&[]).await;
    stage
        .put_rule("teacher", "class-7", "teacher", &[1000])
        .await;
    stage.chat.join("class-7", &["teacher"]).await.unwrap();
    stage.sees("class-7", "teacher", &[1000]).await;
    let foreign = MemberMarks {
        account: Account::parse("teacher").unwrap(),
        marks: MarkSet::from([Mark::parse(7777).unwrap()]),
    };
    let room = GroupId::parse("class-7").unwrap();
    let other = stage.other_client();
    other
        .modify_user_info(&room, CommandType::Set, &[foreign])
        .await
        .unwrap();
    stage.delete_rule("teacher").await;
    stage.sees("class-7", "teacher", &[7777]).await;
    stage.rests().await;
    assert_eq!(
        stage.chat.marks("class-7").await.unwrap()["teacher"],
        BTreeSet::from([7777])
    );
    stage.close().await;
}

#[tokio::test]
async fn the_end_of_a_room_ends_the_work_for_it() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("all", "class-7", "*", &[1000]).await;
    stage.chat.join("class-7", &["alice"]).await.unwrap();
    stage.sees("class-7", "alice", &[1000]).await;
    stage.chat.destroy("class-7").await.unwrap();
    assert_eq!(
        column::<String>(&stage, "presence", "alice").await,
        "absent"
    );
    let gone: bool = sqlx::query_scalar("select gone_at is not null from rooms")
        .fetch_one(stage.db())
        .await
        .unwrap();
    assert!(gone);
    stage.close().await;
}

#[tokio::test]
async fn a_room_that_chat_does_not_know_is_forgotten_without_further_tries() {
    let stage = Stage::open(&[]).await;
    stage
        .put_rule("teacher", "never-opened", "teacher", &[1000])
        .await;
    stage.rests().await;
    let calls = stage.mark_calls().await;
    assert_eq!(calls.len(), 1);
    assert!([10010, 10015].contains(&calls[0].error_code));
    assert_eq!(
        column::<String>(&stage, "presence", "teacher").await,
        "absent"
    );
    stage.close().await;
}

#[tokio::test]
async fn many_members_go_out_in_full_calls_and_no_two_calls_of_a_room_overlap() {
    let mut stage = Stage::open(&[]).await;
    stage.add_replica().await;
    stage.add_replica().await;
    stage.put_rule("all", "big*", "*", &[1000]).await;
    for room in ["big-1", "big-2"] {
        let accounts = names("user", 900);
        stage.chat.join(room, &accounts).await.unwrap();
    }
    let all = |marks: &std::collections::BTreeMap<String, BTreeSet<u32>>| {
        marks.len() == 900 && marks.values().all(|marks| marks.contains(&1000))
    };
    stage.chat.wait_until("big-1", PATIENCE, all).await.unwrap();
    stage.chat.wait_until("big-2", PATIENCE, all).await.unwrap();
    stage.rests().await;
    let calls = stage.mark_calls().await;
    for (index, call) in calls.iter().enumerate() {
        assert!(call.members.len() <= 500);
        let same_room = calls[index + 1..]
            .iter()
            .filter(|other| other.group == call.group);
        assert!(same_room.clone().all(|other| !other.overlaps(call)));
        let accounts: BTreeSet<_> = call.members.iter().map(|member| &member.account).collect();
        assert_eq!(
            accounts.len(),
            call.members.len(),
            "no member twice in a call"
        );
    }
    stage.close().await;
}

#[tokio::test]
async fn the_budget_holds_over_all_replicas() {
    let stall = Stall::watch();
    let mut stage = Stage::open(&[("STICKYMARK__CHAT__CALLS_PER_SECOND", "10")]).await;
    stage.add_replica().await;
    stage.add_replica().await;
    stage.put_rule("all", "room-*", "*", &[1000]).await;
    let rooms = names("room-", 30);
    for room in &rooms {
        stage.chat.join(room, &["alice"]).await.unwrap();
    }
    for room in &rooms {
        stage.sees(room, "alice", &[1000]).await;
    }
    let stats = stage.chat.stats().await.unwrap();
    let peak = stats.calls[&Api::ModifyUserInfo].peak_per_second;
    let most = 10 + stall.calls(10);
    assert!(peak <= most, "{peak} calls in one second, not {most}");
    stage.close().await;
}

#[tokio::test]
async fn a_refused_call_is_made_again() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("all", "class-7", "*", &[1000]).await;
    for effect in [
        Effect::ErrorCode(60008),
        Effect::HttpStatus(502),
        Effect::ErrorCode(60007),
    ] {
        stage
            .chat
            .inject(&Fault::new(effect).api(Api::ModifyUserInfo).times(1))
            .await
            .unwrap();
    }
    stage.chat.join("class-7", &["alice"]).await.unwrap();
    stage.sees("class-7", "alice", &[1000]).await;
    stage.rests().await;
    assert_eq!(
        column::<Option<String>>(&stage, "last_error", "alice").await,
        None
    );
    stage.close().await;
}
