//! The page as a whole: where and how it was measured, and what to know before quoting.

use std::fmt::Write;

use crate::Plan;
use crate::report::Report;
use crate::server::Server;

const KNOW: &str = "\
- Load generator, services, simulated Chat and PostgreSQL share the cores named above. Absolute \
figures say little about other machines; ratios say more, for both sides bear the same load.
- The generator sends rendered requests over keep-alive connections from one thread, without \
pipelining and without TLS, and checks that every answer is a 200 with the OK body. What it costs \
is part of every figure, which brings ratios closer to 1.
- What a commit costs here stands above. On a disk with a slower fsync, everything durable has \
longer delays; the group commit then gathers more in one commit and loses little throughput, while \
one statement per callback loses much.
- The simulated Chat answers after 5 ms and is at home on this machine. Tencent's is farther away.
- Goals are those of this project. A figure with a goal is judged by its median, the calls in a \
second by the worst round.";

/// Where and how it is measured.
pub async fn facts(plan: &Plan, server: &Server) -> anyhow::Result<Vec<String>> {
    let mut facts = vec![
        format!(
            "`cargo bench`: {} rounds, {} s for each variant in a round, {} connections; all \
             variants of a table take turns within each round",
            plan.rounds,
            plan.window.as_secs_f64(),
            plan.connections
        ),
        machine(),
        format!(
            "stickymark {}, built with the bench profile (that of release), default settings",
            env!("CARGO_PKG_VERSION")
        ),
    ];
    facts.extend(server.facts().await?);
    Ok(facts)
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = after(&read("/proc/cpuinfo"), "model name")
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = after(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or_else(String::new, |kilobytes| {
            format!(", {:.0} GB", kilobytes / 1e6)
        });
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load
        .split_whitespace()
        .next()
        .map_or_else(String::new, |load| {
            format!("; before it began, {load} processes wanted a core (load average)")
        });
    format!(
        "{cores} cores ({model}){memory}, {} {}{load}",
        std::env::consts::OS,
        kernel.trim()
    )
}

/// The page.
pub fn page(facts: &[String], report: &Report) -> String {
    let mut page = String::from(
        "# Results of the benchmark\n\nWritten by `cargo bench` (or `make bench`).\n\n",
    );
    for fact in facts {
        let _ = writeln!(page, "- {fact}");
    }
    page.push_str(&report.markdown());
    let _ = write!(page, "\n## What to know before quoting\n\n{KNOW}\n");
    page
}
