//! Chat on its bad days.

use stickymark::testing::local::simulator::{Api, Effect, Fault, LostAnswer};

use crate::support::balancer::Promise;
use crate::support::show::Show;

async fn half_of_all_calls(show: &Show, effect: Effect, seed: u64) -> u64 {
    let fault = Fault::new(effect).fraction(0.5, seed);
    show.control
        .inject(&fault.api(Api::ModifyUserInfo))
        .await
        .unwrap()
}

/// Half of all calls go wrong in one way after the other.
#[tokio::test]
async fn calls_that_fail_in_any_way_are_made_again_until_they_succeed() {
    let effects = [
        Effect::HttpStatus(502),
        Effect::LostAnswer(LostAnswer::Close),
        Effect::LostAnswer(LostAnswer::Hang),
        Effect::DelayMs(1500),
        Effect::LateErrorCode(60008),
        Effect::Omit,
    ];
    let show = Show::open(2).await;
    let load = show.load(5);
    for (seed, effect) in effects.into_iter().enumerate() {
        let fault = half_of_all_calls(&show, effect, seed as u64).await;
        load.more(60).await;
        show.control.clear(fault).await.unwrap();
    }
    load.stop().await;
    let kept = show
        .reckon(
            "half of all calls: 502, answer lost after applying, hanging, late, error after applying, \
             member omitted",
            effects.len(),
            Promise::Heard,
        )
        .await;
    assert_eq!(kept.unbound, 0, "Chat's bad day is none of the callbacks'");
}

#[tokio::test]
async fn a_chat_that_cannot_be_reached_is_caught_up_with() {
    let show = Show::open(2).await;
    let load = show.load(6);
    for _ in 0..2 {
        load.more(60).await;
        show.chat_wire.refuse(true);
        load.more(60).await;
        show.chat_wire.refuse(false);
    }
    for _ in 0..2 {
        load.more(30).await;
        show.chat_wire.lose_connections();
    }
    load.stop().await;
    let kept = show
        .reckon(
            "Chat refuses connections, and falls silent",
            4,
            Promise::Heard,
        )
        .await;
    assert_eq!(kept.unbound, 0, "Chat's bad day is none of the callbacks'");
}

/// Codes that pass by themselves: each strikes twice, and the marks are set all the same.
#[tokio::test]
async fn every_passing_error_code_is_outlived() {
    let codes = [
        10002, 20004, 20005, 60008, 60013, 60014, 10006, 60007, 60011, 60018, 60019,
    ];
    let show = Show::open(1).await;
    for code in codes {
        let fault = Fault::new(Effect::ErrorCode(code))
            .group(&format!("room-{code}"))
            .times(2);
        show.control.inject(&fault).await.unwrap();
    }
    for code in codes {
        show.joins(&format!("room-{code}"), "vip0").await;
    }
    let kept = show
        .reckon(
            "each error code that passes, twice",
            codes.len(),
            Promise::Answered,
        )
        .await;
    assert_eq!((kept.members, kept.unbound), (codes.len(), 0));
}
