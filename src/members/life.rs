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
    /// No rule matches the member any more: the row goes.
    Forgotten,
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
            Self::Forgotten => "forgotten",
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

    /// The row after a round that ended at `now`; `None`: it goes. `next`: when a rule starts or ends for
    /// the member, or a mark must be renewed. It limits every delay, so that a failed or waiting member
    /// loses a mark in time, too.
    pub fn after(
        mut self,
        outcome: Outcome,
        next: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        match outcome {
            Outcome::Forgotten => return None,
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
        Some(self)
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
    use crate::members::marks;

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

    /// What remains when nothing is left to do.
    fn rested(member: Member) -> Member {
        Member {
            in_doubt: false,
            revoked: marks([]),
            waits_for: marks([]),
            due_at: None,
            pending_since: None,
            unserved_since: None,
            tries: 0,
            last_error: None,
            failed_at: None,
            ..member
        }
    }

    fn failed(retry: Option<Duration>, in_doubt: bool) -> Outcome {
        Outcome::Failed {
            error: "why".to_owned(),
            retry,
            counts: true,
            in_doubt,
        }
    }

    #[test]
    fn every_outcome_has_its_row() {
        let minute = Duration::from_secs(60);
        let waiting = |marks| Outcome::Waiting {
            marks,
            waits_for: self::marks([1003]),
            reason: "why".to_owned(),
            retry: minute,
        };
        let again = Member {
            in_doubt: false,
            revoked: marks([]),
            waits_for: marks([]),
            due_at: Some(at(60)),
            last_error: Some("why".to_owned()),
            ..tried()
        };
        let confirmed = Member {
            marks: marks([1005]),
            confirmed_marks: marks([1005]),
            confirmed_at: Some(at(0)),
            ..tried()
        };
        let table = [
            (Outcome::Forgotten, None),
            (Outcome::Idle, Some(rested(tried()))),
            (
                Outcome::Confirmed {
                    marks: marks([1005]),
                },
                Some(rested(confirmed.clone())),
            ),
            (
                waiting(Some(marks([1005]))),
                Some(Member {
                    waits_for: marks([1003]),
                    marks: marks([1005]),
                    confirmed_marks: marks([1005]),
                    confirmed_at: Some(at(0)),
                    tries: 0,
                    ..again.clone()
                }),
            ),
            (
                waiting(None),
                Some(Member {
                    waits_for: marks([1003]),
                    ..again.clone()
                }),
            ),
            (
                Outcome::LeftOut {
                    retry: Some(minute),
                },
                Some(Member {
                    tries: 3,
                    last_error: Some(LEFT_OUT.to_owned()),
                    ..again.clone()
                }),
            ),
            (
                Outcome::LeftOut { retry: None },
                Some(Member {
                    presence: Presence::Absent,
                    marks: marks([]),
                    ..rested(tried())
                }),
            ),
            (
                failed(Some(minute), true),
                Some(Member {
                    tries: 3,
                    in_doubt: true,
                    revoked: marks([1001]),
                    ..again
                }),
            ),
            (
                failed(None, false),
                Some(Member {
                    tries: 3,
                    revoked: marks([1001]),
                    last_error: Some("why".to_owned()),
                    failed_at: Some(at(0)),
                    ..rested(tried())
                }),
            ),
        ];
        for (outcome, row) in table {
            let name = outcome.name();
            assert_eq!(tried().after(outcome, None, at(0)), row, "{name}");
        }
    }

    #[test]
    fn whatever_became_of_a_member_the_next_start_or_end_of_a_rule_is_not_missed() {
        let hour = Duration::from_secs(3600);
        let waiting = Outcome::Waiting {
            marks: None,
            waits_for: marks([1000]),
            reason: "no place".to_owned(),
            retry: hour,
        };
        let confirmed = Outcome::Confirmed {
            marks: marks([1000]),
        };
        for outcome in [
            failed(None, false),
            failed(Some(hour), true),
            waiting,
            confirmed,
            Outcome::Idle,
            Outcome::LeftOut { retry: Some(hour) },
        ] {
            let name = outcome.name();
            let row = tried().after(outcome, Some(at(60)), at(0)).unwrap();
            assert_eq!(row.due_at, Some(at(60)), "{name}");
        }
    }

    #[test]
    fn what_a_sweep_finds_has_its_row() {
        let failed = Member {
            failed_at: Some(at(-5)),
            ..tried()
        };
        let seen = Member {
            marks: marks([1005]),
            ..rested(failed.clone())
        };
        let row = failed
            .clone()
            .seen(marks([1005]), false, false, Some(at(60)), at(0));
        let due_at = Some(at(60));
        assert_eq!(
            row,
            Member {
                due_at,
                ..seen.clone()
            }
        );
        let row = failed
            .clone()
            .seen(marks([1005]), true, true, Some(at(60)), at(0));
        let due_now = Member {
            due_at: Some(at(0)),
            pending_since: Some(at(0)),
            tries: 2,
            last_error: Some("before".to_owned()),
            failed_at: Some(at(-5)),
            ..seen
        };
        assert_eq!(row, due_now);
        let absent = Member {
            presence: Presence::Absent,
            marks: marks([]),
            ..rested(failed.clone())
        };
        assert_eq!(failed.not_found(), absent);
    }

    #[test]
    fn a_try_that_says_nothing_about_the_member_does_not_count() {
        let outcome = Outcome::Failed {
            error: "why".to_owned(),
            retry: Some(Duration::ZERO),
            counts: false,
            in_doubt: false,
        };
        let row = tried().after(outcome, None, at(0)).unwrap();
        assert_eq!((row.tries, row.due_at), (2, Some(at(0))));
    }
}
