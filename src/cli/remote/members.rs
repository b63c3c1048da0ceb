//! `stickymark members`, `stickymark members retry`, `stickymark members erase`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value};

use super::names::Names;
use super::table::{Style, plain};
use super::{Most, Remote, Shape, given, json};
use crate::cli::output;

const COLUMNS: [&str; 7] = [
    "group",
    "account",
    "state",
    "marks",
    "confirmed_at",
    "due_at",
    "last_error",
];

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct MembersArguments {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    list: ListArguments,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Retry failed members now: those of a room, of an account, or all.
    Retry(RetryArguments),
    /// Erase what is stored about an account: its rules, its rows, its name in the history of rules.
    Erase(EraseArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    most: Most,
    /// Only members of this room.
    #[arg(long)]
    group: Option<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
    /// Only members in this state.
    #[arg(long, value_parser = ["pending", "applied", "offline", "failed"])]
    state: Option<String>,
}

#[derive(Debug, Args)]
struct RetryArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    /// Only members of this room.
    #[arg(long)]
    group: Option<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Args)]
struct EraseArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    /// Exactly this account.
    account: String,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
}

pub(in crate::cli) async fn run(arguments: MembersArguments) -> anyhow::Result<()> {
    match arguments.command {
        Some(MembersCommand::Retry(arguments)) => retry(arguments).await,
        Some(MembersCommand::Erase(arguments)) => erase(arguments).await,
        None => list(arguments.list).await,
    }
}

async fn list(arguments: ListArguments) -> anyhow::Result<()> {
    let ListArguments {
        remote,
        shape,
        most,
        ..
    } = arguments;
    let query = [
        given("group", arguments.group.as_ref()),
        given("account", arguments.account.as_ref()),
        given("state", arguments.state.as_ref()),
    ];
    let query: Vec<_> = query.into_iter().flatten().collect();
    let members = remote.items(&["members"], &query, most.most).await?;
    if !shape.is_table() {
        return shape.print_items(&members, &["group", "account"]);
    }
    let style = Style::new(Names::of(&remote).await);
    Ok(style.print(&members, &COLUMNS, "no members")?)
}

async fn retry(arguments: RetryArguments) -> anyhow::Result<()> {
    let only = [("group", arguments.group), ("account", arguments.account)];
    let only = only
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    let body: Map<String, Value> = only.collect();
    let remote = arguments.remote;
    let request = remote.request(Method::POST, &["members", "retry"], &[])?;
    let answer = json(remote.send(request.json(&body)).await?).await?;
    match arguments.shape.is_table() {
        true => Ok(output::line(&format!(
            "retrying {} members",
            plain(&answer["retried"])
        ))?),
        false => arguments.shape.print_one(&answer, &["retried"]),
    }
}

async fn erase(arguments: EraseArguments) -> anyhow::Result<()> {
    let query = [("dry_run", arguments.dry_run.to_string())];
    let body = serde_json::json!({ "account": arguments.account });
    let remote = arguments.remote;
    let request = remote.request(Method::POST, &["erase"], &query)?;
    let answer = json(remote.send(request.json(&body)).await?).await?;
    match arguments.shape.is_table() {
        true => Ok(output::line(&format!(
            "{} {} rules, {} member rows, {} history entries",
            if arguments.dry_run {
                "would erase"
            } else {
                "erased"
            },
            plain(&answer["rules"]),
            plain(&answer["members"]),
            plain(&answer["history"]),
        ))?),
        false => arguments
            .shape
            .print_one(&answer, &["rules", "members", "history"]),
    }
}
