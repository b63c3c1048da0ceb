//! Builds again when a migration is added, since the macro that compiles them in sees only those it
//! knows, lists the files of the console, and tells the program its version and commit.
//!
//! The commit comes from `STICKYMARK_COMMIT`, so that a build without git (an image) can be told, or
//! from git. Nothing else of the machine or the hour gets in: the same source and commit give the
//! same program.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// Characters of a commit that are shown.
const SHOWN: usize = 12;

/// Served as they are.
const CONSOLE: &str = "src/api/console/assets";

fn main() {
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed={CONSOLE}");
    if let Err(error) = list_console() {
        println!("cargo:error={CONSOLE} cannot be listed: {error}");
    }
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=STICKYMARK_COMMIT");
    let given = env::var("STICKYMARK_COMMIT").unwrap_or_default();
    let commit = match given.trim() {
        "" => from_git().unwrap_or_default(),
        given => given.to_owned(),
    };
    if !commit.chars().all(|c| c.is_ascii_hexdigit()) {
        println!(
            "cargo:error=STICKYMARK_COMMIT={commit:?} is no commit; give its hexadecimal hash"
        );
        return;
    }
    let commit = &commit[..commit.len().min(SHOWN)];
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let full = match commit {
        "" => version,
        commit => format!("{version} ({commit})"),
    };
    println!("cargo:rustc-env=STICKYMARK_BUILD_COMMIT={commit}");
    println!("cargo:rustc-env=STICKYMARK_BUILD_VERSION={full}");
}

/// Writes the names and contents of the files as an array, for `src/api/console/assets.rs`.
fn list_console() -> io::Result<()> {
    let folder = Path::new(CONSOLE).canonicalize()?;
    let mut files = below(&folder)?;
    files.sort();
    let named = files.iter().map(|file| {
        let name = file.strip_prefix(&folder).unwrap_or(file);
        format!("({name:?}, include_bytes!({file:?})),")
    });
    let list = format!("&[{}]", named.collect::<String>());
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("console.rs"), list)
}

fn below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(below(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}

/// The commit checked out here. Development builds do without, or each commit would compile them
/// again; so do sources that only lie inside somebody else's repository.
fn from_git() -> Option<String> {
    if env::var("PROFILE").ok()? != "release" {
        return None;
    }
    let here = env::var("CARGO_MANIFEST_DIR").ok()?;
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(&here).canonicalize().ok()? {
        return None;
    }
    // HEAD names a branch, whose file changes with each commit; packed branches share one file. A
    // file that does not exist would make every build run this again.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        if let Some(path) = git(&["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
