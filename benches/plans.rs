//! Whether every statement on members and rooms grows linearly with the room, whatever the statistics
//! of PostgreSQL say: `cargo bench --bench plans -- [STATISTICS…] [MEMBERS…]`, by default 1000, 10000 and
//! 35000, and `None`, `Empty`, `FewSmallRooms`, `ManySmallRooms` and `Fresh`.
//!
//! One room lives through the whole service and a simulated Chat; PostgreSQL itself tells how long each
//! statement took. The figures are those of the statements, so a debug build gives the same ones:
//! `cargo bench --profile dev --bench plans`.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shares the support of the tests"
)]

#[path = "../tests/it/support/mod.rs"]
mod support;

use std::collections::BTreeMap;

use support::plans::{Execution, Executions, LargeRoom, Statistics};

const SIZES: [usize; 3] = [1_000, 10_000, 35_000];
const STATISTICS: [Statistics; 5] = [
    Statistics::None,
    Statistics::Empty,
    Statistics::FewSmallRooms,
    Statistics::ManySmallRooms,
    Statistics::Fresh,
];
/// Letters of a statement that are shown.
const SHOWN: usize = 110;

#[tokio::main(worker_threads = 2)]
async fn main() {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let mut sizes: Vec<usize> = given.iter().filter_map(|word| word.parse().ok()).collect();
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    let named = |name: &str| given.iter().any(|word| word == name);
    let all = !STATISTICS.iter().any(|s| named(&format!("{s:?}")));
    let executions = Executions::default();
    tracing::subscriber::set_global_default(executions.subscriber()).unwrap();
    for statistics in STATISTICS {
        if !all && !named(&format!("{statistics:?}")) {
            continue;
        }
        println!("\n# {statistics:?}: {sizes:?} members");
        let mut steps: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut slowest: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (column, members) in sizes.iter().enumerate() {
            let room = LargeRoom::open(statistics, *members).await;
            executions.take();
            for (number, (step, took)) in room.live().await.into_iter().enumerate() {
                let row = steps
                    .entry(step)
                    .or_insert_with(|| vec![format!("{number}")]);
                row.push(format!("{:.2}", took.as_secs_f64()));
            }
            let executed = executions.take();
            for execution in executed.iter().filter(|e| Execution::is_of_members(e)) {
                let row = slowest
                    .entry(execution.statement.clone())
                    .or_insert_with(|| vec![0.0; sizes.len()]);
                row[column] = row[column].max(execution.milliseconds);
            }
        }
        println!("\nSeconds until all work is done");
        let mut steps: Vec<_> = steps.into_iter().collect();
        steps.sort_by(|a, b| a.1[0].cmp(&b.1[0]));
        for (step, row) in steps {
            println!("{:>30}  {step}", row[1..].join("  "));
        }
        println!("\nMilliseconds of the slowest execution");
        for (statement, row) in slowest {
            let row: Vec<String> = row.iter().map(|ms| format!("{ms:8.1}")).collect();
            let shown: String = statement.chars().take(SHOWN).collect();
            println!("{}  {shown}", row.join(" "));
        }
    }
}
