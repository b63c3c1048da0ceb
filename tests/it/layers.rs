//! The order of the rooms of `src`: each may use those above it in this list, never those below. And no
//! two files of any room use each other.

use std::collections::{BTreeMap, BTreeSet};
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

/// A path from the top of the crate: a module, or something in it.
type Name = Vec<String>;

/// What a file takes from elsewhere in the crate: names, each with the word under which the file hands it
/// on (`pub use`), if it does.
type Uses = Vec<(Name, Option<String>)>;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    };
    paths.flat_map(of).collect()
}

/// The files of `src` by their modules, without tests and without what only puts rooms together.
fn files() -> BTreeMap<Name, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = |path: PathBuf| {
        let module = path.strip_prefix(&src).unwrap().with_extension("");
        let parts = module.iter().map(|part| part.to_str().unwrap().to_owned());
        let module: Name = parts.filter(|part| part != "mod").collect();
        let is_test = module.iter().any(|part| part.ends_with("tests"));
        let is_apart = ["lib", "main", "local", "testing"].contains(&module.join("::").as_str());
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        (is_rust && !is_test && !is_apart)
            .then(|| (module, std::fs::read_to_string(&path).unwrap()))
    };
    sources(&src).into_iter().filter_map(file).collect()
}

/// A path as it is written in a module, from the top of the crate; `None` if it leads out of it.
fn absolute(module: &Name, written: &str, files: &BTreeMap<Name, String>) -> Option<Name> {
    let mut name = module.clone();
    for (place, part) in written.split("::").enumerate() {
        let is_child = || files.contains_key(&[&module[..], &[part.to_owned()]].concat());
        match part {
            "crate" => name.clear(),
            "self" => {}
            "super" => drop(name.pop()),
            _ if place == 0 && !is_child() => return None,
            part => name.push(part.to_owned()),
        }
    }
    Some(name)
}

/// The paths of a `use`: `a::{b, c::{d, e}}` names `a::b`, `a::c::d` and `a::c::e`.
fn paths_of(prefix: &str, tree: &str, found: &mut Vec<String>) {
    let Some((head, group)) = tree.split_once('{') else {
        return found.push(format!("{prefix}{}", tree.trim()));
    };
    let prefix = format!("{prefix}{}", head.trim());
    let group = group.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut from) = (0, 0);
    for (at, letter) in group.char_indices().chain([(group.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = &group[from..at];
                if !part.trim().is_empty() {
                    paths_of(&prefix, part, found);
                }
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn uses(module: &Name, text: &str, files: &BTreeMap<Name, String>) -> Uses {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let code = text[..tests]
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join("\n");
    let mut found = Uses::new();
    let mut rest = code.as_str();
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        rest = &rest[at + 4..];
        let handed_on = before.starts_with("pub");
        if !before.is_empty() && !handed_on {
            continue;
        }
        let Some((tree, _)) = rest.split_once(';') else {
            break;
        };
        let mut paths = Vec::new();
        paths_of("", &tree.replace('\n', " "), &mut paths);
        for path in paths {
            let (path, word) = path.split_once(" as ").unwrap_or((&path, ""));
            let word = if word.is_empty() {
                path.rsplit("::").next().unwrap()
            } else {
                word
            };
            let name = absolute(module, path, files);
            found.extend(name.map(|name| (name, handed_on.then(|| word.to_owned()))));
        }
    }
    let words = code.split(|letter: char| !letter.is_alphanumeric() && !"_:".contains(letter));
    let paths = words.filter(|word| word.contains("::"));
    found.extend(
        paths.filter_map(|path| Some((absolute(module, path.trim_end_matches(':'), files)?, None))),
    );
    found
}

fn all_uses(files: &BTreeMap<Name, String>) -> BTreeMap<&Name, Uses> {
    let modules = files.iter();
    modules
        .map(|(module, text)| (module, uses(module, text, files)))
        .collect()
}

/// The room of a name; `local::postgres` comes before `local`.
fn room(name: &Name) -> Option<usize> {
    let name = name.join("::");
    let is_in = |room: &&str| {
        let rest = name.strip_prefix(room);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    ROOMS.iter().position(is_in)
}

#[test]
fn no_room_uses_one_below_it() {
    let files = files();
    let (mut wrong, mut arrows) = (Vec::new(), 0);
    for (module, uses) in all_uses(&files) {
        let file = module.join("::");
        let own = room(module).unwrap_or_else(|| panic!("{file} is in no room of the list"));
        for (name, _) in uses {
            let Some(used) = room(&name) else { continue };
            arrows += usize::from(used < own);
            if used > own {
                wrong.push(format!("{file} uses {}", name.join("::")));
            }
        }
    }
    assert!(arrows > 500, "the imports were not found: {arrows}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The module that a name leads to, also where others hand it on.
fn home<'a>(name: &Name, all: &BTreeMap<&'a Name, Uses>) -> Option<&'a Name> {
    let lengths = (1..=name.len()).rev();
    let (module, uses) = lengths.into_iter().find_map(|length| {
        let (module, uses) = all.get_key_value(&name[..length].to_vec())?;
        Some((*module, uses))
    })?;
    let item = name.get(module.len());
    match uses
        .iter()
        .find(|(_, word)| word.is_some() && word.as_ref() == item)
    {
        Some((name, _)) => home(name, all),
        None => Some(module),
    }
}

fn leads_to<'a>(
    from: &'a Name,
    goal: &Name,
    arrows: &BTreeMap<&'a Name, BTreeSet<&'a Name>>,
    seen: &mut BTreeSet<&'a Name>,
) -> bool {
    let mut next = arrows[from].iter();
    from == goal || seen.insert(from) && next.any(|next| leads_to(next, goal, arrows, seen))
}

#[test]
fn no_two_files_use_each_other() {
    let files = files();
    let all = all_uses(&files);
    let arrows = all.iter().map(|(module, uses)| {
        let own = uses.iter().filter(|(_, handed_on)| handed_on.is_none());
        let used = own.filter_map(|(name, _)| home(name, &all));
        // The `mod.rs` of a folder and its files belong together.
        let used = used.filter(|used| !module.starts_with(used) && !used.starts_with(module));
        (*module, used.collect::<BTreeSet<_>>())
    });
    let arrows: BTreeMap<_, _> = arrows.collect();
    let count: usize = arrows.values().map(BTreeSet::len).sum();
    assert!(count > 400, "the imports were not found: {count}");
    let mut circles = Vec::new();
    for (from, used) in &arrows {
        let back = used
            .iter()
            .filter(|used| leads_to(used, from, &arrows, &mut BTreeSet::new()));
        circles.extend(back.map(|used| format!("{} uses {}", from.join("::"), used.join("::"))));
    }
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}
