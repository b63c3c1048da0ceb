//! From the three layers to settings: merging, files of secrets, and errors that name the place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::{Table, Value};
use url::Url;

use super::Settings;

/// The defaults, which are also the documentation of every key.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "STICKYMARK__";

/// Each can also be given as `…_file`, a file that holds it.
const SECRETS: [&str; 4] = [
    "chat.secret_key",
    "callback.tokens",
    "admin.tokens",
    "database.url",
];

/// No secret is larger; a wrong path such as a device must not fill the memory.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// What is wrong with the settings: one line for each problem, without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub(super) Vec<String>);

impl ConfigError {
    pub(super) fn none(problems: Vec<String>) -> Result<(), Self> {
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Self(problems)),
        }
    }
}

fn wrong<T>(problem: String) -> Result<T, ConfigError> {
    Err(ConfigError(vec![problem]))
}

impl Settings {
    /// Reads the settings. Pass the variables of the environment except those that something else
    /// reads: a warning names what is left over.
    pub fn load<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut keys = Keys::default();
        keys.add(read_toml(DEFAULTS, "config/default.toml")?)?;
        if let Some(path) = file {
            keys.add(match std::fs::read_to_string(path) {
                Ok(text) => read_toml(&text, &format!("{path:?}"))?,
                Err(reason) => {
                    return wrong(format!(
                        "cannot read the configuration file {path:?}: {reason}"
                    ));
                }
            })?;
        }
        let (variables, unread_variables) = read_environment(environment)?;
        keys.add(variables)?;
        keys.read_secrets()?;
        let mut settings: Self = match serde_path_to_error::deserialize(keys.nested()?) {
            Ok(settings) => settings,
            Err(error) => {
                // The text of an unknown value may hold a line break.
                let reason = error.inner().message().replace('\n', "\\n");
                return wrong(format!(
                    "{}: {reason}",
                    keys.named(&error.path().to_string())
                ));
            }
        };
        settings.unread_variables = unread_variables;
        settings.described = keys.described(&settings);
        let problems = settings.contradictions().into_iter();
        let problem = |(key, problem)| format!("{}: {problem}", keys.named(key));
        ConfigError::none(problems.map(problem).collect())?;
        Ok(settings)
    }
}

/// Values by `section.key`, with the file or variable that gave them; empty for a default.
#[derive(Default)]
struct Keys(BTreeMap<String, (Value, String)>);

impl Keys {
    /// Adds a later layer. A secret replaces that of an earlier one, in either form.
    fn add(&mut self, layer: Self) -> Result<(), ConfigError> {
        for secret in SECRETS {
            let file = format!("{secret}_file");
            match (layer.0.contains_key(secret), layer.0.contains_key(&file)) {
                (true, true) => {
                    let (plain, file) = (layer.named(secret), layer.named(&file));
                    return wrong(format!(
                        "{plain}: also given as {file}; keep one of the two"
                    ));
                }
                (true, false) => drop(self.0.remove(&file)),
                (false, true) => drop(self.0.remove(secret)),
                (false, false) => {}
            }
        }
        self.0.extend(layer.0);
        Ok(())
    }

    /// Replaces `…_file` by what the file holds, and text by a list where a list of secrets belongs.
    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        for secret in SECRETS {
            let (value, place) = match self.0.remove(&format!("{secret}_file")) {
                Some((Value::String(path), place)) => (content(Path::new(&path)), place),
                Some((_, place)) => (Err("give the path of a file".to_owned()), place),
                None => match self.0.remove(secret) {
                    Some((value, place)) => (Ok(value), place),
                    None => continue,
                },
            };
            let value = match value {
                Ok(value) if secret.ends_with("tokens") => list(value),
                value => value,
            };
            match value {
                Ok(value) => self.0.insert(secret.to_owned(), (value, place)),
                Err(problem) => return wrong(format!("{secret} ({place}): {problem}")),
            };
        }
        Ok(())
    }

    fn nested(&self) -> Result<Table, ConfigError> {
        let mut sections = Table::new();
        for (key, (value, _)) in &self.0 {
            let Some((section, name)) = key.split_once('.') else {
                let mut sections: Vec<&str> = documented().map(|(section, _)| section).collect();
                sections.dedup();
                // Its value may be a secret.
                return wrong(format!(
                    "{}: unknown key; each key belongs to a section: {}",
                    self.named(key),
                    sections.join(", ")
                ));
            };
            let section = sections
                .entry(section)
                .or_insert_with(|| Table::new().into());
            if let Value::Table(section) = section {
                section.insert(name.to_owned(), value.clone());
            }
        }
        Ok(sections)
    }

    fn described(&self, settings: &Settings) -> BTreeMap<&'static str, String> {
        let mut sections = BTreeMap::<&str, String>::new();
        for (section, key) in documented() {
            let value = self.0.get(&format!("{section}.{key}"));
            let value = match ((section, key), value.map(|(value, _)| value)) {
                (("chat", "secret_key") | ("callback", "path") | ("database", "url"), Some(_)) => {
                    "(set)".to_owned()
                }
                (("callback", "forward_url"), _) => origin(&settings.callback.forward_url),
                (("telemetry", "otlp_endpoint"), _) => origin(&settings.telemetry.otlp_endpoint),
                (("marks", "names"), _) => format!("({} set)", settings.marks.names.len()),
                (("admin", "tokens"), _) => {
                    let tokens = settings.admin.tokens.iter();
                    let tokens = tokens.map(|one| format!("{} ({})", one.name, one.role.name()));
                    format!("{:?}", tokens.collect::<Vec<_>>())
                }
                (_, Some(Value::Array(list))) => format!("({} set)", list.len()),
                (_, Some(Value::String(text))) => text.clone(),
                (_, Some(Value::Integer(number))) => number.to_string(),
                _ => String::new(),
            };
            let value = if value.is_empty() {
                "(not set)"
            } else {
                &value
            };
            let section = sections.entry(section).or_default();
            let separator = if section.is_empty() { "" } else { " " };
            section.push_str(&format!("{separator}{key}={value}"));
        }
        sections
    }

    /// How an operator finds a value: the key, and the variable or file that set it.
    fn named(&self, key: &str) -> String {
        let entry = key.split('[').next().unwrap_or_default();
        match self.0.get(entry) {
            Some((_, place)) if !place.is_empty() => format!("{key} ({place})"),
            _ => key.to_owned(),
        }
    }
}

/// Every section and key that the default file documents, in its order.
pub(super) fn documented() -> impl Iterator<Item = (&'static str, &'static str)> {
    let mut section = "";
    DEFAULTS.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        }
        let (key, _) = line.trim_start_matches("# ").split_once(" = ")?;
        let is_key = key.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
        is_key.then_some((section, key))
    })
}

/// A URL without its path, which may be secret.
fn origin(url: &Option<Url>) -> String {
    let origin = |url: &Url| format!("{}/…", url.origin().ascii_serialization());
    url.as_ref().map_or_else(String::new, origin)
}

/// The parser's message without the lines that it quotes: they may hold a secret.
fn read_toml(text: &str, name: &str) -> Result<Keys, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.unwrap_or_default().matches('\n').count() + 1;
        let reason = error.message();
        ConfigError(vec![format!(
            "the configuration file {name} is not TOML: line {line}: {reason}"
        )])
    })?;
    let place = match text == DEFAULTS {
        true => String::new(),
        false => format!("in {name}"),
    };
    let mut keys = Keys::default();
    for (section, value) in table {
        let entries = match value {
            Value::Table(entries) => entries
                .into_iter()
                .map(|(key, value)| (format!("{section}.{key}"), value))
                .collect(),
            value => vec![(section, value)],
        };
        let placed = |(key, value)| (key, (value, place.clone()));
        keys.0.extend(entries.into_iter().map(placed));
    }
    Ok(keys)
}

/// Our variables, and the names of those that look like ours and that nothing reads.
fn read_environment<K, V>(
    environment: impl IntoIterator<Item = (K, V)>,
) -> Result<(Keys, Vec<String>), ConfigError>
where
    K: Into<OsString>,
    V: Into<OsString>,
{
    let (mut keys, mut unread, mut problems) = (Keys::default(), Vec::new(), Vec::new());
    for (name, value) in environment {
        let Ok(name) = name.into().into_string() else {
            continue;
        };
        match (name.strip_prefix(PREFIX), value.into().into_string()) {
            (Some(key), Ok(value)) => {
                let key = key.to_lowercase().replacen("__", ".", 1);
                keys.0.insert(key, (value.into(), name));
            }
            (Some(_), Err(_)) => problems.push(format!("{name}: the value is not UTF-8 text")),
            (None, _) if name.to_ascii_uppercase().starts_with("STICKYMARK_") => unread.push(name),
            (None, _) => {}
        }
    }
    // Kubernetes sets `…_SERVICE_HOST`, `…_SERVICE_PORT…` and `…_PORT…` for each Service.
    unread.retain(|name| !name.contains("_SERVICE_") && !name.contains("_PORT"));
    unread.sort();
    ConfigError::none(problems)?;
    Ok((keys, unread))
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
