//! The circuit breaker: what stops all calls, and what stops none.

use std::time::Duration;

use serde_json::Value;
use stickymark::testing::chat::ErrorCode;
use stickymark::testing::chat::{Breaker, Tried};
use stickymark::testing::local::simulator::{Api, Effect, Fault};
use tokio_util::sync::CancellationToken;

use crate::support::scene::Scene;
use crate::support::stage::Stage;

/// Once open, it stays open for the whole test.
fn breaker() -> Breaker {
    let hour = Duration::from_secs(3600);
    Breaker::with_delays("reapply", hour, hour)
}

async fn comes_to(scene: &Scene, room: &str, account: &str) {
    scene.chat().join(room, &[account]).await.unwrap();
    scene.arrive(room, &[account.to_owned()]).await;
}

/// A group of another type, a guest who left while Chat still lists them, a proxy that refuses one call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_room_that_is_refused_again_and_again_stops_no_other() {
    for effect in [
        Effect::ErrorCode(10007),
        Effect::ErrorCode(10016),
        Effect::HttpStatus(403),
        Effect::HttpStatus(404),
    ] {
        let scene = Scene::empty().await;
        scene.rule("*", "*", &[1000]).await;
        let refused = Fault::new(effect).group("refused");
        scene.chat().inject(&refused).await.unwrap();
        let breaker = breaker();
        let stop = CancellationToken::new();
        let worker = tokio::spawn(scene.worker(&breaker).run(stop.clone()));
        comes_to(&scene, "refused", "guest").await;
        scene
            .wait_for_row("select tries >= 2 from members where account = 'guest'")
            .await;
        assert_eq!(breaker.paused(), None, "{effect:?}");
        comes_to(&scene, "class-7", "teacher").await;
        scene.wait_for_marks("class-7", "teacher", &[1000]).await;
        stop.cancel();
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_room_with_the_same_refusal_pauses_calls_and_the_probe_goes_to_a_third() {
    let scene = Scene::empty().await;
    scene.rule("*", "*", &[1000]).await;
    for room in ["first", "second"] {
        let refused = Fault::new(Effect::ErrorCode(10007)).group(room);
        scene
            .chat()
            .inject(&refused.api(Api::ModifyUserInfo))
            .await
            .unwrap();
    }
    let breaker = breaker();
    let worker = scene.worker(&breaker);
    comes_to(&scene, "first", "guest").await;
    assert!(worker.step().await.unwrap());
    assert_eq!(breaker.paused(), None);
    comes_to(&scene, "second", "guest").await;
    assert!(worker.step().await.unwrap());
    let paused = breaker.paused().unwrap();
    assert!(paused.reason.contains("10007"), "{paused:?}");
    assert!(paused.advice.unwrap().contains("AVChatRoom"));

    comes_to(&scene, "class-7", "teacher").await;
    sqlx::query("with changed as (update members set due_at = now() - interval '1 minute' where account = 'guest') update rooms set due_at = now()")
        .execute(scene.db())
        .await
        .unwrap();
    assert!(worker.step().await.unwrap());
    let marks = scene.chat().marks("class-7").await.unwrap();
    assert!(marks["teacher"].contains(&1000));
    assert_eq!(breaker.paused(), None);
}

#[tokio::test]
async fn the_status_says_why_calls_are_paused_and_what_to_do() {
    let stage = Stage::open(&[]).await;
    stage.put_rule("all", "class-7", "*", &[1000]).await;
    let wrong_key = Fault::new(Effect::ErrorCode(70003));
    let wrong_key = wrong_key.api(Api::ModifyUserInfo);
    stage.chat.inject(&wrong_key).await.unwrap();
    stage.chat.join("class-7", &["alice"]).await.unwrap();
    let paused = |status: &Value| status["chat"]["paused"] == true;
    while !stage.statuses().await.iter().all(paused) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = &stage.statuses().await[0];
    let reason = status["chat"]["reason"].as_str().unwrap();
    assert!(reason.contains("70003"), "{reason}");
    let advice = ErrorCode::new(70003).advice().unwrap();
    assert_eq!(status["chat"]["advice"], advice);
    assert_eq!(status["chat_resync"]["paused"], false);
    stage.chat.clear_all().await.unwrap();
    stage.sees("class-7", "alice", &[1000]).await;
    while stage.statuses().await.iter().any(paused) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_can_have_a_call_tried_after_a_repair() {
    let scene = Scene::empty().await;
    scene.rule("*", "*", &[1000]).await;
    let unpaid = Fault::new(Effect::ErrorCode(60020));
    let fault = scene.chat().inject(&unpaid).await.unwrap();
    let breaker = breaker();
    let long = Duration::from_secs(20);
    assert_eq!(breaker.try_now(long).await, Tried::NotPaused);
    let stop = CancellationToken::new();
    let worker = tokio::spawn(scene.worker(&breaker).run(stop.clone()));
    comes_to(&scene, "class-7", "teacher").await;
    while breaker.paused().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(breaker.try_now(long).await, Tried::Refused(_)));
    scene.chat().clear(fault).await.unwrap();
    assert_eq!(breaker.try_now(long).await, Tried::Resumed);
    scene.wait_for_marks("class-7", "teacher", &[1000]).await;
    stop.cancel();
    worker.await.unwrap();
}
