//! From what is known of a member and the rules that match to what must be sent: a pure function, run
//! at the moment of the call, so that a rule edited in between is never misapplied. Then the places of a
//! room's marks are given out, so that no call asks for a mark that is full.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{Mark, MarkSet};
use crate::members::{MEMBERS_A_MARK, Member};
use crate::rules::Matched;

/// Mark 500 ends after three days; it is set again well before. Chat's last confirmation is also the
/// last time that it was set, since a delete for a member with mark 500 is followed by a set.
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
const RENEW_ALWAYS_ONLINE_AFTER: TimeDelta = TimeDelta::hours(60);

/// What must be done for one member.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberPlan {
    /// Marks that Chat may hold and that no rule requires now.
    pub delete: MarkSet,
    /// All marks that rules require now, if any has to be set. The whole set is sent, since whether
    /// Chat adds to or replaces a member's marks is not documented.
    pub set: MarkSet,
    /// The marks that the member carries when this is done.
    pub desired: MarkSet,
    /// Whether `set` goes out although the member may carry all of it: mark 500 is renewed.
    pub renews: bool,
    /// Whether some rule matches the member at all.
    pub named: bool,
    /// When the plan must be looked at again, if nothing happens before: a rule starts or ends, or
    /// mark 500 has to be renewed.
    pub next: Option<DateTime<Utc>>,
}

impl MemberPlan {
    /// True if nothing has to be sent.
    pub fn is_idle(&self) -> bool {
        self.delete.is_empty() && self.set.is_empty()
    }
}

/// Plans for one member at the moment `now` (the clock of Postgres), from all rules whose patterns
/// match, whether or not they are active now.
pub fn plan(member: &Member, rules: &[Matched], now: DateTime<Utc>) -> MemberPlan {
    let active = rules
        .iter()
        .filter(|rule| rule.enabled && rule.window.contains(now));
    let desired: MarkSet = active.flat_map(|rule| rule.marks.iter()).collect();
    let delete = &possibly_held(member, rules, now) - &desired;
    let renewal = renewal(member, &desired, now);
    let unsure = member.in_doubt || !desired.is_subset(&member.marks);
    let renews = renewal.is_some_and(|at| at <= now || !delete.is_empty());
    let set = if unsure || renews {
        desired.clone()
    } else {
        MarkSet::new()
    };
    let renew_next = if set.contains(&Mark::ALWAYS_ONLINE) {
        Some(now + RENEW_ALWAYS_ONLINE_AFTER)
    } else {
        renewal
    };
    let boundary = rules.iter().filter(|rule| rule.enabled);
    let boundary = boundary
        .filter_map(|rule| rule.window.next_boundary(now))
        .min();
    let next = [boundary, renew_next].into_iter().flatten().min();
    MemberPlan {
        delete,
        set,
        desired,
        renews,
        named: !rules.is_empty(),
        next,
    }
}

/// The marks of ours that Chat may hold for the member: the confirmed ones, and in doubt also those of
/// rules that have ended and those that a rule change took away (`revoked`). Never a mark that no rule
/// demanded; a rule that was never enabled or has not begun demands nothing.
///
/// Chat has taken away what it confirmed before an arrival, but one arrival has two callbacks, join and
/// online, and the call may have come between them.
fn possibly_held(member: &Member, rules: &[Matched], now: DateTime<Utc>) -> MarkSet {
    let mut held = &member.marks | &member.revoked;
    held.extend(&member.confirmed_marks);
    if member.in_doubt {
        let begun = rules
            .iter()
            .filter(|rule| rule.enabled && rule.window.has_begun(now));
        held.extend(begun.flat_map(|rule| rule.marks.iter()));
    }
    held
}

fn renewal(member: &Member, desired: &MarkSet, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    desired.contains(&Mark::ALWAYS_ONLINE).then(|| {
        member
            .confirmed_at
            .map_or(now, |at| at + RENEW_ALWAYS_ONLINE_AFTER)
    })
}

/// Takes marks out of a plan for which the room has no place left, and returns them. `held` counts
/// the holders of each mark and grows by the places given out.
pub(super) fn take_places(
    member: &Member,
    plan: &mut MemberPlan,
    held: &mut BTreeMap<Mark, usize>,
) -> MarkSet {
    let wanted = &plan.set - &member.marks;
    let mut waits_for = MarkSet::new();
    for mark in wanted {
        let holders = held.entry(mark).or_default();
        if *holders < MEMBERS_A_MARK {
            *holders += 1;
        } else {
            waits_for.insert(mark);
        }
    }
    if !waits_for.is_empty() {
        plan.desired = &plan.desired - &waits_for;
        // With nothing new among them the others need not be sent again.
        let needless = !member.in_doubt && !plan.renews && plan.desired.is_subset(&member.marks);
        plan.set = if needless {
            MarkSet::new()
        } else {
            plan.desired.clone()
        };
    }
    waits_for
}

/// Why a member waits, for people.
pub(super) fn no_place(waits_for: &MarkSet) -> String {
    let marks: Vec<String> = waits_for.iter().map(Mark::to_string).collect();
    format!(
        "no place: {MEMBERS_A_MARK} members of the room carry the mark {}, as many as Chat allows; \
         set when one of them leaves",
        marks.join(", ")
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::{Marks, RuleId, Window};
    use crate::members::marks;

    pub(crate) fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_760_000_000, 0).unwrap()
    }

    pub(crate) fn rule<const N: usize>(numbers: [i64; N]) -> Matched {
        Matched {
            account: 0,
            rule: RuleId::parse("rule").unwrap(),
            marks: Marks::new(marks(numbers)).unwrap(),
            enabled: true,
            window: Window::default(),
        }
    }

    fn arrived() -> Member {
        Member::example()
    }

    fn marked<const N: usize>(numbers: [i64; N]) -> Member {
        Member {
            marks: marks(numbers),
            confirmed_at: Some(now()),
            ..arrived()
        }
    }

    #[test]
    fn what_was_set_before_the_second_callback_of_an_arrival_is_not_forgotten() {
        let arrived = Member {
            confirmed_marks: marks([1000, 1001]),
            ..arrived()
        };
        let without_rule = plan(&arrived, &[], now());
        assert_eq!(without_rule.delete, marks([1000, 1001]));
        let still_demanded = plan(&arrived, &[rule([1001])], now());
        assert_eq!(still_demanded.delete, marks([1000]));
        assert_eq!(still_demanded.set, marks([1001]));
    }

    #[test]
    fn an_arrival_gets_the_union_of_all_rules() {
        let plan = plan(&arrived(), &[rule([1000]), rule([1001, 1000])], now());
        assert_eq!(
            (plan.set, plan.delete),
            (marks([1000, 1001]), MarkSet::new())
        );
    }

    #[test]
    fn a_member_with_all_his_marks_needs_no_call() {
        let plan = plan(&marked([1000]), &[rule([1000])], now());
        assert!(plan.is_idle() && plan.named && plan.next.is_none());
    }

    #[test]
    fn disabled_rules_and_closed_windows_demand_nothing_and_are_taken_away() {
        let disabled = Matched {
            enabled: false,
            ..rule([1000])
        };
        let ended = Window {
            starts_at: None,
            ends_at: Some(now()),
        };
        let ended = Matched {
            window: ended,
            ..rule([1001])
        };
        let plan = plan(&marked([1000, 1001]), &[disabled, ended], now());
        assert_eq!(
            (plan.set, plan.delete),
            (MarkSet::new(), marks([1000, 1001]))
        );
    }

    #[test]
    fn the_whole_set_is_sent_when_one_mark_is_missing() {
        let plan = plan(&marked([1000]), &[rule([1000, 1001])], now());
        assert_eq!(plan.set, marks([1000, 1001]));
    }

    #[test]
    fn in_doubt_everything_is_sent_again_and_what_may_be_left_is_taken_away() {
        let (past, future) = (now() - TimeDelta::hours(1), now() + TimeDelta::hours(1));
        let ended = Matched {
            window: Window {
                starts_at: None,
                ends_at: Some(past),
            },
            ..rule([1002])
        };
        let draft = Matched {
            enabled: false,
            ..rule([1004])
        };
        let not_begun = Matched {
            window: Window {
                starts_at: Some(future),
                ends_at: None,
            },
            ..rule([1005])
        };
        let member = Member {
            in_doubt: true,
            revoked: marks([1003]),
            ..marked([1000])
        };
        let plan = plan(&member, &[rule([1000]), ended, draft, not_begun], now());
        assert_eq!(
            (plan.set, plan.delete),
            (marks([1000]), marks([1002, 1003]))
        );
    }

    #[test]
    fn marks_that_no_rule_named_are_never_taken_away() {
        let plan = plan(&arrived(), &[], now());
        assert!(plan.is_idle() && !plan.named);
    }

    #[test]
    fn the_next_look_is_at_the_nearest_boundary() {
        let hour = TimeDelta::hours(1);
        let later = Window {
            starts_at: Some(now() + hour * 2),
            ends_at: None,
        };
        let until = Window {
            starts_at: None,
            ends_at: Some(now() + hour),
        };
        let rules = [
            Matched {
                window: later,
                ..rule([1001])
            },
            Matched {
                window: until,
                ..rule([1000])
            },
        ];
        let plan = plan(&arrived(), &rules, now());
        assert_eq!((plan.set, plan.next), (marks([1000]), Some(now() + hour)));
    }

    #[test]
    fn mark_500_is_renewed_after_sixty_hours() {
        let hours = TimeDelta::hours;
        let fresh = plan(&marked([500]), &[rule([500])], now() + hours(59));
        assert!(fresh.is_idle());
        assert_eq!(fresh.next, Some(now() + hours(60)));
        let old = plan(&marked([500]), &[rule([500])], now() + hours(60));
        assert_eq!(
            (old.set, old.next),
            (marks([500]), Some(now() + hours(120)))
        );
    }

    #[test]
    fn mark_500_is_set_again_with_every_delete_so_that_its_renewal_is_not_put_off() {
        let at = now() + TimeDelta::hours(59);
        let plan = plan(&marked([500, 1001]), &[rule([500])], at);
        assert_eq!((plan.delete, plan.set), (marks([1001]), marks([500])));
        assert_eq!(plan.next, Some(at + TimeDelta::hours(60)));
    }

    fn wanting<const N: usize>(wanted: [i64; N]) -> MemberPlan {
        MemberPlan {
            set: marks(wanted),
            desired: marks(wanted),
            named: true,
            ..MemberPlan::default()
        }
    }

    fn full(mark: i64, holders: usize) -> BTreeMap<Mark, usize> {
        BTreeMap::from([(Mark::parse(mark).unwrap(), holders)])
    }

    #[test]
    fn the_last_place_is_given_once() {
        let mut held = full(1000, 999);
        let (mut first, mut second) = (wanting([1000]), wanting([1000]));
        assert_eq!(take_places(&marked([]), &mut first, &mut held), marks([]));
        assert_eq!(
            take_places(&marked([]), &mut second, &mut held),
            marks([1000])
        );
        assert_eq!((first.set, second.set), (marks([1000]), marks([])));
    }

    #[test]
    fn the_other_marks_are_set_all_the_same() {
        let mut plan = wanting([1000, 1001]);
        let waits = take_places(&marked([]), &mut plan, &mut full(1000, 1000));
        assert_eq!(
            (waits, plan.set, plan.desired),
            (marks([1000]), marks([1001]), marks([1001]))
        );
    }

    #[test]
    fn a_member_that_holds_a_mark_keeps_the_place() {
        let mut plan = wanting([1000, 1001]);
        let waits = take_places(&marked([1000]), &mut plan, &mut full(1000, 1000));
        assert_eq!((waits, plan.set), (marks([]), marks([1000, 1001])));
    }

    #[test]
    fn a_mark_without_a_place_does_not_keep_mark_500_from_its_renewal() {
        let mut plan = MemberPlan {
            renews: true,
            ..wanting([500, 1000])
        };
        take_places(&marked([500]), &mut plan, &mut full(1000, 1000));
        assert_eq!(plan.set, marks([500]));
    }

    #[test]
    fn nothing_is_sent_again_for_the_sake_of_a_mark_that_must_wait() {
        let mut plan = wanting([1000, 1001]);
        take_places(&marked([1001]), &mut plan, &mut full(1000, 1000));
        assert_eq!(plan.set, marks([]));
    }
}
