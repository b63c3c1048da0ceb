//! `stickymark rooms`, `stickymark resync`.

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::table::Style;
use super::{Most, Remote, Shape, given, json as read};
use crate::cli::output;

const COLUMNS: [&str; 10] = [
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
];

#[derive(Debug, Args)]
pub(in crate::cli) struct RoomsArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    most: Most,
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
    #[command(flatten)]
    shape: Shape,
    /// The room to compare with Chat.
    #[arg(value_name = "ROOM")]
    group: String,
}

/// Rooms and how their last comparison with Chat ended.
pub(in crate::cli) async fn list(arguments: RoomsArguments) -> anyhow::Result<()> {
    let query = [
        given("group", arguments.group.as_ref()),
        given("state", arguments.state.as_ref()),
    ];
    let query: Vec<_> = query.into_iter().flatten().collect();
    let RoomsArguments {
        remote,
        shape,
        most,
        ..
    } = arguments;
    let mut rooms = remote.items(&["rooms"], &query, most.most).await?;
    if !shape.is_table() {
        return shape.print_items(&rooms, &["group"]);
    }
    for room in &mut rooms {
        room["found"] = found(&room["sweep"]).into();
    }
    Ok(Style::new(Default::default()).print(&rooms, &COLUMNS, "no rooms")?)
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
    let ResyncArguments {
        remote,
        shape,
        group,
    } = arguments;
    let request = remote.request(Method::POST, &["rooms", "resync"], &[])?;
    let answer = read(remote.send(request.json(&json!({"group": group}))).await?).await?;
    match shape.is_table() {
        true => Ok(output::line(&format!(
            "comparison requested; see `stickymark rooms {group}`"
        ))?),
        false => shape.print_one(&answer, &["group"]),
    }
}
