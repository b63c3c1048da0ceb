//! What the audience reads: where things are, the rules, one line for each loss and each mark that is
//! set, the figures at the end, and lines to try.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use secrecy::ExposeSecret;

use super::ledger::{Change, Ledger, Seat, What};
use super::page;
use super::script::{LESSON, RULES};
use super::stage::Places;
use crate::local::simulator::CallRecord;
use crate::telemetry::wants_colours;

/// Colours by meaning, as terminals number them.
const GOOD: u8 = 32;
const BAD: u8 = 31;
const CHANGED: u8 = 33;
const HEADING: u8 = 1;

/// What the simulated Chat answers when no member of a call is online: an exact rule is tried at once,
/// also before its member joined.
const NOT_ONLINE: i64 = 10004;

/// Writes lines to standard output, in colours if a person reads them.
pub(super) struct Timeline {
    pub colours: bool,
    /// Whether the show goes on when the output is closed.
    unread: bool,
    /// Unix milliseconds at which the show began.
    pub zero: i64,
}

impl Timeline {
    pub(super) fn new(unread: bool) -> Self {
        Self {
            colours: wants_colours(&io::stdout()),
            unread,
            zero: 0,
        }
    }

    pub(super) fn say(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if self.unread && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    pub(super) fn scene(&self, at: i64, title: &str) -> io::Result<()> {
        let title = paint(self.colours, HEADING, title);
        self.say(&format!("\n{}  {title}", self.time(at)))
    }

    pub(super) fn change(&self, at: i64, change: &Change) -> io::Result<()> {
        self.say(&format!(
            "{}  {}",
            self.time(at),
            line(self.colours, change)
        ))
    }

    fn time(&self, at: i64) -> String {
        format!("{:>8.3} s", (at - self.zero) as f64 / 1000.0)
    }
}

fn line(colours: bool, change: &Change) -> String {
    let (colour, word) = match change.what {
        What::Set => (GOOD, "set"),
        What::Lost => (BAD, "lost"),
        What::Taken if change.delay.is_some() => (CHANGED, "taken"),
        What::Taken => (BAD, "gone"),
    };
    let delay = change.delay.map(|delay| format!("{delay} ms"));
    let after = if delay.is_some() { "after " } else { "" };
    // Accounts and groups come over the wire once the show is over.
    let Seat { group, account } = &change.seat;
    format!(
        "{group:<8} {account:<12} {word} {marks:<10} {delay:>8}  {after}{why}",
        group = group.escape_debug().to_string(),
        account = account.escape_debug().to_string(),
        word = paint(colours, colour, &format!("{word:<5}")),
        marks = list(&change.marks),
        delay = delay.unwrap_or_default(),
        why = change.why,
    )
}

fn paint(colours: bool, colour: u8, text: &str) -> String {
    match colours {
        true => format!("\x1b[{colour}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

fn list<'a>(marks: impl IntoIterator<Item = &'a u32>) -> String {
    let marks: Vec<String> = marks.into_iter().map(u32::to_string).collect();
    marks.join(" ")
}

/// The figures from the books and the calls of `modify_user_info`, and what is wrong.
pub(super) fn verdict(
    ledger: &Ledger,
    calls: &[CallRecord],
    complaints: &[String],
    colours: bool,
) -> String {
    let mut text = format!("\n{}\n", paint(colours, HEADING, "Summary"));
    let mut row = |name: &str, value: String| text += &format!("  {name:<18} {value}\n");
    let rooms: BTreeSet<&str> = ledger.seen.keys().map(|seat| seat.group.as_str()).collect();
    let (members, restored) = (ledger.seen.len(), &ledger.restored);
    row("members", format!("{members} in {} rooms", rooms.len()));
    row("marks required", ledger.demanded().to_string());
    row("marks restored", restored.len().to_string());
    row(
        "marks removed",
        format!("{} of {}", ledger.taken, ledger.to_take()),
    );
    let mut delays: Vec<i64> = restored.iter().map(|one| one.delay).collect();
    delays.sort_unstable();
    if let Some(slowest) = restored.iter().max_by_key(|one| one.delay) {
        row(
            "median delay",
            format!("{} ms", delays[(delays.len() - 1) / 2]),
        );
        let Seat { group, account } = &slowest.seat;
        let what = format!("{account} in {group}, after {}", slowest.after);
        row("slowest delay", format!("{} ms ({what})", slowest.delay));
    }
    let mut errors: BTreeMap<i64, usize> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.error_code != 0) {
        *errors.entry(call.error_code).or_default() += 1;
    }
    let errors = errors.iter().map(|(code, count)| match *code {
        NOT_ONLINE => format!(", {count} answered {code} (no member online)"),
        _ => format!(", {count} answered {code}"),
    });
    row(
        "calls spent",
        format!("{}{}", calls.len(), errors.collect::<String>()),
    );
    let members = || calls.iter().map(|call| call.members.len());
    let mean = members().sum::<usize>() as f64 / calls.len().max(1) as f64;
    let most = members().max().unwrap_or_default();
    row("members per call", format!("{mean:.1}, at most {most}"));
    text + "\n"
        + &match complaints {
            [] => paint(
                colours,
                GOOD,
                "Every mark that a rule requires is in place.\n",
            ),
            complaints => paint(colours, BAD, &(complaints.join("\n") + "\n")),
        }
}

/// Where everything is, and the rules of the show.
pub(super) fn places(places: &Places) -> String {
    let taken = match &places.taken[..] {
        [] => String::new(),
        ports => format!("\n  (ports in use, replaced by free ones: {ports:?})"),
    };
    let rules = RULES.iter().map(|rule| {
        let (id, marks) = (rule.id, list(rule.marks));
        let (group, account, note) = (rule.group, rule.account, rule.note);
        format!("\n  {id:<15} {group:<8} {account:<12} {marks:<6} {note}")
    });
    format!(
        "Stickymark keeps member marks of live rooms in place. All of it runs on this machine:\n\
         \x20 simulated Chat   http://{chat}\n\
         \x20 callbacks        http://{callback}/callback\n\
         \x20 management API   http://{admin}\n\
         \x20 stage            http://{admin}{stage}\n\
         \x20 database         PostgreSQL in {database}, removed at the end{taken}\n\n\
         The rules say which members have which marks:{rules}\n\
         Chat clears a member's marks whenever they leave or drop.",
        chat = places.chat,
        callback = places.callback,
        admin = places.admin,
        database = places.database.display(),
        stage = page::PATH,
        rules = rules.collect::<String>(),
    )
}

/// Lines to try with the real ports and the real token.
pub(super) fn invitation(places: &Places) -> String {
    let Places { chat, admin, .. } = places;
    let token = places.token.expose_secret();
    let viewer = places.viewer.expose_secret();
    let member = format!(r#"'{{"group":"{LESSON}","accounts":["teacher-li"]}}'"#);
    format!(
        r#"It runs until Ctrl-C. Open in a browser:

  stage    http://{admin}{stage}    move the members yourself and make Chat fail
  console  http://{admin}/#/overview?token={token}    signs in; to look only, the token is {viewer}

In another terminal, while this one goes on printing:

  # the teacher drops and comes back; the marks on the teacher
  curl http://{chat}/control/drop -d {member}
  curl http://{chat}/control/back -d {member}
  sleep 1; curl -s http://{chat}/control/room -d '{{"group":"{LESSON}"}}' | grep -o '"teacher-li":{{[^}}]*}}'

  # a rule for one pupil acts at once; and without it again. (A rule for pupil-* reaches all within seconds.)
  curl -X PUT http://{admin}/v1/rules/pupil -H 'Authorization: Bearer {token}' \
    -H 'Content-Type: application/json' -d '{{"group":"{LESSON}","account":"pupil-01","marks":[1003]}}'
  curl -X DELETE http://{admin}/v1/rules/pupil -H 'Authorization: Bearer {token}'

  # all rules; the service's health; the calls that Chat got
  curl -s http://{admin}/v1/rules -H 'Authorization: Bearer {token}'
  curl -s http://{admin}/readyz
  curl -s http://{chat}/control/stats

  # the next two calls fail; now let a member drop and come back
  curl http://{chat}/control/fault -d '{{"api":"modify_user_info","count":2,"effect":{{"error_code":60008}}}}'
"#,
        stage = page::PATH,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::ledger::tests::change;

    #[test]
    fn a_line_gives_member_marks_delay_and_cause_and_an_account_cannot_forge_one() {
        let mut restored = change(What::Set, &[1001, 1002], Some((41, "coming back")));
        assert_eq!(
            line(false, &restored),
            "gala     vip-1        set   1001 1002     41 ms  after coming back"
        );
        let coloured = line(true, &restored);
        assert!(
            coloured.contains("\x1b[32mset  \x1b[0m 1001 1002"),
            "{coloured:?}"
        );
        restored.seat.account = "a\u{1b}[2J\nb".to_owned();
        let forged = line(false, &restored);
        assert!(!forged.contains(['\u{1b}', '\n']), "{forged:?}");
    }

    #[test]
    fn what_is_wrong_is_in_the_verdict() {
        let complaints = ["vip-2 lacks a mark".to_owned()];
        let text = verdict(&Ledger::default(), &[], &complaints, false);
        assert!(
            text.ends_with("\nvip-2 lacks a mark\n") && !text.contains("median"),
            "{text}"
        );
        assert!(!text.contains("in place"), "{text}");
    }
}
