//! What becomes of members when Chat refuses: the worker against the simulated Chat's faults.

mod culprits;

use std::time::Duration;

use stickymark::testing::chat::Breaker;
use stickymark::testing::chat::{Budget, CallRate, CommandType, MemberMarks};
use stickymark::testing::domain::{Account, GroupId, RequestId};
use stickymark::testing::local::simulator::{Api, CallRecord, Effect, Fault, LostAnswer, Settings};
use stickymark::testing::members::retry_failed;
use stickymark::testing::metrics::Api as CalledApi;
use tokio_util::sync::CancellationToken;

use crate::support::scene::{PATIENCE, Scene, marks, users};

const ROOM: &str = "class-7";

/// A room where these members are, and a rule that demands mark 1000 for all.
async fn room_of(accounts: &[String]) -> Scene {
    let scene = Scene::empty().await;
    scene.rule("class-*", "*", &[1000]).await;
    scene.chat().join(ROOM, accounts).await.unwrap();
    scene.arrive(ROOM, accounts).await;
    scene
}

async fn modify_calls(scene: &Scene) -> Vec<CallRecord> {
    let calls = scene.chat().calls().await.unwrap();
    calls
        .into_iter()
        .filter(|call| call.api == Api::ModifyUserInfo)
        .collect()
}

async fn marked(scene: &Scene) -> usize {
    let marks = scene.chat().marks(ROOM).await.unwrap();
    marks.values().filter(|marks| marks.contains(&1000)).count()
}

/// Does rounds until no member is due now.
async fn work(scene: &Scene) {
    let worker = scene.worker(&scene.breaker());
    while worker.step().await.unwrap() {}
}

async fn failed(scene: &Scene) -> Vec<(String, String)> {
    sqlx::query_as("select account, last_error from members where failed_at is not null")
        .fetch_all(scene.db())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_of_the_app_pauses_all_calls_but_one_probe_and_ends_by_itself() {
    let scene = Scene::empty().await;
    scene.rule("class-*", "teacher", &[1000]).await;
    for code in [
        10059, 60006, 60010, 60020, 60021, 60026, 70009, 70013, 70014,
    ] {
        let rooms: Vec<String> = (0..4).map(|room| format!("class-{code}-{room}")).collect();
        let teacher = ["teacher".to_owned()];
        for room in &rooms {
            scene.chat().join(room, &teacher).await.unwrap();
            scene.arrive(room, &teacher).await;
        }
        scene
            .chat()
            .inject(&Fault::new(Effect::ErrorCode(code)))
            .await
            .unwrap();
        let delay = Duration::from_millis(300);
        let breaker = Breaker::with_delays("reapply", delay, delay);
        let stop = CancellationToken::new();
        let worker = tokio::spawn(scene.worker(&breaker).run(stop.clone()));
        paused(&breaker, code).await;
        // Rooms that were claimed when the pause began are still called for, once each.
        let before = modify_calls(&scene).await.last().unwrap().seq;
        let probes = probes_after(&scene, before, rooms.len() + 3).await;
        for pair in probes[rooms.len()..].windows(2) {
            assert!(!pair[0].overlaps(&pair[1]), "{code}: two probes at once");
        }
        let tries: i64 = sqlx::query_scalar("select sum(tries) from members")
            .fetch_one(scene.db())
            .await
            .unwrap();
        assert_eq!(tries, 0, "{code}: no tries are used up");
        scene.chat().clear_all().await.unwrap();
        for room in &rooms {
            scene.wait_for_marks(room, "teacher", &[1000]).await;
        }
        assert_eq!(breaker.paused(), None, "{code}");
        stop.cancel();
        worker.await.unwrap();
    }
}

async fn paused(breaker: &Breaker, code: i64) {
    let begun = async {
        loop {
            if let Some(state) = breaker.paused() {
                return state;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let state = tokio::time::timeout(PATIENCE, begun).await.unwrap();
    assert!(state.reason.contains(&code.to_string()), "{state:?}");
    assert!(state.advice.is_some(), "{state:?}");
}

async fn probes_after(scene: &Scene, seq: u64, count: usize) -> Vec<CallRecord> {
    let chat = scene.chat();
    loop {
        let calls = chat.calls_after(seq).await.unwrap();
        let probes: Vec<CallRecord> = calls
            .into_iter()
            .filter(|call| call.api == Api::ModifyUserInfo)
            .collect();
        if probes.len() >= count && probes.iter().all(|call| call.finished_at.is_some()) {
            return probes;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_is_lost_after_it_was_carried_out_is_repeated() {
    for how in [LostAnswer::Close, LostAnswer::Hang] {
        let mut scene = room_of(&users(3)).await;
        scene.settings().chat.request_timeout = Duration::from_millis(300);
        let fault = Fault::new(Effect::LostAnswer(how)).times(1);
        scene.chat().inject(&fault).await.unwrap();
        let stop = CancellationToken::new();
        let worker = tokio::spawn(scene.worker(&scene.breaker()).run(stop.clone()));
        let confirmed = "select bool_and(marks = '{1000}' and not in_doubt) from members";
        scene.wait_for_row(confirmed).await;
        assert_eq!(modify_calls(&scene).await.len(), 2);
        stop.cancel();
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signature_that_is_not_accepted_is_replaced_at_once() {
    let scene = room_of(&users(3)).await;
    let fault = Fault::new(Effect::ErrorCode(70001)).times(1);
    scene.chat().inject(&fault).await.unwrap();
    let breaker = scene.breaker();
    assert!(scene.worker(&breaker).step().await.unwrap());
    assert_eq!((marked(&scene).await, breaker.paused()), (3, None));
    scene
        .chat()
        .inject(&Fault::new(Effect::ErrorCode(70001)))
        .await
        .unwrap();
    scene.arrive(ROOM, &users(3)).await;
    assert!(scene.worker(&breaker).step().await.unwrap());
    assert!(
        breaker.paused().is_some(),
        "the second one was not accepted either"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_asking_for_fewer_calls_gets_fewer() {
    let scene = room_of(&users(3)).await;
    let budget = Budget::new(
        scene.db().clone(),
        CalledApi::ModifyUserInfo,
        CallRate::new(200),
    );
    scene
        .chat()
        .inject(&Fault::new(Effect::ErrorCode(60007)).times(1))
        .await
        .unwrap();
    assert!(scene.worker(&scene.breaker()).step().await.unwrap());
    assert!(budget.state().await.unwrap().share < 0.9);
    let stop = CancellationToken::new();
    let worker = tokio::spawn(scene.worker(&scene.breaker()).run(stop.clone()));
    scene.wait_for_marks(ROOM, "user0", &[1000]).await;
    stop.cancel();
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_last_try_a_member_is_failed_until_an_event_or_a_person_revives_him() {
    let scene = room_of(&users(1)).await;
    sqlx::query("update members set tries = 11")
        .execute(scene.db())
        .await
        .unwrap();
    let fault = Fault::new(Effect::ErrorCode(10002)).times(1);
    scene.chat().inject(&fault).await.unwrap();
    let breaker = scene.breaker();
    // As after a call for another member that succeeded.
    breaker.succeeded();
    assert!(scene.worker(&breaker).step().await.unwrap());
    let given_up = failed(&scene).await;
    assert!(given_up[0].1.contains("10002"), "{given_up:?}");
    work(&scene).await;
    assert_eq!(
        modify_calls(&scene).await.len(),
        1,
        "no replica looks at the member any more"
    );
    scene.arrive(ROOM, &users(1)).await;
    work(&scene).await;
    assert_eq!((marked(&scene).await, failed(&scene).await), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_no_call_succeeds_nobody_is_given_up() {
    let scene = room_of(&users(3)).await;
    let worn = "with changed as (update members set tries = 11, due_at = now()) update rooms set due_at = now()";
    let fault = Fault::new(Effect::ErrorCode(10002)).times(3);
    scene.chat().inject(&fault).await.unwrap();
    for _ in 0..3 {
        sqlx::query(worn).execute(scene.db()).await.unwrap();
        work(&scene).await;
        assert_eq!((marked(&scene).await, failed(&scene).await), (0, vec![]));
    }
    scene
        .wait_for_row(
            "select bool_and(due_at between now() and now() + interval '64 s') from members",
        )
        .await;
    sqlx::query(worn).execute(scene.db()).await.unwrap();
    work(&scene).await;
    assert_eq!((marked(&scene).await, failed(&scene).await), (3, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_1001st_member_of_a_mark_waits_and_is_served_within_a_minute_of_a_place_getting_free() {
    // Long enough that both callbacks of each arrival fall into it on any machine: the second of
    // them, heard after the call, would give a place away that is still held.
    let scene = Scene::with(|settings| {
        settings.reapply.settle = Duration::from_secs(5);
        settings.reapply.max_wait = Duration::from_secs(10);
    })
    .await;
    scene.rule(ROOM, "*", &[1000]).await;
    let everybody = users(1001);
    for thousand in everybody.chunks(500) {
        let chat = scene.chat().sharing_callbacks(500);
        chat.join(ROOM, thousand).await.unwrap();
    }
    scene
        .wait_for_row("select count(*) = 1000 from members where marks = '{1000}'")
        .await;
    scene
        .wait_for_row("select count(*) = 1 from members where waits_for = '{1000}'")
        .await;
    let (waiter, reason): (String, String) =
        sqlx::query_as("select account, last_error from members where waits_for <> '{}'")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert!(reason.contains("1000 members"), "{reason}");
    let calls = modify_calls(&scene).await;
    let asked = calls.iter().flat_map(|call| &call.members);
    assert!(
        asked.into_iter().all(|member| member.account != waiter),
        "never sent in vain"
    );
    let holder = everybody
        .iter()
        .find(|account| **account != waiter)
        .unwrap();
    scene.chat().leave(ROOM, &[holder]).await.unwrap();
    let within_a_minute = "select due_at < now() + interval '70 s' from members
                           where waits_for = '{1000}'";
    scene.wait_for_row(within_a_minute).await;
    sqlx::query("with changed as (update members set due_at = now() where waits_for <> '{}') update rooms set due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    scene.wait_for_marks(ROOM, &waiter, &[1000]).await;
    scene
        .wait_for_row("select count(*) = 0 from members where waits_for <> '{}'")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_member_loses_a_mark_whose_rule_has_ended_by_the_clock_and_by_the_sweep() {
    for sweeping in [false, true] {
        let scene = Scene::with(|settings| {
            settings.resync.interval = sweeping.then_some(Duration::from_secs(1));
        })
        .await;
        scene.rule(ROOM, "q", &[1000]).await;
        sqlx::query("update rules set ends_at = now() + interval '1 hour'")
            .execute(scene.db())
            .await
            .unwrap();
        scene.chat().join(ROOM, &["q"]).await.unwrap();
        scene.wait_for_marks(ROOM, "q", &[1000]).await;
        scene
            .wait_for_row("select not in_doubt and due_at > now() from members")
            .await;
        let refused = Fault::new(Effect::ErrorCode(70402)).account("q");
        let refused = refused.api(Api::ModifyUserInfo);
        let refused = scene.chat().inject(&refused).await.unwrap();
        scene.rule(ROOM, "q", &[1001]).await;
        sqlx::query(
            "with changed as (update members set due_at = now()) update rooms set due_at = now()",
        )
        .execute(scene.db())
        .await
        .unwrap();
        let failed =
            "select failed_at is not null and due_at > now() + interval '50 min' from members";
        scene.wait_for_row(failed).await;
        scene.chat().clear(refused).await.unwrap();
        scene.two_minutes_pass().await;
        // The hour passes. Where it is left to the sweep, no due time says so.
        for passes in [
            "update rules set ends_at = now() where ends_at is not null",
            match sweeping {
                false => {
                    "with changed as (update members set due_at = now()) update rooms set due_at = now()"
                }
                true => "update members set due_at = null",
            },
        ] {
            sqlx::query(passes).execute(scene.db()).await.unwrap();
        }
        scene.wait_for_marks(ROOM, "q", &[1001]).await;
        scene
            .wait_for_row("select failed_at is null and marks = '{1001}' from members")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_chat_confirmed_counts_though_the_call_after_it_failed() {
    let scene = room_of(&users(1)).await;
    // Another system uses up the ten marks of the room, so that none can be set.
    scene.chat().join(ROOM, &["other"]).await.unwrap();
    let foreign = MemberMarks {
        account: Account::parse("other").unwrap(),
        marks: marks(&(2000..2010).collect::<Vec<i64>>()),
    };
    let group = GroupId::parse(ROOM).unwrap();
    let set = scene
        .client()
        .modify_user_info(&group, CommandType::Set, &[foreign])
        .await;
    assert_eq!(set.unwrap().confirmed.len(), 1);
    sqlx::query("update members set marks = '{1001}'")
        .execute(scene.db())
        .await
        .unwrap();
    work(&scene).await;
    let row: (Vec<i64>, bool) =
        sqlx::query_as("select marks, pending_since is not null from members")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert_eq!(row, (vec![], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_whose_rules_cannot_be_read_is_released_at_once() {
    let scene = room_of(&users(2)).await;
    for away in [true, false] {
        let rename = match away {
            true => "alter table rules rename to away",
            false => "alter table away rename to rules",
        };
        sqlx::query(rename).execute(scene.db()).await.unwrap();
        if away {
            work(&scene).await;
        }
    }
    let soon = "select bool_and(m.due_at < now() + interval '2 s' and not m.in_doubt
                    and tries = 0 and leased_until is null)
                from members m join rooms using (group_id)";
    let soon: bool = sqlx::query_scalar(soon)
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert!(soon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_left_out_again_and_again_though_in_the_room_is_shown_as_waiting() {
    let scene = room_of(&users(2)).await;
    let fault = Fault::new(Effect::Omit)
        .account("user1")
        .api(Api::ModifyUserInfo);
    let fault = scene.chat().inject(&fault).await.unwrap();
    sqlx::query("update members set tries = 3")
        .execute(scene.db())
        .await
        .unwrap();
    work(&scene).await;
    let (presence, reason): (String, String) =
        sqlx::query_as("select presence, last_error from members where account = 'user1'")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert_eq!(presence, "present");
    assert!(reason.contains("although they are in the room"), "{reason}");
    scene.chat().clear(fault).await.unwrap();
    sqlx::query("with changed as (update members set due_at = now() where account = 'user1') update rooms set due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    work(&scene).await;
    assert_eq!(marked(&scene).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_starts_and_ends_acts_on_time_by_itself() {
    let scene = Scene::with(|_| {}).await;
    scene.rule(ROOM, "teacher", &[1000]).await;
    set_window(&scene, "now() + interval '1 h'", "now() + interval '2 h'").await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene
        .wait_for_row("select due_at = (select starts_at from rules) from members")
        .await;
    assert_eq!(modify_calls(&scene).await, []);
    pass_an_hour(&scene).await;
    scene.wait_for_marks(ROOM, "teacher", &[1000]).await;
    scene
        .wait_for_row("select due_at = (select ends_at from rules) from members")
        .await;
    pass_an_hour(&scene).await;
    scene.wait_for_marks(ROOM, "teacher", &[]).await;
    scene
        .wait_for_row("select due_at is null from members")
        .await;
}

async fn set_window(scene: &Scene, starts_at: &str, ends_at: &str) {
    let sql = format!("update rules set starts_at = {starts_at}, ends_at = {ends_at}");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .execute(scene.db())
        .await
        .unwrap();
}

/// Moves every time that is written down an hour back: for the service, an hour has passed.
async fn pass_an_hour(scene: &Scene) {
    sqlx::query(
        "with rule as (update rules set starts_at = starts_at - interval '1 h',
                                        ends_at = ends_at - interval '1 h'),
         member as (update members set due_at = due_at - interval '1 h')
         update rooms set due_at = due_at - interval '1 h'",
    )
    .execute(scene.db())
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mark_500_is_renewed_in_time_although_another_mark_was_deleted_shortly_before() {
    let scene = Scene::empty().await;
    scene.rule(ROOM, "teacher", &[500]).await;
    scene.rule(ROOM, "*", &[1000]).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene.arrive(ROOM, &["teacher".to_owned()]).await;
    work(&scene).await;
    sqlx::query("with changed as (update members set confirmed_at = confirmed_at - interval '59 h', due_at = now()) update rooms set due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    sqlx::query("update rules set enabled = false where account_text = ''")
        .execute(scene.db())
        .await
        .unwrap();
    work(&scene).await;
    let calls = modify_calls(&scene).await;
    let sent = calls.iter().skip(1);
    let sent: Vec<_> = sent
        .map(|call| (call.command_type, call.members[0].marks.clone()))
        .collect();
    assert_eq!(sent, [(Some(2), vec![1000]), (Some(1), vec![500])]);
    scene
        .wait_for_row("select due_at > now() + interval '59 h' from members")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_of_more_marks_than_a_room_can_hold_goes_out_in_several_calls() {
    let scene = Scene::empty().await;
    scene.rule(ROOM, "*", &[1000]).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene.arrive(ROOM, &["teacher".to_owned()]).await;
    let many: Vec<i64> = (2000..2012).collect();
    sqlx::query("update members set in_doubt = true, revoked = $1")
        .bind(many)
        .execute(scene.db())
        .await
        .unwrap();
    work(&scene).await;
    let confirmed = "select marks = '{1000}' and not in_doubt and tries = 0 from members";
    scene.wait_for_row(confirmed).await;
    let calls = modify_calls(&scene).await;
    let sizes: Vec<usize> = calls
        .iter()
        .map(|call| call.members[0].marks.len())
        .collect();
    assert_eq!(sizes, [10, 2, 1]);
}

/// Chat may leave out of its answer who does not carry the mark that was to be deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_without_an_answer_for_a_member_does_not_keep_their_marks_from_them() {
    let scene = room_of(&users(1)).await;
    sqlx::query("update members set marks = '{1001}'")
        .execute(scene.db())
        .await
        .unwrap();
    let left_out = Fault::new(Effect::Omit).api(Api::ModifyUserInfo).times(1);
    scene.chat().inject(&left_out).await.unwrap();
    work(&scene).await;
    assert_eq!(marked(&scene).await, 1);
    scene
        .wait_for_row("select marks = '{1000}' and due_at is null from members")
        .await;
}

/// A code that no page names may be the one for a call in which no member is online.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undocumented_code_is_no_fault_of_a_member_who_left() {
    let scene = Scene::empty().await;
    scene.rule(ROOM, "teacher", &[1000]).await;
    let settings = Settings {
        all_offline_code: 10030,
        ..Settings::default()
    };
    scene.chat().configure(&settings).await.unwrap();
    scene.chat().join(ROOM, &["somebody-else"]).await.unwrap();
    scene.arrive(ROOM, &["teacher".to_owned()]).await;
    for _ in 0..4 {
        let later = "with changed as (update members set due_at = now() where due_at is not null) update rooms set due_at = now()";
        sqlx::query(later).execute(scene.db()).await.unwrap();
        work(&scene).await;
        scene
            .wait_for_row("select failed_at is null and not in_doubt from members")
            .await;
    }
    scene
        .wait_for_row("select presence = 'absent' and due_at is null from members")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mark_500_is_renewed_before_its_three_days_are_over() {
    let scene = Scene::empty().await;
    scene.rule(ROOM, "teacher", &[500, 1000]).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene.arrive(ROOM, &["teacher".to_owned()]).await;
    work(&scene).await;
    let in_60_hours =
        "select due_at between now() + interval '59 h' and now() + interval '60 h' from members";
    scene.wait_for_row(in_60_hours).await;
    sqlx::query(
        "with changed as (update members set confirmed_at = confirmed_at - interval '60 h', due_at = due_at - interval '60 h') update rooms set due_at = now()",
    )
    .execute(scene.db())
    .await
    .unwrap();
    work(&scene).await;
    let calls = modify_calls(&scene).await;
    assert_eq!(
        (calls.len(), &calls[1].members[0].marks),
        (2, &vec![500, 1000])
    );
    scene.wait_for_row(in_60_hours).await;
}
