//! `stickymark rules …`: rules one by one, listed, and their history.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Value, json};

use super::transfer::{self, DiffArguments, ExportArguments, ImportArguments};
use super::{Remote, changes, given, print_json, table};
use crate::cli::output;

/// Columns of a table of rules.
const COLUMNS: [&str; 8] = [
    "id",
    "group",
    "account",
    "marks",
    "enabled",
    "starts_at",
    "ends_at",
    "label",
];

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RulesCommand {
    /// Import rules from NDJSON, one rule a line; all or nothing.
    Import(ImportArguments),
    /// Say what an import would do, and do nothing. Exit status, as with diff: 0 nothing would
    /// change, 1 something would. A failure is 1 too; then standard error says why, and nothing is
    /// printed.
    Diff(DiffArguments),
    /// Write all rules, or those of a label, to standard output as NDJSON.
    Export(ExportArguments),
    /// List rules.
    List(ListArguments),
    /// Show one rule.
    Get(OneArguments),
    /// Show who changed a rule, when, and what; also of a deleted one.
    History(HistoryArguments),
    /// Make or replace one rule, read as JSON from a file.
    Put(PutArguments),
    /// Remove one rule.
    Delete(DeleteArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    remote: Remote,
    /// Rules over exactly this pattern of rooms.
    #[arg(long)]
    group: Option<String>,
    /// Rules over exactly this pattern of accounts.
    #[arg(long)]
    account: Option<String>,
    /// Rules that demand this mark.
    #[arg(long)]
    mark: Option<String>,
    /// Rules of this label.
    #[arg(long)]
    label: Option<String>,
    /// Only enabled rules (true) or disabled ones (false).
    #[arg(long)]
    enabled: Option<bool>,
    /// Most rules to list.
    #[arg(long, default_value_t = 1000)]
    most: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArguments {
    #[command(flatten)]
    remote: Remote,
    /// The rule.
    id: String,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Most changes to list.
    #[arg(long, default_value_t = 1000)]
    most: usize,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DeleteArguments {
    #[command(flatten)]
    one: OneArguments,
    /// Only if the rule is at this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PutArguments {
    #[command(flatten)]
    one: OneArguments,
    /// The file with the rule as JSON; - is standard input.
    file: PathBuf,
    /// Only if the rule is at this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
}

/// Runs one of them.
pub(in crate::cli) async fn run(command: RulesCommand) -> anyhow::Result<()> {
    match command {
        RulesCommand::Import(arguments) => transfer::import(arguments).await,
        RulesCommand::Diff(arguments) => transfer::diff(arguments).await,
        RulesCommand::Export(arguments) => transfer::export(arguments).await,
        RulesCommand::List(arguments) => list(arguments).await,
        RulesCommand::Get(arguments) => get(arguments).await,
        RulesCommand::History(arguments) => history(arguments).await,
        RulesCommand::Put(arguments) => put(arguments).await,
        RulesCommand::Delete(arguments) => delete(arguments).await,
    }
}

async fn list(arguments: ListArguments) -> anyhow::Result<()> {
    let enabled = arguments.enabled.map(|enabled| enabled.to_string());
    let query = [
        given("group", arguments.group.as_ref()),
        given("account", arguments.account.as_ref()),
        given("mark", arguments.mark.as_ref()),
        given("label", arguments.label.as_ref()),
        given("enabled", enabled.as_ref()),
    ];
    let query: Vec<_> = query.into_iter().flatten().collect();
    let rules = arguments
        .remote
        .items(&["rules"], &query, arguments.most)
        .await?;
    if arguments.json {
        return print_json(&Value::Array(rules));
    }
    Ok(table::print(&rules, &COLUMNS)?)
}

async fn get(arguments: OneArguments) -> anyhow::Result<()> {
    let rule = arguments.remote.get(&["rules", &arguments.id], &[]).await?;
    if arguments.json {
        return print_json(&rule);
    }
    let more = ["note", "version", "created_at", "updated_at"];
    let fields: Vec<_> = COLUMNS
        .into_iter()
        .chain(more)
        .map(|field| (field, &rule[field]))
        .collect();
    Ok(table::print_pairs(&fields)?)
}

async fn history(arguments: HistoryArguments) -> anyhow::Result<()> {
    let HistoryArguments { one, most } = arguments;
    let path = ["rules", &one.id, "history"];
    let mut entries = one.remote.items(&path, &[], most).await?;
    if one.json {
        return print_json(&Value::Array(entries));
    }
    for entry in &mut entries {
        let what = match (&entry["before"], &entry["after"]) {
            (Value::Null, only) | (only, Value::Null) => changes::summary(only),
            (before, after) => changes::differences(before, after),
        };
        entry["rule"] = what.into();
    }
    let columns = ["at", "actor", "action", "request_id", "rule"];
    Ok(table::print(&entries, &columns)?)
}

async fn put(arguments: PutArguments) -> anyhow::Result<()> {
    let PutArguments {
        one,
        file,
        if_version,
    } = arguments;
    let mut text = String::new();
    transfer::open(&file)?
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    let request = one
        .remote
        .request(Method::PUT, &["rules", &one.id], &[])?
        .header(header::CONTENT_TYPE, "application/json")
        .body(text);
    let response = one.remote.send(only_at(request, if_version)).await?;
    let made = response.status() == StatusCode::CREATED;
    let rule = super::json(response).await?;
    if one.json {
        return print_json(&rule);
    }
    let (id, version) = (table::plain(&rule["id"]), table::plain(&rule["version"]));
    let done = if made { "made" } else { "stands" };
    Ok(output::line(&format!("{id} {done}, version {version}"))?)
}

async fn delete(arguments: DeleteArguments) -> anyhow::Result<()> {
    let DeleteArguments { one, if_version } = arguments;
    let request = one
        .remote
        .request(Method::DELETE, &["rules", &one.id], &[])?;
    one.remote.send(only_at(request, if_version)).await?;
    if one.json {
        return print_json(&json!({"id": one.id, "action": "deleted"}));
    }
    Ok(output::line(&format!("{} removed", one.id))?)
}

/// Guards a write against changes that its author has not seen.
fn only_at(request: RequestBuilder, version: Option<i64>) -> RequestBuilder {
    match version {
        Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
        None => request,
    }
}
