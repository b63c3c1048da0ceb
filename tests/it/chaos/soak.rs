//! Minutes of random faults. Not for every run: `STICKYMARK_SOAK_MINUTES=10 cargo test --test it
//! soak -- --ignored --nocapture`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stickymark::testing::local::simulator::{Effect, Fault, LostAnswer};

use crate::support::balancer::Promise;
use crate::support::process::{pause, signal, signal_all, until};
use crate::support::server::Server;
use crate::support::show::{Load, Show};

/// How long replicas of these tests wait for Chat.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);

const FAULTS: [&str; 10] = [
    "replica killed",
    "replica replaced in order",
    "replica frozen",
    "connections terminated",
    "connections lost in silence",
    "Postgres frozen",
    "Postgres killed",
    "Postgres slow",
    "Chat refuses",
    "Chat fails",
];

struct Soak {
    server: Server,
    show: Show,
    rng: StdRng,
    faults: BTreeMap<&'static str, usize>,
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn soak() {
    let minutes = std::env::var("STICKYMARK_SOAK_MINUTES").ok();
    let minutes: u64 = minutes.and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed = rand::rng().random();
    println!("soak | seed {seed}");
    let server = Server::start().await;
    let show = Show::open_on(server.running().url(), 2).await;
    let (rng, faults) = (StdRng::seed_from_u64(seed), BTreeMap::new());
    let mut soak = Soak {
        server,
        show,
        rng,
        faults,
    };
    let ends = Instant::now() + Duration::from_secs(60 * minutes);
    let (mut reckonings, mut slowest) = (0, Duration::ZERO);
    while Instant::now() < ends {
        let load = soak.show.load(soak.rng.random());
        let reckon_at = Instant::now() + Duration::from_secs(30);
        while Instant::now() < reckon_at {
            let fault = *FAULTS.choose(&mut soak.rng).unwrap();
            *soak.faults.entry(fault).or_default() += 1;
            println!("soak | {} {fault}", chrono::Utc::now().time());
            soak.strike(fault, &load).await;
            load.more(60).await;
        }
        load.stop().await;
        let kept = soak
            .show
            .reckon("soak so far", soak.faults.values().sum(), Promise::Answered)
            .await;
        reckonings += 1;
        slowest = slowest.max(kept.recovery);
        soak.figures().await;
    }
    soak.tables("as it is").await;
    soak.order("vacuum analyze").await;
    soak.tables("after vacuum").await;
    soak.order("vacuum full analyze").await;
    soak.tables("rewritten").await;
    println!("soak | {minutes} minutes, {reckonings} reckonings, slowest recovery {slowest:?}");
    println!("soak | faults {:?}", soak.faults);
}

impl Soak {
    async fn strike(&mut self, fault: &str, load: &Load) {
        match fault {
            "replica killed" => {
                self.show.kill(0);
                self.show.start(1).await;
            }
            "replica replaced in order" => {
                self.show.start(1).await;
                let mut old = self.show.replicas.remove(0);
                old.signal("TERM");
                let status = old.ended().await;
                assert!(status.success(), "{status}\n{}", old.log());
                self.show.balancer.remove(old.callbacks);
            }
            "replica frozen" => {
                self.show.replicas[0].signal("STOP");
                self.some_seconds().await;
                self.show.replicas[0].signal("CONT");
            }
            "connections terminated" => {
                // The session that asks is not of the pool, which a killed server would have broken.
                let mut session = self.server.session().await;
                sqlx::query(
                    "select pg_terminate_backend(pid) from pg_stat_activity
                     where application_name like 'stickymark%' and pid <> pg_backend_pid()",
                )
                .execute(&mut session)
                .await
                .unwrap();
            }
            "connections lost in silence" => self.show.database_wire.lose_connections(),
            "Postgres frozen" => {
                let processes = self.server.processes();
                signal_all(&processes, "STOP");
                self.some_seconds().await;
                signal_all(&processes, "CONT");
            }
            "Postgres killed" => {
                signal(self.server.processes()[0], "KILL");
                self.server.forget();
                load.more(30).await;
                self.server.start_again().await;
                let port = self.server.running().port();
                self.show
                    .database_wire
                    .lead_to(([127, 0, 0, 1], port).into());
            }
            "Postgres slow" => {
                self.show.database_wire.delay(Duration::from_millis(100));
                load.more(60).await;
                self.show.database_wire.delay(Duration::ZERO);
            }
            "Chat refuses" => {
                self.show.chat_wire.refuse(true);
                load.more(60).await;
                self.show.chat_wire.refuse(false);
            }
            _ => self.chat_fails(load).await,
        }
        let replicas = self.show.replicas.len();
        until("ready again", || async {
            self.show.balancer.ready() == replicas
        })
        .await;
    }

    async fn chat_fails(&mut self, load: &Load) {
        let effects = [
            Effect::HttpStatus(502),
            Effect::LostAnswer(LostAnswer::Close),
            Effect::LostAnswer(LostAnswer::Hang),
            Effect::LateErrorCode(60008),
            Effect::ErrorCode(10002),
            Effect::Omit,
        ];
        let effect = *effects.choose(&mut self.rng).unwrap();
        let fault = Fault::new(effect).fraction(0.5, self.rng.random());
        let fault = self.show.control.inject(&fault).await.unwrap();
        load.more(60).await;
        self.show.control.clear(fault).await.unwrap();
        // A replica that the next fault freezes cannot hang up, so Chat would count its call beside that of
        // the next holder of the room's lease.
        tokio::time::sleep(CALL_TIMEOUT).await;
    }

    async fn some_seconds(&mut self) {
        let seconds = self.rng.random_range(0.5..5.0);
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// Memory of the replicas, and size of what grows.
    async fn figures(&self) {
        let memory: Vec<u64> = self
            .show
            .replicas
            .iter()
            .map(|replica| replica.memory())
            .collect();
        let mut session = self.server.session().await;
        let (members, bytes): (i64, i64) = sqlx::query_as(
            "select (select count(*) from members),
                    sum(pg_total_relation_size(c.oid))::bigint
             from pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace",
        )
        .fetch_one(&mut session)
        .await
        .unwrap();
        println!("soak | replicas {memory:?} KiB | {members} members | tables {bytes} bytes");
        pause().await;
    }

    /// What each table holds and takes: rows that live, rows that are dead, and bytes. What a table
    /// takes when it was rewritten is what its rows need; all above that is dead rows and room.
    async fn tables(&self, when: &str) {
        self.order("analyze").await;
        let mut session = self.server.session().await;
        let tables: Vec<(String, i64, i64, i64, i64)> = sqlx::query_as(
            "select relname::text, n_live_tup, n_dead_tup, pg_table_size(relid),
                    pg_indexes_size(relid)
             from pg_stat_user_tables order by pg_total_relation_size(relid) desc",
        )
        .fetch_all(&mut session)
        .await
        .unwrap();
        for (table, live, dead, bytes, indexes) in &tables {
            println!(
                "soak | {when} | {table} | {live} live rows | {dead} dead | {bytes} bytes | \
                 {indexes} of indexes"
            );
        }
        let all: i64 = tables.iter().map(|table| table.3 + table.4).sum();
        println!("soak | {when} | all tables | {all} bytes");
    }

    async fn order(&self, statement: &'static str) {
        let mut session = self.server.session().await;
        sqlx::raw_sql(statement)
            .execute(&mut session)
            .await
            .unwrap();
    }
}
