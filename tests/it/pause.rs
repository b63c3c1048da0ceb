//! The pause of calls while only a human can help: one for all replicas.

use serde_json::Value;
use stickymark::local::simulator::{Api, CallRecord, Effect, Fault};
use tokio_util::sync::CancellationToken;

use crate::support::scene::{PATIENCE, Scene};
use crate::support::stage::Stage;

const UNPAID: i64 = 60020;

async fn rooms(scene: &Scene, count: usize) -> Vec<String> {
    scene.rule("class-*", "teacher", &[1000]).await;
    let rooms: Vec<String> = (0..count).map(|number| format!("class-{number}")).collect();
    for room in &rooms {
        scene.chat().join(room, &["teacher"]).await.unwrap();
        scene.arrive(room, &["teacher".to_owned()]).await;
    }
    rooms
}

/// The next calls after one, once they have all ended.
async fn next_calls(scene: &Scene, seq: u64, count: usize) -> Vec<CallRecord> {
    let chat = scene.chat();
    loop {
        let moment = chat.moment().await.unwrap();
        let calls = chat.calls_after(seq).await.unwrap();
        let mut calls: Vec<CallRecord> = calls
            .into_iter()
            .filter(|call| call.api == Api::ModifyUserInfo)
            .collect();
        calls.truncate(count);
        if calls.len() == count && calls.iter().all(|call| call.ended.is_some()) {
            return calls;
        }
        chat.moment_after(moment, PATIENCE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_send_one_probe_at_a_time_between_them_and_resume_together() {
    let scene = Scene::empty().await;
    let rooms = rooms(&scene, 12).await;
    let unpaid = Fault::new(Effect::ErrorCode(UNPAID));
    scene.chat().inject(&unpaid).await.unwrap();
    let pauses = [
        scene.short_pause(),
        scene.short_pause(),
        scene.short_pause(),
    ];
    let stop = CancellationToken::new();
    let workers: Vec<_> = pauses
        .iter()
        .map(|pause| tokio::spawn(scene.worker(pause).run(stop.clone())))
        .collect();
    // By the fourth, all calls that were under way when the pause began have ended.
    let before = next_calls(&scene, 0, rooms.len() + 4).await;
    let probes = next_calls(&scene, before.last().unwrap().seq, 5).await;
    for pair in probes.windows(2) {
        assert!(!pair[0].overlaps(&pair[1]), "two probes at once");
        let gap = pair[1].received_at - pair[0].received_at;
        assert!(gap >= 290, "a probe {gap} ms after the one before");
    }
    scene
        .wait_for_row("select count(*) = 1 from chat_pauses")
        .await;
    for pause in &pauses {
        pause.refresh().await;
    }
    let states: Vec<_> = pauses.iter().map(|pause| pause.state().unwrap()).collect();
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    assert!(states[0].reason.contains("60020") && states[0].advice.is_some());
    scene.chat().clear_all().await.unwrap();
    for room in &rooms {
        scene.wait_for_marks(room, "teacher", &[1000]).await;
    }
    scene
        .wait_for_row("select count(*) = 0 from chat_pauses")
        .await;
    let attempts = "select sum(attempts) = 0 and bool_and(failed_at is null) from members";
    scene.wait_for_row(attempts).await;
    for pause in &pauses {
        pause.passed().await;
        assert_eq!(pause.state(), None);
    }
    stop.cancel();
    for worker in workers {
        worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_outlives_every_replica_and_a_probe_the_replica_that_sent_it() {
    let scene = Scene::empty().await;
    rooms(&scene, 1).await;
    let unpaid = Fault::new(Effect::ErrorCode(UNPAID));
    scene.chat().inject(&unpaid).await.unwrap();
    let first = scene.pause();
    assert!(scene.worker(&first).step().await.unwrap());
    drop(first);

    let (one, two, three) = (scene.pause(), scene.pause(), scene.pause());
    for pause in [&one, &two, &three] {
        pause.refresh().await;
        assert!(pause.state().is_some(), "a start forgets nothing");
        assert!(pause.leave().await.is_none(), "it is not time for a probe");
    }
    let time_for_a_probe = "update chat_pauses set probe_at = now()";
    sqlx::query(time_for_a_probe)
        .execute(scene.pool())
        .await
        .unwrap();
    one.refresh().await;
    two.refresh().await;
    let dead = one.leave().await.unwrap();
    assert!(two.leave().await.is_none(), "the probe is out");
    sqlx::query(time_for_a_probe)
        .execute(scene.pool())
        .await
        .unwrap();
    two.refresh().await;
    three.refresh().await;
    let probe = two.leave().await.unwrap();
    dead.unused().await;
    three.refresh().await;
    assert!(
        three.leave().await.is_none(),
        "who woke late gives away nobody's probe"
    );
    probe.unused().await;
    three.refresh().await;
    assert!(three.leave().await.is_some());
}

#[tokio::test]
async fn every_replica_shows_the_same_pause_and_a_restart_shows_it_too() {
    let mut stage = Stage::open(&[]).await;
    stage.add_replica().await;
    stage.put_rule("all", "class-7", "*", &[1000]).await;
    let unpaid = Fault::new(Effect::ErrorCode(UNPAID));
    stage
        .chat
        .inject(&unpaid.api(Api::ModifyUserInfo))
        .await
        .unwrap();
    stage.chat.join("class-7", &["alice"]).await.unwrap();
    let paused = |status: &Value| status["chat"]["paused"] == true;
    while !stage.statuses().await.iter().all(paused) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // One that starts meanwhile has never called.
    stage.add_replica().await;
    let statuses = stage.statuses().await;
    assert_eq!(statuses.len(), 3);
    for status in &statuses {
        assert_eq!(status["chat"], statuses[0]["chat"]);
        assert_eq!(status["chat_resync"]["paused"], false);
    }
    let reason = statuses[0]["chat"]["reason"].as_str().unwrap();
    let advice = statuses[0]["chat"]["advice"].as_str().unwrap();
    assert!(reason.contains("60020") && advice.contains("renew"));
    stage.chat.clear_all().await.unwrap();
    stage.sees("class-7", "alice", &[1000]).await;
    while stage.statuses().await.iter().any(paused) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stage.close().await;
}
