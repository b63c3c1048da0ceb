//! Replicas that die or fall silent.

use std::time::Duration;

use crate::support::balancer::Promise;
use crate::support::process::until;
use crate::support::show::Show;

#[tokio::test]
async fn killing_the_only_replica_in_a_loop_loses_nothing_that_was_answered() {
    const KILLS: usize = 8;
    let mut show = Show::open(1).await;
    let load = show.load(1);
    for _ in 0..KILLS {
        load.more(60).await;
        show.kill(0);
        show.start(1).await;
    }
    load.stop().await;
    let kept = show
        .reckon("kill -9 of the only replica", KILLS, Promise::Answered)
        .await;
    assert!(kept.members > 0);
}

#[tokio::test]
async fn of_three_replicas_one_is_killed_and_the_others_take_over() {
    const KILLS: usize = 4;
    let mut show = Show::open(3).await;
    let load = show.load(2);
    for _ in 0..KILLS {
        load.more(60).await;
        show.kill(0);
        load.more(30).await;
        show.start(1).await;
    }
    load.stop().await;
    show.reckon("kill -9 of one of three replicas", KILLS, Promise::Answered)
        .await;
}

#[tokio::test]
async fn of_two_replicas_one_is_killed_in_the_middle_of_its_calls() {
    use stickymark::testing::local::simulator::{Effect, Fault, LostAnswer};
    let mut show = Show::open(2).await;
    let hang = Fault::new(Effect::LostAnswer(LostAnswer::Hang));
    let fault = show.control.inject(&hang).await.unwrap();
    for room in ["room-0", "room-1", "room-2"] {
        show.joins(room, "vip7").await;
    }
    until("calls are under way", || async {
        show.control.calls().await.unwrap().len() >= 3
    })
    .await;
    show.kill(0);
    show.control.clear(fault).await.unwrap();
    show.reckon(
        "kill -9 with calls under way, two replicas",
        1,
        Promise::Answered,
    )
    .await;
}

#[tokio::test]
async fn a_replica_frozen_for_longer_than_its_lease_does_no_harm_when_it_wakes() {
    const FREEZES: usize = 2;
    let show = Show::open_with(2, 12, Vec::new()).await;
    let load = show.load(3);
    for _ in 0..FREEZES {
        load.more(40).await;
        show.replicas[0].signal("STOP");
        tokio::time::sleep(Duration::from_secs(4)).await;
        show.replicas[0].signal("CONT");
    }
    load.more(40).await;
    load.stop().await;
    show.reckon(
        "one of two replicas frozen (SIGSTOP) beyond its lease",
        FREEZES,
        Promise::Answered,
    )
    .await;
}
