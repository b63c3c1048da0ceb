//! `stickymark rules …`: rules one by one, listed, and their history.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde_json::{Map, Value, json};

use super::adopt::{self, AdoptArguments};
use super::names::Names;
use super::table::{Style, plain};
use super::transfer::{self, DiffArguments, ExportArguments, ImportArguments};
use super::{Most, Remote, Shape, changes, given};
use crate::cli::{Usage, output};
use crate::config::{ConfigError, Settings};

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
    /// Show what an import would change.
    ///
    /// Exit status 0: nothing; 1: something, or an error, which standard error then names.
    Diff(DiffArguments),
    /// Write all rules, or those that the filters let through, to standard output as NDJSON.
    Export(ExportArguments),
    /// List rules.
    List(ListArguments),
    /// Show one rule.
    Get(OneArguments),
    /// Show who changed a rule, when, and what; also of a deleted one.
    History(HistoryArguments),
    /// Create or replace one rule, from options or from a JSON file.
    Put(PutArguments),
    /// Enable rules.
    Enable(ManyArguments),
    /// Disable rules.
    Disable(ManyArguments),
    /// Delete one rule.
    Delete(DeleteArguments),
    /// Print the marks that members carry in Chat now as rules, for an app that already uses marks.
    Adopt(AdoptArguments),
}

/// Which rules; the words are those of the API.
#[derive(Debug, Args)]
pub(super) struct Filters {
    /// Only rules whose id, room, account or label begins so.
    q: Option<String>,
    /// Rules that cover this room.
    #[arg(long, value_name = "ROOM")]
    matches_group: Option<String>,
    /// Rules that cover this account.
    #[arg(long, value_name = "ACCOUNT")]
    matches_account: Option<String>,
    /// Rules over exactly this pattern of rooms.
    #[arg(long)]
    group: Option<String>,
    /// Rules over exactly this pattern of accounts.
    #[arg(long)]
    account: Option<String>,
    /// Rules with this mark.
    #[arg(long)]
    mark: Option<String>,
    /// Rules of this label.
    #[arg(long, short)]
    label: Option<String>,
    /// Only enabled rules (true) or disabled ones (false).
    #[arg(long)]
    enabled: Option<bool>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    #[command(flatten)]
    most: Most,
    #[command(flatten)]
    filters: Filters,
    /// The order: by id, or the latest change first.
    #[arg(long, value_parser = ["id", "updated"])]
    sort: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    /// The rule.
    id: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct HistoryArguments {
    #[command(flatten)]
    one: OneArguments,
    #[command(flatten)]
    most: Most,
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
pub(in crate::cli) struct ManyArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    /// The rules; all of them are changed, or none.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PutArguments {
    #[command(flatten)]
    one: OneArguments,
    /// The file with the rule as JSON; - is standard input.
    #[arg(conflicts_with = "group", required_unless_present = "group")]
    file: Option<PathBuf>,
    /// Only if the rule is at this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
    /// The rooms: a room, a prefix followed by *, or *.
    #[arg(long, requires = "account", requires = "mark")]
    group: Option<String>,
    /// The accounts, written like the rooms.
    #[arg(long, requires = "group")]
    account: Option<String>,
    /// A mark; repeat it, or separate several with commas.
    #[arg(long, requires = "group", value_delimiter = ',')]
    mark: Vec<i64>,
    /// When it starts: a time such as 2027-01-01T00:00:00Z, or in how long, such as 2h.
    #[arg(long, requires = "group", value_name = "TIME")]
    starts: Option<String>,
    /// When it ends, written like the start.
    #[arg(long, requires = "group", value_name = "TIME")]
    until: Option<String>,
    #[arg(long, short, requires = "group")]
    label: Option<String>,
    #[arg(long, requires = "group")]
    note: Option<String>,
    /// The rule is kept, but requires no marks.
    #[arg(long, requires = "group")]
    disabled: bool,
}

/// Runs one of them. Only `adopt` reads the settings of the service.
pub(in crate::cli) async fn run(
    command: RulesCommand,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> anyhow::Result<()> {
    match command {
        RulesCommand::Import(arguments) => transfer::import(arguments).await,
        RulesCommand::Diff(arguments) => transfer::diff(arguments).await,
        RulesCommand::Export(arguments) => transfer::export(arguments).await,
        RulesCommand::List(arguments) => list(arguments).await,
        RulesCommand::Get(arguments) => get(arguments).await,
        RulesCommand::History(arguments) => history(arguments).await,
        RulesCommand::Put(arguments) => put(arguments).await,
        RulesCommand::Enable(arguments) => change("enable", arguments).await,
        RulesCommand::Disable(arguments) => change("disable", arguments).await,
        RulesCommand::Delete(arguments) => delete(arguments).await,
        RulesCommand::Adopt(arguments) => adopt::run(&settings()?, arguments).await,
    }
}

impl Filters {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let enabled = self.enabled.map(|enabled| enabled.to_string());
        let query = [
            given("q", self.q.as_ref()),
            given("matches_group", self.matches_group.as_ref()),
            given("matches_account", self.matches_account.as_ref()),
            given("group", self.group.as_ref()),
            given("account", self.account.as_ref()),
            given("mark", self.mark.as_ref()),
            given("label", self.label.as_ref()),
            given("enabled", enabled.as_ref()),
        ];
        query.into_iter().flatten().collect()
    }
}

async fn list(arguments: ListArguments) -> anyhow::Result<()> {
    let mut query = arguments.filters.query();
    query.extend(given("sort", arguments.sort.as_ref()));
    let ListArguments {
        remote,
        shape,
        most,
        ..
    } = arguments;
    let rules = remote.items(&["rules"], &query, most.most).await?;
    if !shape.is_table() {
        return shape.print_items(&rules, &["id"]);
    }
    let style = Style::new(Names::of(&remote).await);
    Ok(style.print(&rules, &COLUMNS, "no rules")?)
}

async fn get(arguments: OneArguments) -> anyhow::Result<()> {
    let OneArguments { remote, shape, id } = arguments;
    let rule = remote.get(&["rules", &id], &[]).await?;
    if !shape.is_table() {
        return shape.print_one(&rule, &["id"]);
    }
    let more = ["note", "version", "created_at", "updated_at"];
    let fields: Vec<_> = COLUMNS
        .into_iter()
        .chain(more)
        .map(|field| (field, &rule[field]))
        .collect();
    let style = Style::new(Names::of(&remote).await);
    Ok(style.print_pairs(&fields)?)
}

async fn history(arguments: HistoryArguments) -> anyhow::Result<()> {
    let HistoryArguments { one, most } = arguments;
    let OneArguments { remote, shape, id } = one;
    let path = ["rules", &id, "history"];
    let mut entries = remote.items(&path, &[], most.most).await?;
    if !shape.is_table() {
        return shape.print_items(&entries, &["sequence"]);
    }
    let style = Style::new(Names::of(&remote).await);
    for entry in &mut entries {
        let what = match (&entry["before"], &entry["after"]) {
            (Value::Null, only) | (only, Value::Null) => changes::summary(only, &style),
            (before, after) => changes::differences(before, after, &style),
        };
        entry["rule"] = what.into();
    }
    let columns = ["at", "actor", "action", "request_id", "rule"];
    Ok(style.print(&entries, &columns, "no changes")?)
}

async fn put(arguments: PutArguments) -> anyhow::Result<()> {
    let text = match &arguments.file {
        Some(file) => {
            let mut text = String::new();
            transfer::open(file)?
                .read_to_string(&mut text)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            text
        }
        None => rule(&arguments)?.to_string(),
    };
    let OneArguments { remote, shape, id } = arguments.one;
    let request = remote
        .request(Method::PUT, &["rules", &id], &[])?
        .header(header::CONTENT_TYPE, "application/json")
        .body(text);
    let response = remote.send(only_at(request, arguments.if_version)).await?;
    let created = response.status() == StatusCode::CREATED;
    let rule = super::json(response).await?;
    if !shape.is_table() {
        return shape.print_one(&rule, &["id"]);
    }
    let (id, version) = (plain(&rule["id"]), plain(&rule["version"]));
    let done = if created { "created" } else { "saved" };
    Ok(output::line(&format!("{done} {id} (version {version})"))?)
}

/// The rule of the options.
fn rule(arguments: &PutArguments) -> anyhow::Result<Value> {
    let text = |value: &Option<String>| value.clone().map(Value::from);
    let fields = [
        ("group", text(&arguments.group)),
        ("account", text(&arguments.account)),
        ("marks", Some(json!(arguments.mark))),
        ("enabled", Some(json!(!arguments.disabled))),
        (
            "starts_at",
            arguments.starts.as_deref().map(time).transpose()?,
        ),
        ("ends_at", arguments.until.as_deref().map(time).transpose()?),
        ("label", text(&arguments.label)),
        ("note", text(&arguments.note)),
    ];
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Ok(Value::Object(given.collect::<Map<_, _>>()))
}

/// A time as it is, or so long from now.
fn time(text: &str) -> anyhow::Result<Value> {
    let Ok(duration) = humantime::parse_duration(text) else {
        return Ok(text.into());
    };
    let at = chrono::TimeDelta::from_std(duration)
        .ok()
        .and_then(|duration| Utc::now().checked_add_signed(duration))
        .ok_or_else(|| Usage(format!("{text} is too far away")))?;
    Ok(at.to_rfc3339_opts(SecondsFormat::Secs, true).into())
}

async fn change(action: &str, arguments: ManyArguments) -> anyhow::Result<()> {
    let ManyArguments {
        remote,
        shape,
        ids,
        dry_run,
    } = arguments;
    let query = [("dry_run", dry_run.to_string())];
    let request = remote.request(Method::PATCH, &["rules"], &query)?;
    let request = request.json(&json!({"ids": ids, "action": action}));
    let answer = super::json(remote.send(request).await?).await?;
    match shape.is_table() {
        true => Ok(changes::print(
            &answer,
            &Style::new(Names::of(&remote).await),
        )?),
        false => shape.print_one(&answer, &["updated"]),
    }
}

async fn delete(arguments: DeleteArguments) -> anyhow::Result<()> {
    let DeleteArguments { one, if_version } = arguments;
    let OneArguments { remote, shape, id } = one;
    let request = remote.request(Method::DELETE, &["rules", &id], &[])?;
    remote.send(only_at(request, if_version)).await?;
    match shape.is_table() {
        true => Ok(output::line(&format!("deleted {id}"))?),
        false => shape.print_one(&json!({"id": id, "action": "deleted"}), &["id"]),
    }
}

/// Guards a write against changes that its author has not seen.
fn only_at(request: RequestBuilder, version: Option<i64>) -> RequestBuilder {
    match version {
        Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
        None => request,
    }
}
