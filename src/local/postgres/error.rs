//! Why the private PostgreSQL did not start or stop, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::version::OLDEST_POSTGRES;

#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "no PostgreSQL {OLDEST_POSTGRES} or later is installed{found}. Install one: Debian, Ubuntu: \
         sudo apt-get install postgresql; macOS: brew install postgresql@17; Fedora: sudo dnf \
         install postgresql-server. Or set PG_BIN to the directory that holds initdb, or \
         database.url to a running PostgreSQL"
    )]
    NotInstalled { found: String },
    #[error(
        "the database in {path:?} was made by PostgreSQL {made_by}, which is not installed \
         (found: {found}). Install PostgreSQL {made_by}, or name another directory in database.path"
    )]
    OtherVersion {
        path: PathBuf,
        made_by: String,
        found: String,
    },
    #[error(
        "the database in {path:?} is in use by process {holder}. Stop that process, or name another \
         directory in database.path, or set database.url to a PostgreSQL that both can share"
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "a PostgreSQL left over in {path:?} does not end; look for it with `ps ax | grep postgres` \
         and end it with kill -INT"
    )]
    LeftOver { path: PathBuf },
    #[error("cannot {what} {path:?}: {reason}; check database.path and its permissions")]
    Io {
        what: &'static str,
        path: PathBuf,
        reason: io::Error,
    },
    /// PostgreSQL refuses root, and there is no other account to run it.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody. Start \
         as an ordinary user, or set database.url"
    )]
    NoAccount,
    #[error("{program} failed ({status}); its last words: {output:?}")]
    Failed {
        program: &'static str,
        status: String,
        output: String,
    },
    #[error(
        "the private PostgreSQL in {path:?} did not {what} within {seconds} s; see its postgres.log"
    )]
    Slow {
        path: PathBuf,
        what: &'static str,
        seconds: u64,
    },
}

impl LocalError {
    /// For `map_err`: what was tried, with which file.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |reason| Self::Io { what, path, reason }
    }
}
