//! `stickymark explain`, `status`, `log`.

use clap::Args;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::table::{self, Style};
use super::{NONE, On, Remote};
use crate::cli::output;

#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct Member {
    /// The room.
    #[arg(value_name = "ROOM")]
    group: String,
    /// The member.
    account: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct LogFilter {
    /// The filter to use from now on, such as info,stickymark::reapply=debug; without it, the present
    /// one is printed. Only the replica that answers changes, until it restarts.
    filter: Option<String>,
}

/// Why a member has, or lacks, marks.
pub(super) async fn explain(member: On<Member>) -> anyhow::Result<()> {
    let answer = member.get(&["explain"], &member.ask).await?;
    if !member.shape.is_table() {
        return member.shape.print(&answer, "group account");
    }
    output::line(&format!("{}\n", table::plain(&answer["summary"])))?;
    let style = member.style().await;
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
    let (matched, near) = (&answer["matched"], &answer["near"]);
    let rule = "id group account marks ends_at label";
    print_below(&style, "Active rules that match:", matched, rule)?;
    print_below(&style, "Near misses:", near, "rule.id rule.marks detail")
}

/// Prints a table with a title, unless it would be empty.
fn print_below(style: &Style, title: &str, list: &Value, fields: &str) -> anyhow::Result<()> {
    match list.as_array() {
        Some(items) if !items.is_empty() => {
            output::line(&format!("\n{title}"))?;
            Ok(style.print(items, fields, "")?)
        }
        _ => Ok(()),
    }
}

/// The state of the service.
pub(super) async fn status(remote: Remote) -> anyhow::Result<()> {
    let status = remote.get(&["status"], &NONE).await?;
    if !remote.shape.is_table() {
        return remote.shape.print(&status, "version");
    }
    let (callbacks, queue) = (&status["callbacks"], &status["queue"]);
    let (chat, calls) = (&status["chat"], &status["calls"]);
    let style = remote.style().await;
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
    for (title, list, fields) in [
        ("Latest callbacks:", &callbacks["kinds"], "command last_at"),
        (
            "Refused callbacks of the last minutes:",
            &callbacks["refusals"],
            "requests last_at reason",
        ),
        (
            "Callbacks to other paths:",
            &callbacks["other_paths"],
            "requests last_at path",
        ),
        ("Budgets:", &status["budgets"], "api per_second share"),
        (
            "Why members wait for a retry:",
            &status["retries"],
            "members reason",
        ),
        ("Why members failed:", &status["failures"], "members reason"),
    ] {
        print_below(&style, title, list, fields)?;
    }
    Ok(())
}

/// What a running replica logs.
pub(super) async fn log(log: On<LogFilter>) -> anyhow::Result<()> {
    let answer = match &log.ask.filter {
        Some(filter) => {
            let body = json!({"filter": filter});
            log.write(Method::PUT, &["log"], &NONE, &body).await?
        }
        None => log.get(&["log"], &NONE).await?,
    };
    log.say(&answer, "filter", &table::plain(&answer["filter"]))
}
