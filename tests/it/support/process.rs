//! Real `stickymark serve` processes, which can be killed, frozen and told to end.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use stickymark::testing::local::simulator::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};

/// Generous: a test waits on conditions, and the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);

const PROGRAM: &str = env!("CARGO_BIN_EXE_stickymark");

/// What the program said, and how it ended.
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// The program with these arguments and variables, and without settings of the caller's own.
pub fn program(arguments: &[&str], variables: &[(&str, &str)]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("STICKYMARK") {
            command.env_remove(&name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn run(command: &mut tokio::process::Command) -> Ran {
    let output = command.output().await.unwrap();
    Ran {
        status: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// How a replica is started.
#[derive(Debug, Clone)]
pub struct Orders {
    /// `database.url`.
    pub database: String,
    /// `chat.base_url`.
    pub chat: String,
    /// Further variables of the environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A running replica. Dropped, it is killed.
pub struct Replica {
    child: Child,
    log: PathBuf,
    /// Where it takes callbacks.
    pub callbacks: SocketAddr,
    /// Where it is managed.
    pub admin: SocketAddr,
}

impl Replica {
    /// Starts one and waits until it listens. The system chooses the ports, so none is ever taken.
    pub async fn start(orders: &Orders, log: PathBuf) -> Self {
        Self::start_as(Command::new(PROGRAM), orders, log).await
    }

    /// The same with so many open files at most.
    pub async fn start_with_files(files: usize, orders: &Orders, log: PathBuf) -> Self {
        let mut command = Command::new("/bin/sh");
        let limited = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
        command.args(["-c", &limited, PROGRAM]);
        Self::start_as(command, orders, log).await
    }

    async fn start_as(mut command: Command, orders: &Orders, log: PathBuf) -> Self {
        let written = File::create(&log).unwrap();
        command.arg("serve");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STICKYMARK") {
                command.env_remove(&name);
            }
        }
        let app = SAMPLE_SDK_APP_ID.to_string();
        let settings = [
            ("STICKYMARK__CHAT__SDK_APP_ID", app.as_str()),
            ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
            ("STICKYMARK__CHAT__BASE_URL", &orders.chat),
            ("STICKYMARK__CHAT__REQUEST_TIMEOUT", "1s"),
            ("STICKYMARK__CALLBACK__LISTEN", "127.0.0.1:0"),
            ("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0"),
            ("STICKYMARK__DATABASE__URL", &orders.database),
            ("STICKYMARK__DATABASE__MAX_CONNECTIONS", "6"),
            ("STICKYMARK__REAPPLY__LEASE", "3s"),
            // What was answered must be carried out without the help of the sweep.
            ("STICKYMARK__RESYNC__INTERVAL", "0s"),
            ("STICKYMARK__LOG__FORMAT", "json"),
            ("STICKYMARK__LOG__FILTER", "info"),
        ];
        command
            .envs(settings)
            .envs(orders.environment.iter().map(|(name, value)| (name, value)));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(written)
            .spawn()
            .unwrap();
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut replica = Self {
            child,
            log,
            callbacks: nowhere,
            admin: nowhere,
        };
        (replica.callbacks, replica.admin) = replica.listening().await;
        replica
    }

    async fn listening(&mut self) -> (SocketAddr, SocketAddr) {
        let started = Instant::now();
        loop {
            for line in self.log().lines() {
                let Ok(line) = serde_json::from_str::<Value>(line) else {
                    continue;
                };
                if line["message"] == "listening" {
                    let address = |key: &str| line[key].as_str().unwrap().parse().unwrap();
                    return (address("callbacks"), address("admin"));
                }
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "a replica ended with {status} instead of listening:\n{}",
                    self.log()
                );
            }
            assert!(
                started.elapsed() < PATIENCE,
                "a replica never listens:\n{}",
                self.log()
            );
            pause().await;
        }
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal, named without `SIG`.
    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// Kills it with signal 9: nothing of it goes on for another moment.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.check_log();
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.check_log();
                return status;
            }
            assert!(
                started.elapsed() < PATIENCE,
                "a replica never ends:\n{}",
                self.log()
            );
            pause().await;
        }
    }

    /// No task of it has panicked.
    pub fn check_log(&self) {
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
        assert!(!log.contains("ended badly"), "{log}");
    }

    /// Its resident memory in KiB, where the system tells.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it ever was.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = (self.child.kill(), self.child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(30).collect::<Vec<_>>();
            eprintln!("--- last words of replica {}", self.child.id());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Sends a signal to a process.
pub fn signal(process: u32, name: &str) {
    // The shell's own kill: std has none, and not every machine has the program.
    let order = format!("kill -{name} {process}");
    let status = Command::new("/bin/sh")
        .args(["-c", &order])
        .status()
        .unwrap();
    assert!(status.success(), "{order}");
}

/// Sends a signal to many processes, some of which may have ended meanwhile.
pub fn signal_all(processes: &[u32], name: &str) {
    for process in processes {
        let order = format!("kill -{name} {process} 2>/dev/null || true");
        let status = Command::new("/bin/sh").args(["-c", &order]).status();
        assert!(status.unwrap().success(), "{order}");
    }
}

/// A moment between two looks.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        pause().await;
    }
}
