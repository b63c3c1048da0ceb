//! Plans of the statements on members and rooms hold without statistics.

use crate::support::plans::{Execution, Executions, LargeRoom, Statistics};

const MEMBERS: usize = 2_000;
/// Enough for the planner to begin to compare each with each, if it may.
const MANY: usize = 20_000;

/// A statement handles each member of the room in so many nodes of its plan at most. One that joins a
/// batch with a room, each row with each, handles some hundred times as many rows.
const NODES: usize = 30;

async fn rows_grow_with_the_members(statistics: Statistics, members: usize) {
    let executions = Executions::default();
    let _collecting = tracing::subscriber::set_default(executions.subscriber());
    LargeRoom::open(statistics, members).await.live().await;
    let executions = executions.take();
    // How many there are depends on how much each batch takes, which depends on the machine.
    let of_members = executions.iter().filter(|e| e.is_of_members()).count();
    assert!(of_members > 10, "only {of_members} plans were collected");
    let limit = (NODES * members) as f64;
    let mut too_much: Vec<_> = executions.iter().filter(|e| e.rows > limit).collect();
    too_much.sort_by(|a, b| a.statement.cmp(&b.statement));
    too_much.dedup_by(|a, b| a.statement == b.statement);
    let report: Vec<String> = too_much
        .iter()
        .map(|e| {
            let Execution {
                statement,
                milliseconds,
                rows,
                plan,
            } = e;
            format!("{rows} rows, {milliseconds} ms: {statement}\n{plan:#}")
        })
        .collect();
    assert!(report.is_empty(), "{}", report.join("\n\n"));
}

#[tokio::test]
async fn without_statistics_no_statement_joins_each_row_with_each() {
    rows_grow_with_the_members(Statistics::None, MEMBERS).await;
}

#[tokio::test]
async fn with_statistics_of_empty_tables_no_statement_joins_each_row_with_each() {
    rows_grow_with_the_members(Statistics::Empty, MEMBERS).await;
}

#[tokio::test]
async fn with_statistics_of_a_few_small_rooms_no_statement_joins_each_row_with_each() {
    rows_grow_with_the_members(Statistics::FewSmallRooms, MEMBERS).await;
}

#[tokio::test]
async fn with_statistics_of_many_small_rooms_no_statement_joins_each_row_with_each() {
    rows_grow_with_the_members(Statistics::ManySmallRooms, MEMBERS).await;
}

#[tokio::test]
async fn with_fresh_statistics_no_statement_joins_each_row_with_each() {
    rows_grow_with_the_members(Statistics::Fresh, MANY).await;
}
