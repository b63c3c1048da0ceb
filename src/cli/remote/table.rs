//! Tables for a terminal.

use std::collections::HashMap;
use std::io;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::{NONE, Service};
use crate::cli::output;

/// How the values of a table are written.
#[derive(Debug, Clone, Default)]
pub(super) struct Style {
    /// The names of marks.
    names: HashMap<u64, String>,
    now: DateTime<Utc>,
}

impl Style {
    /// With the names that the service has. An older one has none.
    pub(super) async fn of(service: &Service) -> Self {
        let answer = service.get(&["marks"], &NONE).await.unwrap_or_default();
        let items = answer["items"].as_array().into_iter().flatten();
        let named = items.filter_map(|one| Some((one["mark"].as_u64()?, plain(&one["name"]))));
        Self {
            names: named.collect(),
            now: Utc::now(),
        }
    }

    /// `1000 (teacher)`, or the number alone.
    fn mark(&self, mark: &Value) -> String {
        match mark.as_u64().and_then(|mark| self.names.get(&mark)) {
            Some(name) => format!("{mark} ({name})"),
            None => plain(mark),
        }
    }

    /// Prints the fields of the items as columns, or on standard error that there are none.
    pub(super) fn print(&self, items: &[Value], fields: &str, none: &str) -> io::Result<()> {
        if items.is_empty() {
            eprintln!("{none}");
            return Ok(());
        }
        output::text(&self.lines(items, fields))
    }

    /// Prints names and their values. Values that are absent are left out.
    pub(super) fn print_pairs(&self, pairs: &[(&str, &Value)]) -> io::Result<()> {
        let pairs = pairs.iter().filter(|(_, value)| !value.is_null());
        let rows = pairs.map(|(name, value)| {
            let value = match moment(value) {
                Some(at) => {
                    let exact = at.to_rfc3339_opts(SecondsFormat::Secs, true);
                    format!("{exact} ({})", ago(at, self.now))
                }
                None => self.cell(name, value),
            };
            vec![(*name).to_owned(), value]
        });
        output::text(&columns(&rows.collect::<Vec<_>>()))
    }

    fn lines(&self, items: &[Value], fields: &str) -> String {
        let fields: Vec<&str> = fields.split(' ').collect();
        let heads = fields.iter().map(|field| heading(field)).collect();
        let cells = items.iter().map(|item| {
            let values = fields.iter().map(|field| (field, at(item, field)));
            values
                .map(|(field, value)| match moment(value) {
                    Some(at) => ago(at, self.now),
                    None => self.cell(field, value),
                })
                .collect()
        });
        let rows = std::iter::once(heads).chain(cells);
        columns(&rows.collect::<Vec<_>>())
    }

    /// A value of a field. Text from outside loses its control characters, which could drive the
    /// terminal.
    pub(super) fn cell(&self, field: &str, value: &Value) -> String {
        match value.as_array() {
            Some(marks) if field.ends_with("marks") && !marks.is_empty() => {
                let marks: Vec<String> = marks.iter().map(|mark| self.mark(mark)).collect();
                marks.join(", ")
            }
            _ => plain(value),
        }
    }
}

/// Rows of equal length, each column as wide as its widest cell.
fn columns(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The last part of a path like `sweep.at`.
fn heading(field: &str) -> String {
    field.replace(['.', '_'], " ").to_uppercase()
}

fn at<'a>(item: &'a Value, field: &str) -> &'a Value {
    field.split('.').fold(item, |value, name| &value[name])
}

/// A time as the service writes it.
fn moment(value: &Value) -> Option<DateTime<Utc>> {
    let text = value
        .as_str()
        .filter(|text| text.ends_with('Z') && text.len() >= 20)?;
    Some(DateTime::parse_from_rfc3339(text).ok()?.to_utc())
}

/// `3 min ago`, `in 2 h`.
fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let long = match seconds.unsigned_abs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    };
    match seconds {
        ..0 => format!("in {long}"),
        _ => format!("{long} ago"),
    }
}

/// A value in one line.
pub(super) fn plain(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use serde_json::json;

    #[test]
    fn times_are_relative() {
        let now = Utc::now();
        let shown = |seconds| ago(now - TimeDelta::seconds(seconds), now);
        assert_eq!(shown(3), "3 s ago");
        assert_eq!(shown(-7300), "in 2 h");
        assert_eq!(shown(400), "6 min ago");
        assert_eq!(shown(200_000), "2 days ago");
    }

    #[test]
    fn nothing_from_outside_drives_the_terminal() {
        assert_eq!(plain(&json!("a\u{1b}[2Jb\n")), "a\u{fffd}[2Jb\u{fffd}");
    }
}
