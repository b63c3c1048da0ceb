//! A private PostgreSQL that a test can stop, kill, freeze and start again.

use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use stickymark::database::local::LocalPostgres;

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
        let mut processes = vec![server];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent.and_then(|parent| parent.parse().ok()) == Some(server) {
                processes.push(process);
            }
        }
        processes
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
