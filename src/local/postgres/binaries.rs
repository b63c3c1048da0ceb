//! Finds the installed PostgreSQL: `$PG_BIN` alone if it is set, else the `PATH`, what `pg_config`
//! says, and the places of the package managers (Debian keeps `initdb` off the `PATH`). Of those
//! that are new enough the highest major version wins, unless a data directory requires another.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::version::OLDEST_POSTGRES;

/// Where to look. Everything comes in from outside, so that a test can hide what is installed.
#[derive(Debug)]
pub(super) struct Search {
    /// The only directory to search, if given: `$PG_BIN`.
    pg_bin: Option<PathBuf>,
    /// `$PATH`.
    path: Option<OsString>,
    /// The root of the file system.
    root: PathBuf,
}

/// A directory with `initdb` and `postgres`.
#[derive(Debug)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub(super) major: u32,
}

impl Search {
    /// Looks where this process would.
    pub(super) fn from_process() -> Self {
        let pg_bin = std::env::var_os("PG_BIN").filter(|bin| !bin.is_empty());
        Self {
            pg_bin: pg_bin.map(PathBuf::from),
            path: std::env::var_os("PATH"),
            root: PathBuf::from("/"),
        }
    }

    /// The binaries for a new database, or for one that version `made_by` created.
    pub(super) fn find(&self, data: &Path, made_by: Option<&str>) -> anyhow::Result<Binaries> {
        let found = self.directories().into_iter();
        let mut found: Vec<Binaries> = found.filter_map(Binaries::in_directory).collect();
        found.sort_by_key(|binaries| binaries.major);
        let majors: Vec<String> = found.iter().map(|found| found.major.to_string()).collect();
        found.retain(|binaries| binaries.major >= OLDEST_POSTGRES);
        if found.is_empty() {
            let found = match (&self.pg_bin, &majors[..]) {
                (Some(bin), []) => format!(" in PG_BIN, {bin:?}"),
                (_, []) => String::new(),
                (_, majors) => format!(" (found: {})", majors.join(", ")),
            };
            bail!(
                "no PostgreSQL {OLDEST_POSTGRES} or later is installed{found}. Install one: Debian, \
                 Ubuntu: sudo apt-get install postgresql; macOS: brew install postgresql@17; Fedora: \
                 sudo dnf install postgresql-server. Or set PG_BIN to the directory that holds \
                 initdb, or database.url to a running PostgreSQL"
            );
        }
        let fits =
            |found: &Binaries| made_by.is_none_or(|made_by| found.major.to_string() == made_by);
        found.into_iter().rfind(fits).with_context(|| {
            let (made_by, found) = (made_by.unwrap_or_default(), majors.join(", "));
            format!(
                "the database in {data:?} was made by PostgreSQL {made_by}, which is not installed \
                 (found: {found}). Install PostgreSQL {made_by}, or name another directory in \
                 database.path"
            )
        })
    }

    fn directories(&self) -> Vec<PathBuf> {
        if let Some(bin) = &self.pg_bin {
            return vec![bin.clone()];
        }
        let path = self.path.iter().flat_map(std::env::split_paths);
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
            let parent = self.root.join(parent);
            let homes = children(&parent, prefix);
            directories.extend(homes.map(|home| home.join("bin")));
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
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}

/// The 15 of `postgres (PostgreSQL) 15.14 (Debian …)`, the 18 of `postgres (PostgreSQL) 18beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL)")?.1.trim_start();
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that writes one line. Another process creates it: if the file were open for writing
    /// here, a program that another test starts at this moment would inherit it and keep it busy.
    fn program(path: &Path, line: &str) {
        let script = r#"mkdir -p "${1%/*}" && printf '#!/bin/sh\necho "%s"\n' "$2" >"$1" &&
            chmod 755 "$1""#;
        let mut made = Command::new("sh");
        let made = made.args(["-c", script, "sh"]).arg(path).arg(line).status();
        assert!(made.unwrap().success());
    }

    /// A directory with programs that only tell their version.
    fn install(directory: &Path, version: &str) {
        for name in ["initdb", "postgres"] {
            let line = format!("{name} (PostgreSQL) {version}");
            program(&directory.join(name), &line);
        }
    }

    fn find(root: &Path, pg_bin: Option<&str>, made_by: Option<&str>) -> Result<u32, String> {
        let search = Search {
            pg_bin: pg_bin.map(|bin| root.join(bin)),
            path: Some(root.join("bin").into()),
            root: root.to_path_buf(),
        };
        let found = search.find(Path::new("/x/data"), made_by);
        let major = found.map(|found| found.major);
        major.map_err(|error| error.to_string())
    }

    fn assert_says(found: Result<u32, String>, parts: &[&str]) {
        let error = found.unwrap_err();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn the_highest_major_version_wins_but_that_of_the_data_and_pg_bin_go_before() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let how = [
            "apt-get install postgresql",
            "brew install postgresql@17",
            "dnf install",
        ];
        assert_says(find(root, None, None), &how);
        install(&root.join("usr/lib/postgresql/9.6/bin"), "9.6.24");
        assert_says(find(root, None, None), &["(found: 9)"]);
        let debian = "15.14 (Debian 15.14-0+deb12u1)";
        install(&root.join("usr/lib/postgresql/15/bin"), debian);
        install(&root.join("bin"), "16.2");
        assert_eq!(find(root, None, None), Ok(16));
        install(&root.join("usr/pgsql-18/bin"), "18beta1");
        assert_eq!(find(root, None, None), Ok(18));
        let home = root.join("nix/store/pg/bin");
        install(&home, "19.1");
        program(&root.join("bin/pg_config"), &home.display().to_string());
        assert_eq!(find(root, None, None), Ok(19), "pg_config is asked");
        assert_eq!(find(root, None, Some("15")), Ok(15));
        let other = [
            "made by PostgreSQL 14",
            "found: 9, 15, 16, 18, 19",
            "/x/data",
        ];
        assert_says(find(root, None, Some("14")), &other);
        install(&root.join("mine"), "14.0");
        assert_eq!(find(root, Some("mine"), None), Ok(14));
        assert_says(find(root, Some("nowhere"), None), &["PG_BIN", "nowhere"]);
    }
}
