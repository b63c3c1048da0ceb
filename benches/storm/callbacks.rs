//! (a) to (d): callbacks a second, all variants in turn, round after round.

use std::time::Duration;

use stickymark::testing::local::simulator::{Effect, Fault};

use crate::Plan;
use crate::live::{self, BUDGET, Live};
use crate::load::{self, Load};
use crate::population::{self, Member};
use crate::process::{self, Server, Target};
use crate::report::{Goal, Report, Values};
use crate::requests::{Order, Requests};
use crate::server;

/// Distinct members of each variant.
const MEMBERS: usize = 20_000;
const SIZES: [(usize, &str); 3] = [
    (1_000, "1,000"),
    (100_000, "100,000"),
    (1_000_000, "1,000,000"),
];
/// Chat says that the plan has expired: <https://www.tencentcloud.com/document/product/1047/34348>.
const PLAN_EXPIRED: i64 = 60020;

/// What is sent where.
struct Variant {
    key: &'static str,
    size: &'static str,
    what: String,
    members: Vec<Member>,
    to: Target,
    per_second: Values,
    medians: Values,
    tails: Values,
    /// Microseconds of processor time for a callback.
    own_time: Values,
    database_time: Values,
    /// By round, for ratios.
    rounds: Vec<f64>,
}

/// Everything that runs at once.
struct Field {
    variants: Vec<Variant>,
    /// Held until the end.
    servers: Vec<Server>,
    live: Option<Live>,
}

pub async fn run(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.section("Callbacks a second");
    let mut field = Field::set_up(plan, server).await?;
    for round in 0..plan.rounds {
        eprintln!("  round {}", round + 1);
        for variant in &mut field.variants {
            let load = variant.measure(plan).await?;
            eprintln!("    {}: {:.0}/s", variant.what, load.per_second);
        }
    }
    field.write(report);
    for server in field.servers {
        server.stop().await?;
    }
    if let Some(live) = field.live {
        live.stop().await?;
    }
    Ok(())
}

impl Field {
    async fn set_up(plan: &Plan, server: &mut server::Server) -> anyhow::Result<Self> {
        let mut field = Self {
            variants: Vec::new(),
            servers: Vec::new(),
            live: None,
        };
        if plan.has("a") {
            let bare = process::rival(None).await?;
            let what = "(a) bare handler: verifies, parses, answers".to_owned();
            field.add(
                "a",
                "",
                what,
                Target::new(&bare, None),
                population::viewers(MEMBERS),
            );
            field.servers.push(bare);
        }
        let chat = process::simulator().await?;
        let refusing = Fault::new(Effect::ErrorCode(PLAN_EXPIRED));
        chat.control()?.inject(&refusing).await?;
        for (rules, size) in SIZES {
            let database = server.with_rules(rules).await?;
            if plan.has("b") || plan.has("c") {
                let service = process::service(&database, &chat, BUDGET).await?;
                let at = || Target::new(&service, Some(&database));
                if plan.has("b") {
                    let what = format!("(b) no rule matches, {size} rules");
                    field.add("b", size, what, at(), population::viewers(MEMBERS));
                }
                if plan.has("c") {
                    let what = format!("(c) a rule matches, durable, {size} rules");
                    field.add("c", size, what, at(), population::named(MEMBERS, rules));
                }
                field.servers.push(service);
            }
            if plan.has("d") {
                let plain = process::rival(Some(&database)).await?;
                let what = format!("(d) one statement per callback, {size} rules");
                field.add(
                    "d",
                    size,
                    what,
                    Target::new(&plain, Some(&database)),
                    population::named(MEMBERS, rules),
                );
                field.servers.push(plain);
            }
        }
        field.servers.push(chat);
        if plan.has("c") {
            let live = Live::start(server, live::RULES + 1, 1).await?;
            let members = population::named(MEMBERS, live::RULES + 1);
            live.seat(&members).await?;
            let what = "(c) durable, 100,000 rules, while marks are set again".to_owned();
            let target = Target::new(&live.services[0], Some(&live.database));
            field.add("c+", "100,000", what, target, members);
            field.live = Some(live);
        }
        // Let what starts come to rest.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(field)
    }

    fn add(
        &mut self,
        key: &'static str,
        size: &'static str,
        what: String,
        to: Target,
        members: Vec<Member>,
    ) {
        self.variants.push(Variant {
            key,
            size,
            what,
            members,
            to,
            per_second: Values::default(),
            medians: Values::default(),
            tails: Values::default(),
            own_time: Values::default(),
            database_time: Values::default(),
            rounds: Vec::new(),
        });
    }

    fn write(&self, report: &mut Report) {
        for variant in &self.variants {
            report.figure(&variant.what, "/s", variant.per_second.clone(), Goal::None);
        }
        for variant in &self.variants {
            let what = format!("{}: median delay", variant.what);
            report.figure(what, "ms", variant.medians.clone(), Goal::None);
            let what = format!("{}: 99th percentile", variant.what);
            report.figure(what, "ms", variant.tails.clone(), Goal::None);
            let what = format!("{}: processor time of the server", variant.what);
            report.figure(what, "µs", variant.own_time.clone(), Goal::None);
            let what = format!("{}: processor time of its database sessions", variant.what);
            report.figure(what, "µs", variant.database_time.clone(), Goal::None);
        }
        for (_, size) in SIZES {
            for (of, to, goal) in [("b", "a", 0.9), ("c", "a", 0.4), ("c", "d", 8.0)] {
                self.ratio(report, (of, size), to, Goal::AtLeast(goal));
            }
        }
        self.ratio(report, ("c+", "100,000"), "a", Goal::None);
        report.note(
            "(c) is measured while Chat refuses all calls because the plan has expired, so that \
             the service only records; (d) has no worker either. The line `while marks are set \
             again` has the worker and the simulated Chat at work on the same cores. No two \
             callbacks of one member are near each other, so no statement folds them into one. \
             Ratios are taken within a round.",
        );
    }

    fn ratio(&self, report: &mut Report, of: (&str, &str), to: &str, goal: Goal) {
        let find = |key: &str, size: &str| {
            self.variants
                .iter()
                .find(|variant| variant.key == key && (variant.size == size || key == "a"))
        };
        if let (Some(upper), Some(lower)) = (find(of.0, of.1), find(to, of.1)) {
            let pairs = upper.rounds.iter().zip(&lower.rounds);
            let values = pairs.map(|(upper, lower)| upper / lower).collect();
            let what = format!("({}) against ({to}), {} rules", of.0, of.1);
            report.figure(what, "", values, goal);
        }
    }
}

impl Variant {
    async fn measure(&mut self, plan: &Plan) -> anyhow::Result<Load> {
        let requests = Requests::arrivals(&self.members, Order::Apart);
        let warm = Duration::from_millis(500);
        let before = self.to.used().await?;
        let load = load::closed(
            self.to.address,
            plan.connections,
            requests,
            warm,
            plan.window,
        )
        .await?;
        let each = self.to.since(before, load.answers).await?;
        self.own_time.extend(each.0);
        self.database_time.extend(each.1);
        self.per_second.push(load.per_second);
        self.medians.push(load.quantile(0.5).as_secs_f64() * 1e3);
        self.tails.push(load.quantile(0.99).as_secs_f64() * 1e3);
        self.rounds.push(load.per_second);
        Ok(load)
    }
}
