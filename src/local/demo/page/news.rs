//! What changed, for the page: one line for all members of a room with the same
//! change at once.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::cast::Cast;
use crate::local::demo::house::Marks;
use crate::local::demo::ledger::{Change, What};

/// Lines that a page is given.
const KEPT: usize = 40;
/// Accounts that one line names; the others are counted.
const NAMED: usize = 3;

/// The latest lines, newest first.
#[derive(Debug, Default)]
pub(super) struct News {
    lines: VecDeque<Line>,
    last: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// 1 for the first, and so on.
    id: u64,
    /// Unix milliseconds.
    at: i64,
    group: String,
    what: Kind,
    marks: Marks,
    /// The first few.
    accounts: Vec<String>,
    /// Members that it is about.
    count: usize,
    /// Milliseconds that the slowest took, where that is known.
    delay: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Marks went with the member's presence.
    Lost,
    /// Marks were deleted from members who are there.
    Taken,
    Set,
}

impl News {
    /// Takes in what became different at a time.
    pub(super) fn add(&mut self, at: i64, changes: &[Change], cast: &Cast) {
        let mut lines: BTreeMap<(Kind, &str, &Marks), Line> = BTreeMap::new();
        for change in changes {
            let (what, delay) = told(change, cast);
            let group = change.seat.group.as_str();
            let line = lines.entry((what, group, &change.marks));
            let line = line.or_insert_with(|| Line {
                id: 0,
                at,
                group: group.to_owned(),
                what,
                marks: change.marks.clone(),
                accounts: Vec::new(),
                count: 0,
                delay: None,
            });
            line.count += 1;
            line.delay = line.delay.max(delay);
            if line.accounts.len() < NAMED {
                line.accounts.push(change.seat.account.clone());
            }
        }
        for mut line in lines.into_values() {
            self.last += 1;
            line.id = self.last;
            self.lines.push_front(line);
        }
        self.lines.truncate(KEPT);
    }

    /// The lines, newest first.
    pub(super) fn lines(&self) -> &VecDeque<Line> {
        &self.lines
    }
}

fn told(change: &Change, cast: &Cast) -> (Kind, Option<i64>) {
    match &change.what {
        What::Set(Some((delay, _))) => (Kind::Set, Some(*delay)),
        // The books know the rules of the screenplay alone; the cast knows all.
        What::Set(None) => {
            let room = cast.rooms().get(&change.seat.group);
            let member = room.and_then(|room| room.members.get(&change.seat.account));
            let complete = member.filter(|member| member.marks == change.marks);
            (Kind::Set, complete.and_then(|member| member.delay))
        }
        What::Taken(delay, _) => (Kind::Taken, Some(*delay)),
        What::Vanished => (Kind::Taken, None),
        What::Lost(_) => (Kind::Lost, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::house::tests::seat;
    use crate::local::demo::ledger::Cause;

    fn set(account: &str, delay: i64) -> Change {
        let what = "coming back".to_owned();
        Change {
            seat: seat("gala", account),
            marks: [2001].into(),
            what: What::Set(Some((delay, Cause { at: 0, what }))),
        }
    }

    #[test]
    fn the_same_change_of_many_members_is_one_line_with_the_slowest_delay() {
        let mut news = News::default();
        let changes = [set("a", 30), set("b", 52), set("c", 40), set("d", 31)];
        news.add(7, &changes, &Cast::default());
        let [line] = Vec::from(news.lines.clone()).try_into().unwrap();
        let Line {
            accounts,
            count,
            delay,
            ..
        } = line;
        assert_eq!((accounts.len(), count, delay), (3, 4, Some(52)));
    }

    #[test]
    fn a_loss_comes_before_the_return_and_old_lines_go() {
        let mut news = News::default();
        let lost = Change {
            what: What::Lost("left"),
            ..set("a", 0)
        };
        news.add(1, &[set("a", 5), lost], &Cast::default());
        let kinds: Vec<Kind> = news.lines().iter().map(|line| line.what).collect();
        assert_eq!(kinds, [Kind::Set, Kind::Lost], "newest first");
        for at in 2..100 {
            news.add(at, &[set("a", 5)], &Cast::default());
        }
        assert_eq!(news.lines().len(), KEPT);
        assert_eq!(news.lines()[0].id, 100);
    }
}
