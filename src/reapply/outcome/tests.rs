//! What becomes of a member, by Chat's answer and what was tried before.

use super::*;
use std::sync::Arc;

use crate::chat::ErrorCode;
use crate::members::marks;

const WORKING: Circumstances = Circumstances {
    drawn: 0.3,
    chat_works: true,
};
const LEFT_OUT: Verdict = Verdict::LeftOut { in_room: None };
const LEFT_OUT_IN_ROOM: Verdict = Verdict::LeftOut {
    in_room: Some(true),
};

fn alice(tries: i32) -> Member {
    Member {
        tries,
        ..Member::example()
    }
}

/// The member should carry these marks, and carries none.
fn plan<const N: usize>(numbers: [i64; N]) -> MemberPlan {
    MemberPlan {
        set: marks(numbers),
        desired: marks(numbers),
        named: true,
        ..MemberPlan::default()
    }
}

fn outcome_after(tries: i32, verdict: &Verdict) -> Outcome {
    let none = MarkSet::new();
    outcome(&alice(tries), plan([1000]), none, &[verdict], WORKING)
}

fn error(code: i64) -> Arc<ChatError> {
    let (code, info) = (ErrorCode::new(code), String::new());
    Arc::new(ChatError::Refused {
        code,
        info,
        request: None,
    })
}

fn failure(error: ChatError) -> Verdict {
    Verdict::Failed {
        error: Arc::new(error),
        counts: true,
    }
}

fn refusal(code: i64) -> Verdict {
    Verdict::Failed {
        error: error(code),
        counts: true,
    }
}

/// The delay, whether the try counts, and whether Chat may have carried out the call.
fn retried(outcome: Outcome) -> (Duration, bool, bool) {
    match outcome {
        Outcome::Failed {
            retry: Some(delay),
            counts,
            in_doubt,
            ..
        } => (delay, counts, in_doubt),
        other => panic!("not tried again: {other:?}"),
    }
}

fn has_failed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Failed { retry: None, .. })
}

#[test]
fn a_member_that_the_answer_names_is_confirmed() {
    let confirmed = Outcome::Confirmed {
        marks: marks([1000]),
    };
    assert_eq!(outcome_after(0, &Verdict::Confirmed), confirmed);
}

#[test]
fn an_omitted_member_is_tried_after_2_10_and_30_seconds_and_then_parked() {
    for (tries, seconds) in [(0, 2.0), (1, 10.0), (2, 30.0)] {
        let Outcome::LeftOut { retry: Some(delay) } = outcome_after(tries, &LEFT_OUT) else {
            panic!("no retry after {tries} tries");
        };
        assert!((delay.as_secs_f64() / seconds - 1.0).abs() <= 0.05);
    }
    let parked = Outcome::LeftOut { retry: None };
    assert_eq!(outcome_after(3, &LEFT_OUT), parked);
}

#[test]
fn a_member_in_the_room_who_is_left_out_again_and_again_waits() {
    let waits = outcome_after(3, &LEFT_OUT_IN_ROOM);
    assert!(matches!(waits, Outcome::Waiting { marks: None, .. }));
}

#[test]
fn a_member_that_chat_refuses_alone_fails_at_once() {
    let Outcome::Failed {
        error, retry: None, ..
    } = outcome_after(0, &Verdict::Rejected(error(70107)))
    else {
        panic!("not failed");
    };
    assert!(error.contains("70107"), "{error}");
}

/// A member who came a moment ago: Chat lists them, but does not mark them yet.
#[test]
fn a_member_that_chat_may_not_see_yet_is_tried_again_like_any_other() {
    let verdict = Verdict::Rejected(error(10004));
    let first = outcome_after(0, &verdict);
    let Outcome::Failed { error, .. } = &first else {
        panic!("{first:?}");
    };
    assert!(error.contains("10004"), "{error}");
    assert!(retried(first).0 <= FIRST_BACKOFF);
    assert!(has_failed(outcome_after(MOST_TRIES - 1, &verdict)));
}

#[test]
fn a_member_that_waits_for_one_mark_keeps_the_others() {
    let confirmed = [&Verdict::Confirmed];
    let outcome = outcome(&alice(0), plan([1000]), marks([1001]), &confirmed, WORKING);
    let Outcome::Waiting {
        marks: Some(kept),
        waits_for,
        reason,
        ..
    } = outcome
    else {
        panic!("{outcome:?}");
    };
    assert_eq!((kept, waits_for), (marks([1000]), marks([1001])));
    assert!(reason.contains("1001"), "{reason}");
}

/// Also what may concern one call only, as when a proxy on the way refuses one.
#[test]
fn failures_count_and_end() {
    for (verdict, doubt) in [
        (failure(ChatError::Timeout), true),
        (failure(ChatError::HttpStatus(403)), false),
        (refusal(10007), false),
        (refusal(10016), false),
    ] {
        let (_, counts, in_doubt) = retried(outcome_after(0, &verdict));
        assert_eq!((counts, in_doubt), (true, doubt), "{verdict:?}");
        assert!(has_failed(outcome_after(MOST_TRIES - 1, &verdict)));
    }
}

#[test]
fn no_member_fails_while_no_call_succeeds() {
    let timeout = failure(ChatError::Timeout);
    let away = Circumstances {
        chat_works: false,
        ..WORKING
    };
    for tries in [0, TRIES_WITHOUT_CHAT, MOST_TRIES, i32::MAX] {
        let none = MarkSet::new();
        let outcome = outcome(&alice(tries), plan([1000]), none, &[&timeout], away);
        let (delay, counts, _) = retried(outcome);
        assert!(delay <= Duration::from_secs(64), "{delay:?}");
        assert_eq!(counts, tries < TRIES_WITHOUT_CHAT);
    }
}

#[test]
fn a_fault_of_the_app_never_uses_up_a_members_tries() {
    let (_, counts, _) = retried(outcome_after(MOST_TRIES, &refusal(60020)));
    assert!(!counts);
}

#[test]
fn a_member_is_confirmed_only_for_the_marks_that_the_answer_names() {
    let partly = Verdict::Partly(marks([1001]));
    let outcome_of = |member: &Member| {
        let wanted = plan([1000, 1001]);
        outcome(member, wanted, MarkSet::new(), &[&partly], WORKING)
    };
    let Outcome::Waiting {
        marks: Some(confirmed),
        waits_for,
        ..
    } = outcome_of(&alice(0))
    else {
        panic!("not waiting");
    };
    assert_eq!((confirmed, waits_for), (marks([1000]), marks([1001])));
    // Chat named it before, and names perhaps only what a call changed.
    let marked = Member {
        marks: marks([1001]),
        ..alice(0)
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
        let none = MarkSet::new();
        let outcome = outcome(&alice(0), plan([1000]), none, &verdicts, WORKING);
        assert!(matches!(outcome, Outcome::Confirmed { .. }), "{outcome:?}");
    }
}

#[test]
fn a_delete_that_leaves_out_a_member_in_the_room_ends_with_the_last_try() {
    let outcome_after = |tries| {
        let plan = MemberPlan {
            delete: marks([1001]),
            set: MarkSet::new(),
            ..plan([1000])
        };
        let none = MarkSet::new();
        outcome(&alice(tries), plan, none, &[&LEFT_OUT_IN_ROOM], WORKING)
    };
    let first = outcome_after(0);
    assert!(matches!(first, Outcome::LeftOut { retry: Some(_) }));
    let marks = marks([1000]);
    assert_eq!(outcome_after(3), Outcome::Confirmed { marks });
}

#[test]
fn backoff_grows_to_its_cap() {
    let backoff = |tries, drawn| backoff(tries, Circumstances { drawn, ..WORKING });
    for (tries, drawn) in (0..40).flat_map(|n| [(n, 0.0), (n, 1.0)]) {
        let delay = backoff(tries, drawn);
        assert!(delay >= FIRST_BACKOFF / 2 && delay <= LONGEST_BACKOFF);
    }
    assert!(backoff(0, 1.0) <= FIRST_BACKOFF);
}

#[test]
fn a_member_whom_no_rule_matches_any_more_is_not_tried_again() {
    let marks = MarkSet::new();
    let partly = Verdict::Partly(marks.clone());
    let absent = Outcome::LeftOut { retry: None };
    for (verdicts, expected) in [
        (&[][..], Outcome::Idle),
        (&[&Verdict::Confirmed], Outcome::Confirmed { marks }),
        (&[&LEFT_OUT], absent.clone()),
        (&[&partly], absent),
    ] {
        let (unmatched, none) = (MemberPlan::default(), MarkSet::new());
        let outcome = outcome(&alice(0), unmatched, none, verdicts, WORKING);
        assert_eq!(outcome, expected);
    }
}
