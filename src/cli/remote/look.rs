//! `stickymark explain`, `status`, `log`.

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::table::{self, Style};
use super::{NONE, Remote};
use crate::cli::output;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    query: ExplainQuery,
}

#[derive(Debug, Args, Serialize)]
struct ExplainQuery {
    /// The room.
    #[arg(value_name = "ROOM")]
    group: String,
    /// The member.
    account: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArguments {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArguments {
    #[command(flatten)]
    remote: Remote,
    /// The filter to use from now on, such as info,stickymark::reapply=debug; without it, the present
    /// one is printed. Only the replica that answers changes, until it restarts.
    filter: Option<String>,
}

/// Why a member has, or lacks, marks.
pub(in crate::cli) async fn explain(arguments: ExplainArguments) -> anyhow::Result<()> {
    let ExplainArguments { remote, query } = arguments;
    let answer = remote.service.get(&["explain"], &query).await?;
    if !remote.shape.is_table() {
        return remote.shape.print_one(&answer, &["group", "account"]);
    }
    output::line(&format!("{}\n", table::plain(&answer["summary"])))?;
    let style = remote.style().await;
    let (member, pending) = (&answer["member"], &answer["pending"]);
    style.print_pairs(&[
        ("required marks", &answer["desired"]),
        ("marks", &member["marks"]),
        ("last confirmed marks", &member["confirmed_marks"]),
        ("confirmed", &member["confirmed_at"]),
        ("presence", &member["presence"]),
        ("last event", &member["event"]),
        ("received", &member["heard_at"]),
        ("last request", &member["request_id"]),
        ("pending since", &pending["since"]),
        ("next attempt", &pending["next_attempt_at"]),
        ("last error", &member["last_error"]),
        ("room", &answer["room"]["state"]),
    ])?;
    let rule = ["id", "group", "account", "marks", "ends_at", "label"];
    let near = ["rule.id", "rule.marks", "detail"];
    for (title, list, fields) in [
        ("Active rules that match:", &answer["matched"], &rule[..]),
        ("Near misses:", &answer["near"], &near),
    ] {
        print_below(&style, title, list, fields)?;
    }
    Ok(())
}

/// Prints a table with a title, unless it would be empty.
fn print_below(style: &Style, title: &str, list: &Value, fields: &[&str]) -> anyhow::Result<()> {
    match list.as_array() {
        Some(items) if !items.is_empty() => {
            output::line(&format!("\n{title}"))?;
            Ok(style.print(items, fields, "")?)
        }
        _ => Ok(()),
    }
}

/// The state of the service.
pub(in crate::cli) async fn status(arguments: StatusArguments) -> anyhow::Result<()> {
    let remote = arguments.remote;
    let status = remote.service.get(&["status"], &NONE).await?;
    if !remote.shape.is_table() {
        return remote.shape.print_one(&status, &["version"]);
    }
    let (callbacks, queue) = (&status["callbacks"], &status["queue"]);
    let (chat, calls) = (&status["chat"], &status["calls"]);
    let style = Style::new(Default::default());
    style.print_pairs(&[
        ("version", &status["version"]),
        ("database", &status["database"]),
        ("callbacks", &callbacks["summary"]),
        ("last callback", &callbacks["last_at"]),
        ("members due", &queue["due"]),
        ("members due later", &queue["later"]),
        ("oldest due, seconds", &queue["oldest_seconds"]),
        ("failed members", &queue["failed"]),
        ("rooms whose comparison failed", &queue["rooms_failing"]),
        ("calls of the last minute", &calls["calls"]),
        ("failed calls", &calls["failed"]),
        ("last error", &calls["last_error"]["detail"]),
        ("at", &calls["last_error_at"]),
        ("calls in flight", &queue["rooms_in_flight"]),
        ("calls paused", &chat["paused"]),
        ("paused since", &chat["since"]),
        ("reason", &chat["reason"]),
        ("how to fix it", &chat["advice"]),
        ("filter bypassed", &status["filter"]["bypassing"]),
    ])?;
    let refused = "Refused callbacks of the last minutes:";
    for (title, list, fields) in [
        (
            "Latest callbacks:",
            &callbacks["kinds"],
            &["command", "last_at"][..],
        ),
        (
            refused,
            &callbacks["refusals"],
            &["requests", "last_at", "reason"],
        ),
        (
            "Callbacks to other paths:",
            &callbacks["other_paths"],
            &["requests", "last_at", "path"],
        ),
        (
            "Budgets:",
            &status["budgets"],
            &["api", "per_second", "share"],
        ),
        (
            "Why members wait for a retry:",
            &status["retries"],
            &["members", "reason"],
        ),
        (
            "Why members failed:",
            &status["failures"],
            &["members", "reason"],
        ),
    ] {
        print_below(&style, title, list, fields)?;
    }
    Ok(())
}

/// What a running replica logs.
pub(in crate::cli) async fn log(arguments: LogArguments) -> anyhow::Result<()> {
    let LogArguments { remote, filter } = arguments;
    let answer = match filter {
        Some(filter) => {
            let body = json!({"filter": filter});
            remote
                .service
                .write(Method::PUT, &["log"], &NONE, &body)
                .await?
        }
        None => remote.service.get(&["log"], &NONE).await?,
    };
    remote.say(&answer, &["filter"], &table::plain(&answer["filter"]))
}
