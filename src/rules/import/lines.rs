//! NDJSON as it arrives: one rule a line. Never keeps more of the text than one line.

use std::collections::btree_map::Entry;

use super::Brought;
use crate::rules::document::RuleInput;
use crate::rules::json::{self, BadLines, InvalidField, Unreadable};

/// Longest line in bytes, four times what a rule can need.
pub const MAX_LINE: usize = 64 * 1024;
/// Most rules of one import.
pub const MAX_RULES: usize = 250_000;

/// Reads lines piece by piece.
#[derive(Debug)]
pub struct Lines<'a> {
    label: Option<&'a str>,
    /// The beginning of the present line.
    open: Vec<u8>,
    /// Whether the present line is too long to be kept.
    too_long: bool,
    line: u64,
    brought: Brought,
    bad: BadLines,
}

impl<'a> Lines<'a> {
    /// Reads rules, all of this label if one is given: those that name none get it.
    pub fn new(label: Option<&'a str>) -> Self {
        Self {
            label,
            open: Vec::new(),
            too_long: false,
            line: 0,
            brought: Brought::new(),
            bad: BadLines::default(),
        }
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            if self.open.len() + part.len() > MAX_LINE {
                self.too_long = true;
                self.open.clear();
            } else if !self.too_long {
                self.open.extend_from_slice(part);
            }
            if parts.peek().is_some() {
                self.end_line();
            }
        }
    }

    /// Whether there are more rules than one import may have.
    pub fn too_many(&self) -> bool {
        self.brought.len() > MAX_RULES
    }

    /// The rules, if every line was right.
    pub fn finish(mut self) -> Result<Brought, BadLines> {
        self.end_line();
        match self.bad.total {
            0 => Ok(self.brought),
            _ => Err(self.bad),
        }
    }

    fn end_line(&mut self) {
        self.line += 1;
        let text = std::mem::take(&mut self.open);
        if std::mem::take(&mut self.too_long) {
            let detail = format!("is longer than {MAX_LINE} bytes");
            self.bad.add(self.line, one("", detail));
        } else if let Err(errors) = self.read(&text) {
            self.bad.add(self.line, errors);
        }
        // Keep the buffer for the next line.
        self.open = text;
        self.open.clear();
    }

    fn read(&mut self, text: &[u8]) -> Result<(), Vec<InvalidField>> {
        let text = text
            .strip_prefix(b"\xef\xbb\xbf")
            .unwrap_or(text)
            .trim_ascii();
        if text.is_empty() {
            return Ok(());
        }
        let input: RuleInput = json::read(text).map_err(|unreadable| match unreadable {
            Unreadable::Field(field) => vec![field],
            Unreadable::Malformed(reason) => one("", format!("is not a JSON object: {reason}")),
        })?;
        let (id, mut draft) = input.parse()?;
        let id = id.ok_or_else(|| {
            one(
                "/id",
                "is required, so that a second import creates no second rule".to_owned(),
            )
        })?;
        match self.label {
            Some(label) if draft.label.is_empty() => label.clone_into(&mut draft.label),
            Some(label) if draft.label != label => {
                return Err(one(
                    "/label",
                    format!("must be {label:?}, as the import says, or absent"),
                ));
            }
            _ => {}
        }
        match self.brought.entry(id) {
            Entry::Occupied(other) => {
                let first = other.get().0;
                Err(one("/id", format!("duplicate of line {first}")))
            }
            Entry::Vacant(place) => {
                place.insert((self.line, draft));
                Ok(())
            }
        }
    }
}

pub(super) fn one(pointer: &str, detail: String) -> Vec<InvalidField> {
    let pointer = pointer.to_owned();
    vec![InvalidField { pointer, detail }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::json::MAX_LISTED_BYTES;

    fn read(pieces: &[&[u8]]) -> Result<Brought, BadLines> {
        let mut lines = Lines::new(None);
        for piece in pieces {
            lines.push(piece);
        }
        lines.finish()
    }

    const RULE: &str = r#"{"id":"a","group":"g","account":"b","marks":[1000]}"#;

    #[test]
    fn lines_are_counted_whatever_ends_them() {
        let text = format!("\u{feff}{RULE}\r\n\n  \n{{}}\n{RULE}");
        let bad = read(&[text.as_bytes()]).unwrap_err();
        let places: Vec<_> = bad
            .listed
            .iter()
            .map(|(line, bad)| (*line, &*bad.pointer))
            .collect();
        assert_eq!(
            places,
            [(4, "/group"), (4, "/account"), (4, "/marks"), (5, "/id")]
        );
        assert_eq!(bad.total, 2);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut lines = Lines::new(None);
        for _ in 0..100 {
            lines.push(&[b'x'; 10_000]);
        }
        assert!(lines.open.capacity() <= 2 * MAX_LINE);
        lines.push(format!("\n{RULE}\n").as_bytes());
        let bad = lines.finish().unwrap_err();
        assert_eq!((bad.total, bad.listed[0].0), (1, 1));
    }

    #[test]
    fn every_line_is_named_and_the_first_errors_are_whole() {
        let bad = read(&["{}\n".repeat(5000).as_bytes()]).unwrap_err();
        let lines: Vec<u64> = bad.listed.iter().map(|(line, _)| *line).collect();
        let whole = lines.iter().filter(|line| **line <= 33).count();
        assert_eq!((bad.total, whole, lines[99]), (5000, 99, 34));
        assert_eq!(lines[99..], (34..=5000).collect::<Vec<_>>());
    }

    #[test]
    fn errors_without_end_are_counted_but_not_kept() {
        let long = format!("{{\"{}\":1}}\n", "x".repeat(60_000));
        let bad = read(&[long.repeat(200).as_bytes()]).unwrap_err();
        let kept: usize = bad.listed.iter().map(|(_, bad)| bad.pointer.len()).sum();
        assert!(kept <= MAX_LISTED_BYTES && bad.listed.len() < 200);
        assert_eq!(bad.total, 200);
    }
}
