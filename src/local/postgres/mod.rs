//! A PostgreSQL of our own, run from the machine's installed binaries, for trials, demo and tests.
//!
//! It listens on a free loopback port with a password, belongs to one process and ends with it,
//! also when that is killed with signal 9: a small shell script has the other end of a pipe and
//! stops the server when it closes (see `supervise.sh`). A crash leaves nothing behind that blocks
//! the next start. Unix only.

mod account;
mod binaries;
mod directory;

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::anyhow;
use secrecy::SecretString;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use binaries::{Binaries, Search};
use directory::Directory;

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
    pub async fn start(path: &Path) -> anyhow::Result<Self> {
        Self::run(path, false).await
    }

    /// Starts an empty database that does not write to disk for sure, and is removed when it ends.
    pub async fn throw_away() -> anyhow::Result<Self> {
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
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.supervisor.stdin.take());
        let ended = timeout(STOP_LIMIT, self.supervisor.wait()).await;
        ended
            .map_err(|_| self.directory.slow("stop", STOP_LIMIT))
            .map(drop)
    }

    /// Without `throw_away` the data survives a power cut.
    async fn run(path: &Path, throw_away: bool) -> anyhow::Result<Self> {
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
        for _ in 0..ATTEMPTS {
            directory.forget_dead_server()?;
            let port = free_port().map_err(failed("listen on", Path::new("127.0.0.1")))?;
            let mut supervisor = supervise(&directory, &binaries, &log, port, throw_away)?;
            if ready(&directory, &mut supervisor).await? {
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
        }
        Err(directory.broken("postgres", "no port is free"))
    }
}

/// For `map_err`: what was tried, with which file.
fn failed<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> anyhow::Error + 'a {
    move |reason| {
        anyhow!("cannot {what} {path:?}: {reason}; check database.path and its permissions")
    }
}

impl Directory {
    fn slow(&self, what: &str, limit: Duration) -> anyhow::Error {
        let (path, seconds) = (&self.path, limit.as_secs());
        anyhow!(
            "the private PostgreSQL in {path:?} did not {what} within {seconds} s; see its postgres.log"
        )
    }

    fn broken(&self, program: &str, status: impl std::fmt::Display) -> anyhow::Error {
        let output = self.last_words();
        anyhow!("{program} failed ({status}); its last words: {output:?}")
    }

    /// A program of PostgreSQL under the right account, in a place it may be in, away from the
    /// terminal's signals, without our secrets, and without variables that would divert it. It writes
    /// to the log and keeps it locked as long as it lives.
    fn command(&self, program: &Path, log: &File) -> anyhow::Result<Command> {
        let share = || {
            log.try_clone()
                .map_err(failed("share the log of", &self.path))
        };
        let mut command = Command::new(program);
        command.current_dir(&self.path).env("LC_ALL", "C");
        command.process_group(0).stdin(Stdio::null());
        command.stdout(share()?).stderr(share()?);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PG") || text.starts_with("STICKYMARK") {
                command.env_remove(&name);
            }
        }
        if let Some(account) = self.account {
            command.uid(account.uid).gid(account.gid);
        }
        Ok(command)
    }
}

async fn initialise(directory: &Directory, binaries: &Binaries, log: &File) -> anyhow::Result<()> {
    let (data, password) = (directory.fresh_data()?, directory.new_password()?);
    let initdb = binaries.program("initdb");
    let mut command = directory.command(&initdb, log)?;
    command.args(["--auth=password", "--locale=C", "--encoding=UTF8"]);
    command
        .args(["--username=stickymark", "--pwfile"])
        .arg(&password);
    command.arg("--pgdata").arg(&data).kill_on_drop(true);
    let status = command.status().await.map_err(failed("run", &initdb))?;
    if !status.success() {
        return Err(directory.broken("initdb", status));
    }
    directory.adopt(&data)
}

fn supervise(
    directory: &Directory,
    binaries: &Binaries,
    log: &File,
    port: u16,
    throw_away: bool,
) -> anyhow::Result<Child> {
    let postgres = binaries.program("postgres");
    let mut removed = PathBuf::new();
    let mut settings = vec![
        "listen_addresses=127.0.0.1",
        // A deep path is too long for a socket, and Debian's default is not writable.
        "unix_socket_directories=",
        "max_connections=200",
        "log_min_messages=warning",
        "timezone=UTC",
        "log_timezone=UTC",
        "jit=off",
    ];
    if throw_away {
        removed.clone_from(&directory.path);
        let fast = [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ];
        settings.extend(fast);
    }
    let mut command = directory.command(Path::new("/bin/sh"), log)?;
    command.args(["-c", SUPERVISOR, "supervise"]);
    command
        .arg(removed)
        .arg(&postgres)
        .arg("-D")
        .arg(directory.data());
    command.args(["-p", &port.to_string()]);
    command.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let supervisor = command.stdin(Stdio::piped()).spawn();
    supervisor.map_err(failed("run", &postgres))
}

/// Waits until the server says so in its own file: line 8 of `postmaster.pid`. False when another
/// process took the port.
async fn ready(directory: &Directory, supervisor: &mut Child) -> anyhow::Result<bool> {
    let note = directory.data().join("postmaster.pid");
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        let text = std::fs::read_to_string(&note).unwrap_or_default();
        if text
            .lines()
            .nth(7)
            .is_some_and(|status| status.trim() == "ready")
        {
            return Ok(true);
        }
        if let Ok(Some(status)) = supervisor.try_wait() {
            if directory.last_words().contains("Address already in use") {
                return Ok(false);
            }
            return Err(directory.broken("postgres", status));
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
