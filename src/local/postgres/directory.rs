//! What lies in `database.path`, and who may touch it.
//!
//! - `lock`: locked by the one process that works here; holds its id. The system lifts the lock
//!   when the process dies, so nothing stale can stay behind.
//! - `postgres.log`: what the server writes. It inherits the open file, which is locked too, so
//!   the lock lasts exactly as long as any process of that server, whichever process started it.
//! - `password`: of the superuser `stickymark`, for us alone.
//! - `data/`: PostgreSQL's own. It appears by a rename, so it is whole or absent.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

use super::account::Account;
use super::failed;

/// How long the server of a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much of the log goes into an error.
const LAST_WORDS: usize = 2000;

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) account: Option<Account>,
    lock: File,
}

/// Closing the file would lift the lock only when no child has it any more that was just being started,
/// by whatever part of this process.
impl Drop for Directory {
    fn drop(&mut self) {
        // If it fails, the lock ends a moment later.
        let _ = self.lock.unlock();
    }
}

impl Directory {
    /// Takes the directory for this process; creates it if there is none.
    pub(super) fn take(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).map_err(failed("find", path))?;
        let path = resolved(&path);
        let mut account = Account::to_step_down_to(&path.join("data"))?;
        let reachable = account.map_or(path.clone(), |account| account.reachable(&path));
        if reachable != path {
            tracing::warn!(
                database.path = ?path, instead = ?reachable,
                "PostgreSQL does not run as root, and no other account can reach database.path"
            );
            account = Account::to_step_down_to(&reachable.join("data"))?;
        }
        let path = reachable;
        make(&path)?;
        let lock = lock(&path)?;
        Ok(Self {
            path,
            account,
            lock,
        })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Major version that created the database; `None` when there is none yet.
    pub(super) fn made_by(&self) -> Option<String> {
        let version = fs::read_to_string(self.data().join("PG_VERSION")).ok()?;
        Some(version.trim().to_owned())
    }

    /// The log of the server that is about to start, once no earlier server is left.
    pub(super) async fn log(&self) -> anyhow::Result<File> {
        let path = self.path.join("postgres.log");
        let mut options = OpenOptions::new();
        let log = options.create(true).append(true).mode(0o600).open(&path);
        let log = log.map_err(failed("open", &path))?;
        let started = Instant::now();
        loop {
            match log.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(reason)) => return Err(failed("lock", &path)(reason)),
                Err(TryLockError::WouldBlock) if started.elapsed() > PATIENCE => bail!(
                    "a PostgreSQL left over in {:?} does not end; look for it with \
                     `ps ax | grep postgres` and end it with kill -INT",
                    self.path
                ),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(50)).await,
            }
        }
        log.set_len(0).map_err(failed("empty", &path))?;
        Ok(log)
    }

    /// The end of the log, for an error.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.path.join("postgres.log")).unwrap_or_default();
        let words = &log[log.len().saturating_sub(LAST_WORDS)..];
        String::from_utf8_lossy(words).trim().to_owned()
    }

    /// Removes the server's own note of its process. Call it only while the log is locked by
    /// us: then that process is dead, even if it is a zombie or its number belongs to another.
    pub(super) fn forget_dead_server(&self) -> anyhow::Result<()> {
        let path = self.data().join("postmaster.pid");
        match fs::remove_file(&path) {
            Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(reason))
            }
            _ => Ok(()),
        }
    }

    /// An empty directory for `initdb`, owned by the account that will run it.
    pub(super) fn fresh_data(&self) -> anyhow::Result<PathBuf> {
        let path = self.path.join("data.new");
        if path.exists() {
            fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        }
        fs::create_dir(&path).map_err(failed("create", &path))?;
        self.hand_over(&path, 0o700)?;
        Ok(path)
    }

    pub(super) fn adopt(&self, fresh: &Path) -> anyhow::Result<()> {
        fs::rename(fresh, self.data()).map_err(failed("rename", fresh))
    }

    pub(super) fn hand_over(&self, path: &Path, mode: u32) -> anyhow::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(failed("protect", path))?;
        match self.account {
            Some(to) => chown(path, Some(to.uid), Some(to.gid)).map_err(failed("hand over", path)),
            None => Ok(()),
        }
    }

    /// The superuser's password: any local user can reach the port, so there must be one.
    pub(super) fn password(&self) -> anyhow::Result<String> {
        let path = self.path.join("password");
        fs::read_to_string(&path).map_err(failed("read", &path))
    }

    pub(super) fn new_password(&self) -> anyhow::Result<PathBuf> {
        let path = self.path.join("password");
        let random: [u8; 24] = rand::random();
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(&path).map_err(failed("create", &path))?;
        file.write_all(hex::encode(random).as_bytes())
            .map_err(failed("write", &path))?;
        // initdb reads it under its own account.
        self.hand_over(&path, 0o600)?;
        Ok(path)
    }
}

/// Without symbolic links, as far as the path exists, so that one directory has one name.
fn resolved(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), ..) => path,
        (_, Some(parent), Some(name)) => resolved(parent).join(name),
        _ => path.to_path_buf(),
    }
}

/// Makes the directory with permission to pass through, whatever the umask is.
fn make(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make(parent)?;
    }
    fs::create_dir(path)
        .or_else(|reason| if path.is_dir() { Ok(()) } else { Err(reason) })
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
        .map_err(failed("create", path))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let mut lock = options.open(&file).map_err(failed("open", &file))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(reason)) => return Err(failed("lock", &file)(reason)),
        Err(TryLockError::WouldBlock) => {
            // What cannot be read cannot be named.
            let mut holder = String::new();
            let _unknown = (&lock).take(20).read_to_string(&mut holder);
            let number = holder.trim().parse::<u32>();
            let holder = number.map_or("?".to_owned(), |pid| pid.to_string());
            bail!(
                "the database in {path:?} is in use by process {holder}. Stop that process, or name \
                 another directory in database.path, or set database.url to a PostgreSQL that both \
                 can share"
            );
        }
    }
    lock.set_len(0)
        .and_then(|()| write!(lock, "{}", std::process::id()))
        .map_err(failed("write", &file))?;
    Ok(lock)
}
