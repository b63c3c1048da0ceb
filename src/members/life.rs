//! The life of a member: what their row becomes after a round, and by what a sweep finds. Pure, so that
//! it can be read and tested in one place; `store::write_back` stores the result.
//!
//! An event makes a row (`store::record`), and the worker claims it. After the round it rests until the
//! next event, or until a rule starts or ends; or it is tried again, a little later each time; or it has
//! failed. A leave empties it. What a sweep finds goes the same ways (`resync::compare`).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::Presence;
use crate::domain::{Account, MarkSet};

/// What is known of a member; a row of `members`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub account: Account,
    pub presence: Presence,
    /// The marks that Chat confirmed since the member arrived.
    pub marks: MarkSet,
    /// The marks of the last confirmation, which a leave does not empty, and when it was.
    pub confirmed_marks: MarkSet,
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Chat may hold marks that are not in `marks`.
    pub in_doubt: bool,
    /// Marks that rule changes took away while the member was in doubt.
    pub revoked: MarkSet,
    /// Marks that the member should have and for which the room has no place.
    pub waits_for: MarkSet,
    pub due_at: Option<DateTime<Utc>>,
    pub pending_since: Option<DateTime<Utc>>,
    /// When the first callback was handed in that is not served yet.
    pub unserved_since: Option<DateTime<Utc>>,
    /// Every change of fact raises it.
    pub generation: i64,
    /// Tries in a row that did not succeed.
    pub tries: i32,
    /// Why the last one did not.
    pub last_error: Option<String>,
    pub failed_at: Option<DateTime<Utc>>,
    /// The request that last concerned the member, if one is known, and its trace.
    pub request_id: Option<String>,
    pub traceparent: Option<String>,
    /// The queue does not work on the member (see "Who works on a row" in the header of `store`), and
    /// nothing was recorded or confirmed lately. Only the sweep asks for it.
    pub quiet: bool,
}

/// What became of a member in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Chat confirmed that the member now carries exactly these marks of ours.
    Confirmed { marks: MarkSet },
    /// There was nothing to send.
    Idle,
    /// The room has no place for some mark that the member should carry, or Chat keeps leaving the member
    /// out although they are in the room. Try again after the delay.
    Waiting {
        /// The marks that Chat confirmed just now; `None` if it was not asked.
        marks: Option<MarkSet>,
        /// The marks without a place.
        waits_for: MarkSet,
        reason: String,
        retry: Duration,
    },
    /// Chat left the member out of its answer, so they were not online. Try again after the delay, or
    /// believe them absent until their next event.
    LeftOut { retry: Option<Duration> },
    /// Try again after the delay; without one the member has failed.
    Failed {
        error: String,
        retry: Option<Duration>,
        /// Whether this try counts towards the limit of tries.
        counts: bool,
        /// Whether Chat may have carried out the call.
        in_doubt: bool,
    },
}

/// Why a member that Chat leaves out is tried again, for people.
const LEFT_OUT: &str =
    "Chat left the member out of its answer, as it does for members who are not online";

impl Outcome {
    /// In one word, for the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::Idle => "idle",
            Self::Waiting { .. } => "waiting",
            Self::LeftOut { retry: Some(_) } => "left out",
            Self::LeftOut { retry: None } => "absent",
            Self::Failed { retry: Some(_), .. } => "retried",
            Self::Failed { retry: None, .. } => "failed",
        }
    }
}

impl Member {
    /// A member without a row.
    pub(crate) fn without_row(account: Account) -> Self {
        Self {
            account,
            presence: Presence::Unknown,
            marks: MarkSet::new(),
            confirmed_marks: MarkSet::new(),
            confirmed_at: None,
            in_doubt: false,
            revoked: MarkSet::new(),
            waits_for: MarkSet::new(),
            due_at: None,
            pending_since: None,
            unserved_since: None,
            generation: 0,
            tries: 0,
            last_error: None,
            failed_at: None,
            request_id: None,
            traceparent: None,
            quiet: false,
        }
    }

    /// The row after a round that ended at `now`. `next`: when a rule starts or ends for
    /// the member, or a mark must be renewed. It limits every delay, so that a failed or waiting member
    /// loses a mark in time, too.
    pub fn after(
        mut self,
        outcome: Outcome,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        match outcome {
            Outcome::Idle => self.rest(next),
            Outcome::Confirmed { marks } => {
                self.confirm(marks, now);
                self.rest(next);
            }
            Outcome::Waiting {
                marks,
                waits_for,
                reason,
                retry,
            } => {
                if let Some(marks) = marks {
                    self.confirm(marks, now);
                    self.tries = 0;
                }
                self.end_doubt();
                self.try_again(reason, retry, next, now);
                self.waits_for = waits_for;
            }
            Outcome::LeftOut { retry: Some(retry) } => {
                self.tries += 1;
                self.end_doubt();
                self.try_again(LEFT_OUT.to_owned(), retry, next, now);
            }
            Outcome::LeftOut { retry: None } => {
                self.presence = Presence::Absent;
                self.marks.clear();
                // The next event plans again.
                self.rest(None);
            }
            Outcome::Failed {
                error,
                retry,
                counts,
                in_doubt,
            } => {
                self.tries += i32::from(counts);
                self.in_doubt = in_doubt;
                match retry {
                    Some(retry) => self.try_again(error, retry, next, now),
                    None => {
                        let (tries, revoked) = (self.tries, std::mem::take(&mut self.revoked));
                        self.rest(next);
                        (self.tries, self.revoked, self.in_doubt) = (tries, revoked, in_doubt);
                        (self.last_error, self.failed_at) = (Some(error), Some(now));
                    }
                }
            }
        }
        self
    }

    /// The row of a member that Chat lists in the room with these marks. Its lists end all doubt.
    /// `stays_failed`: the member has failed and still lacks a mark.
    pub(crate) fn seen(
        mut self,
        held: MarkSet,
        due: bool,
        stays_failed: bool,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        let failure = (self.tries, self.last_error.take(), self.failed_at);
        self.presence = Presence::Present;
        self.marks = held;
        self.request_id = None;
        self.rest(next);
        if due {
            (self.due_at, self.pending_since) = (Some(now), Some(now));
        }
        if stays_failed {
            (self.tries, self.last_error, self.failed_at) = failure;
        }
        self
    }

    /// The row of a member that Chat does not find in the room.
    pub(crate) fn not_found(mut self) -> Self {
        self.presence = Presence::Absent;
        self.marks.clear();
        self.request_id = None;
        self.rest(None);
        self
    }

    fn confirm(&mut self, marks: MarkSet, now: DateTime<Utc>) {
        self.presence = Presence::Present;
        self.confirmed_marks.clone_from(&marks);
        self.marks = marks;
        self.confirmed_at = Some(now);
    }

    /// Chat's answer says what the member carries.
    fn end_doubt(&mut self) {
        self.in_doubt = false;
        self.revoked.clear();
    }

    /// Nothing is left to do before `next`.
    fn rest(&mut self, next: Option<DateTime<Utc>>) {
        self.end_doubt();
        self.waits_for.clear();
        self.due_at = next;
        (self.pending_since, self.unserved_since) = (None, None);
        self.tries = 0;
        (self.last_error, self.failed_at) = (None, None);
    }

    fn try_again(
        &mut self,
        why: String,
        retry: Duration,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        let retry = now + TimeDelta::from_std(retry).unwrap_or(TimeDelta::MAX);
        self.due_at = Some(next.map_or(retry, |next| next.min(retry)));
        self.pending_since.get_or_insert(now);
        self.waits_for.clear();
        (self.last_error, self.failed_at) = (Some(why), None);
    }
}

#[cfg(test)]
impl Member {
    /// Alice came a moment ago.
    pub(crate) fn example() -> Self {
        Self {
            presence: Presence::Present,
            generation: 1,
            ..Self::without_row(Account::parse("alice").unwrap())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::{array_text, marks};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_760_000_000 + second, 0).unwrap()
    }

    /// A member with a bit of everything: they carried a mark, and two tries did not succeed.
    fn tried() -> Member {
        Member {
            marks: marks([1000]),
            confirmed_marks: marks([1000]),
            confirmed_at: Some(at(-100)),
            in_doubt: true,
            revoked: marks([1001]),
            waits_for: marks([1002]),
            due_at: Some(at(-1)),
            pending_since: Some(at(-10)),
            unserved_since: Some(at(-11)),
            tries: 2,
            last_error: Some("before".to_owned()),
            ..Member::example()
        }
    }

    /// All that is not empty, in words. Times are seconds.
    fn words(row: &Member) -> String {
        let seconds = |at: Option<DateTime<Utc>>| {
            let seconds = at.map(|at| (at.timestamp() - 1_760_000_000).to_string());
            seconds.unwrap_or_default()
        };
        let numbers = |marks: &MarkSet| array_text(marks).replace("{}", "");
        let fields = [
            ("marks", numbers(&row.marks)),
            ("confirmed", numbers(&row.confirmed_marks)),
            ("at", seconds(row.confirmed_at)),
            ("revoked", numbers(&row.revoked)),
            ("waits for", numbers(&row.waits_for)),
            ("due", seconds(row.due_at)),
            ("pending", seconds(row.pending_since)),
            ("unserved", seconds(row.unserved_since)),
            ("tries", row.tries.to_string().replace('0', "")),
            ("why", row.last_error.clone().unwrap_or_default()),
            ("failed", seconds(row.failed_at)),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let fields: Vec<String> = fields
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let doubt = if row.in_doubt { "in doubt" } else { "" };
        let words = format!("{} {doubt}: {}", row.presence.as_str(), fields.join(", "));
        words.replace(" :", ":")
    }

    fn failed(retry: Option<Duration>, in_doubt: bool) -> Outcome {
        Outcome::Failed {
            error: "why".to_owned(),
            retry,
            counts: true,
            in_doubt,
        }
    }

    fn waiting(marks: Option<MarkSet>) -> Outcome {
        Outcome::Waiting {
            marks,
            waits_for: self::marks([1003]),
            reason: "why".to_owned(),
            retry: MINUTE,
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const LEFT_OUT_BEFORE: Outcome = Outcome::LeftOut {
        retry: Some(MINUTE),
    };

    #[test]
    fn every_outcome_has_its_row() {
        let marks = marks([1005]);
        let confirmed = Outcome::Confirmed {
            marks: marks.clone(),
        };
        let left_out = format!(
            "present: marks {{1000}}, confirmed {{1000}}, at -100, due 60, pending -10, unserved -11, \
             tries 3, why {LEFT_OUT}"
        );
        for (outcome, row) in [
            (
                Outcome::Idle,
                "present: marks {1000}, confirmed {1000}, at -100",
            ),
            (confirmed, "present: marks {1005}, confirmed {1005}, at 0"),
            (
                waiting(Some(marks)),
                "present: marks {1005}, confirmed {1005}, at 0, waits for {1003}, due 60, pending -10, \
                 unserved -11, why why",
            ),
            (
                waiting(None),
                "present: marks {1000}, confirmed {1000}, at -100, waits for {1003}, due 60, \
                 pending -10, unserved -11, tries 2, why why",
            ),
            (LEFT_OUT_BEFORE, &*left_out),
            (
                Outcome::LeftOut { retry: None },
                "absent: confirmed {1000}, at -100",
            ),
            (
                failed(Some(MINUTE), true),
                "present in doubt: marks {1000}, confirmed {1000}, at -100, revoked {1001}, due 60, \
                 pending -10, unserved -11, tries 3, why why",
            ),
            (
                failed(None, false),
                "present: marks {1000}, confirmed {1000}, at -100, revoked {1001}, tries 3, why why, \
                 failed 0",
            ),
        ] {
            let name = outcome.name();
            let after = tried().after(outcome, None, at(0));
            assert_eq!(words(&after), row, "{name}");
        }
    }

    #[test]
    fn whatever_became_of_a_member_the_next_start_or_end_of_a_rule_is_not_missed() {
        let confirmed = Outcome::Confirmed {
            marks: marks([1000]),
        };
        for outcome in [
            failed(None, false),
            failed(Some(MINUTE), true),
            waiting(None),
            confirmed,
            Outcome::Idle,
            LEFT_OUT_BEFORE,
        ] {
            let name = outcome.name();
            let row = tried().after(outcome, Some(at(30)), at(0));
            assert_eq!(row.due_at, Some(at(30)), "{name}");
        }
    }

    #[test]
    fn what_a_sweep_finds_has_its_row() {
        let failed = || Member {
            failed_at: Some(at(-5)),
            ..tried()
        };
        let seen = |due, stays_failed| {
            let row = failed().seen(marks([1005]), due, stays_failed, Some(at(60)), at(0));
            words(&row)
        };
        assert_eq!(
            seen(false, false),
            "present: marks {1005}, confirmed {1000}, at -100, due 60"
        );
        assert_eq!(
            seen(true, true),
            "present: marks {1005}, confirmed {1000}, at -100, due 0, pending 0, tries 2, why before, \
             failed -5"
        );
        let gone = failed().not_found();
        assert_eq!(words(&gone), "absent: confirmed {1000}, at -100");
    }

    #[test]
    fn a_try_that_says_nothing_about_the_member_does_not_count() {
        let outcome = Outcome::Failed {
            error: "why".to_owned(),
            retry: Some(Duration::ZERO),
            counts: false,
            in_doubt: false,
        };
        let row = tried().after(outcome, None, at(0));
        assert_eq!((row.tries, row.due_at), (2, Some(at(0))));
    }
}
