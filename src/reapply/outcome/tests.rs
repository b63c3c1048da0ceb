//! What becomes of a member, by Chat's answer and what was tried before.

use super::*;
use std::sync::Arc;

use crate::chat::ErrorCode;
use crate::domain::{Mark, MarkSet};

fn alice() -> Member {
    Member::example()
}

fn named() -> MemberPlan {
    let desired = MarkSet::from([Mark::parse(1000).unwrap()]);
    MemberPlan {
        set: desired.clone(),
        desired,
        named: true,
        ..MemberPlan::default()
    }
}

fn outcome_of(member: &Member, verdict: &Verdict) -> Outcome {
    outcome(member, named(), MarkSet::new(), &[verdict], WORKING)
}

fn refused(code: i64, counts: bool) -> Verdict {
    Verdict::Failed {
        error: error(code),
        counts,
    }
}

const WORKING: Circumstances = Circumstances {
    drawn: 0.3,
    chat_works: true,
};
const LEFT_OUT: Verdict = Verdict::LeftOut { in_room: None };

#[test]
fn only_a_member_that_the_answer_names_is_confirmed() {
    assert!(matches!(
        outcome_of(&alice(), &Verdict::Confirmed),
        Outcome::Confirmed { .. }
    ));
    assert!(matches!(
        outcome_of(&alice(), &LEFT_OUT),
        Outcome::LeftOut { retry: Some(_) }
    ));
}

#[test]
fn an_omitted_member_is_tried_after_2_10_and_30_seconds_and_then_parked() {
    for (tries, seconds) in [(0, 2.0), (1, 10.0), (2, 30.0)] {
        let member = Member { tries, ..alice() };
        let Outcome::LeftOut { retry: Some(delay) } = outcome_of(&member, &LEFT_OUT) else {
            panic!("no retry after {tries} tries");
        };
        assert!((delay.as_secs_f64() / seconds - 1.0).abs() <= 0.05);
    }
    let tried = Member {
        tries: 3,
        ..alice()
    };
    assert_eq!(
        outcome_of(&tried, &LEFT_OUT),
        Outcome::LeftOut { retry: None }
    );
}

#[test]
fn a_member_in_the_room_who_is_left_out_again_and_again_waits() {
    let tried = Member {
        tries: 3,
        ..alice()
    };
    let in_room = Verdict::LeftOut {
        in_room: Some(true),
    };
    assert!(matches!(
        outcome_of(&tried, &in_room),
        Outcome::Waiting { marks: None, .. }
    ));
}

fn error(code: i64) -> Arc<ChatError> {
    let (code, info) = (ErrorCode::new(code), String::new());
    Arc::new(ChatError::Refused {
        code,
        info,
        request: None,
    })
}

#[test]
fn a_member_that_chat_refuses_alone_fails_at_once() {
    let Outcome::Failed {
        error, retry: None, ..
    } = outcome_of(&alice(), &Verdict::Rejected(error(70107)))
    else {
        panic!("not failed");
    };
    assert!(error.contains("70107"), "{error}");
}

/// A member who came a moment ago: Chat lists them, but does not mark them yet.
#[test]
fn a_member_that_chat_may_not_see_yet_is_tried_again_like_any_other() {
    let worn = Member {
        tries: MOST_TRIES - 1,
        ..alice()
    };
    let verdict = Verdict::Rejected(error(10004));
    let Outcome::Failed {
        error,
        retry: Some(retry),
        ..
    } = outcome_of(&alice(), &verdict)
    else {
        panic!("not tried again");
    };
    assert!(error.contains("10004"), "{error}");
    assert!(retry <= FIRST_BACKOFF);
    let last = outcome_of(&worn, &verdict);
    assert!(matches!(last, Outcome::Failed { retry: None, .. }));
}

#[test]
fn a_member_that_waits_for_one_mark_keeps_the_others() {
    let waits_for = MarkSet::from([Mark::parse(1001).unwrap()]);
    let confirmed = [&Verdict::Confirmed];
    let outcome = outcome(&alice(), named(), waits_for.clone(), &confirmed, WORKING);
    let Outcome::Waiting {
        marks: Some(marks),
        waits_for: waits,
        reason,
        ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((marks, waits), (named().desired, waits_for));
    assert!(reason.contains("1001"), "{reason}");
}

#[test]
fn failures_back_off_and_end() {
    let timeout = Verdict::Failed {
        error: Arc::new(ChatError::Timeout),
        counts: true,
    };
    let first = outcome_of(&alice(), &timeout);
    assert!(matches!(
        first,
        Outcome::Failed {
            retry: Some(_),
            counts: true,
            in_doubt: true,
            ..
        }
    ));
    let worn = Member {
        tries: MOST_TRIES - 1,
        ..alice()
    };
    assert!(matches!(
        outcome_of(&worn, &timeout),
        Outcome::Failed { retry: None, .. }
    ));
}

#[test]
fn no_member_fails_while_no_call_succeeds() {
    let timeout = Verdict::Failed {
        error: Arc::new(ChatError::Timeout),
        counts: true,
    };
    let away = Circumstances {
        chat_works: false,
        ..WORKING
    };
    for tries in [0, TRIES_WITHOUT_CHAT, MOST_TRIES, i32::MAX] {
        let worn = Member { tries, ..alice() };
        let outcome = outcome(&worn, named(), MarkSet::new(), &[&timeout], away);
        let Outcome::Failed {
            retry: Some(delay),
            counts,
            ..
        } = outcome
        else {
            panic!("failed after {tries} tries");
        };
        assert!(delay <= Duration::from_secs(64), "{delay:?}");
        assert_eq!(counts, tries < TRIES_WITHOUT_CHAT);
    }
}

#[test]
fn a_fault_of_the_app_never_uses_up_a_members_tries() {
    let worn = Member {
        tries: MOST_TRIES,
        ..alice()
    };
    let outcome = outcome_of(&worn, &refused(60020, true));
    assert!(matches!(
        outcome,
        Outcome::Failed {
            retry: Some(_),
            counts: false,
            ..
        }
    ));
}

/// As when a proxy on the way refuses one call.
#[test]
fn what_may_concern_one_call_only_uses_up_tries_and_ends() {
    let proxy = Verdict::Failed {
        error: Arc::new(ChatError::HttpStatus(403)),
        counts: true,
    };
    for verdict in [proxy, refused(10007, true), refused(10016, true)] {
        let first = outcome_of(&alice(), &verdict);
        assert!(matches!(
            first,
            Outcome::Failed {
                retry: Some(_),
                counts: true,
                ..
            }
        ));
        let worn = Member {
            tries: MOST_TRIES - 1,
            ..alice()
        };
        let last = outcome_of(&worn, &verdict);
        assert!(matches!(last, Outcome::Failed { retry: None, .. }));
    }
}

fn marks<const N: usize>(numbers: [i64; N]) -> MarkSet {
    numbers.map(|number| Mark::parse(number).unwrap()).into()
}

#[test]
fn a_member_is_confirmed_only_for_the_marks_that_the_answer_names() {
    let plan = || MemberPlan {
        set: marks([1000, 1001]),
        desired: marks([1000, 1001]),
        named: true,
        ..MemberPlan::default()
    };
    let partly = Verdict::Partly(marks([1001]));
    let outcome_of = |member: &Member| outcome(member, plan(), MarkSet::new(), &[&partly], WORKING);
    let Outcome::Waiting {
        marks: Some(confirmed),
        waits_for,
        ..
    } = outcome_of(&alice())
    else {
        panic!("not waiting");
    };
    assert_eq!((confirmed, waits_for), (marks([1000]), marks([1001])));
    // Chat named it before, and names perhaps only what a call changed.
    let marked = Member {
        marks: marks([1001]),
        ..alice()
    };
    assert!(matches!(outcome_of(&marked), Outcome::Confirmed { .. }));
    let in_doubt = Member {
        in_doubt: true,
        ..marked
    };
    assert!(matches!(outcome_of(&in_doubt), Outcome::Waiting { .. }));
}

#[test]
fn a_delete_that_leaves_a_member_out_does_not_keep_the_set_from_them() {
    for left_out in [LEFT_OUT, Verdict::Rejected(error(10004))] {
        let verdicts = [&left_out, &Verdict::Confirmed];
        let outcome = outcome(&alice(), named(), MarkSet::new(), &verdicts, WORKING);
        assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    }
}

#[test]
fn a_delete_that_leaves_out_a_member_in_the_room_ends_with_the_last_try() {
    let plan = || MemberPlan {
        delete: marks([1001]),
        desired: marks([1000]),
        named: true,
        ..MemberPlan::default()
    };
    let in_room = Verdict::LeftOut {
        in_room: Some(true),
    };
    let outcome_after = |tries| {
        let member = Member { tries, ..alice() };
        outcome(&member, plan(), MarkSet::new(), &[&in_room], WORKING)
    };
    assert!(matches!(
        outcome_after(0),
        Outcome::LeftOut { retry: Some(_) }
    ));
    let marks = marks([1000]);
    assert_eq!(outcome_after(3), Outcome::Confirmed { marks });
}

#[test]
fn backoff_grows_to_its_cap() {
    for (tries, drawn) in (0..40).flat_map(|n| [(n, 0.0), (n, 1.0)]) {
        let delay = backoff(tries, Circumstances { drawn, ..WORKING });
        assert!(delay >= FIRST_BACKOFF / 2 && delay <= LONGEST_BACKOFF);
    }
    let latest = Circumstances {
        drawn: 1.0,
        ..WORKING
    };
    assert!(backoff(0, latest) <= FIRST_BACKOFF);
}

#[test]
fn the_row_of_a_member_whom_no_rule_matches_any_more_goes() {
    for verdicts in [&[][..], &[&Verdict::Confirmed], &[&LEFT_OUT]] {
        let unmatched = MemberPlan::default();
        let outcome = outcome(&alice(), unmatched, MarkSet::new(), verdicts, WORKING);
        assert_eq!(outcome, Outcome::Forgotten);
    }
}
