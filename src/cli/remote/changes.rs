//! What an import changes, for people: a line for each rule, coloured on a terminal.

use std::io;

use serde_json::Value;

use super::Remote;
use super::table::{Style, plain};
use crate::cli::output;
use crate::telemetry::wants_colours;

/// Fields that a change can concern.
const FIELDS: &str = "group account marks enabled starts_at ends_at label note";

/// Prints the answer of an import: its changes, if it names them, then the counts. `name` is the count that
/// names it in short.
pub(super) async fn print(remote: &Remote, answer: &Value, name: &str) -> anyhow::Result<()> {
    if !remote.shape.is_table() {
        return remote.shape.print(answer, name);
    }
    let (style, colours) = (remote.style().await, wants_colours(&io::stdout()));
    for change in answer["changes"].as_array().into_iter().flatten() {
        let line = line(change, &style);
        output::line(&if colours { painted(&line) } else { line })?;
    }
    let counts = ["created", "updated", "unchanged", "removed"];
    let counts = counts.map(|name| format!("{name} {}", plain(&answer[name])));
    output::line(&counts.join(", "))?;
    if answer["dry_run"] == true {
        output::line("dry run: nothing was changed")?;
    }
    if let Some(refusal) = answer["refusal"].as_str() {
        let refusal = refusal.replace("max_removals=", "--max-removals ");
        output::line(&format!("would be rejected: {refusal}"))?;
    }
    Ok(())
}

/// Whether the answer names anything that is changed.
pub(super) fn are_any(answer: &Value) -> bool {
    ["created", "updated", "removed"]
        .iter()
        .any(|count| answer[*count] != 0)
}

/// One change, such as `~ class-7  marks 1000 -> 1001`.
fn line(change: &Value, style: &Style) -> String {
    let id = plain(&change["id"]);
    let (before, after) = (&change["before"], &change["after"]);
    match (before.is_null(), after.is_null()) {
        (true, _) => format!("+ {id}  {}", summary(after, style)),
        (_, true) => format!("- {id}  {}", summary(before, style)),
        _ => format!("~ {id}  {}", differences(before, after, style)),
    }
}

/// A rule in short.
pub(super) fn summary(rule: &Value, style: &Style) -> String {
    let fields = ["group", "account", "marks"].map(|name| style.cell(name, &rule[name]));
    fields.join(" ")
}

/// What differs between two states of a rule.
pub(super) fn differences(before: &Value, after: &Value, style: &Style) -> String {
    let changed = FIELDS.split(' ').filter(|name| before[name] != after[name]);
    let changed = changed.map(|name| {
        let (old, new) = (
            style.cell(name, &before[name]),
            style.cell(name, &after[name]),
        );
        format!("{name} {old} -> {new}")
    });
    changed.collect::<Vec<_>>().join("; ")
}

fn painted(line: &str) -> String {
    let colour = match line.as_bytes().first() {
        Some(b'+') => 32,
        Some(b'-') => 31,
        _ => 33,
    };
    format!("\u{1b}[{colour}m{line}\u{1b}[0m")
}
