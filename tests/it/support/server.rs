//! A private PostgreSQL that a test can stop, kill, freeze and start again.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use stickymark::testing::local::postgres::LocalPostgres;

/// A PostgreSQL of a test's own in a directory that every account can reach.
pub struct Server {
    place: tempfile::TempDir,
    running: Option<LocalPostgres>,
}

impl Server {
    /// Starts it, empty.
    pub async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut server = Self {
            place,
            running: None,
        };
        server.start_again().await;
        server
    }

    /// Starts it again with what it held, at another port.
    pub async fn start_again(&mut self) {
        self.running = Some(
            LocalPostgres::start(&self.place.path().join("data"))
                .await
                .unwrap(),
        );
    }

    /// The server that runs.
    pub fn running(&self) -> &LocalPostgres {
        self.running.as_ref().unwrap()
    }

    /// Stops it in order.
    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    /// The server and the processes that serve its sessions.
    pub fn processes(&self) -> Vec<u32> {
        let note = self.running().path().join("data/postmaster.pid");
        let note = std::fs::read_to_string(note).unwrap();
        let server: u32 = note.lines().next().unwrap().trim().parse().unwrap();
        let sessions = processes()
            .into_iter()
            .filter(|(_, parent)| *parent == server);
        std::iter::once(server)
            .chain(sessions.map(|(process, _)| process))
            .collect()
    }

    /// A session of its own, which no fault of the wire touches.
    pub async fn session(&self) -> PgConnection {
        PgConnection::connect(self.running().url().expose_secret())
            .await
            .unwrap()
    }

    /// It was killed.
    pub fn forget(&mut self) {
        drop(self.running.take());
    }
}

/// Every process of the machine, with its parent: from /proc, or from ps where there is none.
fn processes() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        let output = Command::new("ps")
            .args(["-axo", "pid=,ppid="])
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        return lines.lines().filter_map(pair).collect();
    };
    let statuses = entries.flatten().filter_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // "17 (name) S 4 …"; the name may hold anything.
        let (process, _) = stat.split_once(' ')?;
        let (_, rest) = stat.rsplit_once(')')?;
        pair(&format!("{process} {}", rest.split_whitespace().nth(1)?))
    });
    statuses.collect()
}

fn pair(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
