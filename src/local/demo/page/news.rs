//! What changed, for the page: one line for all members of a room with the same
//! change at once.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use super::rooms::Cast;
use crate::local::demo::ledger::{Change, Marks, What};

/// Lines that a page is given.
const KEPT: usize = 40;
/// Accounts that one line names; the others are counted.
const NAMED: usize = 3;

/// The latest lines, newest first.
#[derive(Debug, Default)]
pub(super) struct News {
    pub lines: VecDeque<Line>,
    last: u64,
}

#[derive(Debug, Serialize)]
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
    /// How many members it is about.
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
            let (group, account) = (&change.seat.group, &change.seat.account);
            let what = match change.what {
                What::Set => Kind::Set,
                What::Lost => Kind::Lost,
                What::Taken | What::Gone => Kind::Taken,
            };
            // The books know the rules of the screenplay alone; the cast knows all.
            let by_cast = || {
                let member = cast.0.get(group)?.members.get(account)?;
                let complete = what == Kind::Set && member.marks == change.marks;
                member.delay.filter(|_| complete)
            };
            let line = lines.entry((what, group, &change.marks));
            let line = line.or_insert_with(|| Line {
                id: 0,
                at,
                group: group.clone(),
                what,
                marks: change.marks.clone(),
                accounts: Vec::new(),
                count: 0,
                delay: None,
            });
            line.count += 1;
            line.delay = line.delay.max(change.delay.or_else(by_cast));
            if line.accounts.len() < NAMED {
                line.accounts.push(account.clone());
            }
        }
        for mut line in lines.into_values() {
            self.last += 1;
            line.id = self.last;
            self.lines.push_front(line);
        }
        self.lines.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::demo::ledger::tests::change;

    #[test]
    fn the_same_change_of_many_members_is_one_line_and_old_lines_go() {
        let mut news = News::default();
        let set = |delay| change(What::Set, &[2001], Some((delay, "coming back")));
        let mut changes: Vec<Change> = [30, 52, 40, 31].map(set).into();
        changes.push(change(What::Lost, &[2001], None));
        news.add(1, &changes, &Cast::default());
        let [line, lost] = news.lines.make_contiguous() else {
            panic!("{:?}", news.lines)
        };
        assert_eq!(
            (line.what, lost.what),
            (Kind::Set, Kind::Lost),
            "newest first"
        );
        assert_eq!(
            (line.accounts.len(), line.count, line.delay),
            (3, 4, Some(52))
        );
        for at in 2..100 {
            news.add(at, &[set(5)], &Cast::default());
        }
        assert_eq!((news.lines.len(), news.lines[0].id), (KEPT, 100));
    }
}
