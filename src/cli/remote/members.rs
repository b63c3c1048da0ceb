//! `stickymark members`, `rooms`, `resync`.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::table::plain;
use super::{List, Listing, NONE, On};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Members {
    #[command(subcommand)]
    command: Option<MembersCommand>,
    #[command(flatten)]
    list: Listing<MembersQuery>,
}

#[derive(Debug, Subcommand)]
enum MembersCommand {
    /// Retry failed members now: those of a room, of an account, or all.
    Retry(On<Only>),
    /// Erase what is stored about an account: its rules, its rows, its name in the history of rules.
    Erase(On<Erasure>),
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
    group: Option<String>,
    /// Only this account.
    #[arg(long)]
    account: Option<String>,
}

#[derive(Debug, Args)]
struct Erasure {
    /// Exactly this account.
    account: String,
    /// Only say what would be erased.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct RoomsQuery {
    /// Only this room.
    group: Option<String>,
    /// Only rooms in this state.
    #[arg(long, value_parser = ["live", "gone"])]
    state: Option<String>,
}

/// The room to compare.
#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct Resync {
    /// The room to compare with Chat.
    #[arg(value_name = "ROOM")]
    group: String,
}

pub(super) async fn members(members: Members) -> anyhow::Result<()> {
    match members.command {
        Some(MembersCommand::Retry(retry)) => {
            let path = ["members", "retry"];
            let answer = retry.write(Method::POST, &path, &NONE, &retry.ask).await?;
            let line = format!("retrying {} members", plain(&answer["retried"]));
            retry.say(&answer, "retried", &line)
        }
        Some(MembersCommand::Erase(erase)) => {
            let Erasure { account, dry_run } = &erase.ask;
            let (query, body) = ([("dry_run", dry_run)], json!({ "account": account }));
            let answer = erase.write(Method::POST, &["erase"], &query, &body).await?;
            let [rules, members, history] =
                ["rules", "members", "history"].map(|count| plain(&answer[count]));
            let done = if *dry_run { "would erase" } else { "erased" };
            let line =
                format!("{done} {rules} rules, {members} member rows, {history} history entries");
            erase.say(&answer, "rules members history", &line)
        }
        None => {
            let list = List {
                path: &["members"],
                columns: "group account state marks confirmed_at due_at last_error",
                name: "group account",
                none: "no members",
            };
            let members = members.list;
            members.print(list, &members.ask, |_, _| ()).await
        }
    }
}

/// Rooms and how their last comparison with Chat ended.
pub(super) async fn rooms(rooms: Listing<RoomsQuery>) -> anyhow::Result<()> {
    let list = List {
        path: &["rooms"],
        columns: "group state members.applied members.pending members.failed members.offline \
                  last_event_at sweep.at found sweep.last_error",
        name: "group",
        none: "no rooms",
    };
    let found = |room: &mut Value, _: &_| room["found"] = found(&room["sweep"]).into();
    rooms.print(list, &rooms.ask, found).await
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
pub(super) async fn resync(room: On<Resync>) -> anyhow::Result<()> {
    let path = ["rooms", "resync"];
    let answer = room.write(Method::POST, &path, &NONE, &room.ask).await?;
    let see = &room.ask.group;
    let line = format!("comparison requested; see `stickymark rooms {see}`");
    room.say(&answer, "group", &line)
}
