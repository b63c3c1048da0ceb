//! `stickymark rules …`: rules one by one, listed, and their history.

use std::path::PathBuf;

use anyhow::Context;
use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::adopt::{self, AdoptArguments};
use super::table::{Style, plain};
use super::transfer::{self, ExportArguments, File, Filters, Import};
use super::{List, Listing, NONE, On, Remote, changes};
use crate::config::{ConfigError, Settings};

/// Columns of a table of rules.
const COLUMNS: &str = "id group account marks enabled starts_at ends_at label";

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RulesCommand {
    /// Import rules from NDJSON, one rule a line; all or nothing.
    Import(On<Import>),
    /// Show what an import would change.
    ///
    /// Exit status 0: nothing; 1: something, or an error, which standard error then names.
    Diff(On<File>),
    /// Write all rules, or those that the filters let through, to standard output as NDJSON.
    Export(ExportArguments),
    /// List rules.
    List(Listing<ListQuery>),
    /// Show one rule.
    Get(On<One>),
    /// Show who changed a rule, when, and what; also of a deleted one.
    History(Listing<One>),
    /// Create or replace one rule, from options or from a JSON file.
    Put(On<Put>),
    /// Enable rules.
    Enable(On<Many>),
    /// Disable rules.
    Disable(On<Many>),
    /// Delete one rule.
    Delete(On<Guarded>),
    /// Print the marks that members carry in Chat now as rules, for an app that already uses marks.
    Adopt(AdoptArguments),
}

#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct ListQuery {
    #[command(flatten)]
    #[serde(flatten)]
    filters: Filters,
    /// The order: by id, or the latest change first.
    #[arg(long, value_parser = ["id", "updated"])]
    sort: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    /// The rule.
    id: String,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Guarded {
    #[command(flatten)]
    one: One,
    /// Only if the rule is at this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<i64>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Many {
    /// The rules; all of them are changed, or none.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Put {
    #[command(flatten)]
    guarded: Guarded,
    /// The file with the rule as JSON; - is standard input.
    #[arg(conflicts_with = "group", required_unless_present = "group")]
    file: Option<PathBuf>,
    #[command(flatten)]
    rule: RuleOptions,
}

/// A rule, written as the API reads it.
#[derive(Debug, Args, Serialize)]
struct RuleOptions {
    /// The rooms: a room, a prefix followed by *, or *.
    #[arg(long, requires = "account", requires = "mark")]
    group: Option<String>,
    /// The accounts, written like the rooms.
    #[arg(long, requires = "group")]
    account: Option<String>,
    /// A mark; repeat it, or separate several with commas.
    #[arg(long, requires = "group", value_delimiter = ',')]
    #[serde(rename = "marks")]
    mark: Vec<i64>,
    /// When it starts: a time such as 2027-01-01T00:00:00Z, or in how long, such as 2h.
    #[arg(long, requires = "group", value_name = "TIME", value_parser = time)]
    #[serde(rename = "starts_at")]
    starts: Option<String>,
    /// When it ends, written like the start.
    #[arg(long, requires = "group", value_name = "TIME", value_parser = time)]
    #[serde(rename = "ends_at")]
    until: Option<String>,
    #[arg(long, short, requires = "group")]
    label: Option<String>,
    #[arg(long, requires = "group")]
    note: Option<String>,
    /// The rule is kept, but requires no marks.
    #[arg(long, requires = "group")]
    #[serde(rename = "enabled", serialize_with = "opposite")]
    disabled: bool,
}

fn opposite<S: Serializer>(disabled: &bool, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!disabled)
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

async fn list(rules: Listing<ListQuery>) -> anyhow::Result<()> {
    let list = List {
        path: &["rules"],
        columns: COLUMNS,
        name: "id",
        none: "no rules",
    };
    rules.print(list, &rules.ask, |_, _| ()).await
}

async fn get(one: On<One>) -> anyhow::Result<()> {
    let rule = one.get(&["rules", &one.ask.id], &NONE).await?;
    if !one.shape.is_table() {
        return one.shape.print(&rule, "id");
    }
    let more = ["note", "version", "created_at", "updated_at"];
    let fields = COLUMNS.split(' ').chain(more);
    let fields: Vec<_> = fields.map(|field| (field, &rule[field])).collect();
    Ok(one.style().await.print_pairs(&fields)?)
}

async fn history(changed: Listing<One>) -> anyhow::Result<()> {
    let path = ["rules", &changed.ask.id, "history"];
    let list = List {
        path: &path,
        columns: "at actor action request_id rule",
        name: "sequence",
        none: "no changes",
    };
    let what = |entry: &mut Value, style: &Style| {
        let what = match (&entry["before"], &entry["after"]) {
            (Value::Null, only) | (only, Value::Null) => changes::summary(only, style),
            (before, after) => changes::differences(before, after, style),
        };
        entry["rule"] = what.into();
    };
    changed.print(list, &NONE, what).await
}

async fn put(put: On<Put>) -> anyhow::Result<()> {
    let text = match &put.ask.file {
        Some(file) => {
            let mut text = String::new();
            transfer::open(file)
                .await?
                .read_to_string(&mut text)
                .await
                .with_context(|| format!("{} cannot be read", file.display()))?;
            text
        }
        None => serde_json::to_string(&put.ask.rule)?,
    };
    let request = put.ask.guarded.request(&put, Method::PUT)?;
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let response = put.send(request.body(text)).await?;
    let created = response.status() == StatusCode::CREATED;
    let rule = super::json(response).await?;
    let (id, version) = (plain(&rule["id"]), plain(&rule["version"]));
    let done = if created { "created" } else { "saved" };
    put.say(&rule, "id", &format!("{done} {id} (version {version})"))
}

/// A time as it is, or so long from now.
fn time(text: &str) -> Result<String, String> {
    let Ok(duration) = humantime::parse_duration(text) else {
        return Ok(text.to_owned());
    };
    let duration = chrono::TimeDelta::from_std(duration).ok();
    let at = duration.and_then(|duration| Utc::now().checked_add_signed(duration));
    let at = at.ok_or_else(|| format!("{text} is too far away"))?;
    Ok(at.to_rfc3339_opts(SecondsFormat::Secs, true))
}

async fn change(action: &str, many: On<Many>) -> anyhow::Result<()> {
    let Many { ids, dry_run } = &many.ask;
    let (query, body) = (
        [("dry_run", dry_run)],
        json!({"ids": ids, "action": action}),
    );
    let answer = many.write(Method::PATCH, &["rules"], &query, &body).await?;
    changes::print(&many, &answer, "updated").await
}

async fn delete(guarded: On<Guarded>) -> anyhow::Result<()> {
    let request = guarded.ask.request(&guarded, Method::DELETE)?;
    guarded.send(request).await?;
    let id = &guarded.ask.one.id;
    let answer = json!({"id": id, "action": "deleted"});
    guarded.say(&answer, "id", &format!("deleted {id}"))
}

impl Guarded {
    /// A write of the rule, guarded against changes that its author has not seen.
    fn request(&self, remote: &Remote, method: Method) -> anyhow::Result<RequestBuilder> {
        let request = remote
            .service
            .request(method, &["rules", &self.one.id], &NONE)?;
        Ok(match self.if_version {
            Some(version) => request.header(header::IF_MATCH, format!("\"{version}\"")),
            None => request,
        })
    }
}
