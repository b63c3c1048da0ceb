//! Replicas whose clock is wrong: a small library in C, put before the C library, moves the time of
//! day of a process. The C compiler is the one that Rust links with.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The library, built into a directory of the test's own.
pub struct Skew {
    _place: tempfile::TempDir,
    library: PathBuf,
}

impl Skew {
    /// Builds it.
    pub fn build() -> Self {
        let place = tempfile::tempdir().unwrap();
        let library = place.path().join("skew.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/skew.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&library, &source])
            .status()
            .unwrap();
        assert!(status.success(), "cc cannot build {}", source.display());
        Self {
            _place: place,
            library,
        }
    }

    /// The environment of a replica whose clock is so many seconds ahead, or behind if negative.
    pub fn environment(&self, seconds: i64) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.to_str().unwrap().to_owned()),
            ("CLOCK_SKEW_SECONDS", seconds.to_string()),
        ]
    }
}
