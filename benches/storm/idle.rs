//! (h) memory, and (i) the delay of a mark when nothing else happens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::live::{Live, RULES};
use crate::report::{Goal, Report, Values};
use crate::requests::{Order, Requests, TOKEN};
use crate::{Plan, load, population, process, server};

/// (h) Resident memory of `serve`.
pub async fn memory(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("(h) Resident memory of the service");
    for (rules, words, goal) in [
        (0, "no rules", Goal::AtMost(25.0)),
        (1_000, "1,000 rules", Goal::None),
        (RULES, "100,000 rules", Goal::None),
        (1_000_000, "1,000,000 rules", Goal::AtMost(64.0)),
    ] {
        let (mut idle, mut loaded, mut took) =
            (Values::default(), Values::default(), Values::default());
        for _ in 0..plan.rounds.min(3) {
            let live = Live::start(server, rules, 1).await?;
            sleep(Duration::from_secs(3)).await;
            let service = &live.services[0];
            let Some(memory) = service.memory() else {
                report.note("This system does not tell the memory of a process.");
                return live.stop().await;
            };
            idle.push(memory.now);
            took.push(service.took.as_secs_f64() * 1e3);
            press(service, rules, &live, plan).await?;
            loaded.extend(service.memory().map(|memory| memory.peak));
            live.stop().await?;
        }
        report.figure(format!("{words}: idle"), "MB", idle, goal);
        report.figure(
            format!("{words}: most under load"),
            "MB",
            loaded,
            Goal::None,
        );
    }
    report.note(
        "MB of 1,000,000 bytes. Load: 256 connections without a pause, first callbacks that no rule \
         names, then (with rules) such that one names, while marks are set again.",
    );
    Ok(())
}

async fn press(
    service: &process::Server,
    rules: usize,
    live: &Live,
    plan: &Plan,
) -> anyhow::Result<()> {
    let unnamed = Requests::arrivals(&population::viewers(20_000), Order::Apart);
    load::closed(
        service.address,
        plan.connections,
        unnamed,
        Duration::ZERO,
        plan.window,
    )
    .await?;
    if rules > 0 {
        let members = population::named(20_000, rules);
        live.seat(&members).await?;
        let named = Requests::arrivals(&members, Order::Apart);
        load::closed(
            service.address,
            plan.connections,
            named,
            Duration::ZERO,
            plan.window * 2,
        )
        .await?;
    }
    Ok(())
}

/// (i) One member joins, the mark is set; then the next.
pub async fn delay(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("(i) From a join to the mark, nothing else going on");
    let joins = 60 * plan.rounds;
    let live = Live::start(server, RULES, 1).await?;
    let url = live.services[0].callback_url();
    live.chat
        .set_callback(Some(&url), Some(TOKEN.to_owned().into()))
        .await?;
    let mut joined = HashMap::new();
    for (i, member) in population::named(joins + 10, RULES).into_iter().enumerate() {
        let moved = live.chat.join(&member.group, &[&member.account]).await?;
        let began = Instant::now();
        while live.calls().await?.calls <= i as u64 && began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(2)).await;
        }
        // The first ones open connections and plan statements.
        if i >= 10 {
            joined.insert(member.account, moved.at);
        }
        // Neither in step with anything that ticks, nor with the call before.
        sleep(Duration::from_millis(100 + (i as u64 * 37) % 100)).await;
    }
    let mut delays = Values::default();
    for call in live.calls_after(0).await? {
        for account in &call.answered {
            if let (Some(at), Some(end)) = (joined.remove(account), call.finished_at) {
                delays.push((end - at) as f64);
            }
        }
    }
    anyhow::ensure!(joined.is_empty(), "{} members carry no mark", joined.len());
    let (median, tail) = (delays.median(), delays.quantile(0.99));
    report.figure(
        format!("median of {joins} joins"),
        "ms",
        [median].into_iter().collect(),
        Goal::AtMost(60.0),
    );
    report.figure(
        "99th percentile",
        "ms",
        [tail].into_iter().collect(),
        Goal::AtMost(200.0),
    );
    report.note(
        "From the moment Chat lets the member in to Chat's answer that the mark is set; Chat \
         takes 5 ms to answer, and the service lets a member's events settle for 30 ms.",
    );
    live.stop().await
}
