//! What can be wrong with the settings, said so that one can mend it.

use std::fmt;
use std::path::PathBuf;

/// Why there are no settings. `Display` gives one line for each problem and never a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {path:?}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The configuration file is not TOML. The text at fault is left out: it may be a secret.
    #[error("the configuration file {path:?} is not TOML: {reason}")]
    NotToml {
        /// The file.
        path: PathBuf,
        /// Line, column and what the parser expected.
        reason: String,
    },
    /// Keys that are unknown, or values that are wrong; every one of them.
    #[error("{0}")]
    Invalid(Problems),
}

/// All that is wrong with the settings, in the order of the keys. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// `Err` with the problems if there are any.
    pub(super) fn none(problems: Vec<String>) -> Result<(), ConfigError> {
        if problems.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Invalid(Self(problems)))
    }

    /// For values that are missing without a problem of their own, which cannot happen unless a key
    /// is forgotten here; said plainly rather than by a panic.
    pub(super) fn incomplete() -> Self {
        Self(vec![
            "the settings are incomplete; this is a fault of the program".to_owned(),
        ])
    }

    /// One sentence for each: the key, what is wrong, what would be right.
    pub fn sentences(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}
