//! Sweeps on Chat's bad days: whatever fails, and wherever in a list, nothing is concluded from half
//! an answer; and sweeps and calls that set marks do not stand in each other's way.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stickymark::testing::WakeUp;
use stickymark::testing::chat::{Budget, CallRate, CommandType, MemberMarks};
use stickymark::testing::domain::{Account, GroupId};
use stickymark::testing::local::simulator::{Api, Effect, Fault, LostAnswer, Settings};
use stickymark::testing::metrics::Api as CalledApi;
use stickymark::testing::resync;

use crate::support::scene::{PATIENCE, Scene, marks, users};

const ROOM: &str = "class-7";

/// One way of failing for each class of errors.
const EFFECTS: [Effect; 7] = [
    Effect::ErrorCode(10002),
    Effect::ErrorCode(60007),
    Effect::ErrorCode(60020),
    Effect::ErrorCode(70001),
    Effect::HttpStatus(502),
    Effect::LostAnswer(LostAnswer::Close),
    Effect::LostAnswer(LostAnswer::Hang),
];

async fn behind_our_back(scene: &Scene, command: CommandType, account: &str) {
    let member = MemberMarks {
        account: Account::parse(account).unwrap(),
        marks: marks(&[1000]),
    };
    let group = GroupId::parse(ROOM).unwrap();
    let client = scene.client();
    let answer = client.modify_user_info(&group, command, &[member]).await;
    assert_eq!(answer.unwrap().confirmed.len(), 1);
}

async fn request(scene: &Scene, group: &str) {
    let group = GroupId::parse(group).unwrap();
    resync::request(scene.db(), &WakeUp::default(), &group)
        .await
        .unwrap();
}

/// A room whose lists have many pages, where the members carry the mark 1000.
async fn marked_room(account: &str, members: &[String]) -> Scene {
    let scene = Scene::with(|settings| {
        settings.chat.request_timeout = Duration::from_millis(300);
    })
    .await;
    let pages = Settings {
        page_size: 3,
        ..Settings::default()
    };
    scene.chat().configure(&pages).await.unwrap();
    if account.ends_with('*') {
        scene.rule(ROOM, account, &[1000]).await;
    } else {
        for member in members {
            scene.rule(ROOM, member, &[1000]).await;
        }
    }
    scene.chat().join(ROOM, members).await.unwrap();
    scene.chat().join(ROOM, &["guest"]).await.unwrap();
    let all = "select bool_and(marks = '{1000}' and confirmed_at is not null and not in_doubt)
               from members";
    scene.wait_for_row(all).await;
    scene
}

async fn believed(scene: &Scene) -> Vec<(String, String, Vec<i64>, i64)> {
    sqlx::query_as("select account, presence, marks, generation from members order by account")
        .fetch_all(scene.db())
        .await
        .unwrap()
}

async fn modified(scene: &Scene) -> usize {
    let calls = scene.chat().calls_of(Api::ModifyUserInfo, ROOM).await;
    calls.unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_breaks_off_on_any_page_changes_nothing() {
    for effect in EFFECTS {
        let scene = marked_room("user*", &users(24)).await;
        behind_our_back(&scene, CommandType::Delete, "user3").await;
        behind_our_back(&scene, CommandType::Set, "guest").await;
        scene.two_minutes_pass().await;
        let (before, calls) = (believed(&scene).await, modified(&scene).await);
        // The lists of the room have eight pages and more, so hardly one is read to its end.
        let fault = Fault::new(effect).api(Api::GetMembers).fraction(0.5, 3);
        scene.chat().inject(&fault).await.unwrap();
        request(&scene, ROOM).await;
        scene
            .wait_for_row("select sweep_error is not null from rooms")
            .await;
        assert_eq!(believed(&scene).await, before, "{effect:?}");
        assert_eq!(modified(&scene).await, calls, "{effect:?}");
        scene.chat().clear_all().await.unwrap();
        scene.wait_for_marks(ROOM, "user3", &[1000]).await;
        scene.wait_for_marks(ROOM, "guest", &[]).await;
        let calls = scene.chat().calls_of(Api::ModifyUserInfo, ROOM).await;
        let deleted = calls.unwrap().into_iter().skip(calls_of_ours(&scene).await);
        for call in deleted.filter(|call| call.command_type == Some(2)) {
            let names: Vec<_> = call.members.iter().map(|m| m.account.as_str()).collect();
            assert_eq!(names, ["guest"], "{effect:?}");
        }
    }
}

/// Calls up to the last one that was made behind our back.
async fn calls_of_ours(scene: &Scene) -> usize {
    let calls = scene.chat().calls_of(Api::ModifyUserInfo, ROOM).await;
    let set_for_guest = |call: &stickymark::testing::local::simulator::CallRecord| {
        call.command_type == Some(1) && call.members.iter().any(|m| m.account == "guest")
    };
    1 + calls.unwrap().iter().rposition(set_for_guest).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_who_is_there_that_fails_sends_nobody_away() {
    for effect in EFFECTS {
        let scene = marked_room("exact", &users(8)).await;
        behind_our_back(&scene, CommandType::Delete, "user3").await;
        let lost = Fault::new(Effect::LoseCallback);
        scene.chat().inject(&lost).await.unwrap();
        scene.chat().leave(ROOM, &["user5"]).await.unwrap();
        scene.two_minutes_pass().await;
        let (before, calls) = (believed(&scene).await, modified(&scene).await);
        let fault = Fault::new(effect).api(Api::CheckMembers);
        scene.chat().inject(&fault).await.unwrap();
        request(&scene, ROOM).await;
        scene
            .wait_for_row("select sweep_error is not null from rooms")
            .await;
        assert_eq!(believed(&scene).await, before, "{effect:?}");
        assert_eq!(modified(&scene).await, calls, "{effect:?}");
        scene.chat().clear_all().await.unwrap();
        scene.wait_for_marks(ROOM, "user3", &[1000]).await;
        scene
            .wait_for_row("select presence = 'absent' from members where account = 'user5'")
            .await;
        let others = "select bool_and(presence = 'present') from members where account <> 'user5'";
        scene.wait_for_row(others).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_asking_for_fewer_lists_slows_the_sweep_and_nothing_else() {
    let scene = marked_room("user*", &users(6)).await;
    let fault = Fault::new(Effect::ErrorCode(60007)).api(Api::GetMembers);
    scene.chat().inject(&fault.times(1)).await.unwrap();
    request(&scene, ROOM).await;
    scene
        .wait_for_row("select sweep_error is not null from rooms")
        .await;
    let share = |api| {
        let budget = Budget::new(scene.db().clone(), api, CallRate::new(160));
        async move { budget.state().await.unwrap().share }
    };
    assert!(share(CalledApi::GetMembers).await < 0.9);
    assert!(share(CalledApi::ModifyUserInfo).await > 0.99);
    scene
        .wait_for_row("select swept_at is not null and sweep_error is null from rooms")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweeps_that_hang_hold_up_neither_other_rooms_nor_marks() {
    let scene = Scene::with(|settings| {
        settings.chat.request_timeout = Duration::from_millis(500);
        settings.resync.interval = Some(Duration::from_secs(2));
    })
    .await;
    scene.rule("*", "teacher", &[1000]).await;
    for number in 0..20 {
        let room = format!("hanging-{number}");
        let hang = Fault::new(Effect::LostAnswer(LostAnswer::Hang)).group(&room);
        scene
            .chat()
            .inject(&hang.api(Api::GetMembers))
            .await
            .unwrap();
        scene.chat().join(&room, &["teacher"]).await.unwrap();
    }
    let hanging = "select count(*) >= 8 from rooms where sweep_failures > 0";
    scene.wait_for_row(hanging).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene.wait_for_marks(ROOM, "teacher", &[1000]).await;
    scene
        .wait_for_row("select confirmed_at is not null and pending_since is null and not in_doubt from members
             where group_id = 'class-7'")
        .await;
    behind_our_back(&scene, CommandType::Delete, "teacher").await;
    scene.two_minutes_pass().await;
    scene.wait_for_marks(ROOM, "teacher", &[1000]).await;
    for number in 0..20 {
        let room = format!("hanging-{number}");
        scene.wait_for_marks(&room, "teacher", &[1000]).await;
    }
}

/// Both ask `check_members`, out of one budget: a worker that finds no member online does so each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_longer_than_the_budget_does_not_starve_the_sweep() {
    let scene = Scene::with(|settings| settings.chat.calls_per_second = 10).await;
    scene.rule("class-7", "teacher", &[1000]).await;
    scene.rule("crowd-*", "vip", &[1000]).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    scene
        .wait_for_row("select confirmed_at is not null and pending_since is null and not in_doubt from members")
        .await;
    behind_our_back(&scene, CommandType::Delete, "teacher").await;
    scene.two_minutes_pass().await;
    for number in 0..400 {
        scene
            .arrive(&format!("crowd-{number}"), &["vip".to_owned()])
            .await;
    }
    request(&scene, ROOM).await;
    scene
        .wait_for_row("select swept_at is not null from rooms where group_id = 'class-7'")
        .await;
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from members where pending_since is not null")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert!(waiting > 100, "the queue was still long: {waiting}");
    scene
        .chat()
        .wait_for_marks(ROOM, "teacher", &[1000], PATIENCE)
        .await
        .unwrap();
}

/// After an outage all rooms are due at once; who asks for one need not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_is_asked_for_goes_before_all_that_are_overdue() {
    let mut scene = Scene::empty().await;
    scene.settings().resync.interval = Some(Duration::from_secs(3600));
    scene.rule("*", "teacher", &[1000]).await;
    sqlx::query(
        "insert into rooms (group_id, last_event_at, sweep_due_at)
         select 'room-' || n, now(), now() - interval '1 minute' from generate_series(1, 500) n",
    )
    .execute(scene.db())
    .await
    .unwrap();
    request(&scene, "wanted").await;
    let first: String =
        sqlx::query_scalar("select group_id from rooms order by sweep_due_at limit 1")
            .fetch_one(scene.db())
            .await
            .unwrap();
    assert_eq!(first, "wanted");
    scene.add_replica().await;
    scene
        .wait_for_row("select gone_at is not null from rooms where group_id = 'wanted'")
        .await;
    let calls = scene.chat().calls().await.unwrap();
    let place = calls
        .iter()
        .filter(|call| call.api == Api::GetMembers)
        .position(|call| call.group.as_deref() == Some("wanted"));
    // Four rooms are swept at once, and on a busy machine three of them may overtake this one.
    assert!(place.unwrap() < 50, "{place:?} others were swept before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_ends_in_the_middle_of_a_sweep_leaves_the_room_to_others_at_once() {
    let mut scene = Scene::with(|_| {}).await;
    scene.rule(ROOM, "teacher", &[1000]).await;
    scene.chat().join(ROOM, &["teacher"]).await.unwrap();
    let hang = Fault::new(Effect::LostAnswer(LostAnswer::Hang)).api(Api::GetMembers);
    scene.chat().inject(&hang).await.unwrap();
    request(&scene, ROOM).await;
    scene
        .wait_for_row("select sweeping_until is not null from rooms")
        .await;
    scene.stop_replicas().await;
    let free: bool = sqlx::query_scalar(
        "select sweeping_until is null and sweep_due_at <= now()
             and sweep_requested_at is not null from rooms",
    )
    .fetch_one(scene.db())
    .await
    .unwrap();
    assert!(free, "the lease is given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_accounts_than_one_call_takes_are_asked_about_in_several() {
    let scene = Scene::with(|_| {}).await;
    sqlx::query(
        "insert into rules select 'rule-' || n, $1, -1, 'user' || n, -1, '{1000}', true,
             null, null, '', '', 1, now(), now() from generate_series(0, 1199) n",
    )
    .bind(ROOM)
    .execute(scene.db())
    .await
    .unwrap();
    let lost = Fault::new(Effect::LoseCallback);
    scene.chat().inject(&lost).await.unwrap();
    let here = users(700);
    scene.chat().join(ROOM, &here).await.unwrap();
    request(&scene, ROOM).await;
    let all_marked = |members: &std::collections::BTreeMap<String, _>| {
        let marked = |marks: &&std::collections::BTreeSet<u32>| marks.contains(&1000);
        members.values().filter(marked).count() == 700
    };
    scene
        .chat()
        .wait_until(ROOM, PATIENCE, all_marked)
        .await
        .unwrap();
    let asked = scene
        .chat()
        .calls_of(Api::CheckMembers, ROOM)
        .await
        .unwrap();
    let sizes: Vec<usize> = asked.iter().map(|call| call.members.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1200, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 500), "{sizes:?}");
}

/// Chat's answer to every question: no member here, ask for the next page.
async fn endless(
    axum::extract::State(asked): axum::extract::State<Arc<AtomicU64>>,
) -> axum::Json<serde_json::Value> {
    let next = 1 + asked.fetch_add(1, Ordering::Relaxed);
    axum::Json(serde_json::json!({
        "ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "MemberList": [], "NextTimestamp": next
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_empty_pages_is_given_up_after_few_calls() {
    let asked = Arc::new(AtomicU64::new(0));
    let router = axum::Router::new()
        .fallback(endless)
        .with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let mut scene = Scene::empty().await;
    scene.settings().chat.base_url = Some(url.parse().unwrap());
    scene.rule(ROOM, "teacher", &[1000]).await;
    request(&scene, ROOM).await;
    scene.add_replica().await;
    scene
        .wait_for_row("select sweep_error like '%no end%' from rooms")
        .await;
    let calls = asked.load(Ordering::Relaxed);
    assert!(calls < 100, "{calls} calls");
    server.abort();
}

/// A rule is written for an account of a room that is cleaned up at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_member_is_left_without_a_room() {
    let mut scene = Scene::empty().await;
    sqlx::query(
        "insert into rooms (group_id, opened_at)
         select unnest('{class-7,class-8}'::text[]), now() - interval '4 days'",
    )
    .execute(scene.db())
    .await
    .unwrap();
    // As the propagation does.
    let mut writing = scene.db().begin().await.unwrap();
    sqlx::query(
        "with room as materialized (
             select group_id from rooms where group_id = 'class-7' for key share)
         insert into members (group_id, account, presence, due_at)
         select group_id, 'teacher', 'unknown', now() + interval '1 hour' from room",
    )
    .execute(&mut *writing)
    .await
    .unwrap();
    scene.add_replica().await;
    scene
        .wait_for_row("select not exists (select from rooms where group_id = 'class-8')")
        .await;
    writing.commit().await.unwrap();
    let rooms: i64 = sqlx::query_scalar("select count(*) from members join rooms using (group_id)")
        .fetch_one(scene.db())
        .await
        .unwrap();
    assert_eq!(rooms, 1);
}
