//! A real PgBouncer in front of a test's database.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use stickymark::testing::config::DatabaseSettings;

use super::process::until;
use super::{TestDatabase, settings_of};

/// Ends with its value.
pub struct PgBouncer {
    child: Child,
    _directory: tempfile::TempDir,
    settings: DatabaseSettings,
}

impl PgBouncer {
    pub async fn start(database: &TestDatabase, pool_mode: &str) -> Self {
        let mut url = database.url().clone();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nmarks = host={} port={} dbname={} user={} password={}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {pool_mode}\n",
            url.host_str().unwrap(),
            url.port().unwrap_or(5432),
            url.path().trim_start_matches('/'),
            url.username(),
            url.password().unwrap_or_default(),
        );
        std::fs::write(&file, text).unwrap();
        // Debian keeps the program out of the path of users.
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("pgbouncer");
        command.env("PATH", format!("{path}:/usr/sbin"));
        // It refuses to run as root.
        if directory.path().metadata().unwrap().uid() == 0 {
            let everyone = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(directory.path(), everyone).unwrap();
            command.args(["-u", "nobody"]);
        }
        let child = command
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs the program pgbouncer: run .ci/pgbouncer");
        until("PgBouncer listens", || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_ok()
        })
        .await;
        url.set_port(Some(port)).unwrap();
        url.set_path("marks");
        Self {
            child,
            _directory: directory,
            settings: settings_of(url.as_str()),
        }
    }

    /// Settings by which the application uses the database through it.
    pub fn settings(&self) -> &DatabaseSettings {
        &self.settings
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}
