//! Replicas that are told to end.

use std::time::Duration;

use stickymark::testing::local::simulator::{Effect, Fault, LostAnswer};

use crate::support::balancer::Promise;
use crate::support::process::until;
use crate::support::show::Show;

#[tokio::test]
async fn a_rolling_restart_of_two_replicas_loses_nothing_and_answers_every_callback() {
    let mut show = Show::open(2).await;
    let load = show.load(7);
    for _ in 0..2 {
        load.more(60).await;
        show.start(1).await;
        until("the new replica is ready", || async {
            show.balancer.ready() == 3
        })
        .await;
        let mut old = show.replicas.remove(0);
        old.signal("TERM");
        let status = old.ended().await;
        assert!(status.success(), "{status}\n{}", old.log());
        assert!(old.log().contains("\"stopped\""), "{}", old.log());
        show.balancer.remove(old.callbacks);
    }
    load.more(60).await;
    load.stop().await;
    let kept = show
        .reckon(
            "rolling restart of two replicas (SIGTERM)",
            2,
            Promise::Answered,
        )
        .await;
    let ledger = show.balancer.ledger();
    assert_eq!(ledger.with(200), ledger.all(), "{ledger:?}");
    assert_eq!(kept.unbound, 0);
}

#[tokio::test]
async fn a_stopping_replica_finishes_its_calls_and_gives_its_claims_back() {
    let mut show = Show::open(1).await;
    let slow = Fault::new(Effect::DelayMs(700));
    show.control.inject(&slow).await.unwrap();
    show.joins("room-0", "vip0").await;
    until("a call is under way", || async {
        !show.control.calls().await.unwrap().is_empty()
    })
    .await;
    let mut replica = show.replicas.remove(0);
    // Ctrl-C: the same order of things without the time to turn away.
    replica.signal("INT");
    let status = replica.ended().await;
    assert!(status.success(), "{status}\n{}", replica.log());
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from rooms where lease is not null)
              + (select count(*) from members where in_doubt or due_at is not null)",
    )
    .fetch_one(&show.db)
    .await
    .unwrap();
    assert_eq!(left, 0, "nothing is held, in doubt or waiting");
    show.marked("room-0", "vip0").await;
}

#[tokio::test]
async fn a_second_signal_ends_a_replica_at_once() {
    let mut show = Show::open(1).await;
    let hang = Fault::new(Effect::LostAnswer(LostAnswer::Hang));
    show.control.inject(&hang).await.unwrap();
    show.joins("room-0", "vip0").await;
    until("a call is under way", || async {
        !show.control.calls().await.unwrap().is_empty()
    })
    .await;
    let replica = &mut show.replicas[0];
    replica.signal("TERM");
    until("it has heard", || async {
        replica.log().contains("\"stopping\"")
    })
    .await;
    replica.signal("TERM");
    let status = replica.ended().await;
    assert_eq!(status.code(), Some(1), "{}", replica.log());
    assert!(!replica.log().contains("\"stopped\""), "{}", replica.log());
}

/// Kubernetes waits 30 s by default; then comes signal 9.
#[tokio::test]
async fn a_replica_ends_in_good_time_though_the_database_is_frozen_and_a_caller_dawdles() {
    use tokio::io::AsyncWriteExt;
    let mut show = Show::open(1).await;
    show.joins("room-0", "vip0").await;
    show.marked("room-0", "vip0").await;
    let mut dawdler = tokio::net::TcpStream::connect(show.replicas[0].callbacks)
        .await
        .unwrap();
    dawdler
        .write_all(b"POST /callback HTTP/1.1\r\nHost: ")
        .await
        .unwrap();
    show.database_wire.hold(true);
    show.joins("room-0", "vip1").await;
    until("both are answered", || async {
        show.balancer.ledger().arrivals_of("vip1") == [503, 503]
    })
    .await;
    let replica = &mut show.replicas[0];
    replica.signal("TERM");
    let status = tokio::time::timeout(Duration::from_secs(25), replica.ended()).await;
    assert!(
        status.is_ok_and(|status| status.success()),
        "{}",
        replica.log()
    );
}
