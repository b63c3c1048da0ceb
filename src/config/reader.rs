//! Takes values out of the layers one by one, parses them, and notes every problem.
//!
//! A method that returns `None` for a value that must exist has noted why, so the caller goes on
//! to the next key and gives up only at the end. What nobody took is an unknown key. A value taken
//! by `secret` or `secrets` is never repeated in a problem.

use std::io::Read;
use std::path::Path;

use config::{Value, ValueKind};

use super::layers::{Layer, Layers};

/// No secret is larger; a wrong path such as a device must not fill the memory.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// What is wrong with a value and what would be right, without the key.
pub(super) type Complaint = String;

pub(super) struct Reader {
    layers: Layers,
    known: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self {
            layers,
            known: Vec::new(),
        }
    }

    /// A value that has a default.
    pub(super) fn value<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let given = self.take(key);
        let place = self.place(key, given.as_ref());
        let parsed = match given {
            Some((_, value)) => text(value).and_then(|text| parse(&text)),
            None => Err("must be set".to_owned()),
        };
        self.note(&place, parsed)
    }

    /// A value that may be absent. Empty text counts as absent, so that a variable can take away
    /// what a file gives.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let (layer, value) = self.take(key)?;
        let place = self.place(key, Some(&(layer, value.clone())));
        match text(value) {
            Ok(text) if text.is_empty() => None,
            text => self.note(&place, text.and_then(|text| parse(&text))),
        }
    }

    /// A secret, given as such or by a file.
    pub(super) fn secret<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Option<T> {
        let (place, value) = self.take_secret(key)?;
        let parsed = value.and_then(text).and_then(|text| parse(&text));
        self.note(&place, parsed)
    }

    /// A list of secrets: an array, or text with commas; in a file also one a line.
    pub(super) fn secrets<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(Value) -> Result<T, Complaint>,
    ) -> Vec<T> {
        let Some((place, value)) = self.take_secret(key) else {
            return Vec::new();
        };
        let Some(entries) = self.note(&place, value.and_then(entries)) else {
            return Vec::new();
        };
        let mut parsed = Vec::new();
        for (index, entry) in entries.into_iter().enumerate() {
            let place = format!("{place}, entry {}", index + 1);
            parsed.extend(self.note(&place, parse(entry)));
        }
        parsed
    }

    /// Notes a problem that lies in more than one value.
    pub(super) fn complain(&mut self, problem: String) {
        self.layers.problems.push(problem);
    }

    /// Ends the reading: all problems, with those keys that nobody knows.
    pub(super) fn finish(mut self) -> Vec<String> {
        for (key, given) in std::mem::take(&mut self.layers.values) {
            let section = key.split('.').next().unwrap_or_default();
            let siblings: Vec<&str> = self
                .known
                .iter()
                .filter_map(|known| known.strip_prefix(section)?.strip_prefix('.'))
                .collect();
            let right = if siblings.is_empty() {
                "the sections are chat, callback, admin, database, reapply, resync, log and telemetry"
                    .into()
            } else {
                format!("{section} has {}", siblings.join(", "))
            };
            let place = self.place(&key, Some(&given));
            self.layers
                .problems
                .push(format!("{place}: unknown key; {right}"));
        }
        self.layers.problems
    }

    fn take(&mut self, key: &'static str) -> Option<(Layer, Value)> {
        self.known.push(key);
        self.layers.values.remove(key)
    }

    /// The value of a secret or of the file that holds it, with the place to name in problems.
    fn take_secret(&mut self, key: &'static str) -> Option<(String, Result<Value, Complaint>)> {
        let file_key = format!("{key}_file");
        let plain = self.take(key);
        let file = self.layers.values.remove(&file_key);
        match (plain, file) {
            // The later layer wins, whichever way it gives the secret.
            (Some(plain), Some(file)) if plain.0 > file.0 => {
                Some((self.place(key, Some(&plain)), Ok(plain.1)))
            }
            (Some(plain), Some(file)) if plain.0 == file.0 => {
                let (plain, file) = (
                    self.place(key, Some(&plain)),
                    self.place(&file_key, Some(&file)),
                );
                Some((
                    plain,
                    Err(format!("also given as {file}; keep one of the two")),
                ))
            }
            (_, Some(given)) => {
                let place = self.place(&file_key, Some(&given));
                Some((
                    place,
                    text(given.1).and_then(|path| content(Path::new(&path))),
                ))
            }
            (Some(given), None) => Some((self.place(key, Some(&given)), Ok(given.1))),
            (None, None) => None,
        }
    }

    /// How an operator finds the value: the key, and the variable or file that set it.
    fn place(&self, key: &str, given: Option<&(Layer, Value)>) -> String {
        let key_text = key.escape_debug();
        match (given.map(|given| given.0), &self.layers.file) {
            (Some(Layer::Environment), _) => {
                let variable = key.to_uppercase().replace('.', "__");
                format!("{key_text} (STICKYMARK__{})", variable.escape_debug())
            }
            (Some(Layer::File), Some(file)) => format!("{key_text} (in {file:?})"),
            _ => key_text.to_string(),
        }
    }

    fn note<T>(&mut self, place: &str, parsed: Result<T, Complaint>) -> Option<T> {
        parsed
            .map_err(|complaint| self.complain(format!("{place}: {complaint}")))
            .ok()
    }
}

/// A scalar as text, since the environment knows nothing else.
pub(super) fn text(value: Value) -> Result<String, Complaint> {
    match value.kind {
        ValueKind::String(text) => Ok(text),
        ValueKind::I64(number) => Ok(number.to_string()),
        ValueKind::Table(_) => Err("a table stands here; give a single value".to_owned()),
        ValueKind::Array(_) => Err("a list stands here; give a single value".to_owned()),
        _ => Err("give text in quotes or a whole number".to_owned()),
    }
}

fn entries(value: Value) -> Result<Vec<Value>, Complaint> {
    match value.kind {
        ValueKind::Array(entries) => Ok(entries),
        ValueKind::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        ValueKind::String(text) => Ok(text
            .split([',', '\n'])
            .map(|entry| Value::new(None, entry.trim()))
            .collect()),
        _ => Err("give a list".to_owned()),
    }
}

fn content(path: &Path) -> Result<Value, Complaint> {
    let mut text = String::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot read {path:?}: {error}")),
        Ok(length) if length as u64 > MAX_SECRET_FILE => Err(format!(
            "{path:?} has more than {MAX_SECRET_FILE} bytes; is it the right file?"
        )),
        Ok(_) => Ok(Value::new(None, text.trim_end_matches(['\r', '\n']))),
    }
}
