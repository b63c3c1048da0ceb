//! From the three layers to settings: merging, files of secrets, and errors that name the place.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::{Table, Value};

use super::Settings;

/// The defaults, which are also the documentation of every key.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "STICKYMARK__";

/// Each can also be given as `…_file`, a file that holds it.
const SECRETS: [(&str, &str); 4] = [
    ("chat", "secret_key"),
    ("callback", "tokens"),
    ("admin", "tokens"),
    ("database", "url"),
];

/// No secret is larger; a wrong path such as a device must not fill the memory.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// What is wrong with the settings: one line for each problem, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub(super) Vec<String>);

impl ConfigError {
    pub(super) fn one(problem: impl Into<String>) -> Self {
        Self(vec![problem.into()])
    }
}

impl Settings {
    /// Reads the settings. Pass the variables of the environment except those that something else
    /// reads: what is left over is warned of.
    ///
    /// # Errors
    /// When the file cannot be read, or a key is unknown or wrong.
    pub fn load<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut layers = Layers {
            merged: Table::new(),
            given: Vec::new(),
        };
        layers.add(read_toml(DEFAULTS, "config/default.toml")?, |_| None)?;
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|reason| {
                ConfigError::one(format!(
                    "cannot read the configuration file {path:?}: {reason}"
                ))
            })?;
            let name = format!("{path:?}");
            layers.add(read_toml(&text, &name)?, |_| Some(format!("in {name}")))?;
        }
        let variables = Variables::sort(environment)?;
        layers.add(variables.values, |key| {
            let variable = key.to_uppercase().replace('.', "__");
            Some(format!("STICKYMARK__{}", variable.escape_debug()))
        })?;
        layers.read_secrets()?;
        let Layers { merged, given } = layers;
        let place = |key: &str| named(key, &given);
        let mut settings: Self = serde_path_to_error::deserialize(merged).map_err(|error| {
            // Text of an unknown value may hold a line break.
            let reason = error.inner().message().replace('\n', "\\n");
            ConfigError::one(format!("{}: {reason}", place(&error.path().to_string())))
        })?;
        settings.unread_variables = variables.unread;
        let problems = settings.contradictions().into_iter();
        let problems: Vec<String> = problems
            .map(|(key, problem)| format!("{}: {problem}", place(key)))
            .collect();
        match problems.is_empty() {
            true => Ok(settings),
            false => Err(ConfigError(problems)),
        }
    }
}

struct Layers {
    merged: Table,
    /// Keys with the file or variable that gave them, the last first.
    given: Vec<(String, String)>,
}

impl Layers {
    /// A secret of a later layer replaces that of an earlier one, in either form.
    fn add(
        &mut self,
        layer: Table,
        place: impl Fn(&str) -> Option<String>,
    ) -> Result<(), ConfigError> {
        for (section, keys) in layer {
            let Value::Table(keys) = keys else {
                // Its value may be a secret.
                let name = place(&section).unwrap_or_default();
                return Err(ConfigError::one(format!(
                    "{section} ({name}): unknown key; each key belongs to a section: {}",
                    sections()
                )));
            };
            for (name, key) in SECRETS.into_iter().filter(|secret| secret.0 == section) {
                let file = format!("{key}_file");
                if keys.contains_key(key) && keys.contains_key(&file) {
                    let (key, file) = (format!("{name}.{key}"), format!("{name}.{file}"));
                    return Err(ConfigError::one(format!(
                        "{key} ({}): also given as {file} ({}); keep one of the two",
                        place(&key).unwrap_or_default(),
                        place(&file).unwrap_or_default()
                    )));
                }
            }
            let merged = self
                .merged
                .entry(&section)
                .or_insert_with(|| Table::new().into());
            let Some(merged) = merged.as_table_mut() else {
                continue;
            };
            for (key, value) in keys {
                let base = key.strip_suffix("_file").unwrap_or(&key);
                if SECRETS.contains(&(&section, base)) {
                    merged.remove(base);
                    merged.remove(&format!("{base}_file"));
                }
                let path = format!("{section}.{key}");
                if let Some(place) = place(&path) {
                    self.given.insert(0, (format!("{section}.{base}"), place));
                }
                merged.insert(key, value);
            }
        }
        Ok(())
    }

    /// Replaces `…_file` by what the file holds, and text by a list where a list of secrets belongs.
    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        for (section, key) in SECRETS {
            let Some(keys) = self.merged.get_mut(section).and_then(Value::as_table_mut) else {
                continue;
            };
            let value = match keys.remove(&format!("{key}_file")) {
                Some(Value::String(path)) => content(Path::new(&path)).map(Some),
                Some(_) => Err("give the path of a file".to_owned()),
                None => Ok(keys.remove(key)),
            };
            let value = value.and_then(|value| match key {
                "tokens" => value.map(list).transpose(),
                _ => Ok(value),
            });
            match value {
                Ok(None) => {}
                Ok(Some(value)) => drop(keys.insert(key.to_owned(), value)),
                Err(reason) => {
                    let place = named(&format!("{section}.{key}"), &self.given);
                    return Err(ConfigError::one(format!("{place}: {reason}")));
                }
            }
        }
        Ok(())
    }
}

/// How an operator finds a value: the key, and the variable or file that set it.
fn named(key: &str, given: &[(String, String)]) -> String {
    let plain = key.split('[').next().unwrap_or_default();
    match given.iter().find(|(given, _)| given == plain) {
        Some((_, place)) => format!("{key} ({place})"),
        None => key.to_owned(),
    }
}

struct Variables {
    values: Table,
    unread: Vec<String>,
}

impl Variables {
    fn sort<K, V>(environment: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let (mut values, mut unread, mut problems) = (Table::new(), Vec::new(), Vec::new());
        for (name, value) in environment {
            let (name, value) = (name.into(), value.into());
            let Some(name) = name.to_str() else { continue };
            let Some(key) = name.strip_prefix(PREFIX) else {
                if name.to_ascii_uppercase().starts_with("STICKYMARK_") {
                    unread.push(name.to_owned());
                }
                continue;
            };
            let Ok(value) = value.into_string() else {
                problems.push(format!("{name}: the value is not UTF-8 text"));
                continue;
            };
            match key.to_lowercase().split_once("__") {
                Some((section, key)) => {
                    let section = values.entry(section).or_insert_with(|| Table::new().into());
                    section
                        .as_table_mut()
                        .map(|keys| keys.insert(key.to_owned(), value.into()));
                }
                None => drop(values.insert(key.to_lowercase(), value.into())),
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        // Kubernetes sets `…_SERVICE_HOST`, `…_SERVICE_PORT…` and `…_PORT…` for each Service.
        let hosts = unread
            .iter()
            .filter_map(|name| name.strip_suffix("_SERVICE_HOST"));
        let services: Vec<String> = hosts.map(str::to_owned).collect();
        unread.retain(|name| {
            let mut rests = services
                .iter()
                .filter_map(|service| name.strip_prefix(service));
            !rests.any(|rest| rest.starts_with("_SERVICE_") || rest.starts_with("_PORT"))
        });
        unread.sort();
        Ok(Self { values, unread })
    }
}

fn sections() -> String {
    let sections = DEFAULTS
        .lines()
        .filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    sections.collect::<Vec<_>>().join(", ")
}

/// The parser's message without the lines that it quotes: they may hold a secret.
fn read_toml(text: &str, name: &str) -> Result<Table, ConfigError> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error
            .span()
            .and_then(|span| text.get(..span.start))
            .unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let reason = error.message();
        ConfigError::one(format!(
            "the configuration file {name} is not TOML: line {line}: {reason}"
        ))
    })
}

fn list(value: Value) -> Result<Value, String> {
    match value {
        Value::Array(_) => Ok(value),
        Value::String(text) if text.trim().is_empty() => {
            Err("is empty; give a value or remove the key".to_owned())
        }
        Value::String(text) => {
            let entries = text.split([',', '\n']).map(|entry| entry.trim().into());
            Ok(Value::Array(entries.collect()))
        }
        _ => Err("give a list".to_owned()),
    }
}

/// The text of a file without the byte order mark that Windows writes, and without line ends after it.
fn content(path: &Path) -> Result<Value, String> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_SECRET_FILE + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(format!("cannot read {path:?}: {error}")),
        Ok(length) if length as u64 > MAX_SECRET_FILE => Err(format!(
            "{path:?} has more than {MAX_SECRET_FILE} bytes; is it the right file?"
        )),
        Ok(_) => {
            let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
            Ok(text.trim_end_matches(['\r', '\n']).into())
        }
    }
}
