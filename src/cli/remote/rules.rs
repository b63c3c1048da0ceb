//! `stickymark rules …`.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use futures::stream;
use reqwest::{Body, Method, header};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Remote, given, json, print_json, table};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;
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
    /// Write all rules, or those of a label, to standard output as NDJSON.
    Export(ExportArguments),
    /// List rules.
    List(ListArguments),
    /// Show one rule.
    Get(OneArguments),
    /// Make or replace one rule, read as JSON from a file.
    Put(PutArguments),
    /// Remove one rule.
    Delete(OneArguments),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    #[command(flatten)]
    remote: Remote,
    /// The file; - is standard input.
    file: PathBuf,
    /// What becomes of rules that are not in the file.
    #[arg(long, value_enum, default_value_t = Mode::Merge)]
    mode: Mode,
    /// Touch only rules of this label.
    #[arg(long)]
    label: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Most rules that a replace may remove; a fifth of them if not given.
    #[arg(long, value_name = "NUMBER")]
    max_removals: Option<u32>,
    /// Print the service's answer as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// They stay.
    Merge,
    /// They are removed.
    Replace,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    remote: Remote,
    /// Only rules of this label.
    #[arg(long)]
    label: Option<String>,
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
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PutArguments {
    #[command(flatten)]
    remote: Remote,
    /// The rule.
    id: String,
    /// The file with the rule as JSON; - is standard input.
    file: PathBuf,
}

/// Runs one of them.
pub(in crate::cli) async fn run(command: RulesCommand) -> anyhow::Result<()> {
    match command {
        RulesCommand::Import(arguments) => import(arguments).await,
        RulesCommand::Export(arguments) => export(arguments).await,
        RulesCommand::List(arguments) => list(arguments).await,
        RulesCommand::Get(arguments) => {
            let path = ["rules", &arguments.id];
            print_json(&arguments.remote.get(&path, &[]).await?)
        }
        RulesCommand::Put(arguments) => put(arguments).await,
        RulesCommand::Delete(arguments) => {
            let path = ["rules", &arguments.id];
            let request = arguments.remote.request(Method::DELETE, &path, &[])?;
            arguments.remote.send(request).await.map(|_| ())
        }
    }
}

async fn import(arguments: ImportArguments) -> anyhow::Result<()> {
    let mut query = vec![("dry_run", arguments.dry_run.to_string())];
    let mode = match arguments.mode {
        Mode::Merge => "merge",
        Mode::Replace => "replace",
    };
    query.push(("mode", mode.to_owned()));
    query.extend(given("label", arguments.label.as_ref()));
    query.extend(
        arguments
            .max_removals
            .map(|most| ("max_removals", most.to_string())),
    );
    let request = arguments
        .remote
        .request(Method::POST, &["rules", "import"], &query)?
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body(open(&arguments.file)?));
    let answer = json(arguments.remote.send(request).await?).await?;
    if arguments.json {
        return print_json(&answer);
    }
    for change in answer["changes"].as_array().into_iter().flatten() {
        println!("{}", change_line(change));
    }
    let counts = ["created", "updated", "unchanged", "removed"];
    let counts = counts.map(|name| format!("{name} {}", table::plain(&answer[name])));
    println!("{}", counts.join(", "));
    if arguments.dry_run {
        println!("dry run: nothing was changed");
    }
    if let Some(refusal) = answer["refusal"].as_str() {
        println!("it would be refused: {refusal}");
    }
    Ok(())
}

/// One change of a dry run, such as `~ class-7  marks 1000 -> 1001`.
fn change_line(change: &Value) -> String {
    let id = table::plain(&change["id"]);
    let (before, after) = (&change["before"], &change["after"]);
    let shown = [
        "group",
        "account",
        "marks",
        "enabled",
        "starts_at",
        "ends_at",
        "label",
        "note",
    ];
    let all = |rule: &Value| {
        let fields = ["group", "account", "marks"].map(|name| table::plain(&rule[name]));
        fields.join(" ")
    };
    match (before.is_null(), after.is_null()) {
        (true, _) => format!("+ {id}  {}", all(after)),
        (_, true) => format!("- {id}  {}", all(before)),
        _ => {
            let changed = shown.iter().filter(|name| before[**name] != after[**name]);
            let changed = changed.map(|name| {
                let (old, new) = (table::plain(&before[*name]), table::plain(&after[*name]));
                format!("{name} {old} -> {new}")
            });
            format!("~ {id}  {}", changed.collect::<Vec<_>>().join("; "))
        }
    }
}

async fn export(arguments: ExportArguments) -> anyhow::Result<()> {
    let query: Vec<_> = given("label", arguments.label.as_ref())
        .into_iter()
        .collect();
    let request = arguments
        .remote
        .request(Method::GET, &["rules", "export"], &query)?;
    let mut response = arguments.remote.send(request).await?;
    let mut out = io::BufWriter::new(io::stdout());
    while let Some(piece) = response.chunk().await.context("the export was cut short")? {
        out.write_all(&piece).context("standard output")?;
    }
    out.flush().context("standard output")
}

async fn list(arguments: ListArguments) -> anyhow::Result<()> {
    let query = [
        given("group", arguments.group.as_ref()),
        given("account", arguments.account.as_ref()),
        given("mark", arguments.mark.as_ref()),
        given("label", arguments.label.as_ref()),
    ];
    let query: Vec<_> = query.into_iter().flatten().collect();
    let rules = arguments
        .remote
        .items(&["rules"], &query, arguments.most)
        .await?;
    if arguments.json {
        return print_json(&Value::Array(rules));
    }
    table::print(&rules, &COLUMNS);
    Ok(())
}

async fn put(arguments: PutArguments) -> anyhow::Result<()> {
    let mut text = String::new();
    open(&arguments.file)?
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let request = arguments
        .remote
        .request(Method::PUT, &["rules", &arguments.id], &[])?
        .header(header::CONTENT_TYPE, "application/json")
        .body(text);
    print_json(&json(arguments.remote.send(request).await?).await?)
}

fn open(file: &PathBuf) -> anyhow::Result<Box<dyn Read + Send>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    Ok(Box::new(opened))
}

/// The text piece by piece, read on a thread of its own, with the progress on a terminal.
fn body(mut from: Box<dyn Read + Send>) -> Body {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let progress = io::stderr().is_terminal();
        let mut lines = 0usize;
        loop {
            let mut piece = vec![0; PIECE];
            let read = from.read(&mut piece).map(|length| {
                piece.truncate(length);
                piece
            });
            let last = !matches!(&read, Ok(piece) if !piece.is_empty());
            if let Ok(piece) = &read {
                lines += piece.iter().filter(|byte| **byte == b'\n').count();
            }
            if progress {
                eprint!("\r{lines} lines sent{}", if last { "\n" } else { "" });
            }
            let ended = matches!(&read, Ok(piece) if piece.is_empty());
            if ended || sender.blocking_send(read).is_err() || last {
                return;
            }
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    Body::wrap_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_one_line_that_says_what_changes() {
        let rule = |mark: u32| json!({"group": "g", "account": "a", "marks": [mark], "note": ""});
        let line = |before: Value, after: Value| {
            change_line(&json!({"id": "r", "before": before, "after": after}))
        };
        assert_eq!(line(Value::Null, rule(1000)), "+ r  g a 1000");
        assert_eq!(line(rule(1000), Value::Null), "- r  g a 1000");
        assert_eq!(line(rule(1000), rule(1001)), "~ r  marks 1000 -> 1001");
    }
}
