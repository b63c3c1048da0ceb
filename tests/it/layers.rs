//! The rooms of `src` in one order: each may use those above it in this list, never those below.

use std::path::{Path, PathBuf};

const ROOMS: [&str; 22] = [
    "domain",
    "messages",
    "clock",
    "version",
    "config",
    "telemetry",
    "metrics",
    // The private PostgreSQL stands in for a server when no URL is given.
    "local::postgres",
    "database",
    "chat",
    "wake",
    "replica",
    "members",
    "rules",
    "callback",
    "reapply",
    "resync",
    "api",
    "service",
    "check",
    "local",
    "cli",
];

/// The first room of the list whose path this is; `local::postgres` comes before `local`.
fn place(path: &str) -> Option<usize> {
    ROOMS.iter().position(|room| {
        path.strip_prefix(room)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    };
    paths.flat_map(of).collect()
}

/// The paths behind each `crate::` of a line, also those of a group.
fn imports(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut found = Vec::new();
    for (_, rest) in code
        .match_indices("crate::")
        .map(|(at, found)| code.split_at(at + found.len()))
    {
        let names = match rest.strip_prefix('{') {
            Some(group) => group.split([',', '}']).collect::<Vec<_>>(),
            None => vec![rest],
        };
        let is_path = |letter: char| letter.is_alphanumeric() || "_:".contains(letter);
        found.extend(names.into_iter().map(|name| {
            let name = name.trim();
            let end = name.find(|letter| !is_path(letter)).unwrap_or(name.len());
            name[..end].trim_end_matches(':').to_owned()
        }));
    }
    found
}

#[test]
fn no_room_uses_one_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    let mut arrows = 0;
    for file in sources(&src) {
        let path = file.strip_prefix(&src).unwrap().with_extension("");
        let path = path.to_str().unwrap().replace('/', "::");
        let path = path.trim_end_matches("::mod");
        if ["lib", "main", "local", "testing"].contains(&path)
            || file.extension().is_none_or(|e| e != "rs")
        {
            continue;
        }
        let own = place(path).unwrap_or_else(|| panic!("{path} is in no room of the list"));
        for (number, line) in std::fs::read_to_string(&file).unwrap().lines().enumerate() {
            for used in imports(line) {
                let Some(used) = place(&used) else { continue };
                arrows += usize::from(used < own);
                if used > own {
                    let number = number + 1;
                    wrong.push(format!("{}:{number}: {}", file.display(), line.trim()));
                }
            }
        }
    }
    assert!(arrows > 200, "the imports were not found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
