//! Why the private PostgreSQL did not start or stop, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::version::OLDEST_POSTGRES;

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// No binaries on this machine.
    #[error(
        "no PostgreSQL {OLDEST_POSTGRES} or later is installed{found}. Install one: Debian, Ubuntu: \
         sudo apt-get install postgresql; macOS: brew install postgresql@17; Fedora: sudo dnf \
         install postgresql-server. Or set PG_BIN to the directory that holds initdb, or \
         database.url to a running PostgreSQL"
    )]
    NotInstalled {
        /// What was found instead, ready for the sentence; may be empty.
        found: String,
    },
    /// The directory was made by a version that is not installed.
    #[error(
        "the database in {path:?} was made by PostgreSQL {made_by}, of which no binaries are here \
         (found: {found}). Install PostgreSQL {made_by}, or name another directory in database.path"
    )]
    OtherVersion {
        /// The directory of the database.
        path: PathBuf,
        /// Major version that made it.
        made_by: String,
        /// Major versions that are installed.
        found: String,
    },
    /// Another process has its private PostgreSQL there.
    #[error(
        "the database in {path:?} is in use by process {holder}. Stop that process, or name another \
         directory in database.path, or set database.url to a PostgreSQL that both can share"
    )]
    InUse {
        /// The directory of the database.
        path: PathBuf,
        /// Its process id, or `?`.
        holder: String,
    },
    /// The server of a process that was killed does not end.
    #[error(
        "a PostgreSQL left over in {path:?} does not end; look for it with `ps ax | grep postgres` \
         and end it with kill -INT"
    )]
    LeftOver {
        /// The directory of the database.
        path: PathBuf,
    },
    /// The system refused something.
    #[error("cannot {what} {path:?}: {reason}; check database.path and its permissions")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// PostgreSQL refuses root, and there is no other account to run it.
    #[error(
        "PostgreSQL does not run as root, and /etc/passwd has neither postgres nor nobody. Start \
         as an ordinary user, or set database.url"
    )]
    NoAccount,
    /// A program of PostgreSQL failed.
    #[error("{program} failed ({status}); its last words: {output:?}")]
    Failed {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: String,
        /// The end of what it wrote.
        output: String,
    },
    /// The server neither became ready nor ended.
    #[error(
        "the private PostgreSQL in {path:?} did not {what} within {seconds} s; see its postgres.log"
    )]
    Slow {
        /// The directory of the database.
        path: PathBuf,
        /// `start` or `stop`.
        what: &'static str,
        /// How long it was waited for.
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
