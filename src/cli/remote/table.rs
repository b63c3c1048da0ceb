//! Tables for a terminal.

use std::io;

use serde_json::Value;

use crate::cli::output;

/// Prints the fields of the items as columns. Text from outside is printed without its control
/// characters, which could drive the terminal.
pub(super) fn print(items: &[Value], fields: &[&str]) -> io::Result<()> {
    output::text(&lines(items, fields))
}

/// Prints names and their values.
pub(super) fn print_pairs(pairs: &[(&str, &Value)]) -> io::Result<()> {
    let widest = pairs.iter().map(|(name, _)| name.chars().count()).max();
    let widest = widest.unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:widest$}  {}\n", plain(value)));
    output::text(&lines.collect::<String>())
}

fn lines(items: &[Value], fields: &[&str]) -> String {
    let heads = fields.iter().map(|field| heading(field)).collect();
    let cells = items
        .iter()
        .map(|item| fields.iter().map(|field| cell(item, field)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let width = |column: usize| {
        let cells = rows
            .iter()
            .map(|row: &Vec<String>| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..fields.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let padded = row.iter().zip(&widths);
        let padded: Vec<String> = padded
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The last part of a path like `sweep.at`.
fn heading(field: &str) -> String {
    field.replace(['.', '_'], " ").to_uppercase()
}

fn cell(item: &Value, field: &str) -> String {
    let value = field.split('.').fold(item, |value, name| &value[name]);
    plain(value)
}

/// A value in one line.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let shown = |letter: char| {
        if letter.is_control() {
            '\u{fffd}'
        } else {
            letter
        }
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let items = [
            json!({"id": "a", "marks": [1000, 1001], "sweep": {"at": null}}),
            json!({"id": "a-long-one", "marks": [], "sweep": {"at": "now"}}),
        ];
        assert_eq!(
            lines(&items, &["id", "marks", "sweep.at"]),
            "ID          MARKS      SWEEP AT\n\
             a           1000,1001  -\n\
             a-long-one             now\n"
        );
    }

    #[test]
    fn nothing_from_outside_drives_the_terminal() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb\n")), "a\u{fffd}[2Jb\u{fffd}");
    }
}
