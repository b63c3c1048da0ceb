//! The three layers laid over each other: compiled-in defaults, one TOML file, the environment.
//!
//! The result is flat, `section.key` to value, and remembers which layer each value came from, so
//! that a problem can name the place where it is mended.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Map, Source, Value, ValueKind};

use super::ConfigError;

/// The defaults, which are also the documentation of every key.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "STICKYMARK__";
const FILE_VARIABLE: &str = "STICKYMARK_CONFIG";

/// Where a value was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    Default,
    File,
    Environment,
}

pub(super) struct Layers {
    pub(super) values: BTreeMap<String, (Layer, Value)>,
    pub(super) file: Option<PathBuf>,
    pub(super) problems: Vec<String>,
}

impl Layers {
    /// Lays the layers over each other. `file` is that of the command line and goes before the
    /// one that the environment names.
    pub(super) fn gather<K, V>(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, ConfigError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let mut layers = Self {
            values: BTreeMap::new(),
            file: None,
            problems: Vec::new(),
        };
        let (variables, named) = layers.own_variables(environment);
        layers.file = file.map(Path::to_path_buf).or(named);

        layers.lay(
            Layer::Default,
            toml(DEFAULTS, Path::new("config/default.toml"))?,
        );
        if let Some(path) = layers.file.clone() {
            let text =
                std::fs::read_to_string(&path).map_err(|reason| ConfigError::Unreadable {
                    path: path.clone(),
                    reason,
                })?;
            layers.lay(Layer::File, toml(&text, &path)?);
        }
        let environment = Environment::with_prefix("STICKYMARK")
            .prefix_separator("__")
            .separator("__")
            .source(Some(variables));
        match environment.collect() {
            Ok(values) => layers.lay(Layer::Environment, values),
            Err(error) => layers.problems.push(format!("the environment: {error}")),
        }
        Ok(layers)
    }

    /// Our variables out of all, and the configuration file that they name.
    fn own_variables<K, V>(
        &mut self,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> (Map<String, String>, Option<PathBuf>)
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let (mut own, mut file) = (Map::new(), None);
        for (name, value) in environment {
            let (name, value) = (name.into(), value.into());
            if name == FILE_VARIABLE {
                file = (!value.is_empty()).then(|| PathBuf::from(value));
                continue;
            }
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(own.insert(name.to_owned(), value)),
                Err(_) => self
                    .problems
                    .push(format!("{name}: the value is not UTF-8 text")),
            }
        }
        (own, file)
    }

    fn lay(&mut self, layer: Layer, values: Map<String, Value>) {
        for (name, value) in values {
            match value.kind {
                ValueKind::Table(section) => {
                    for (key, value) in section {
                        self.values.insert(format!("{name}.{key}"), (layer, value));
                    }
                }
                // The environment comes flat already; in a file this is a key without a section.
                _ => drop(self.values.insert(name, (layer, value))),
            }
        }
    }
}

fn toml(text: &str, path: &Path) -> Result<Map<String, Value>, ConfigError> {
    File::from_str(text, FileFormat::Toml)
        .collect()
        .map_err(|error| ConfigError::NotToml {
            path: path.to_path_buf(),
            reason: without_excerpt(&error.to_string()),
        })
}

/// The parser's message without the lines that quote the file (`3 | secret_key = …`).
fn without_excerpt(message: &str) -> String {
    let is_excerpt = |line: &str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        line.starts_with('|')
    };
    let kept: Vec<&str> = message.lines().filter(|line| !is_excerpt(line)).collect();
    kept.join(", ")
}
