//! The demo as a newcomer runs it: the real program, in an empty directory.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::process::PATIENCE;

/// An empty directory for a demo to run in and to keep its temporary files in.
pub(crate) fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    place
}

/// Waits until the demo's PostgreSQL has removed its files, which it does as the last thing.
fn wait_until_empty(place: &Path) {
    let started = Instant::now();
    while std::fs::read_dir(place).unwrap().next().is_some() {
        assert!(started.elapsed() < PATIENCE, "the demo left files behind");
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn demo(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stickymark"));
    command
        .arg("demo")
        .args(arguments)
        .current_dir(place)
        .env("TMPDIR", place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Reads what a running demo prints until a line holds this text.
pub(crate) fn read_until(
    child: &mut Child,
    text: &str,
) -> (String, BufReader<std::process::ChildStdout>) {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut read = String::new();
    while !read.lines().last().is_some_and(|line| line.contains(text)) {
        let before = read.len();
        lines.read_line(&mut read).unwrap();
        if read.len() == before {
            let mut errors = String::new();
            let mut stderr = child.stderr.take().unwrap();
            stderr.read_to_string(&mut errors).unwrap();
            panic!("it ended without {text:?}:\n{read}\n{errors}");
        }
    }
    (read, lines)
}

/// The whole show, and what it says at the end.
fn play_once(place: &Path) -> String {
    let output = demo(place, &["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success(),
        "{}\n{text}\n{errors}",
        output.status
    );
    assert_eq!(errors, "", "the timeline stays clean");
    text
}

#[test]
fn a_demo_that_nobody_reads_any_more_ends_quietly() {
    let place = place();
    let mut child = demo(place.path(), &[]).spawn().unwrap();
    let (_, lines) = read_until(&mut child, "The lesson begins");
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    wait_until_empty(place.path());
}

fn row<'a>(text: &'a str, name: &str) -> &'a str {
    let row = text.lines().find_map(|line| line.trim().strip_prefix(name));
    row.unwrap_or_else(|| panic!("no row {name:?} in\n{text}"))
        .trim()
}

#[test]
fn a_show_restores_every_mark_and_one_that_is_killed_leaves_nothing_behind() {
    let place = place();
    let mut killed = demo(place.path(), &[]).spawn().unwrap();
    read_until(&mut killed, "  set ");
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_until_empty(place.path());

    let text = play_once(place.path());
    wait_until_empty(place.path());
    assert!(
        text.contains("Every mark that a rule requires is in place."),
        "{text}"
    );
    // 17 when the rooms fill, 13 when the teacher and the gala return, 8 by the edit, 2 in the
    // finale, 1 moderator and 2 on the VIP who return.
    assert_eq!(row(&text, "marks required"), "43");
    assert_eq!(row(&text, "marks restored"), "43");
    assert_eq!(row(&text, "members"), "40 in 2 rooms");
    // Two singers' marks end, three helpers' rule is deleted.
    assert_eq!(row(&text, "marks removed"), "5 of 5");
    let told = |line: &[&str]| {
        let found = text
            .lines()
            .any(|l| line.iter().all(|part| l.contains(part)));
        assert!(found, "no line with {line:?} in\n{text}");
    };
    told(&["teacher-li", "lost", "1001", "connection lost"]);
    told(&["teacher-li", "set", "1001", " ms ", "after coming back"]);
    told(&["vip-8", "set", "2002", " ms ", "after the edit"]);
    told(&["singer-1", "set", "3001", " ms ", "after the rule began"]);
    told(&["singer-1", "taken", "3001", " ms ", "after the rule ended"]);
    told(&["helper-3", "taken", "1002", " ms ", "after the deletion"]);
    told(&["vip-3", "set", "2001 2002", " ms ", "after coming back"]);
    told(&["vip-8", "lost", "2001 2002", "left"]);
    assert!(!text.contains('\u{1b}'), "no colours where no terminal is");
}

#[test]
fn the_demo_stays_up_with_lines_to_try_and_removes_its_database_when_interrupted() {
    let place = place();
    let mut child = demo(place.path(), &[]).spawn().unwrap();
    let (text, mut rest) = read_until(&mut child, "/control/fault");
    assert!(text.contains("Authorization: Bearer "), "{text}");
    assert!(std::fs::read_dir(place.path()).unwrap().next().is_some());
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    let mut end = String::new();
    rest.read_to_string(&mut end).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {end}");
    assert!(end.contains("Stopped."), "{end}");
    wait_until_empty(place.path());
}
