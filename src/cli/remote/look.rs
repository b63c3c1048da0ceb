//! `stickymark explain`, `status`.

use clap::Args;

use super::names::Names;
use super::table::{self, Style};
use super::{Remote, Shape};
use crate::cli::output;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
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
    #[command(flatten)]
    shape: Shape,
}

/// Why a member has, or lacks, marks.
pub(in crate::cli) async fn explain(arguments: ExplainArguments) -> anyhow::Result<()> {
    let query = [("group", arguments.group), ("account", arguments.account)];
    let remote = arguments.remote;
    let answer = remote.get(&["explain"], &query).await?;
    if !arguments.shape.is_table() {
        return arguments.shape.print_one(&answer, &["group", "account"]);
    }
    output::line(&format!("{}\n", table::plain(&answer["summary"])))?;
    let style = Style::new(Names::of(&remote).await);
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
    let matched = answer["matched"].as_array().cloned().unwrap_or_default();
    if !matched.is_empty() {
        output::line("\nActive rules that match:")?;
        let fields = ["id", "group", "account", "marks", "ends_at", "label"];
        style.print(&matched, &fields, "")?;
    }
    let near = answer["near"].as_array().cloned().unwrap_or_default();
    if !near.is_empty() {
        output::line("\nNear misses:")?;
        style.print(&near, &["rule.id", "rule.marks", "detail"], "")?;
    }
    Ok(())
}

/// The state of the service.
pub(in crate::cli) async fn status(arguments: StatusArguments) -> anyhow::Result<()> {
    let status = arguments.remote.get(&["status"], &[]).await?;
    if !arguments.shape.is_table() {
        return arguments.shape.print_one(&status, &["version"]);
    }
    let (callbacks, queue) = (&status["callbacks"], &status["queue"]);
    let (chat, calls) = (&status["chat"], &status["calls"]);
    let style = Style::new(Names::default());
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
        (
            "Latest callbacks:",
            &callbacks["kinds"],
            ["command", "last_at"].as_slice(),
        ),
        (
            "Refused callbacks of the last minutes:",
            &callbacks["refusals"],
            ["requests", "last_at", "reason"].as_slice(),
        ),
        (
            "Callbacks to other paths:",
            &callbacks["other_paths"],
            ["requests", "last_at", "path"].as_slice(),
        ),
        (
            "Budgets:",
            &status["budgets"],
            ["api", "per_second", "share"].as_slice(),
        ),
        (
            "Why members wait for a retry:",
            &status["retries"],
            ["members", "reason"].as_slice(),
        ),
        (
            "Why members failed:",
            &status["failures"],
            ["members", "reason"].as_slice(),
        ),
    ] {
        let items = list.as_array().cloned().unwrap_or_default();
        if !items.is_empty() {
            output::line(&format!("\n{title}"))?;
            style.print(&items, fields, "")?;
        }
    }
    Ok(())
}
