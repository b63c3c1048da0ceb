//! Servers as processes of their own, ended with the benchmark.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use stickymark::simulator::{SAMPLE_SECRET_KEY, Simulated};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::requests::{APP, PATH, TOKEN};
use crate::server::Database;

/// The program as `cargo bench` built it.
const PROGRAM: &str = env!("CARGO_BIN_EXE_stickymark");

/// A process that listens.
pub struct Server {
    child: Child,
    /// Where it takes requests; the service: callbacks.
    pub address: SocketAddr,
}

/// Resident memory in MB of 1,000,000 bytes.
#[derive(Clone, Copy)]
pub struct Memory {
    pub now: f64,
    pub peak: f64,
}

/// `stickymark serve` on a database, with its default settings.
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
        ("LOG__FILTER", "error"),
    ] {
        command.env(format!("STICKYMARK__{key}"), value);
    }
    Server::spawn(command, address).await
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
        let mut server = Self { child, address };
        let began = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("a server ended at its start with {status}");
            }
            if began.elapsed() > Duration::from_secs(60) {
                bail!("a server does not listen");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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

fn free() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?)
}
