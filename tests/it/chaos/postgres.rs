//! The database away, in every way it can be.

use std::time::Duration;

use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::balancer::Promise;
use crate::support::process::{pause, signal, signal_all, until};
use crate::support::server::Server;
use crate::support::show::Show;

/// What is told while the database is away is answered 503, kept, and stored when it is back.
async fn told_while_away(show: &Show) {
    show.joins("room-0", "vip-latecomer").await;
    until("both are answered", || async {
        show.balancer.ledger().arrivals_of("vip-latecomer").len() == 2
    })
    .await;
    assert_eq!(
        show.balancer.ledger().arrivals_of("vip-latecomer"),
        [503, 503]
    );
}

#[tokio::test]
async fn a_database_that_is_stopped_and_one_that_is_killed_are_waited_for() {
    let mut server = Server::start().await;
    let show = Show::open_on(server.running().url(), 2).await;
    let load = show.load(10);
    load.more(60).await;
    for round in 0..4 {
        if round % 2 == 0 {
            server.stop().await;
        } else {
            signal(server.processes()[0], "KILL");
            server.forget();
        }
        if round == 0 {
            told_while_away(&show).await;
            until("not ready, but alive", || async {
                show.balancer.ready() == 0
            })
            .await;
            for replica in &show.replicas {
                let live = reqwest::get(format!("http://{}/livez", replica.admin))
                    .await
                    .unwrap();
                assert_eq!(live.status(), 200);
            }
        }
        load.more(60).await;
        server.start_again().await;
        let port = server.running().port();
        show.database_wire.lead_to(([127, 0, 0, 1], port).into());
        until("ready again", || async { show.balancer.ready() == 2 }).await;
        load.more(30).await;
    }
    load.stop().await;
    show.reckon(
        "Postgres stopped, killed, and started again",
        4,
        Promise::Heard,
    )
    .await;
    show.marked("room-0", "vip-latecomer").await;
}

#[tokio::test]
async fn a_frozen_database_holds_up_callbacks_and_loses_none() {
    const FREEZES: usize = 2;
    let server = Server::start().await;
    let show = Show::open_on(server.running().url(), 2).await;
    let load = show.load(11);
    for round in 0..FREEZES {
        load.more(60).await;
        let processes = server.processes();
        signal_all(&processes, "STOP");
        if round == 0 {
            told_while_away(&show).await;
        } else {
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        signal_all(&processes, "CONT");
    }
    load.more(60).await;
    load.stop().await;
    show.reckon("Postgres frozen (SIGSTOP)", FREEZES, Promise::Heard)
        .await;
    show.marked("room-0", "vip-latecomer").await;
}

/// The machine of the primary is gone without a word; another answers at the same address.
#[tokio::test]
async fn connections_that_fall_silent_for_ever_are_given_up() {
    const LOSSES: usize = 2;
    let show = Show::open(2).await;
    let load = show.load(12);
    for _ in 0..LOSSES {
        load.more(60).await;
        show.database_wire.lose_connections();
        load.more(60).await;
    }
    load.stop().await;
    show.reckon(
        "every connection to Postgres lost in silence",
        LOSSES,
        Promise::Heard,
    )
    .await;
    show.joins("room-0", "vip-latecomer").await;
    show.marked("room-0", "vip-latecomer").await;
    until("ready", || async { show.balancer.ready() == 2 }).await;
}

#[tokio::test]
async fn terminated_connections_are_made_anew() {
    const ROUNDS: usize = 10;
    let show = Show::open(2).await;
    let load = show.load(13);
    for _ in 0..ROUNDS {
        load.more(25).await;
        sqlx::query(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'stickymark%'",
        )
        .execute(&show.db)
        .await
        .unwrap();
    }
    load.stop().await;
    show.reckon(
        "every connection terminated by Postgres",
        ROUNDS,
        Promise::Heard,
    )
    .await;
}

/// The sessions made while the database took no writes go on taking none after the failover, until
/// they are closed.
#[tokio::test]
async fn a_database_that_was_read_only_for_a_while_is_written_to_again() {
    let server = Server::start().await;
    let show = Show::open_on(server.running().url(), 2).await;
    let load = show.load(14);
    load.more(60).await;
    let mut session = server.session().await;
    let read_only = "alter database postgres set default_transaction_read_only = on";
    run(&mut session, read_only).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name like 'stickymark%'";
    run(&mut session, end).await;
    until("not ready", || async { show.balancer.ready() == 0 }).await;
    told_while_away(&show).await;
    run(&mut session, "set default_transaction_read_only = off").await;
    run(
        &mut session,
        "alter database postgres reset default_transaction_read_only",
    )
    .await;
    load.more(60).await;
    until("ready again", || async { show.balancer.ready() == 2 }).await;
    load.stop().await;
    show.reckon(
        "Postgres read-only for a while (failover)",
        1,
        Promise::Heard,
    )
    .await;
    show.marked("room-0", "vip-latecomer").await;
}

async fn run(session: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(session)
        .await
        .unwrap();
}

/// A really full disk needs a file system of its own; a trigger that raises the same error in the
/// same place stands for it.
#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let show = Show::open(2).await;
    let load = show.load(15);
    load.more(60).await;
    for statement in [
        "create function no_space() returns trigger language plpgsql as $$ begin
             raise exception 'could not extend file: No space left on device'
                 using errcode = 'disk_full';
         end $$",
        "create trigger disk_full before insert or update on members
         for each statement execute function no_space()",
    ] {
        sqlx::query(statement).execute(&show.db).await.unwrap();
    }
    told_while_away(&show).await;
    load.more(60).await;
    sqlx::query("drop trigger disk_full on members")
        .execute(&show.db)
        .await
        .unwrap();
    load.stop().await;
    show.reckon("disk full (53100 raised by a trigger)", 1, Promise::Heard)
        .await;
    show.marked("room-0", "vip-latecomer").await;
}

/// Every connection of the pools waits for a lock that a stranger holds.
#[tokio::test]
async fn an_exhausted_pool_recovers() {
    let small = vec![("STICKYMARK__DATABASE__MAX_CONNECTIONS", "2".to_owned())];
    let show = Show::open_with(2, 3, small).await;
    let load = show.load(16);
    load.more(60).await;
    let mut stranger = show.db.begin().await.unwrap();
    sqlx::query("lock table members in access exclusive mode")
        .execute(&mut *stranger)
        .await
        .unwrap();
    told_while_away(&show).await;
    load.more(60).await;
    stranger.rollback().await.unwrap();
    load.stop().await;
    show.reckon("pool of 2 exhausted by a lock", 1, Promise::Heard)
        .await;
    show.marked("room-0", "vip-latecomer").await;
}

#[tokio::test]
async fn a_slow_database_makes_things_slow_but_right() {
    let show = Show::open_with(2, 12, Vec::new()).await;
    let load = show.load(17);
    for delay in [50, 200, 0, 100] {
        show.database_wire.delay(Duration::from_millis(delay));
        load.more(60).await;
    }
    show.database_wire.delay(Duration::ZERO);
    load.stop().await;
    show.reckon(
        "Postgres slow: 50 to 200 ms more each way",
        4,
        Promise::Heard,
    )
    .await;
    pause().await;
}
