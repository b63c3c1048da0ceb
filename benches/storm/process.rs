//! Servers as processes of their own, ended with the benchmark.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use stickymark::testing::local::simulator::{SAMPLE_SECRET_KEY, Simulated};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::requests::{APP, PATH, TOKEN};
use crate::server::Database;

/// The program as `cargo bench` built it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stickymark");

/// What the service says when its rule filter is in force.
const RULES_READ: &str = "the rule filter has read the rules";
const START_WITHIN: Duration = Duration::from_secs(60);

/// A process that listens.
pub struct Server {
    child: Child,
    /// Where it takes requests; the service: callbacks.
    pub address: SocketAddr,
    /// From its start until it was in full order; the service: until it knew all rules.
    pub took: Duration,
}

/// Resident memory in MB of 1,000,000 bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    pub now: f64,
    pub peak: f64,
}

/// `stickymark serve` on a database, with its default settings, when it has read the rules.
pub async fn service(
    database: &Database,
    chat: &Server,
    calls_per_second: u32,
) -> anyhow::Result<Server> {
    let address = free()?;
    let app = APP.to_string();
    let mut command = Command::new(PROGRAM);
    command.arg("serve");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STICKYMARK") {
            command.env_remove(name);
        }
    }
    for (key, value) in [
        ("DATABASE__URL", database.url.as_str()),
        ("CHAT__SDK_APP_ID", &app),
        ("CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
        ("CHAT__BASE_URL", &format!("http://{}", chat.address)),
        ("CHAT__CALLS_PER_SECOND", &calls_per_second.to_string()),
        ("CALLBACK__LISTEN", &address.to_string()),
        ("CALLBACK__PATH", PATH),
        ("CALLBACK__TOKENS", TOKEN),
        ("ADMIN__LISTEN", &free()?.to_string()),
        ("RESYNC__INTERVAL", "0s"),
        ("LOG__FILTER", "error,stickymark::rules::filter=info"),
    ] {
        command.env(format!("STICKYMARK__{key}"), value);
    }
    command.stderr(Stdio::piped());
    let mut server = Server::spawn(command, address).await?;
    let lines = server.child.stderr.take().context("its standard error")?;
    let (said, rules_read) = oneshot::channel();
    let began = Instant::now();
    tokio::spawn(pass_on(lines, said));
    timeout(START_WITHIN, rules_read)
        .await
        .context("the service does not read its rules")??;
    server.took += began.elapsed();
    Ok(server)
}

/// Passes the log on, and says when the rules are read.
async fn pass_on(stderr: ChildStderr, said: oneshot::Sender<()>) {
    let mut lines = BufReader::new(stderr).lines();
    let mut said = Some(said);
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.contains(RULES_READ) {
            eprintln!("{line}");
        } else if let Some(said) = said.take() {
            // The caller may have stopped waiting.
            let _ = said.send(());
        }
    }
}

/// `stickymark simulate`, answering after 5 ms.
pub async fn simulator() -> anyhow::Result<Server> {
    let address = free()?;
    let mut command = Command::new(PROGRAM);
    command.args(["simulate", "--latency-ms", "5", "--listen"]);
    command.arg(address.to_string()).stdout(Stdio::null());
    Server::spawn(command, address).await
}

/// A rival of the service: this program in another role.
pub async fn rival(database: Option<&Database>) -> anyhow::Result<Server> {
    let address = free()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--rival", &address.to_string()]);
    if let Some(database) = database {
        command.arg(&database.url);
    }
    Server::spawn(command, address).await
}

impl Server {
    async fn spawn(mut command: Command, address: SocketAddr) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting a server")?;
        let began = Instant::now();
        let mut server = Self {
            child,
            address,
            took: Duration::ZERO,
        };
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("a server ended at its start with {status}");
            }
            if began.elapsed() > START_WITHIN {
                bail!("a server does not listen");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.took = began.elapsed();
        Ok(server)
    }

    /// A client of its control API, if it is a simulator.
    pub fn control(&self) -> anyhow::Result<Simulated> {
        Ok(Simulated::new(&format!("http://{}", self.address))?)
    }

    /// Its callback address, if it is a service.
    pub fn callback_url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Its memory; none where the system does not tell.
    pub fn memory(&self) -> Option<Memory> {
        let pid = self.child.id()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(kilobytes * 1024.0 / 1e6)
        };
        Some(Memory {
            now: field("VmRSS:")?,
            peak: field("VmHWM:")?,
        })
    }

    /// Ends it and waits for that.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }
}

/// A process whose processor time is measured, with that of the sessions of its database.
pub struct Target {
    pub address: SocketAddr,
    pid: u32,
    database: Option<Database>,
}

/// Processor time of a server and of its database sessions.
pub type Used = (Option<Duration>, Option<Duration>);

impl Target {
    pub fn new(server: &Server, database: Option<&Database>) -> Self {
        Self {
            address: server.address,
            pid: server.child.id().unwrap_or_default(),
            database: database.cloned(),
        }
    }

    /// Used so far.
    pub async fn used(&self) -> anyhow::Result<Used> {
        let backends = match &self.database {
            Some(database) => database.backends().await?,
            None => Vec::new(),
        };
        let times = backends.into_iter().map(processor_time);
        Ok((processor_time(self.pid), times.sum()))
    }

    /// Microseconds used since for each of `count` things.
    pub async fn since(
        &self,
        before: Used,
        count: usize,
    ) -> anyhow::Result<(Option<f64>, Option<f64>)> {
        let after = self.used().await?;
        let each = |before: Option<Duration>, after: Option<Duration>| {
            let used = after?.saturating_sub(before?);
            Some(used.as_secs_f64() * 1e6 / count as f64)
        };
        Ok((each(before.0, after.0), each(before.1, after.1)))
    }
}

/// Processor time that a process has used; none where the system does not tell.
fn processor_time(pid: u32) -> Option<Duration> {
    /// Linux counts in hundredths of a second, whatever its clock does.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * (ticks()? + ticks()?))
}

fn free() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
