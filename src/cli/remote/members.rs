//! `stickymark members`, `rooms`, `resync`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::table::plain;
use super::{List, Most, NONE, Remote};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct MembersArguments {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    most: Most,
    #[command(flatten)]
    query: MembersQuery,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Retry failed members now: those of a room, of an account, or all.
    Retry(RetryArguments),
    /// Erase what is stored about an account: its rules, its rows, its name in the history of rules.
    Erase(EraseArguments),
}

#[derive(Debug, Args, Serialize)]
struct MembersQuery {
    #[command(flatten)]
    #[serde(flatten)]
    only: Only,
    /// Only members in this state.
    #[arg(long, value_parser = ["pending", "applied", "offline", "failed"])]
    state: Option<String>,
}

#[derive(Debug, Args, Serialize)]
struct Only {
    /// Only members of this room.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    /// Only this account.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

#[derive(Debug, Args)]
struct RetryArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    only: Only,
}

#[derive(Debug, Args)]
struct EraseArguments {
    #[command(flatten)]
    remote: Remote,
    /// Exactly this account.
    account: String,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RoomsArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    most: Most,
    #[command(flatten)]
    query: RoomsQuery,
}

#[derive(Debug, Args, Serialize)]
struct RoomsQuery {
    /// Only this room.
    group: Option<String>,
    /// Only rooms in this state.
    #[arg(long, value_parser = ["live", "gone"])]
    state: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResyncArguments {
    #[command(flatten)]
    remote: Remote,
    /// The room to compare with Chat.
    #[arg(value_name = "ROOM")]
    group: String,
}

pub(in crate::cli) async fn run(arguments: MembersArguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(MembersCommand::Retry(arguments)) => return retry(arguments).await,
        Some(MembersCommand::Erase(arguments)) => return erase(arguments).await,
        None => {}
    }
    let columns = &[
        "group",
        "account",
        "state",
        "marks",
        "confirmed_at",
        "due_at",
        "last_error",
    ];
    let list = List {
        path: &["members"],
        columns,
        name: &["group", "account"],
        none: "no members",
    };
    let MembersArguments { remote, most, .. } = arguments;
    remote.list(list, &arguments.query, &most, |_, _| ()).await
}

async fn retry(arguments: RetryArguments) -> anyhow::Result<()> {
    let RetryArguments { remote, only } = arguments;
    let path = ["members", "retry"];
    let answer = remote
        .service
        .write(Method::POST, &path, &NONE, &only)
        .await?;
    let line = format!("retrying {} members", plain(&answer["retried"]));
    remote.say(&answer, &["retried"], &line)
}

async fn erase(arguments: EraseArguments) -> anyhow::Result<()> {
    let EraseArguments {
        remote,
        account,
        dry_run,
    } = arguments;
    let body = json!({ "account": account });
    let query = [("dry_run", dry_run)];
    let answer = remote
        .service
        .write(Method::POST, &["erase"], &query, &body)
        .await?;
    let counts = ["rules", "members", "history"];
    let [rules, members, history] = counts.map(|count| plain(&answer[count]));
    let done = if dry_run { "would erase" } else { "erased" };
    let line = format!("{done} {rules} rules, {members} member rows, {history} history entries");
    remote.say(&answer, &counts, &line)
}

/// Rooms and how their last comparison with Chat ended.
pub(in crate::cli) async fn rooms(arguments: RoomsArguments) -> anyhow::Result<()> {
    let list = List {
        path: &["rooms"],
        columns: &[
            "group",
            "state",
            "members.applied",
            "members.pending",
            "members.failed",
            "members.offline",
            "last_event_at",
            "sweep.at",
            "found",
            "sweep.last_error",
        ],
        name: &["group"],
        none: "no rooms",
    };
    let RoomsArguments {
        remote,
        most,
        query,
    } = arguments;
    let found = |room: &mut Value, _: &_| room["found"] = found(&room["sweep"]).into();
    remote.list(list, &query, &most, found).await
}

/// What the last comparison found, in words.
fn found(sweep: &Value) -> String {
    if sweep["running"] == true {
        return "in progress".to_owned();
    }
    if !sweep["requested_at"].is_null() {
        return "requested".to_owned();
    }
    let Some(drift) = sweep["drift"].as_object() else {
        return "-".to_owned();
    };
    let some = drift.iter().filter(|(_, count)| **count != 0);
    let some: Vec<String> = some
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    match some.is_empty() {
        true => "in sync".to_owned(),
        false => some.join(", "),
    }
}

/// Has a room compared with Chat now.
pub(in crate::cli) async fn resync(arguments: ResyncArguments) -> anyhow::Result<()> {
    let ResyncArguments { remote, group } = arguments;
    let path = ["rooms", "resync"];
    let body = json!({"group": group});
    let answer = remote
        .service
        .write(Method::POST, &path, &NONE, &body)
        .await?;
    let line = format!("comparison requested; see `stickymark rooms {group}`");
    remote.say(&answer, &["group"], &line)
}
