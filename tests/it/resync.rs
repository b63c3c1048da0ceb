//! The sweep: what callbacks did not tell is found and healed.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use stickymark::testing::WakeUp;
use stickymark::testing::chat::{CommandType, MemberMarks};
use stickymark::testing::domain::{Account, GroupId, RequestId, RoomEnd};
use stickymark::testing::local::simulator::{
    Api, CallRecord, Effect, Fault, LostAnswer, Settings, Simulated,
};
use stickymark::testing::members::{Ended, room_gone};
use stickymark::testing::resync;

use crate::support::scene::{PATIENCE, Scene, marks, users};
use crate::support::stage::Stage;
use crate::support::{database, insert_rule, wait_for_row};

/// Changes a member's marks as some other program of the operator might.
async fn behind_our_back(scene: &Scene, command: CommandType, account: &str, numbers: &[i64]) {
    let member = MemberMarks {
        account: Account::parse(account).unwrap(),
        marks: marks(numbers),
    };
    let group = GroupId::parse("class-7").unwrap();
    let answer = scene
        .client()
        .modify_user_info(&group, command, &[member])
        .await;
    assert_eq!(answer.unwrap().confirmed.len(), 1);
}

/// Loses every callback, or a fraction of them.
async fn lose_callbacks(scene: &Scene, fraction: f64) -> u64 {
    let fault = Fault::new(Effect::LoseCallback).fraction(fraction, 7);
    scene.chat().inject(&fault).await.unwrap()
}

async fn sweep_now(scene: &Scene) {
    let group = GroupId::parse("class-7").unwrap();
    sqlx::query("update rooms set swept_at = null")
        .execute(scene.db())
        .await
        .unwrap();
    resync::request(scene.db(), &WakeUp::default(), &group)
        .await
        .unwrap();
    scene
        .wait_for_row("select swept_at is not null from rooms where group_id = 'class-7'")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_come_back_though_half_of_all_callbacks_are_lost() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "user*", &[1000]).await;
    scene.rule("class-7", "user3", &[1001]).await;
    let chat = scene.chat();
    let everybody = users(60);
    lose_callbacks(&scene, 0.5).await;
    chat.join("class-7", &everybody).await.unwrap();
    let all_marked = |scene: &Scene| {
        let chat = scene.chat();
        async move {
            chat.wait_until("class-7", PATIENCE, |members| {
                members.len() == 60 && members.values().all(|marks| marks.contains(&1000))
            })
            .await
            .unwrap();
        }
    };
    all_marked(&scene).await;
    scene
        .wait_for_marks("class-7", "user3", &[1000, 1001])
        .await;
    scene
        .wait_for_row("select count(*) = 60 from members where pending_since is null")
        .await;
    scene.two_minutes_pass().await;
    chat.drop_offline("class-7", &everybody).await.unwrap();
    chat.come_back("class-7", &everybody).await.unwrap();
    // Those whose leave was heard but whose return was lost were heard of just now.
    scene.two_minutes_pass().await;
    all_marked(&scene).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_removed_behind_our_back_return() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "teacher", &[1000]).await;
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    scene
        .wait_for_row("select confirmed_at is not null and pending_since is null and not in_doubt from members")
        .await;
    behind_our_back(&scene, CommandType::Delete, "teacher", &[1000]).await;
    scene.two_minutes_pass().await;
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_a_moment_ago_is_left_alone() {
    let scene = Scene::with(|_| {}).await;
    scene.rule("class-7", "teacher", &[1000]).await;
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    scene
        .wait_for_row("select confirmed_at is not null and pending_since is null and not in_doubt from members")
        .await;
    behind_our_back(&scene, CommandType::Delete, "teacher", &[1000]).await;
    sweep_now(&scene).await;
    let believed: (Vec<i64>, bool) = sqlx::query_as("select marks, due_at is null from members")
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert_eq!(believed, (vec![1000], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_marks_of_ours_are_taken_away_and_foreign_marks_never_touched() {
    let scene = Scene::sweeping().await;
    let chat = scene.chat();
    // Lists come in many pages.
    chat.configure(&Settings {
        page_size: 2,
        ..Settings::default()
    })
    .await
    .unwrap();
    scene.rule("class-7", "teacher", &[1000, 1001]).await;
    scene.rule("class-7", "helper", &[1001]).await;
    let strangers = users(7);
    chat.join("class-7", &strangers).await.unwrap();
    chat.join("class-7", &["teacher", "helper"]).await.unwrap();
    scene
        .wait_for_marks("class-7", "teacher", &[1000, 1001])
        .await;
    scene.wait_for_marks("class-7", "helper", &[1001]).await;
    for stranger in &strangers {
        behind_our_back(&scene, CommandType::Set, stranger, &[1000, 2000]).await;
    }
    behind_our_back(&scene, CommandType::Set, "helper", &[1000, 2000]).await;
    scene
        .wait_for_row(
            "select count(*) = 2 from members where marks <> '{}' and account not like 'user%'",
        )
        .await;
    scene.two_minutes_pass().await;
    chat.wait_until("class-7", PATIENCE, |members| {
        strangers
            .iter()
            .all(|stranger| members[stranger] == [2000].into())
            && members["helper"] == [1001, 2000].into()
            && members["teacher"] == [1000, 1001].into()
    })
    .await
    .unwrap();
    let calls = chat.calls_of(Api::ModifyUserInfo, "class-7").await.unwrap();
    let touched = calls.iter().filter(|call| call.command_type == Some(2));
    let touched = touched
        .flat_map(|call| &call.members)
        .flat_map(|member| &member.marks);
    assert!(
        touched.copied().all(|mark| mark == 1000),
        "only what rules name was taken away"
    );
    scene.wait_for_row("select count(*) = 2 from members").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_compares_a_room_that_nobody_told_of_even_where_sweeps_are_off() {
    let scene = Scene::with(|_| {}).await;
    scene.rule("class-7", "teacher", &[1000]).await;
    lose_callbacks(&scene, 1.0).await;
    scene
        .chat()
        .join("class-7", &["teacher", "pupil"])
        .await
        .unwrap();
    sweep_now(&scene).await;
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    let found: serde_json::Value = sqlx::query_scalar("select sweep_found from rooms")
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert_eq!(
        found,
        serde_json::json!({"missing": 1, "surplus": 0, "unheard": 1, "vanished": 0})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_leave_was_lost_is_found_to_have_left() {
    let scene = Scene::with(|_| {}).await;
    scene.rule("class-7", "teacher", &[1000]).await;
    scene
        .chat()
        .join("class-7", &["teacher", "pupil"])
        .await
        .unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    scene
        .wait_for_row(
            "select confirmed_at is not null and pending_since is null
                 and not in_doubt from members",
        )
        .await;
    lose_callbacks(&scene, 1.0).await;
    scene.chat().leave("class-7", &["teacher"]).await.unwrap();
    sweep_now(&scene).await;
    let presence = "select presence from members";
    let known: String = sqlx::query_scalar(presence)
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert_eq!(
        known, "present",
        "Chat's lists lag, so nothing is concluded yet"
    );
    scene.two_minutes_pass().await;
    sweep_now(&scene).await;
    let known: String = sqlx::query_scalar(presence)
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert_eq!(known, "absent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_was_destroyed_in_silence_ends() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "teacher", &[1000]).await;
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    lose_callbacks(&scene, 1.0).await;
    scene.chat().destroy("class-7").await.unwrap();
    scene
        .wait_for_row("select gone_at is not null and sweep_due_at is null from rooms")
        .await;
    scene
        .wait_for_row("select presence = 'absent' from members")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_never_sweep_a_room_at_once() {
    let mut scene = Scene::sweeping().await;
    scene.add_replica().await;
    scene.rule("class-*", "teacher", &[1000, 1001]).await;
    scene.rule("class-*", "pupil", &[1000]).await;
    let chat = scene.chat();
    let settings = Settings {
        latency_ms: 40,
        ..Settings::default()
    };
    chat.configure(&settings).await.unwrap();
    for room in 0..6 {
        chat.join(&format!("class-{room}"), &["teacher"])
            .await
            .unwrap();
    }
    scene
        .wait_for_row("select count(swept_at) = 6 from rooms")
        .await;
    let sweeps = sweep_calls(&chat, 60).await;
    for (place, call) in sweeps.iter().enumerate() {
        let same_room = sweeps[place + 1..]
            .iter()
            .filter(|other| other.group == call.group);
        assert!(same_room.into_iter().all(|other| !call.overlaps(other)));
    }
}

/// The calls of sweeps, as soon as there are so many; a slow machine takes its time.
async fn sweep_calls(chat: &Simulated, least: usize) -> Vec<CallRecord> {
    let gathered = async {
        loop {
            let mut calls = chat.calls().await.unwrap();
            calls.retain(|call| matches!(call.api, Api::GetMembers | Api::CheckMembers));
            if calls.len() >= least {
                return calls;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(2 * PATIENCE, gathered)
        .await
        .expect("rooms are swept again and again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_time_without_any_replica_every_room_is_compared_at_once() {
    let mut scene = Scene::empty().await;
    scene.settings().resync.interval = Some(Duration::from_secs(3600));
    scene.add_replica().await;
    scene.rule("*", "teacher", &[1000]).await;
    let rooms = ["class-1", "class-2", "class-3"];
    for room in rooms {
        scene.chat().join(room, &["teacher"]).await.unwrap();
        scene.wait_for_marks(room, "teacher", &[1000]).await;
    }
    scene
        .wait_for_row("select count(*) = 3 from rooms where sweep_due_at is not null")
        .await;
    scene.stop_replicas().await;
    for room in rooms {
        scene.chat().drop_offline(room, &["teacher"]).await.unwrap();
        scene.chat().come_back(room, &["teacher"]).await.unwrap();
    }
    scene.two_minutes_pass().await;
    sqlx::query("update sweep_beat set beat_at = now() - interval '1 minute'")
        .execute(scene.db())
        .await
        .unwrap();
    scene.add_replica().await;
    for room in rooms {
        scene.wait_for_marks(room, "teacher", &[1000]).await;
    }
}

/// Else a replica that starts, or another, would believe that callbacks were missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heartbeat_goes_on_while_sweeps_hang_and_while_calls_are_paused() {
    for hanging in [true, false] {
        let mut scene = Scene::empty().await;
        scene.settings().chat.request_timeout = 4 * PATIENCE;
        scene.settings().resync.interval = Some(Duration::from_secs(1));
        scene.rule("*", "teacher", &[1000]).await;
        let fault = if hanging {
            Fault::new(Effect::LostAnswer(LostAnswer::Hang)).api(Api::GetMembers)
        } else {
            Fault::new(Effect::ErrorCode(60020)).api(Api::ModifyUserInfo)
        };
        scene.chat().inject(&fault).await.unwrap();
        scene.add_replica().await;
        for room in 0..6 {
            let room = format!("class-{room}");
            scene.chat().join(&room, &["teacher"]).await.unwrap();
        }
        scene
            .wait_for_row(if hanging {
                "select count(*) = 4 from rooms where sweeping_until > now()"
            } else {
                "select count(*) > 0 from members where last_error like '%60020%'"
            })
            .await;
        sqlx::query("update sweep_beat set beat_at = now() - interval '5 s'")
            .execute(scene.db())
            .await
            .unwrap();
        scene
            .wait_for_row("select beat_at > now() - interval '4 s' from sweep_beat")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_long_silent_and_members_without_a_rule_are_deleted() {
    let mut scene = Scene::empty().await;
    scene.rule("*", "teacher", &[1000]).await;
    let everybody = ["teacher".to_owned()];
    for room in ["silent", "inhabited", "class-7"] {
        scene.arrive(room, &everybody).await;
        scene.chat().join(room, &everybody).await.unwrap();
    }
    sqlx::query(
        "update rooms set last_event_at = now() - interval '4 days' where group_id <> 'class-7'",
    )
    .execute(scene.db())
    .await
    .unwrap();
    // The leftovers of a call that was cut short do not keep a room.
    sqlx::query(
        "update members set presence = 'absent', due_at = null, in_doubt = true
         where group_id = 'silent'",
    )
    .execute(scene.db())
    .await
    .unwrap();
    sqlx::query(
        "insert into members (group_id, account, presence, heard_at)
         values ('class-7', 'forgotten', 'absent', now() - interval '2 hours'),
                ('class-7', 'just-left', 'absent', now())",
    )
    .execute(scene.db())
    .await
    .unwrap();
    scene.add_replica().await;
    sweep_now(&scene).await;
    scene
        .wait_for_row("select count(*) = 0 from rooms where group_id = 'silent'")
        .await;
    let left: Vec<(String, String)> =
        sqlx::query_as("select group_id, account from members order by 1, 2")
            .fetch_all(scene.db())
            .await
            .unwrap();
    let left: Vec<(&str, &str)> = left.iter().map(|(g, a)| (g.as_str(), a.as_str())).collect();
    assert_eq!(
        left,
        [
            ("class-7", "just-left"),
            ("class-7", "teacher"),
            ("inhabited", "teacher")
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_that_chat_refuses_is_shown_and_tried_again() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "teacher", &[1000]).await;
    let fault = Fault::new(Effect::ErrorCode(10002)).api(Api::GetMembers);
    let fault = scene.chat().inject(&fault).await.unwrap();
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene
        .wait_for_row("select sweep_failures > 1 and sweep_error like '%10002%' from rooms")
        .await;
    scene.chat().clear(fault).await.unwrap();
    scene
        .wait_for_row(
            "select sweep_failures = 0 and sweep_error is null and swept_at is not null from rooms",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_configuration_stops_the_sweeps_until_it_is_fixed() {
    let scene = Scene::sweeping().await;
    scene.rule("class-*", "teacher", &[1000]).await;
    let fault = Fault::new(Effect::ErrorCode(60021)).api(Api::GetMembers);
    let fault = scene.chat().inject(&fault).await.unwrap();
    for room in 0..12 {
        let room = format!("class-{room}");
        scene.chat().join(&room, &["teacher"]).await.unwrap();
        scene.wait_for_marks(&room, "teacher", &[1000]).await;
    }
    scene
        .wait_for_row("select count(*) > 0 from rooms where sweep_error like '%60021%'")
        .await;
    let failures = "select sum(sweep_failures) = 0 from rooms";
    scene.wait_for_row(failures).await;
    let lists = scene.chat().stats().await.unwrap().calls[&Api::GetMembers].calls;
    assert!(lists <= 5, "{lists} calls within the pause");
    scene.chat().clear(fault).await.unwrap();
    scene
        .wait_for_row("select bool_and(swept_at is not null) from rooms")
        .await;
}

/// A call that was under way when the rule went may have set its mark after everybody looked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_only_a_deleted_rule_named_is_taken_away_once_more_and_then_left_alone() {
    let scene = Scene::with(|_| {}).await;
    scene.rule("class-*", "teacher", &[1000]).await;
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    sqlx::query("delete from rules")
        .execute(scene.db())
        .await
        .unwrap();
    sqlx::query("delete from members")
        .execute(scene.db())
        .await
        .unwrap();
    scene.two_minutes_pass().await;
    sweep_now(&scene).await;
    scene.wait_for_marks("class-7", "teacher", &[]).await;
    scene
        .wait_for_row("select count(*) = 1 from members where marks = '{}' and due_at is null")
        .await;
    sweep_now(&scene).await;
    scene.wait_for_row("select count(*) = 0 from members").await;
    sqlx::query("update retired_marks set retired_at = now() - interval '1 hour'")
        .execute(scene.db())
        .await
        .unwrap();
    behind_our_back(&scene, CommandType::Set, "teacher", &[1000]).await;
    // The mark belongs to another program from now on.
    let again = "update rooms set sweep_found = null";
    sqlx::query(again).execute(scene.db()).await.unwrap();
    let group = GroupId::parse("class-7").unwrap();
    resync::request(scene.db(), &WakeUp::default(), &group)
        .await
        .unwrap();
    scene
        .wait_for_row("select sweep_found is not null from rooms")
        .await;
    let held = scene.chat().marks("class-7").await.unwrap();
    assert_eq!(held["teacher"], [1000].into());
}

/// A rule that is stored with these columns from the beginning.
async fn rule_that(scene: &Scene, id: &str, mark: i64, enabled: bool, starts: &str, ends: &str) {
    sqlx::query(
        "insert into rules values ($1, 'class-7', -1, 'nobody-yet', -1, array[$2::bigint], $3,
             nullif($4, '')::timestamptz, nullif($5, '')::timestamptz, '', '', 1, now(), now())",
    )
    .bind(id)
    .bind(mark)
    .bind(enabled)
    .bind(starts)
    .bind(ends)
    .execute(scene.db())
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_never_demanded_anything_takes_no_mark_from_anyone_and_one_that_did_does() {
    let scene = Scene::with(|_| {}).await;
    scene.rule("class-7", "teacher", &[1000]).await;
    rule_that(&scene, "draft", 1005, false, "", "").await;
    rule_that(&scene, "next-year", 1006, true, "2090-01-01", "").await;
    rule_that(&scene, "last-year", 1007, true, "", "2026-01-01").await;
    rule_that(&scene, "deleted-draft", 1008, false, "", "").await;
    rule_that(&scene, "changed", 1009, true, "", "").await;
    for sql in [
        "delete from rules where id = 'deleted-draft'",
        "update rules set marks = '{1010}', enabled = false where id = 'changed'",
    ] {
        sqlx::query(sql).execute(scene.db()).await.unwrap();
    }
    let chat = scene.chat();
    chat.join("class-7", &["carol"]).await.unwrap();
    let all = [1000, 1005, 1006, 1007, 1008, 1009, 1010];
    behind_our_back(&scene, CommandType::Set, "carol", &all).await;
    sweep_now(&scene).await;
    scene
        .wait_for_marks("class-7", "carol", &[1005, 1006, 1008, 1010])
        .await;

    // Enabled for a moment, the draft demanded its mark; that counts as long as it names the mark.
    for sql in [
        "update rules set enabled = true where id = 'draft'",
        "update rules set enabled = false where id = 'draft'",
        "update retired_marks set retired_at = now() - interval '30 days'",
    ] {
        sqlx::query(sql).execute(scene.db()).await.unwrap();
    }
    scene.two_minutes_pass().await;
    sweep_now(&scene).await;
    scene
        .wait_for_marks("class-7", "carol", &[1006, 1008, 1010])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_an_event_declared_gone_comes_back_if_chat_knows_it() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "*", &[1000]).await;
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    let group = GroupId::parse("class-7").unwrap();
    let forged = RoomEnd {
        group: group.clone(),
        at: None,
        request: RequestId::generate(),
    };
    let was_there = room_gone(scene.db(), &group, Ended::Told(&forged)).await;
    assert!(was_there.unwrap());
    behind_our_back(&scene, CommandType::Delete, "teacher", &[1000]).await;
    let soon =
        "select gone_at is not null and sweep_due_at between now() and now() + interval '2 min'
                from rooms";
    scene.wait_for_row(soon).await;
    scene.two_minutes_pass().await;
    sqlx::query("update rooms set sweep_due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    scene
        .wait_for_row("select gone_at is null and sweep_due_at is not null from rooms")
        .await;

    // One that Chat does not know either stays gone, and is not swept again.
    scene.chat().destroy("class-7").await.unwrap();
    scene
        .wait_for_row("select gone_at is not null from rooms")
        .await;
    sqlx::query("update rooms set sweep_due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    scene
        .wait_for_row("select gone_at is not null and sweep_due_at is null from rooms")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_left_long_ago_cost_no_call_and_are_deleted_when_their_time_is_over() {
    let mut scene = Scene::empty().await;
    scene.rule("class-7", "*", &[1000]).await;
    for prepared in [
        "insert into rooms (group_id, last_event_at, sweep_due_at) values ('class-7', now(), now())",
        "insert into members (group_id, account, presence, heard_at, event_at)
         select 'class-7', 'user' || n, 'absent', now() - interval '1 hour' * (1 + n), 1
         from generate_series(1, 5000) n",
    ] {
        sqlx::query(prepared).execute(scene.db()).await.unwrap();
    }
    scene.settings().resync.interval = Some(Duration::from_secs(1));
    scene.chat().join("class-7", &["teacher"]).await.unwrap();
    scene.settings().retention.members = Some(Duration::from_secs(24 * 3600));
    scene.add_replica().await;
    let rest = "select count(*) = 22 and min(heard_at) > now() - interval '1 day'
        from members where account like 'user%'";
    scene.wait_for_row(rest).await;
    let calls = scene.chat().calls().await.unwrap();
    assert!(calls.iter().all(|call| call.api != Api::CheckMembers));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_ended_long_ago_costs_nothing_until_it_comes_back() {
    let database = database().await;
    insert_rule(database.db(), "class-7", "t*", &[1000]).await;
    for prepared in [
        "update rules set id = 'old', ends_at = now() - interval '2 days'",
        "insert into rooms (group_id, last_event_at, swept_at, sweep_due_at)
         values ('class-7', now(), now(), now())",
    ] {
        sqlx::query(prepared).execute(database.db()).await.unwrap();
    }
    let stage = Stage::on(database, &[("STICKYMARK__RESYNC__INTERVAL", "1s")]).await;
    let teacher = ["teacher".to_owned()];
    stage.chat.join("class-7", &teacher).await.unwrap();
    let swept = "select swept_at > last_event_at + interval '3 seconds' from rooms";
    wait_for_row(stage.db(), swept).await;
    wait_for_row(stage.db(), "select count(*) = 0 from members").await;
    assert_eq!(stage.chat.calls().await.unwrap(), []);

    stage.patch_rule("old", json!({"ends_at": null})).await;
    stage.sees("class-7", "teacher", &[1000]).await;
    stage.close().await;
}

/// Every combination of the columns by which queue and sweep decide whether a row is theirs, for
/// members who are in the room: whatever a row says, the member gets what rules demand and loses what they
/// no longer demand. Only a member who has failed is not tried again for the sake of a missing mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_row_is_left_out_by_both_queue_and_sweep() {
    let mut scene = Scene::empty().await;
    scene.settings().resync.interval = Some(Duration::from_secs(1));
    scene.rule("class-7", "*", &[1000]).await;
    let an_hour_ago = (Utc::now() - TimeDelta::hours(1)).to_rfc3339();
    rule_that(&scene, "ended", 1001, true, "", &an_hour_ago).await;
    let (past, future) = (Some(-7200.0), Some(7200.0));
    let mut rows = Vec::new();
    for presence in ["present", "absent", "unknown"] {
        for in_doubt in [false, true] {
            for pending in [None, past, future] {
                for due in [None, past, future] {
                    for heard in [None, past, future] {
                        for (failed, waits) in [(false, false), (true, false), (false, true)] {
                            rows.push((presence, in_doubt, pending, due, heard, failed, waits));
                        }
                    }
                }
            }
        }
    }
    let accounts = users(rows.len());
    for (account, (presence, in_doubt, pending, due, heard, failed, waits)) in
        accounts.iter().zip(rows)
    {
        sqlx::query(
            "insert into members (group_id, account, presence, in_doubt, pending_since, due_at,
                 heard_at, confirmed_at, failed_at, waits_for, revoked, tries, event_at)
             select 'class-7', $1, $2, $3, now() + $4 * second, now() + $5 * second,
                 now() + $6 * second, now() + $6 * second, case when $7 then now() end,
                 case when $8 then array[1000] else '{}' end,
                 case when $3 then array[1002] else '{}' end, case when $7 then 12 else 0 end, 1
             from (select interval '1 second' as second) unit",
        )
        .bind(account)
        .bind(presence)
        .bind(in_doubt)
        .bind(pending)
        .bind(due)
        .bind(heard)
        .bind(failed)
        .bind(waits)
        .execute(scene.db())
        .await
        .unwrap();
    }
    for some in accounts.chunks(100) {
        scene.chat().join("class-7", some).await.unwrap();
    }
    let odd = |account: &String| account.ends_with(['1', '3', '5', '7', '9']);
    let holders: Vec<MemberMarks> = accounts
        .iter()
        .filter(|account| odd(account))
        .map(|account| MemberMarks {
            account: Account::parse(account).unwrap(),
            marks: marks(&[1001]),
        })
        .collect();
    let group = GroupId::parse("class-7").unwrap();
    for some in holders.chunks(500) {
        let set = scene
            .client()
            .modify_user_info(&group, CommandType::Set, some)
            .await;
        assert_eq!(set.unwrap().confirmed.len(), some.len());
    }
    scene.add_replica().await;
    sqlx::query("insert into rooms (group_id, due_at) values ('class-7', now())")
        .execute(scene.db())
        .await
        .unwrap();
    let settled = "select bool_and(failed_at is not null
                       or marks = '{1000}' and not in_doubt and pending_since is null and waits_for = '{}')
                   from members";
    scene.wait_for_row(settled).await;
    // The sweep leaves alone what was confirmed a moment ago.
    scene.two_minutes_pass().await;
    scene
        .chat()
        .wait_until("class-7", PATIENCE, |held| {
            held.values().all(|marks| !marks.contains(&1001))
        })
        .await
        .unwrap();
    scene.wait_for_row(settled).await;
    let still_failed: Vec<String> =
        sqlx::query_scalar("select account from members where failed_at is not null")
            .fetch_all(scene.db())
            .await
            .unwrap();
    assert!(!still_failed.iter().any(odd), "they had to be looked at");
    let held = scene.chat().marks("class-7").await.unwrap();
    for account in &accounts {
        let failed = still_failed.contains(account);
        assert_eq!(held[account].contains(&1000), !failed, "{account}");
    }
}

/// A member leaves, and the service has done with it.
async fn leaves(stage: &crate::support::stage::Stage, account: &str) {
    let chat = stage.chat.waiting();
    chat.leave("class-7", &[account]).await.unwrap();
    let heard = "select presence = 'absent' and pending_since is null and not in_doubt
                 from members where account = $1";
    while !sqlx::query_scalar::<_, bool>(heard)
        .bind(account)
        .fetch_one(stage.db())
        .await
        .unwrap()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_back_while_no_rule_named_him_is_marked_when_one_does_again() {
    let stage = crate::support::stage::Stage::open(&[("STICKYMARK__RESYNC__INTERVAL", "0s")]).await;
    // Whose commands return when their callbacks have been delivered.
    let chat = stage.chat.waiting();
    for (id, group) in [("here", "class-7"), ("anywhere", "class-*")] {
        let account = format!("teacher-{id}");
        stage.put_rule(id, group, &account, &[1000]).await;
        chat.join("class-7", &[&account]).await.unwrap();
        stage.sees("class-7", &account, &[1000]).await;
        stage.rests().await;
        leaves(&stage, &account).await;
        stage.delete_rule(id).await;
        chat.join("class-7", &[&account]).await.unwrap();
        stage.rests().await;
        // Whether or not the filter still knew of the rule and a replica listened.
        stage.put_rule(id, group, &account, &[1000]).await;
        stage.sees("class-7", &account, &[1000]).await;
        stage.rests().await;
    }
    // Who is really away is tried once, and costs nothing more.
    leaves(&stage, "teacher-here").await;
    stage.delete_rule("here").await;
    let before = stage.mark_calls().await.len();
    stage
        .put_rule("here", "class-7", "teacher-here", &[1000])
        .await;
    while stage.mark_calls().await.len() == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stage.rests().await;
    let calls = stage.mark_calls().await;
    assert_eq!(calls.len(), before + 1, "{:?}", &calls[before..]);
    let parked = "select presence = 'absent' and due_at is null from members
                  where account = 'teacher-here'";
    let parked: bool = sqlx::query_scalar(parked)
        .fetch_one(stage.db())
        .await
        .unwrap();
    assert!(parked);
    stage.close().await;
}
