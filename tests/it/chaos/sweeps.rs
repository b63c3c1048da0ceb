//! The sweep when the database goes away under it.

use std::time::Duration;

use stickymark::testing::WakeUp;
use stickymark::testing::database::Db;
use stickymark::testing::domain::GroupId;
use stickymark::testing::local::simulator::{Api, Effect, Fault, Settings};
use stickymark::testing::resync;

use crate::support::process::{signal_all, until};
use crate::support::server::Server;
use crate::support::show::{Show, demanded};

const ROOMS: [&str; 3] = ["room-0", "room-1", "room-2"];
/// Longer than the gap in which no replica can have heard callbacks.
const OUTAGE: Duration = Duration::from_secs(9);
/// Far less than the lease of a sweep, and than the interval.
const AT_ONCE: Duration = Duration::from_secs(45);

/// Three rooms full of marked people, swept once an hour by two replicas.
async fn opened(server: &Server) -> Show {
    let hourly = vec![("STICKYMARK__RESYNC__INTERVAL", "1h".to_owned())];
    let show = Show::open_on_with(server.running().url(), 2, hourly).await;
    for room in ROOMS {
        for account in ["vip0", "vip1", "vip2", "vip3", "teacher"] {
            show.joins(room, account).await;
            show.marked(room, account).await;
        }
    }
    let db = &show.db;
    until("all is settled", || async {
        let open = "select count(*) from members where pending_since is not null or in_doubt";
        sqlx::query_scalar::<_, i64>(open)
            .fetch_one(db)
            .await
            .unwrap()
            == 0
    })
    .await;
    sqlx::query(
        "update members set heard_at = heard_at - interval '2 minutes',
             confirmed_at = confirmed_at - interval '2 minutes'",
    )
    .execute(db)
    .await
    .unwrap();
    show
}

/// Begins a sweep of many slow pages, and returns in the middle of it.
async fn in_the_middle_of_a_sweep(show: &Show) {
    let slow = Settings {
        latency_ms: 250,
        page_size: 1,
        ..Settings::default()
    };
    show.control.configure(&slow).await.unwrap();
    let group = GroupId::parse(ROOMS[0]).unwrap();
    resync::request(&show.db, &WakeUp::default(), &group)
        .await
        .unwrap();
    until("three pages are read", || async {
        let pages = show.control.calls_of(Api::GetMembers, ROOMS[0]).await;
        pages.unwrap().len() >= 3
    })
    .await;
    assert!(!swept(&show.db, ROOMS[0]).await);
}

async fn swept(db: &Db, room: &str) -> bool {
    sqlx::query_scalar("select swept_at is not null from rooms where group_id = $1")
        .bind(room)
        .fetch_one(db)
        .await
        .unwrap()
}

/// While the database is away a member joins again in every room, and no callback is heard.
async fn lose_marks_in_silence(show: &Show) {
    let fast = Settings {
        latency_ms: 5,
        ..Settings::default()
    };
    show.control.configure(&fast).await.unwrap();
    let lost = Fault::new(Effect::LoseCallback);
    show.control.inject(&lost).await.unwrap();
    for room in ROOMS {
        show.control.leave(room, &["vip1"]).await.unwrap();
        show.control.join(room, &["vip1"]).await.unwrap();
    }
    show.callbacks_done().await;
}

async fn all_is_healed_at_once(show: &Show) {
    let healed = async {
        for room in ROOMS {
            show.marked(room, "vip1").await;
        }
    };
    let healed = tokio::time::timeout(AT_ONCE, healed).await;
    assert!(healed.is_ok(), "the rooms are compared again at once");
    for room in ROOMS {
        let held = show.control.marks(room).await.unwrap();
        assert_eq!(held.len(), 5);
        for (account, marks) in held {
            assert_eq!(marks, demanded(room, &account), "{account} in {room}");
        }
        let calls = show.control.calls_of(Api::ModifyUserInfo, room).await;
        let deletes = calls
            .unwrap()
            .iter()
            .filter(|call| call.command_type == Some(2))
            .count();
        assert_eq!(deletes, 0, "no mark was taken away in {room}");
    }
    show.replicas
        .iter()
        .for_each(crate::support::process::Replica::check_log);
}

#[tokio::test]
async fn a_sweep_whose_database_is_stopped_takes_no_mark_and_runs_again_at_once() {
    let mut server = Server::start().await;
    let show = opened(&server).await;
    in_the_middle_of_a_sweep(&show).await;
    server.stop().await;
    lose_marks_in_silence(&show).await;
    tokio::time::sleep(OUTAGE).await;
    server.start_again().await;
    let port = server.running().port();
    show.database_wire.lead_to(([127, 0, 0, 1], port).into());
    all_is_healed_at_once(&show).await;
}

#[tokio::test]
async fn a_sweep_whose_database_is_frozen_takes_no_mark_and_runs_again_at_once() {
    let server = Server::start().await;
    let show = opened(&server).await;
    in_the_middle_of_a_sweep(&show).await;
    let processes = server.processes();
    signal_all(&processes, "STOP");
    lose_marks_in_silence(&show).await;
    tokio::time::sleep(OUTAGE).await;
    signal_all(&processes, "CONT");
    all_is_healed_at_once(&show).await;
}
