//! What the worker does: (e) its throughput, (f) a storm, (g) a comeback, and the open loop.

use std::time::{Duration, Instant};

use sqlx::Executor;
use tokio::time::sleep;

use crate::live::{BUDGET, Live, RULES};
use crate::population::{self, A_ROOM, SHOWS};
use crate::process::Target;
use crate::report::{Goal, Report, Values};
use crate::requests::{Order, Requests, unix_ms};
use crate::{Plan, load, server};

const PATIENCE: Duration = Duration::from_secs(120);

/// (e) Many due members in many rooms, each with a rule of their own, and Chat's full rate.
pub async fn throughput(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    const ROOMS: usize = 400;
    const HIGHEST_BUDGET: u32 = 200;
    report.section("(e) Claim, call, settle");
    let live = Live::with_budget(server, 1_000_000, 1, HIGHEST_BUDGET).await?;
    let members: Vec<_> = (0..ROOMS * A_ROOM).map(population::exact_member).collect();
    live.seat(&members).await?;
    let (mut rates, mut sizes) = (Values::default(), Values::default());
    let mut times = [Values::default(), Values::default()];
    let target = Target::new(&live.services[0], Some(&live.database));
    for _ in 0..plan.rounds {
        live.database.pool.execute("truncate members").await?;
        let before = live.calls().await?;
        let used = target.used().await?;
        make_all_due(&live, ROOMS).await?;
        wait(|| async { Ok(!live.database.somebody_waits().await?) }).await?;
        let seconds: f64 = sqlx::query_scalar(
            "select extract(epoch from max(confirmed_at) - min(confirmed_at))::float8 from members",
        )
        .fetch_one(&live.database.pool)
        .await?;
        let first: i64 = sqlx::query_scalar(
            "select count(*) from members where confirmed_at = (select min(confirmed_at) from members)",
        )
        .fetch_one(&live.database.pool)
        .await?;
        let calls = live.calls().await?.calls - before.calls;
        rates.push((members.len() as f64 - first as f64) / seconds);
        sizes.push(members.len() as f64 / calls as f64);
        let each = target.since(used, members.len()).await?;
        times[0].extend(each.0);
        times[1].extend(each.1);
    }
    report.figure(
        "200,000 members in 400 rooms, 1,000,000 rules, budget 200 calls/s",
        "members/s",
        rates,
        Goal::AtLeast(50_000.0),
    );
    report.figure("members in a call", "", sizes, Goal::None);
    let [own, database] = times;
    report.figure(
        "processor time of the service for a member",
        "µs",
        own,
        Goal::None,
    );
    report.figure(
        "processor time of its database sessions for a member",
        "µs",
        database,
        Goal::None,
    );
    report.note("The rooms are mixed in the queue. The budget itself allows about 180 calls of 500 a second. \
         The database's time includes making the members due.");
    live.stop().await
}

async fn make_all_due(live: &Live, rooms: usize) -> anyhow::Result<()> {
    let mut transaction = live.database.pool.begin().await?;
    sqlx::query(
        "insert into rooms (group_id, due_at)
         select 'room-' || i, now() - random() * interval '1 second' from generate_series(0, $1 - 1) i
         on conflict (group_id) do update set due_at = excluded.due_at",
    )
    .bind(i32::try_from(rooms)?)
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "insert into members (group_id, account, presence, event, event_at, heard_at, due_at, pending_since)
         select 'room-' || i / $2, 'user-' || i, 'present', 'join', 1, now(),
                now() - random() * interval '1 second', now()
         from generate_series(0, $1 * $2 - 1) i",
    )
    .bind(i32::try_from(rooms)?)
    .bind(i32::try_from(A_ROOM)?)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// (f) 10,000 named members arrive in 20 rooms, two callbacks each, as fast as they are answered.
pub async fn storm(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("(f) A storm: 10,000 named arrivals in 20 rooms");
    let members: Vec<_> = (0..SHOWS * A_ROOM)
        .map(|i| population::vip(i % SHOWS, i / SHOWS))
        .collect();
    let mut figures: Vec<(usize, [Values; 5])> = [1, 2, 4]
        .map(|replicas| (replicas, Default::default()))
        .into();
    for _ in 0..plan.rounds {
        for (replicas, values) in &mut figures {
            let live = Live::start(server, RULES, *replicas).await?;
            live.seat(&members).await?;
            sleep(Duration::from_millis(1200)).await;
            let storm = one_storm(&live, &members).await?;
            for (values, value) in values.iter_mut().zip(storm) {
                values.push(value);
            }
            live.stop().await?;
        }
    }
    for (replicas, [calls, peak, last, took, tail]) in figures {
        let with = match replicas {
            1 => "1 replica".to_owned(),
            n => format!("{n} replicas"),
        };
        let budget = Goal::AtMost(f64::from(BUDGET));
        report.figure(
            format!("{with}: calls"),
            "calls",
            calls,
            Goal::AtMost(120.0),
        );
        report.worst(
            format!("{with}: most calls in any second"),
            "calls",
            peak,
            budget,
        );
        report.figure(
            format!("{with}: from the last answer to the last mark"),
            "ms",
            last,
            Goal::AtMost(1000.0),
        );
        report.figure(
            format!("{with}: 20,000 callbacks answered in"),
            "ms",
            took,
            Goal::None,
        );
        report.figure(
            format!("{with}: 99th percentile of an answer"),
            "ms",
            tail,
            Goal::None,
        );
    }
    Ok(())
}

/// Calls, most calls in a second, ms from the last answer to the last mark, ms of the storm, ms of
/// the 99th percentile.
async fn one_storm(live: &Live, members: &[population::Member]) -> anyhow::Result<[f64; 5]> {
    let requests = Requests::arrivals(members, Order::Together);
    let began = Instant::now();
    let load = load::once(&live.addresses(), requests).await?;
    let (took, answered) = (began.elapsed(), unix_ms());
    wait(|| async { Ok(!live.database.somebody_waits().await?) }).await?;
    let rooms = live.chat.rooms().await?;
    let found = rooms.values().flat_map(|members| members.values());
    let marked: usize = found.map(|member| member.marks.len()).sum();
    anyhow::ensure!(marked == members.len(), "{marked} members carry their mark");
    let calls = live.calls().await?;
    let last = live.last_answer(0).await? - answered;
    Ok([
        calls.calls as f64,
        calls.peak_per_second as f64,
        last as f64,
        took.as_secs_f64() * 1e3,
        load.quantile(0.99).as_secs_f64() * 1e3,
    ])
}

/// (g) 1,000 members of one room lose their connections and come back.
pub async fn comeback(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("(g) A comeback: 1,000 members of one room return");
    let live = Live::start(server, RULES, 1).await?;
    let url = live.services[0].callback_url();
    let token = Some(crate::requests::TOKEN.to_owned().into());
    live.chat.set_callback(Some(&url), token).await?;
    let chat = live.chat.waiting();
    let names: Vec<String> = (0..1000).map(|i| population::vip(0, i).account).collect();
    let all_marked = || async {
        let members = live.chat.room("show-0").await?;
        let marked = members
            .values()
            .filter(|member| !member.marks.is_empty())
            .count();
        Ok(marked == names.len() && !live.database.somebody_waits().await?)
    };
    chat.join("show-0", &names).await?;
    wait(all_marked).await?;
    let (mut calls, mut took) = (Values::default(), Values::default());
    for _ in 0..plan.rounds {
        chat.drop_offline("show-0", &names).await?;
        live.database.quiet().await?;
        let before = live.chat.calls().await?.last().map_or(0, |call| call.seq);
        let moved = chat.come_back("show-0", &names).await?;
        wait(all_marked).await?;
        let since = live.calls_after(before).await?;
        calls.push(since.len() as f64);
        took.push((live.last_answer(before).await? - moved.at) as f64);
    }
    report.figure("calls", "calls", calls, Goal::AtMost(3.0));
    report.figure(
        "from the first return to the last mark",
        "ms",
        took,
        Goal::None,
    );
    live.stop().await
}

/// The durable answer at 2,000 callbacks a second, whether answers come or not.
pub async fn open_loop(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    const PER_SECOND: u32 = 2_000;
    report.section("The durable answer at 2,000 callbacks/s, open loop");
    let live = Live::start(server, RULES, 1).await?;
    let members = population::named(20_000, RULES);
    live.seat(&members).await?;
    let (mut medians, mut tails, mut worst) =
        (Values::default(), Values::default(), Values::default());
    for _ in 0..plan.rounds {
        let requests = Requests::arrivals(&members, Order::Together);
        let warm = Duration::from_secs(1);
        let address = live.services[0].address;
        let load = load::open(address, requests, PER_SECOND, warm, plan.window * 4).await?;
        medians.push(load.quantile(0.5).as_secs_f64() * 1e3);
        tails.push(load.quantile(0.99).as_secs_f64() * 1e3);
        worst.push(load.quantile(1.0).as_secs_f64() * 1e3);
    }
    report.figure("median", "ms", medians, Goal::None);
    report.figure("99th percentile", "ms", tails, Goal::AtMost(25.0));
    report.figure("longest", "ms", worst, Goal::None);
    report.note(
        "Every callback is about a named member, and the worker sets marks meanwhile. Delays count \
         from the intended moment of sending; the generator's clock ticks in milliseconds.",
    );
    live.stop().await
}

async fn wait<F: Future<Output = anyhow::Result<bool>>>(
    done: impl Fn() -> F,
) -> anyhow::Result<()> {
    let began = Instant::now();
    while !done().await? {
        anyhow::ensure!(began.elapsed() < PATIENCE, "the marks are not set in time");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
