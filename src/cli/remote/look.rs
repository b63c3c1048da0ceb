//! `stickymark explain`, `members`, `status`, `resync`.

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::{Remote, given, json, print_json, table};
use crate::cli::output;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainArguments {
    #[command(flatten)]
    remote: Remote,
    /// The room.
    group: String,
    /// The member.
    account: String,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct MembersArguments {
    #[command(flatten)]
    remote: Remote,
    /// Only members of this room.
    #[arg(long)]
    group: Option<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only members in this state.
    #[arg(long, value_parser = ["pending", "applied", "offline", "failed"])]
    state: Option<String>,
    /// Most members to list.
    #[arg(long, default_value_t = 1000)]
    most: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArguments {
    #[command(flatten)]
    remote: Remote,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResyncArguments {
    #[command(flatten)]
    remote: Remote,
    /// The room to compare with Chat.
    group: String,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Why a member has, or lacks, marks.
pub(in crate::cli) async fn explain(arguments: ExplainArguments) -> anyhow::Result<()> {
    let query = [("group", arguments.group), ("account", arguments.account)];
    let answer = arguments.remote.get(&["explain"], &query).await?;
    if arguments.json {
        return print_json(&answer);
    }
    output::line(&format!("{}\n", table::plain(&answer["summary"])))?;
    let shown = [
        ("desired marks", &answer["desired"]),
        ("marks", &answer["member"]["marks"]),
        ("last confirmed", &answer["member"]["confirmed_marks"]),
        ("confirmed at", &answer["member"]["confirmed_at"]),
        ("presence", &answer["member"]["presence"]),
        ("from the event", &answer["member"]["event"]),
        ("heard at", &answer["member"]["heard_at"]),
        ("last request", &answer["member"]["request_id"]),
        ("pending since", &answer["pending"]["since"]),
        ("next attempt", &answer["pending"]["next_attempt_at"]),
        ("last error", &answer["member"]["last_error"]),
        ("room", &answer["room"]["state"]),
    ];
    table::print_pairs(&shown)?;
    let matched = answer["matched"].as_array().cloned().unwrap_or_default();
    if !matched.is_empty() {
        output::line("\nRules in force that name him:")?;
        let fields = ["id", "group", "account", "marks", "ends_at", "label"];
        table::print(&matched, &fields)?;
    }
    let near = answer["near"].as_array().cloned().unwrap_or_default();
    if !near.is_empty() {
        output::line("\nRules that nearly do:")?;
        table::print(&near, &["rule.id", "rule.marks", "detail"])?;
    }
    Ok(())
}

/// The members that rules name.
pub(in crate::cli) async fn members(arguments: MembersArguments) -> anyhow::Result<()> {
    let query = [
        given("group", arguments.group.as_ref()),
        given("account", arguments.account.as_ref()),
        given("state", arguments.state.as_ref()),
    ];
    let query: Vec<_> = query.into_iter().flatten().collect();
    let members = arguments
        .remote
        .items(&["members"], &query, arguments.most)
        .await?;
    if arguments.json {
        return print_json(&Value::Array(members));
    }
    let fields = [
        "group",
        "account",
        "state",
        "marks",
        "confirmed_at",
        "due_at",
        "last_error",
    ];
    Ok(table::print(&members, &fields)?)
}

/// The state of the service.
pub(in crate::cli) async fn status(arguments: StatusArguments) -> anyhow::Result<()> {
    let status = arguments.remote.get(&["status"], &[]).await?;
    if arguments.json {
        return print_json(&status);
    }
    let (queue, chat) = (&status["queue"], &status["chat"]);
    table::print_pairs(&[
        ("version", &status["version"]),
        ("database", &status["database"]),
        ("members due", &queue["due"]),
        ("members due later", &queue["later"]),
        ("oldest overdue, s", &queue["oldest_seconds"]),
        ("members given up", &queue["failed"]),
        ("calls in flight", &queue["rooms_in_flight"]),
        ("calls paused", &chat["paused"]),
        ("paused since", &chat["since"]),
        ("reason", &chat["reason"]),
        ("advice", &chat["advice"]),
        ("filter bypassed", &status["filter"]["bypassing"]),
    ])?;
    for (title, list, fields) in [
        (
            "Budgets:",
            "budgets",
            ["api", "per_second", "share"].as_slice(),
        ),
        (
            "Why members were given up:",
            "failures",
            ["members", "reason"].as_slice(),
        ),
    ] {
        let items = status[list].as_array().cloned().unwrap_or_default();
        if !items.is_empty() {
            output::line(&format!("\n{title}"))?;
            table::print(&items, fields)?;
        }
    }
    Ok(())
}

/// Has a room compared with Chat now.
pub(in crate::cli) async fn resync(arguments: ResyncArguments) -> anyhow::Result<()> {
    let request = arguments
        .remote
        .request(Method::POST, &["rooms", "resync"], &[])?;
    let body = serde_json::json!({"group": arguments.group});
    let answer = json(arguments.remote.send(request.json(&body)).await?).await?;
    if arguments.json {
        return print_json(&answer);
    }
    Ok(output::line(
        "asked for; its entry in GET /v1/rooms shows what is found",
    )?)
}
