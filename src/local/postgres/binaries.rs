//! Finds the installed PostgreSQL: `$PG_BIN` alone if it is set, else the `PATH`, what `pg_config`
//! says, and the places of the package managers (Debian keeps `initdb` off the `PATH`). Of those
//! that are new enough the highest major version wins, unless a data directory demands another.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::LocalError;
use crate::version::OLDEST_POSTGRES;

/// Where to look. Everything comes in from outside, so that a test can hide what is installed.
#[derive(Debug, Clone)]
pub struct Search {
    /// A directory that goes before all others: `$PG_BIN`.
    pub pg_bin: Option<PathBuf>,
    /// `$PATH`.
    pub path: Option<OsString>,
    /// The root of the file system.
    pub root: PathBuf,
}

/// A directory with `initdb` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub(super) directory: PathBuf,
    pub(super) major: u32,
}

impl Search {
    /// Looks where this process would.
    pub fn from_process() -> Self {
        Self {
            pg_bin: std::env::var_os("PG_BIN")
                .filter(|bin| !bin.is_empty())
                .map(PathBuf::from),
            path: std::env::var_os("PATH"),
            root: PathBuf::from("/"),
        }
    }

    /// The binaries for a new database, or for one that `made_by` made.
    ///
    /// # Errors
    /// When nothing fits, with what to install.
    pub fn find(&self, data: &Path, made_by: Option<&str>) -> Result<Binaries, LocalError> {
        let mut found: Vec<Binaries> = self
            .directories()
            .into_iter()
            .filter_map(Binaries::in_directory)
            .collect();
        found.sort_by_key(|binaries| binaries.major);
        let majors: Vec<String> = found.iter().map(|found| found.major.to_string()).collect();
        let fits = |binaries: &Binaries| binaries.major >= OLDEST_POSTGRES;
        let Some(newest) = found.pop_if(|newest| fits(newest)) else {
            return Err(LocalError::NotInstalled {
                found: self.instead(&majors),
            });
        };
        let Some(made_by) = made_by else {
            return Ok(newest);
        };
        std::iter::once(newest)
            .chain(found)
            .find(|binaries| binaries.major.to_string() == made_by && fits(binaries))
            .ok_or_else(|| LocalError::OtherVersion {
                path: data.to_path_buf(),
                made_by: made_by.to_owned(),
                found: majors.join(", "),
            })
    }

    fn instead(&self, majors: &[String]) -> String {
        match (&self.pg_bin, majors) {
            (Some(bin), []) => format!(" in PG_BIN, {bin:?}"),
            (_, []) => String::new(),
            (_, majors) => format!(" (found: {})", majors.join(", ")),
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        if let Some(bin) = &self.pg_bin {
            return vec![bin.clone()];
        }
        let path = self
            .path
            .as_deref()
            .map(std::env::split_paths)
            .into_iter()
            .flatten();
        let mut directories = Vec::new();
        for entry in path.filter(|entry| entry.is_absolute()) {
            directories.extend(bindir(&entry.join("pg_config")));
            directories.push(entry);
        }
        for (parent, prefix) in [
            ("usr/lib/postgresql", ""),
            ("usr", "pgsql-"),
            ("usr/local", "pgsql"),
            ("opt/homebrew/opt", "postgresql"),
            ("usr/local/opt", "postgresql"),
            ("home/linuxbrew/.linuxbrew/opt", "postgresql"),
            ("Applications/Postgres.app/Contents/Versions", ""),
        ] {
            directories
                .extend(children(&self.root.join(parent), prefix).map(|dir| dir.join("bin")));
        }
        directories
    }
}

impl Binaries {
    /// `None` when there is no PostgreSQL in it that runs.
    fn in_directory(directory: PathBuf) -> Option<Self> {
        if !directory.join("initdb").is_file() {
            return None;
        }
        // Symbolic links lead to the real home, beside which its share directory lies.
        let postgres = directory.join("postgres").canonicalize().ok()?;
        let major = major(&first_line(&postgres, "--version")?)?;
        Some(Self {
            directory: postgres.parent()?.to_path_buf(),
            major,
        })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Major version.
    pub fn major(&self) -> u32 {
        self.major
    }
}

fn bindir(pg_config: &Path) -> Option<PathBuf> {
    if !pg_config.is_file() {
        return None;
    }
    first_line(pg_config, "--bindir").map(PathBuf::from)
}

fn children(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = parent.read_dir().into_iter().flatten().flatten();
    entries
        .filter(move |entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
}

fn first_line(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program)
        .arg(argument)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(
        String::from_utf8(output.stdout)
            .ok()?
            .lines()
            .next()?
            .trim()
            .to_owned(),
    )
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian …)`, the 18 of `postgres (PostgreSQL) 18beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL)")?.1.trim_start();
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that writes one line. Another process makes it: were the file open for writing
    /// here, a test that starts a program at this moment would inherit it and keep it busy.
    fn program(path: &Path, line: &str) {
        let script = r#"mkdir -p "${1%/*}" && printf '#!/bin/sh\necho "%s"\n' "$2" >"$1" &&
            chmod 755 "$1""#;
        let made = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(path)
            .arg(line)
            .status();
        assert!(made.unwrap().success());
    }

    /// A directory with programs that only tell their version.
    fn install(directory: &Path, version: &str) {
        for name in ["initdb", "postgres"] {
            program(
                &directory.join(name),
                &format!("{name} (PostgreSQL) {version}"),
            );
        }
    }

    fn search(root: &Path) -> Search {
        Search {
            pg_bin: None,
            path: Some(root.join("bin").into()),
            root: root.to_path_buf(),
        }
    }

    #[test]
    fn the_highest_major_version_wins_wherever_it_is() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("usr/lib/postgresql/9.6/bin"), "9.6.24");
        install(
            &root.path().join("usr/lib/postgresql/15/bin"),
            "15.14 (Debian 15.14-0+deb12u1)",
        );
        install(&root.path().join("bin"), "16.2");
        let found = search(root.path()).find(Path::new("data"), None).unwrap();
        assert_eq!(found.major, 16);
        install(&root.path().join("usr/pgsql-18/bin"), "18beta1");
        let found = search(root.path()).find(Path::new("data"), None).unwrap();
        assert_eq!(found.major, 18);
        assert!(found.program("initdb").ends_with("usr/pgsql-18/bin/initdb"));
    }

    #[test]
    fn a_data_directory_gets_the_version_that_made_it() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("usr/lib/postgresql/15/bin"), "15.14");
        install(&root.path().join("usr/lib/postgresql/17/bin"), "17.1");
        let search = search(root.path());
        assert_eq!(
            search.find(Path::new("data"), Some("15")).unwrap().major,
            15
        );
        let error = search
            .find(Path::new("/x/data"), Some("14"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("made by PostgreSQL 14"), "{error}");
        assert!(
            error.contains("found: 15, 17") && error.contains("/x/data"),
            "{error}"
        );
    }

    #[test]
    fn pg_bin_goes_before_everything() {
        let root = tempfile::tempdir().unwrap();
        install(&root.path().join("usr/lib/postgresql/17/bin"), "17.1");
        install(&root.path().join("mine"), "14.0");
        let mut search = search(root.path());
        search.pg_bin = Some(root.path().join("mine"));
        assert_eq!(search.find(Path::new("data"), None).unwrap().major, 14);
        search.pg_bin = Some(root.path().join("nowhere"));
        let error = search
            .find(Path::new("data"), None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("PG_BIN") && error.contains("nowhere"),
            "{error}"
        );
    }

    #[test]
    fn where_none_is_installed_one_learns_how_to_install_it() {
        let root = tempfile::tempdir().unwrap();
        let error = search(root.path())
            .find(Path::new("data"), None)
            .unwrap_err()
            .to_string();
        for line in [
            "sudo apt-get install postgresql",
            "brew install postgresql@17",
            "sudo dnf install postgresql-server",
        ] {
            assert!(error.contains(line), "{error}");
        }
        install(&root.path().join("bin"), "13.20");
        let error = search(root.path())
            .find(Path::new("data"), None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("(found: 13)"), "{error}");
    }

    #[test]
    fn pg_config_is_asked() {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("nix/store/pg/bin");
        install(&home, "15.1");
        program(
            &root.path().join("bin/pg_config"),
            &home.display().to_string(),
        );
        assert_eq!(
            search(root.path())
                .find(Path::new("data"), None)
                .unwrap()
                .major,
            15
        );
    }
}
