//! Callbacks that come twice, late and in the wrong order.

use stickymark::testing::local::simulator::{Effect, Fault};

use crate::support::balancer::Promise;
use crate::support::show::Show;

#[tokio::test]
async fn callbacks_that_come_again_late_and_out_of_order_change_nothing() {
    let show = Show::open(2).await;
    let mut faults = Vec::new();
    for (seed, effect, fraction) in [
        (1, Effect::DuplicateCallback(3), 0.3),
        (2, Effect::HoldCallback, 0.3),
    ] {
        let fault = Fault::new(effect).fraction(fraction, seed);
        faults.push(show.control.inject(&fault).await.unwrap());
    }
    let load = show.load(4);
    // What was held comes after what was sent since.
    for part in 0..10 {
        load.more(60).await;
        show.control.clear(faults.pop().unwrap()).await.unwrap();
        let hold = Fault::new(Effect::HoldCallback).fraction(0.3, 2 + part);
        faults.push(show.control.inject(&hold).await.unwrap());
    }
    load.stop().await;
    for fault in faults {
        show.control.clear(fault).await.unwrap();
    }
    let kept = show
        .reckon("callbacks repeated and held", 1, Promise::Answered)
        .await;
    assert_eq!(kept.unbound, 0, "every callback was answered");
}
