//! The delay that forwarding adds: `cargo bench --bench forward`.
//!
//! The same callbacks go to a listener that forwards and to one that does not, in turn, over real
//! HTTP on this machine. Backend and intake answer at once, so the difference is what forwarding
//! itself costs; a real backend's own time comes on top.

#![allow(clippy::unwrap_used, reason = "a measurement that fails has no result")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use futures::future::join_all;
use stickymark::callback::{
    ANSWER_WITHIN, CallbackSettings, CallbackState, Forward, ForwardFailure, ForwardOutcome,
    ForwardSettings, Intake, NotStored, Recorded, RequestOverLimit, Signatures, router,
};
use stickymark::clock;
use stickymark::domain::{EventTime, GroupId, MemberEvent};
use tokio::net::TcpListener;

const ROUNDS: usize = 4000;
const WARM_UP: usize = 400;
const BODY: &str = r#"{"CallbackCommand":"Group.CallbackBeforeApplyJoinGroup","GroupId":"room-7",
    "Type":"AVChatRoom","Requestor_Account":"alice","EventTime":1670574414123}"#;
const QUERY: &str = "SdkAppid=1400000000&CallbackCommand=Group.CallbackBeforeApplyJoinGroup\
    &contenttype=json&ClientIP=203.0.113.7&OptPlatform=Android&RequestID=5f0c";
const ANSWER: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;

struct AtOnce;

impl Intake for AtOnce {
    async fn record(&self, _: Vec<MemberEvent>) -> Result<Recorded, NotStored> {
        Ok(Recorded::Stored)
    }

    async fn room_destroyed(&self, _: GroupId, _: Option<EventTime>) -> Result<(), NotStored> {
        Ok(())
    }

    fn over_limit(&self, _: RequestOverLimit) {}
}

#[tokio::main]
async fn main() {
    let backend = serve(Router::new().fallback(async || ANSWER)).await;
    let url = format!("http://{backend}/im").parse().unwrap();
    let forward = Forward::new(ForwardSettings::new(url, ForwardFailure::Ok)).unwrap();
    let without = listener(None).await;
    let with = listener(Some(forward.clone())).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    println!(
        "{:>10} {:>9} {:>12} {:>12} {:>12}",
        "at once", "", "without", "with", "added"
    );
    for at_once in [1, 16] {
        let mut delays = (Vec::new(), Vec::new());
        for round in 0..(ROUNDS + WARM_UP) / at_once {
            let a = together(at_once, || post(&client, without)).await;
            let b = together(at_once, || post(&client, with)).await;
            if round * at_once >= WARM_UP {
                delays.0.extend(a);
                delays.1.extend(b);
            }
        }
        for (name, percent) in [("median", 50), ("99 %", 99)] {
            let (a, b) = (
                percentile(&mut delays.0, percent),
                percentile(&mut delays.1, percent),
            );
            let added = b.saturating_sub(a);
            println!("{at_once:>10} {name:>9} {a:>12.1?} {b:>12.1?} {added:>12.1?}");
        }
    }
    let counts = forward.counts();
    for outcome in ForwardOutcome::ALL {
        let name = outcome.name();
        println!("{name:>10} {:>9}", counts.get(outcome));
    }
}

async fn together<F: Future<Output = Duration>>(
    at_once: usize,
    one: impl Fn() -> F,
) -> Vec<Duration> {
    join_all((0..at_once).map(|_| one())).await
}

async fn post(client: &reqwest::Client, listener: SocketAddr) -> Duration {
    let request = client
        .post(format!("http://{listener}/callback?{QUERY}"))
        .body(BODY);
    let start = Instant::now();
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.text().await.unwrap(), ANSWER);
    start.elapsed()
}

fn percentile(delays: &mut [Duration], percent: usize) -> Duration {
    delays.sort_unstable();
    delays[(delays.len() - 1) * percent / 100]
}

async fn listener(forward: Option<Forward>) -> SocketAddr {
    let settings = CallbackSettings {
        path: "/callback".to_owned(),
        sdk_app_id: 1_400_000_000,
        signatures: Signatures::new(Vec::new(), Duration::from_secs(60)),
        answer_within: ANSWER_WITHIN,
        forward,
    };
    serve(router(
        CallbackState::new(settings, AtOnce, clock::system()).unwrap(),
    ))
    .await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
