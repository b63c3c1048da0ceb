//! The benchmark: what callbacks, storms, comebacks and memory cost.
//!
//! `cargo bench` measures everything and writes `benches/RESULTS.md` and `benches/EXPLAIN.md`;
//! `cargo bench -- a b` measures parts and only prints them. It uses the PostgreSQL that
//! `STICKYMARK_BENCH_DATABASE_URL` names, or starts a private one that is as durable as that of
//! `serve`. Services, simulated Chat and rivals are processes of their own; this one is the load.

mod callbacks;
mod explain;
mod idle;
mod live;
mod load;
mod population;
mod process;
mod report;
mod requests;
mod rivals;
mod server;
mod storms;
mod summary;

use std::time::Duration;

use anyhow::bail;
use report::Report;

const HELP: &str = "\
cargo bench                      everything; writes benches/RESULTS.md and benches/EXPLAIN.md
cargo bench -- PART…             parts, printed only (explain writes its page):
  a b c d   callbacks a second: bare handler, unnamed, named and durable, a statement each
  open      the durable answer at 2,000 callbacks/s
  e         members claimed, called and settled a second
  f         a storm of 10,000 arrivals with 1, 2 and 4 replicas
  g         a comeback of 1,000
  h         memory
  i         from a join to the mark
  explain   plans of the four hot statements
  --rounds N   rounds of each part (5)     --seconds S   measured time of a variant in a round (2)
  --connections N   connections of (a) to (d) and (h) (256)
STICKYMARK_BENCH_DATABASE_URL names a PostgreSQL to use instead of a private one.";
const PARTS: [&str; 11] = [
    "a", "b", "c", "d", "open", "e", "f", "g", "h", "i", "explain",
];

/// What to measure, and how long.
pub struct Plan {
    parts: Vec<String>,
    rounds: usize,
    connections: usize,
    window: Duration,
}

impl Plan {
    /// Whether a part is wanted.
    pub fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn is_whole(&self) -> bool {
        self.parts.is_empty()
    }

    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let (mut parts, mut rounds, mut seconds) = (Vec::new(), 5, 2.0);
        let mut connections = load::CONNECTIONS;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // What cargo adds.
                "--bench" => {}
                "--rounds" => rounds = arguments.next().map_or(Ok(rounds), |text| text.parse())?,
                "--connections" => {
                    connections = arguments
                        .next()
                        .map_or(Ok(connections), |text| text.parse())?;
                }
                "--seconds" => {
                    seconds = arguments.next().map_or(Ok(seconds), |text| text.parse())?;
                }
                part if PARTS.contains(&part) => parts.push(part.to_owned()),
                other => bail!("{other:?} is no part of the benchmark\n{HELP}"),
            }
        }
        let window = Duration::try_from_secs_f64(seconds)?;
        if rounds == 0 || connections == 0 || window.is_zero() {
            bail!("--rounds, --connections and --seconds must be above 0");
        }
        Ok(Self {
            parts,
            rounds,
            connections,
            window,
        })
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--rival", address, ref database @ ..] => tokio::runtime::Runtime::new()?
            .block_on(rivals::serve(address.parse()?, database.first().copied())),
        _ if arguments.iter().any(|argument| argument == "--help") => {
            println!("{HELP}");
            Ok(())
        }
        // `cargo test --all-targets` runs it too.
        _ if !arguments.iter().any(|argument| argument == "--bench") => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            let plan = Plan::parse(&arguments)?;
            // One thread, so that the load takes as little as it can from what it measures.
            let runtime = tokio::runtime::Builder::new_current_thread();
            { runtime }.enable_all().build()?.block_on(measure(&plan))
        }
    }
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let mut server = server::Server::start().await?;
    let facts = summary::facts(plan, &server).await?;
    for fact in &facts {
        eprintln!("{fact}");
    }
    let mut report = Report::default();
    let result = parts(plan, &mut server, &mut report).await;
    server.stop().await?;
    result?;
    let page = summary::page(&facts, &report);
    if plan.is_whole() {
        std::fs::write("benches/RESULTS.md", page)?;
        eprintln!("\nwritten to benches/RESULTS.md");
    } else {
        println!("{page}");
    }
    Ok(())
}

async fn parts(
    plan: &Plan,
    server: &mut server::Server,
    report: &mut Report,
) -> anyhow::Result<()> {
    // Memory first: later parts leave databases with many members behind.
    if plan.has("h") {
        idle::memory(plan, server, report).await?;
    }
    if ["a", "b", "c", "d"].iter().any(|part| plan.has(part)) {
        callbacks::run(plan, server, report).await?;
    }
    if plan.has("open") {
        storms::open_loop(plan, server, report).await?;
    }
    if plan.has("e") {
        storms::throughput(plan, server, report).await?;
    }
    if plan.has("f") {
        storms::storm(plan, server, report).await?;
    }
    if plan.has("g") {
        storms::comeback(plan, server, report).await?;
    }
    if plan.has("i") {
        idle::delay(plan, server, report).await?;
    }
    if plan.has("explain") {
        explain::run(server).await?;
    }
    Ok(())
}
