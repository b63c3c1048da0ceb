//! What the audience reads: one line for each loss and each mark that is set, in columns.

use std::io::{self, IsTerminal, Write};

use super::house::Marks;
use super::ledger::{Change, What};

/// Writes lines to standard output, in colours if a person reads them.
pub(super) struct Timeline<W: Write> {
    out: W,
    colours: bool,
    /// Whether the show goes on when the output is closed.
    unread: bool,
    /// Unix milliseconds at which the show began.
    zero: i64,
}

/// Colours by meaning, as terminals number them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    Good = 32,
    Bad = 31,
    Changed = 33,
    Heading = 1,
}

impl Timeline<io::Stdout> {
    /// On standard output. Colours only on a terminal, and not where `NO_COLOR` is set. With
    /// `unread` it falls silent when the output is closed, instead of failing.
    pub(super) fn new(unread: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let out = io::stdout();
        let colours = out.is_terminal() && !refused;
        Self {
            out,
            colours,
            unread,
            zero: 0,
        }
    }
}

impl<W: Write> Timeline<W> {
    /// The show begins.
    pub(super) fn begin(&mut self, zero: i64) {
        self.zero = zero;
    }

    /// When the show began.
    pub(super) fn zero(&self) -> i64 {
        self.zero
    }

    /// A line, or several.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        let written = writeln!(self.out, "{text}").and_then(|()| self.out.flush());
        match written {
            Err(error) if self.unread && error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// The title of a scene.
    pub(super) fn scene(&mut self, at: i64, title: &str) -> io::Result<()> {
        let title = self.paint(Colour::Heading, title);
        let text = format!("\n{:>8} s  {title}", seconds(at - self.zero));
        self.say(&text)
    }

    /// What became different on one member.
    pub(super) fn change(&mut self, at: i64, change: &Change) -> io::Result<()> {
        let (colour, word, delay, why) = match &change.what {
            What::Set(Some((delay, cause))) => (
                Colour::Good,
                "set",
                Some(delay),
                format!("after {}", cause.what),
            ),
            What::Set(None) => (Colour::Good, "set", None, String::new()),
            What::Lost(why) => (Colour::Bad, "lost", None, (*why).to_owned()),
            What::Taken(delay, cause) => (
                Colour::Changed,
                "taken",
                Some(delay),
                format!("after {}", cause.what),
            ),
            What::Vanished => (
                Colour::Bad,
                "gone",
                None,
                "by no rule of the show".to_owned(),
            ),
        };
        let delay = delay.map_or(String::new(), |delay| format!("{delay} ms"));
        // Accounts and groups come over the wire once the show is over.
        let seat = &change.seat;
        let text = format!(
            "{time:>8} s  {group:<8} {account:<12} {word} {marks:<10} {delay:>8}  {why}",
            time = seconds(at - self.zero),
            group = seat.group.escape_debug().to_string(),
            account = seat.account.escape_debug().to_string(),
            word = self.paint(colour, &format!("{word:<5}")),
            marks = list(&change.marks),
        );
        self.say(text.trim_end())
    }

    /// A text in a colour, or as it is.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        if self.colours {
            format!("\x1b[{}m{text}\x1b[0m", colour as u8)
        } else {
            text.to_owned()
        }
    }
}

/// Marks as people write them.
pub(super) fn list(marks: &Marks) -> String {
    let marks: Vec<String> = marks.iter().map(u32::to_string).collect();
    marks.join(" ")
}

fn seconds(milliseconds: i64) -> String {
    format!("{:.3}", milliseconds as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::house::tests::seat;
    use crate::local::demo::ledger::Cause;

    fn written(colours: bool, change: &Change) -> String {
        let mut timeline = Timeline {
            out: Vec::new(),
            colours,
            unread: false,
            zero: 1_000,
        };
        timeline.change(3_241, change).unwrap();
        String::from_utf8(timeline.out).unwrap()
    }

    fn restored() -> Change {
        let cause = Cause {
            at: 3_200,
            what: "coming back".to_owned(),
        };
        Change {
            seat: seat("math-7", "teacher-li"),
            marks: [1001, 1002].into(),
            what: What::Set(Some((41, cause))),
        }
    }

    #[test]
    fn a_line_gives_time_member_marks_delay_and_cause() {
        assert_eq!(
            written(false, &restored()),
            "   2.241 s  math-7   teacher-li   set   1001 1002     41 ms  after coming back\n"
        );
    }

    #[test]
    fn colours_stand_around_the_word_and_do_not_move_the_columns() {
        let line = written(true, &restored());
        assert!(line.contains("\x1b[32mset  \x1b[0m 1001 1002"), "{line:?}");
    }

    #[test]
    fn an_account_cannot_forge_a_line() {
        let change = Change {
            seat: seat("gala", "a\u{1b}[2J\nb"),
            ..restored()
        };
        let line = written(false, &change);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
}
