//! A PostgreSQL of our own, run from the machine's installed binaries, for trials, demo and tests.
//!
//! It listens on a free loopback port with a password, belongs to one process and ends with it,
//! also when that is killed with signal 9: a small shell script has the other end of a pipe and
//! stops the server when it closes (see `supervise.sh`). A crash leaves nothing behind that blocks
//! the next start. Unix only.

mod account;
mod binaries;
mod directory;
mod error;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use secrecy::SecretString;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use binaries::{Binaries, Search};
use directory::Directory;
pub use error::LocalError;

const SUPERVISOR: &str = include_str!("supervise.sh");

/// Recovery after a power cut takes seconds; a disk that is slow beyond this needs a person.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longer than the supervisor waits before it insists.
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// The port is free when it is chosen, but another process may take it before PostgreSQL does.
const ATTEMPTS: u32 = 5;

/// A running private PostgreSQL. Dropping it stops the server without waiting for that.
#[derive(Debug)]
pub struct LocalPostgres {
    directory: Directory,
    url: SecretString,
    port: u16,
    /// The supervisor; its standard input is the pipe.
    supervisor: Child,
}

impl LocalPostgres {
    /// Starts the database in `path`; creates it if there is none. Everything in it survives crashes.
    ///
    /// As root the server runs under the account `postgres` or `nobody`. If that account cannot
    /// reach `path` (it lies in root's home), a directory in `/var/lib/stickymark` takes its place.
    pub async fn start(path: &Path) -> Result<Self, LocalError> {
        Self::run(path, false).await
    }

    /// Starts an empty database that does not write to disk for sure, and is removed when it ends.
    pub async fn throw_away() -> Result<Self, LocalError> {
        let name = format!("stickymark-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        Self::run(&path, true).await
    }

    /// Where it listens: database and superuser `stickymark`, with password.
    pub fn url(&self) -> &SecretString {
        &self.url
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory in force: that of the settings or what took its place.
    pub fn path(&self) -> &Path {
        &self.directory.path
    }

    /// Ends all sessions, writes everything down and waits for the end.
    pub async fn stop(mut self) -> Result<(), LocalError> {
        drop(self.supervisor.stdin.take());
        match timeout(STOP_LIMIT, self.supervisor.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(self.directory.slow("stop", STOP_LIMIT)),
        }
    }

    /// Without `throw_away` the data survives a power cut.
    async fn run(path: &Path, throw_away: bool) -> Result<Self, LocalError> {
        let directory = Directory::take(path)?;
        let search = Search::from_process();
        let binaries = search.find(&directory.path, directory.made_by().as_deref())?;
        let log = directory.log().await?;
        if directory.made_by().is_none() {
            initialise(&directory, &binaries, &log).await?;
        }
        if throw_away {
            // So that the supervisor, which is not root, can remove it.
            directory.hand_over(&directory.path, 0o700)?;
        }
        for attempt in 1.. {
            directory.forget_dead_server()?;
            let port = free_port().map_err(LocalError::io("listen on", Path::new("127.0.0.1")))?;
            let mut supervisor = supervise(&directory, &binaries, &log, port, throw_away)?;
            match ready(&directory, &mut supervisor).await {
                Ok(()) => {
                    let password = directory.password()?;
                    let url = format!("postgres://stickymark:{password}@127.0.0.1:{port}/postgres");
                    tracing::info!(
                        path = ?directory.path, port, major = binaries.major,
                        "private PostgreSQL started"
                    );
                    return Ok(Self {
                        directory,
                        url: SecretString::from(url),
                        port,
                        supervisor,
                    });
                }
                Err(LocalError::Failed { output, .. })
                    if attempt < ATTEMPTS && output.contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        Err(directory.slow("start", START_LIMIT))
    }
}

impl Directory {
    fn slow(&self, what: &'static str, limit: Duration) -> LocalError {
        LocalError::Slow {
            path: self.path.clone(),
            what,
            seconds: limit.as_secs(),
        }
    }

    /// The log for a program to write to, which keeps it locked as long as the program lives.
    fn share(&self, log: &File) -> Result<File, LocalError> {
        log.try_clone()
            .map_err(LocalError::io("share the log of", &self.path))
    }

    /// A program of PostgreSQL under the right account, in a place it may be in, away from the
    /// terminal's signals, without our secrets, and without variables that would divert it.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.path)
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("STICKYMARK") {
                command.env_remove(&name);
            }
        }
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

async fn initialise(
    directory: &Directory,
    binaries: &Binaries,
    log: &File,
) -> Result<(), LocalError> {
    let (data, password) = (directory.fresh_data()?, directory.new_password()?);
    let initdb = binaries.program("initdb");
    let status = directory
        .command(&initdb)
        .args([
            "--auth=password",
            "--locale=C",
            "--encoding=UTF8",
            "--username=stickymark",
        ])
        .arg("--pwfile")
        .arg(&password)
        .arg("--pgdata")
        .arg(&data)
        .stdout(directory.share(log)?)
        .stderr(directory.share(log)?)
        .kill_on_drop(true)
        .status()
        .await
        .map_err(LocalError::io("run", &initdb))?;
    if !status.success() {
        return Err(LocalError::Failed {
            program: "initdb",
            status: status.to_string(),
            output: directory.last_words(),
        });
    }
    directory.adopt(&data)
}

fn supervise(
    directory: &Directory,
    binaries: &Binaries,
    log: &File,
    port: u16,
    throw_away: bool,
) -> Result<Child, LocalError> {
    let postgres = binaries.program("postgres");
    let removed = if throw_away {
        directory.path.clone()
    } else {
        PathBuf::new()
    };
    let settings = [
        "listen_addresses=127.0.0.1",
        // A deep path is too long for a socket, and Debian's default is not writable.
        "unix_socket_directories=",
        "max_connections=200",
        "log_min_messages=warning",
        "timezone=UTC",
        "log_timezone=UTC",
        "jit=off",
    ];
    let fast = [
        "fsync=off",
        "synchronous_commit=off",
        "full_page_writes=off",
    ];
    let fast = fast.iter().filter(|_| throw_away);
    directory
        .command(Path::new("/bin/sh"))
        .args(["-c", SUPERVISOR, "supervise"])
        .arg(removed)
        .arg(&postgres)
        .arg("-D")
        .arg(directory.data())
        .args(["-p", &port.to_string()])
        .args(
            settings
                .iter()
                .chain(fast)
                .flat_map(|setting| ["-c", *setting]),
        )
        .stdin(Stdio::piped())
        .stdout(directory.share(log)?)
        .stderr(directory.share(log)?)
        .spawn()
        .map_err(LocalError::io("run", &postgres))
}

/// Waits until the server says so in its own file: line 8 of `postmaster.pid`.
async fn ready(directory: &Directory, supervisor: &mut Child) -> Result<(), LocalError> {
    let note = directory.data().join("postmaster.pid");
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        if text
            .lines()
            .nth(7)
            .is_some_and(|status| status.trim() == "ready")
        {
            return Ok(());
        }
        if let Ok(Some(status)) = supervisor.try_wait() {
            return Err(LocalError::Failed {
                program: "postgres",
                status: status.to_string(),
                output: directory.last_words(),
            });
        }
        sleep(Duration::from_millis(10)).await;
    }
    Err(directory.slow("start", START_LIMIT))
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
