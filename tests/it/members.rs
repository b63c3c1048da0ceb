//! The members table: what events leave in it, who may claim which, what a round writes back.

use std::time::{Duration, Instant};

use chrono::Utc;
use stickymark::testing::config::DatabaseSettings;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, EventSource, EventTime, GroupId, Mark, MarkSet, MemberEvent, RequestId, RoomEnd,
};
use stickymark::testing::members::{
    self, Batch, Claim, Ended, Member, Named, Outcome, Results, Settling, due_members, room_gone,
    until_next_due, write_back,
};

use crate::support::process::until;
use crate::support::{TestDatabase, connect, database, insert_rule, record};

const LEASE: Duration = Duration::from_secs(15);
const AT_ONCE: Settling = Settling {
    settle: Duration::ZERO,
    max_wait: Duration::ZERO,
};
/// 2026-01-01, the time that events are counted from here.
const START: i64 = 1_767_225_600_000;

struct Row {
    presence: String,
    marks: Vec<i64>,
    due: bool,
    due_in_ms: Option<f64>,
    generation: i64,
    in_doubt: bool,
}

async fn room_with_rule() -> TestDatabase {
    let database = database().await;
    insert_rule(database.db(), "class-7", "*", &[1000]).await;
    database
}

fn event(account: &str, source: EventSource, at: Option<i64>) -> MemberEvent {
    MemberEvent {
        group: GroupId::parse("class-7").unwrap(),
        account: Account::parse(account).unwrap(),
        source,
        at: at.map(|offset| EventTime::from_number(START + offset)),
        request: RequestId::generate(),
    }
}

async fn hear(db: &Db, settling: Settling, source: EventSource, at: Option<i64>) {
    let mut batch = Batch::default();
    batch.add(event("alice", source, at), Named::Unknown);
    record(db, &batch, settling).await.unwrap();
}

async fn alice(db: &Db) -> Option<Row> {
    type Columns = (String, Vec<i64>, Option<f64>, i64, bool);
    let row: Option<Columns> = sqlx::query_as(
        "select presence, marks, extract(epoch from due_at - now())::float8 * 1000, generation, in_doubt
         from members where account = 'alice'",
    )
    .fetch_optional(db)
    .await
    .unwrap();
    row.map(|(presence, marks, due_in_ms, generation, in_doubt)| Row {
        presence,
        marks,
        due: due_in_ms.is_some_and(|ms| ms <= 0.0),
        due_in_ms,
        generation,
        in_doubt,
    })
}

fn marks(numbers: &[i64]) -> MarkSet {
    numbers
        .iter()
        .map(|number| Mark::parse(*number).unwrap())
        .collect()
}

/// A claim and its members.
struct Held {
    claim: Claim,
    members: Vec<Member>,
    results: Results,
}

/// Claims the room that has been due longest, if some member is due there.
async fn claim(db: &Db, lease: Duration, settling: Settling) -> Result<Option<Held>, sqlx::Error> {
    while let Some(claim) = members::claim(db, lease, &[]).await? {
        let due = due_members(db, &claim, settling).await?;
        let results = Results {
            gathers_until: due.gathers_until,
            at: claim.at,
            ..Results::default()
        };
        if due.members.is_empty() {
            write_back(db, &claim, &results).await?;
            continue;
        }
        return Ok(Some(Held {
            members: due.members,
            results,
            claim,
        }));
    }
    Ok(None)
}

async fn write_all(db: &Db, held: &Held, outcome: &Outcome) {
    let mut results = Results {
        at: held.results.at,
        gathers_until: held.results.gathers_until,
        ..Results::default()
    };
    for member in held.members.iter().cloned() {
        let row = member.after(outcome.clone(), None, results.at);
        results.rows.push(row);
    }
    write_back(db, &held.claim, &results).await.unwrap();
}

fn confirmed(numbers: &[i64]) -> Outcome {
    Outcome::Confirmed {
        marks: marks(numbers),
    }
}

/// Alice in the room with her mark confirmed, as of the event time 100.
async fn marked(db: &Db) {
    hear(db, AT_ONCE, EventSource::Join, Some(100)).await;
    let claim = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
    write_all(db, &claim, &confirmed(&[1000])).await;
}

#[tokio::test]
async fn only_members_matched_by_a_rule_get_a_row() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "class-*", "vip*", &[1001]).await;
    insert_rule(db, "class-7", "teacher", &[1000]).await;
    let mut batch = Batch::default();
    for account in ["teacher", "vip1", "vip", "nobody", "vi"] {
        batch.add(event(account, EventSource::Join, Some(1)), Named::Unknown);
    }
    assert_eq!(record(db, &batch, AT_ONCE).await.unwrap(), 3);
    let accounts: Vec<String> = sqlx::query_scalar("select account from members order by 1")
        .fetch_all(db)
        .await
        .unwrap();
    assert_eq!(accounts, ["teacher", "vip", "vip1"]);
}

#[tokio::test]
async fn the_statements_of_a_lone_callback_are_planned_once() {
    let database = room_with_rule().await;
    let settings = DatabaseSettings {
        max_connections: 1,
        ..database.settings()
    };
    let alone = connect(&settings).await.unwrap();
    for round in 0..8 {
        hear(alone.db(), AT_ONCE, EventSource::Join, Some(round)).await;
    }
    let planned: (i64, i64) = sqlx::query_as(
        "select sum(custom_plans)::bigint, sum(generic_plans)::bigint from pg_prepared_statements
         where statement like '%insert into members%' and statement not like '%custom_plans%'",
    )
    .fetch_one(alone.db())
    .await
    .unwrap();
    assert_eq!(planned, (0, 8));
}

#[tokio::test]
async fn a_leave_of_a_member_without_a_row_makes_none() {
    let database = room_with_rule().await;
    hear(database.db(), AT_ONCE, EventSource::Exit, Some(1)).await;
    assert!(alice(database.db()).await.is_none());
}

#[tokio::test]
async fn a_leave_forgets_the_marks_an_arrival_makes_due_and_late_events_change_nothing() {
    use EventSource::{Exit, Join, Offline, Online};
    type Case<'a> = (&'a [(EventSource, Option<i64>)], &'a str, bool);
    let cases: [Case<'_>; 6] = [
        (&[(Offline, Some(200))], "absent", false),
        (
            &[(Offline, Some(200)), (Online, Some(300))],
            "present",
            true,
        ),
        (
            &[
                (Online, Some(300)),
                (Offline, Some(200)),
                (Offline, Some(300)),
            ],
            "present",
            true,
        ),
        (&[(Exit, Some(200)), (Online, Some(150))], "absent", false),
        // Without a time a leave leads to one more try, but cancels no waiting arrival.
        (&[(Exit, None)], "absent", true),
        (&[(Join, None), (Exit, None)], "present", true),
    ];
    for (events, presence, due) in cases {
        let database = room_with_rule().await;
        let db = database.db();
        marked(db).await;
        for (source, at) in events {
            hear(db, AT_ONCE, *source, *at).await;
        }
        let row = alice(db).await.unwrap();
        assert_eq!(
            (row.presence.as_str(), row.due),
            (presence, due),
            "{events:?}"
        );
        assert_eq!(
            (row.marks, row.due_in_ms.is_some()),
            (vec![], due),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn events_of_one_arrival_settle_but_never_beyond_the_limit() {
    let database = room_with_rule().await;
    let db = database.db();
    let settling = Settling {
        settle: Duration::from_secs(600),
        max_wait: Duration::from_secs(900),
    };
    hear(db, settling, EventSource::Join, Some(1)).await;
    sqlx::query("with changed as (update members set pending_since = now() - interval '500 s', due_at = now() + interval '100 s') update rooms set due_at = now()")
        .execute(db)
        .await
        .unwrap();
    hear(db, settling, EventSource::Online, Some(2)).await;
    let due_in = alice(db).await.unwrap().due_in_ms.unwrap();
    assert!(
        (350_000.0..=400_000.0).contains(&due_in),
        "due in {due_in} ms"
    );
}

#[tokio::test]
async fn the_end_of_a_room_ends_what_is_known_of_its_members() {
    let database = room_with_rule().await;
    let db = database.db();
    marked(db).await;
    let room = GroupId::parse("class-7").unwrap();
    room_gone(db, &room, Ended::Told(&told(&room, 50)))
        .await
        .unwrap();
    assert_eq!(
        alice(db).await.unwrap().presence,
        "present",
        "she came later"
    );
    room_gone(db, &room, Ended::Told(&told(&room, 150)))
        .await
        .unwrap();
    assert_eq!(alice(db).await.unwrap().presence, "absent");
    hear(db, AT_ONCE, EventSource::Join, Some(200)).await;
    let gone: bool = sqlx::query_scalar("select gone_at is not null from rooms")
        .fetch_one(db)
        .await
        .unwrap();
    assert!(!gone, "an arrival opens a new room of the same id");
}

fn told(room: &GroupId, at: i64) -> RoomEnd {
    RoomEnd {
        group: room.clone(),
        at: Some(EventTime::from_number(START + at)),
        request: RequestId::generate(),
    }
}

/// Chat is asked about a room that is only about to be made, and says that there is none.
#[tokio::test]
async fn who_comes_while_chat_answers_that_there_is_no_room_stays() {
    let database = room_with_rule().await;
    let db = database.db();
    let asked = sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(db)
        .await
        .unwrap();
    hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
    let room = GroupId::parse("class-7").unwrap();
    let was_there = room_gone(db, &room, Ended::Answered(asked)).await;
    assert!(!was_there.unwrap(), "the room of the newcomer lives");
    let newcomer = alice(db).await.unwrap();
    assert_eq!(newcomer.presence, "present");
    assert!(newcomer.due_in_ms.is_some());
    let before_her = Ended::Told(&told(&room, 0));
    assert!(!room_gone(db, &room, before_her).await.unwrap());
    let later = asked + chrono::TimeDelta::minutes(1);
    assert!(room_gone(db, &room, Ended::Answered(later)).await.unwrap());
    assert_eq!(alice(db).await.unwrap().presence, "absent");
}

#[tokio::test]
async fn two_workers_never_hold_members_of_one_room_at_once() {
    let database = room_with_rule().await;
    let db = database.db();
    let mut batch = Batch::default();
    for number in 0..700 {
        batch.add(
            event(&format!("user{number}"), EventSource::Join, Some(1)),
            Named::Unknown,
        );
    }
    record(db, &batch, AT_ONCE).await.unwrap();
    let claims = futures::future::join_all((0..6).map(|_| claim(db, LEASE, AT_ONCE))).await;
    let mut claims: Vec<Held> = claims
        .into_iter()
        .filter_map(|claim| claim.unwrap())
        .collect();
    assert_eq!(claims.len(), 1, "one call per room at a time");
    let first = claims.remove(0);
    assert_eq!(first.members.len(), 500, "a call takes 500");
    write_all(db, &first, &confirmed(&[1000])).await;
    let second = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
    assert_eq!(second.members.len(), 200);
    let named: std::collections::HashSet<_> = first
        .members
        .iter()
        .chain(&second.members)
        .map(|member| &member.account)
        .collect();
    assert_eq!(named.len(), 700, "no member twice");
}

#[tokio::test]
async fn the_room_that_waited_longest_comes_first() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "*", "alice", &[1000]).await;
    for (room, age) in [("young", 1), ("old", 3), ("middle", 2)] {
        let mut batch = Batch::default();
        let group = GroupId::parse(room).unwrap();
        batch.add(
            MemberEvent {
                group,
                ..event("alice", EventSource::Join, Some(1))
            },
            Named::Unknown,
        );
        record(db, &batch, AT_ONCE).await.unwrap();
        sqlx::query(
            "update rooms set due_at = now() - make_interval(secs => $2) where group_id = $1",
        )
        .bind(room)
        .bind(f64::from(age))
        .execute(db)
        .await
        .unwrap();
    }
    let mut order = Vec::new();
    while let Some(claim) = claim(db, LEASE, AT_ONCE).await.unwrap() {
        order.push(claim.claim.group.to_string());
    }
    assert_eq!(order, ["old", "middle", "young"]);
}

#[tokio::test]
async fn locked_rows_at_the_head_of_the_queue_stop_no_claim() {
    let database = database().await;
    let db = database.db();
    insert_rule(db, "*", "alice", &[1000]).await;
    for room in ["first", "second", "third"] {
        let mut batch = Batch::default();
        let arrival = MemberEvent {
            group: GroupId::parse(room).unwrap(),
            ..event("alice", EventSource::Join, Some(1))
        };
        batch.add(arrival, Named::Unknown);
        record(db, &batch, AT_ONCE).await.unwrap();
    }
    let mut stranger = db.begin().await.unwrap();
    for locked in [
        "select from members where group_id = 'first' for update",
        "select from rooms where group_id = 'second' for update",
    ] {
        sqlx::query(locked).execute(&mut *stranger).await.unwrap();
    }
    let mut order = Vec::new();
    while let Some(claim) = claim(db, LEASE, AT_ONCE).await.unwrap() {
        order.push(claim.claim.group.to_string());
    }
    assert_eq!(order, ["first", "third"]);
}

#[tokio::test]
async fn a_claim_whose_worker_died_comes_due_again_in_doubt() {
    let database = room_with_rule().await;
    let db = database.db();
    hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
    let dead = claim(db, Duration::from_millis(1), AT_ONCE)
        .await
        .unwrap()
        .unwrap();
    assert!(!dead.members[0].in_doubt);
    let again = loop {
        if let Some(claim) = claim(db, LEASE, AT_ONCE).await.unwrap() {
            break claim;
        }
    };
    assert!(
        again.members[0].in_doubt,
        "Chat may have carried out the dead worker's call"
    );
    write_all(db, &dead, &Outcome::Idle).await;
    assert!(
        alice(db).await.unwrap().due,
        "a late result changes nothing"
    );
    write_all(db, &again, &confirmed(&[1000])).await;
    let row = alice(db).await.unwrap();
    assert_eq!(
        (row.marks, row.in_doubt, row.due_in_ms),
        (vec![1000], false, None)
    );
}

#[tokio::test]
async fn an_event_during_the_call_wins_over_its_result() {
    for (events, in_doubt) in [
        (&[EventSource::Online][..], true),
        (&[EventSource::Offline, EventSource::Online], true),
    ] {
        let database = room_with_rule().await;
        let db = database.db();
        hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
        let claimed = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
        for (at, source) in (2..).zip(events) {
            hear(db, AT_ONCE, *source, Some(at)).await;
        }
        assert!(
            claim(db, LEASE, AT_ONCE).await.unwrap().is_none(),
            "the room is still claimed"
        );
        write_all(db, &claimed, &confirmed(&[1000])).await;
        let row = alice(db).await.unwrap();
        assert_eq!((row.marks, row.due, row.in_doubt), (vec![], true, in_doubt));
        assert!(row.generation > claimed.members[0].generation);
        assert!(
            claim(db, LEASE, AT_ONCE).await.unwrap().is_some(),
            "and she is looked at again"
        );
    }
}

/// A rule was deleted, so the round took her marks away; meanwhile another rule made her due again. What
/// her row says she has is not what Chat has now.
#[tokio::test]
async fn who_becomes_due_during_a_call_is_in_doubt() {
    let database = room_with_rule().await;
    let db = database.db();
    marked(db).await;
    hear(db, AT_ONCE, EventSource::Online, Some(101)).await;
    let claimed = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
    sqlx::query("update members set generation = generation + 1, due_at = now()")
        .execute(db)
        .await
        .unwrap();
    write_all(db, &claimed, &Outcome::Idle).await;
    let row = alice(db).await.unwrap();
    assert_eq!((row.due, row.in_doubt), (true, true));
}

#[tokio::test]
async fn a_member_locked_by_a_stranger_holds_up_no_other_of_the_room() {
    for absent in [false, true] {
        let database = room_with_rule().await;
        let db = database.db();
        let mut batch = Batch::default();
        for account in ["alice", "bob"] {
            batch.add(event(account, EventSource::Join, Some(1)), Named::Perhaps);
        }
        record(db, &batch, AT_ONCE).await.unwrap();
        // As after a doubtful leave.
        let left = "update members set presence = 'absent' where $1 and account = 'alice'";
        sqlx::query(left).bind(absent).execute(db).await.unwrap();
        let both = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
        assert_eq!(both.members.len(), 2);
        let mut stranger = db.begin().await.unwrap();
        sqlx::query("select from members where account = 'alice' for update")
            .execute(&mut *stranger)
            .await
            .unwrap();
        write_all(db, &both, &confirmed(&[1000])).await;
        let marked = "select account from members where marks = '{1000}'";
        let marked = sqlx::query_scalar::<_, String>(marked);
        assert_eq!(marked.fetch_all(db).await.unwrap(), ["bob"]);
        let again = claim(db, LEASE, AT_ONCE).await.unwrap();
        assert!(again.is_none(), "no call each moment");
        stranger.rollback().await.unwrap();
        until("alice is claimed again", || async {
            let alone = claim(db, LEASE, AT_ONCE).await.unwrap();
            alone.is_some_and(|alone| {
                alone.members.len() == 1 && alone.members[0].account.as_str() == "alice"
            })
        })
        .await;
    }
}

fn failed(retry: Option<Duration>) -> Outcome {
    Outcome::Failed {
        error: "Chat did not answer in time".to_owned(),
        retry,
        counts: true,
        in_doubt: true,
    }
}

#[tokio::test]
async fn a_leave_during_a_call_or_a_backoff_ends_doubt() {
    for in_backoff in [false, true] {
        let database = room_with_rule().await;
        let db = database.db();
        hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
        let claimed = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
        if in_backoff {
            write_all(db, &claimed, &failed(Some(Duration::from_secs(300)))).await;
        }
        let revoked = "update members set revoked = '{1001}'";
        sqlx::query(revoked).execute(db).await.unwrap();
        hear(db, AT_ONCE, EventSource::Exit, Some(2)).await;
        write_all(db, &claimed, &confirmed(&[1000])).await;
        let row = alice(db).await.unwrap();
        assert_eq!((row.in_doubt, row.due_in_ms), (false, None));
        let revoked: Vec<i64> = sqlx::query_scalar("select revoked from members")
            .fetch_one(db)
            .await
            .unwrap();
        assert!(revoked.is_empty());
    }
}

#[tokio::test]
async fn a_leave_that_may_be_old_ends_no_doubt() {
    let database = room_with_rule().await;
    let db = database.db();
    hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
    let claimed = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
    write_all(db, &claimed, &failed(None)).await;
    hear(db, AT_ONCE, EventSource::Exit, None).await;
    let row = alice(db).await.unwrap();
    assert_eq!((row.in_doubt, row.due), (true, true));
}

#[tokio::test]
async fn an_event_dated_in_the_future_does_not_make_the_next_arrival_stale() {
    let now = Utc::now().timestamp_millis() - START;
    let destroyed = async |db: &Db, at: i64| {
        let room = GroupId::parse("class-7").unwrap();
        let ended = Ended::Told(&told(&room, at));
        room_gone(db, &room, ended).await.unwrap();
    };
    for forged in [Some(EventSource::Offline), Some(EventSource::Join), None] {
        let database = room_with_rule().await;
        let db = database.db();
        marked(db).await;
        match forged {
            Some(source) => hear(db, AT_ONCE, source, Some(now + 299_000)).await,
            None => destroyed(db, now + 299_000).await,
        }
        // Really dropped, which the forged event hides.
        hear(db, AT_ONCE, EventSource::Offline, Some(now + 60_000)).await;
        let stored = "update members set due_at = null, pending_since = null, marks = '{1000}'";
        sqlx::query(stored).execute(db).await.unwrap();
        hear(db, AT_ONCE, EventSource::Online, Some(now + 61_000)).await;
        let row = alice(db).await.unwrap();
        let known = (row.presence.as_str(), row.marks, row.due);
        assert_eq!(known, ("present", vec![], true), "{forged:?}");
    }
}

#[tokio::test]
async fn a_stale_arrival_does_not_reopen_a_room_that_is_gone() {
    let database = room_with_rule().await;
    let db = database.db();
    marked(db).await;
    let room = GroupId::parse("class-7").unwrap();
    let ended = Ended::Told(&told(&room, 200));
    room_gone(db, &room, ended).await.unwrap();
    let gone = async || -> bool {
        sqlx::query_scalar("select gone_at is not null from rooms")
            .fetch_one(db)
            .await
            .unwrap()
    };
    hear(db, AT_ONCE, EventSource::Join, Some(150)).await;
    assert!(gone().await);
    hear(db, AT_ONCE, EventSource::Join, Some(250)).await;
    assert!(!gone().await);
}

#[tokio::test]
async fn writers_of_the_same_members_in_any_order_do_not_block_each_other() {
    let database = room_with_rule().await;
    let db = database.db();
    let writers = (0..6).map(|writer| async move {
        for round in 0..15 {
            let mut batch = Batch::default();
            for number in 0..60 {
                let source = if (writer + round + number) % 2 == 0 {
                    EventSource::Online
                } else {
                    EventSource::Offline
                };
                batch.add(
                    event(&format!("user{number}"), source, None),
                    Named::Unknown,
                );
            }
            record(db, &batch, AT_ONCE).await.expect("no deadlock");
            if let Some(claimed) = claim(db, LEASE, AT_ONCE).await.expect("no deadlock") {
                write_all(db, &claimed, &confirmed(&[1000])).await;
            }
        }
    });
    futures::future::join_all(writers).await;
}

#[tokio::test]
async fn a_room_waits_while_more_events_of_its_first_member_come() {
    let database = room_with_rule().await;
    let db = database.db();
    let an_hour = Duration::from_secs(3600);
    let debounced = Settling {
        settle: an_hour,
        max_wait: an_hour,
    };
    hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
    hear(db, debounced, EventSource::Online, Some(2)).await;
    assert!(members::claim(db, LEASE, &[]).await.unwrap().is_none());
    let next = until_next_due(db).await.unwrap().unwrap();
    assert!(next > an_hour - Duration::from_secs(60), "{next:?}");
}

#[tokio::test]
async fn a_room_that_became_due_for_nothing_leaves_the_head_of_the_queue() {
    let database = room_with_rule().await;
    let db = database.db();
    hear(db, AT_ONCE, EventSource::Join, Some(1)).await;
    // Another member waits for the start of a rule, and the first one leaves before the claim.
    let later = "insert into members (group_id, account, presence, due_at)
                 values ('class-7', 'bob', 'present', now() + interval '1 hour')";
    sqlx::query(later).execute(db).await.unwrap();
    hear(db, AT_ONCE, EventSource::Exit, Some(2)).await;
    assert_eq!(until_next_due(db).await.unwrap(), Some(Duration::ZERO));
    let held = members::claim(db, LEASE, &[]).await.unwrap().unwrap();
    let nothing = Results {
        at: held.at,
        ..Results::default()
    };
    write_back(db, &held, &nothing).await.unwrap();
    let next = until_next_due(db).await.unwrap().unwrap();
    assert!(next > Duration::from_secs(3_000), "{next:?}");
}

#[tokio::test]
async fn a_busy_room_gathers_its_members_for_the_next_call_and_a_quiet_one_does_not() {
    let database = room_with_rule().await;
    let db = database.db();
    let an_hour = Duration::from_secs(3600);
    let gather = Settling {
        settle: Duration::ZERO,
        max_wait: an_hour,
    };
    let arrive = async |accounts: &[&str]| {
        let mut batch = Batch::default();
        for account in accounts {
            let join = event(account, EventSource::Join, Some(1));
            batch.add(join, Named::Unknown);
        }
        record(db, &batch, gather).await.unwrap();
    };
    let idle = Outcome::Idle;

    arrive(&["alice"]).await;
    let alone = claim(db, LEASE, gather).await.unwrap().unwrap();
    write_all(db, &alone, &idle).await;
    arrive(&["bob"]).await;
    let alone = claim(db, LEASE, gather).await.unwrap().unwrap();
    write_all(db, &alone, &idle).await;

    arrive(&["a", "b", "c", "d", "e", "f", "g", "h"]).await;
    let crowd = claim(db, LEASE, gather).await.unwrap().unwrap();
    assert_eq!(crowd.members.len(), 8);
    write_all(db, &crowd, &idle).await;
    arrive(&["i"]).await;
    arrive(&["j"]).await;
    assert!(claim(db, LEASE, gather).await.unwrap().is_none());
    let wait = until_next_due(db).await.unwrap().unwrap();
    assert!(wait > an_hour / 2 && wait <= an_hour, "{wait:?}");
    let too_late: i64 = sqlx::query_scalar(
        "select count(*) from members where due_at > pending_since + interval '1 hour'",
    )
    .fetch_one(db)
    .await
    .unwrap();
    assert_eq!(too_late, 0, "no member waits longer than the limit");

    sqlx::query("with changed as (update members set due_at = now() where due_at is not null) update rooms set due_at = now()")
        .execute(db)
        .await
        .unwrap();
    let gathered = claim(db, LEASE, gather).await.unwrap().unwrap();
    assert_eq!(gathered.members.len(), 2);
}

#[tokio::test]
async fn in_a_busy_room_those_still_settling_go_along_once_they_have_waited_long_enough() {
    let database = room_with_rule().await;
    let db = database.db();
    let settling = Settling {
        settle: Duration::from_secs(60),
        max_wait: Duration::from_secs(120),
    };
    for (prefix, settling) in [("due", AT_ONCE), ("fresh", settling), ("old", settling)] {
        let mut batch = Batch::default();
        for number in 0..5 {
            let join = event(&format!("{prefix}{number}"), EventSource::Join, Some(1));
            batch.add(join, Named::Unknown);
        }
        record(db, &batch, settling).await.unwrap();
    }
    let earlier = "update members set pending_since = pending_since - interval '1 minute'
                   where account like 'old%'";
    sqlx::query(earlier).execute(db).await.unwrap();
    let claim = claim(db, LEASE, settling).await.unwrap().unwrap();
    let mut taken: Vec<&str> = claim.members.iter().map(|m| m.account.as_str()).collect();
    taken.sort_unstable();
    let due = (0..5).map(|number| format!("due{number}"));
    let old = (0..5).map(|number| format!("old{number}"));
    // The second callback of the others' arrival may still come.
    assert_eq!(taken, due.chain(old).collect::<Vec<_>>());
    write_all(db, &claim, &Outcome::Idle).await;
    let gathers_too_long: bool = sqlx::query_scalar(
        "select r.due_at > m.pending_since + interval '2 minutes'
         from rooms r join members m using (group_id) where m.account = 'fresh0'",
    )
    .fetch_one(db)
    .await
    .unwrap();
    assert!(!gathers_too_long, "no member waits beyond max_wait");
}

#[tokio::test]
async fn a_member_waits_since_his_first_callback_was_handed_in() {
    let database = room_with_rule().await;
    let db = database.db();
    let waited = async || -> f64 {
        let seconds = "select extract(epoch from now() - unserved_since)::float8 from members";
        sqlx::query_scalar(seconds).fetch_one(db).await.unwrap()
    };
    // The database was away for five seconds.
    let mut batch = Batch::default();
    let since = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
    let join = event("alice", EventSource::Join, Some(1));
    batch.add_heard(join, Named::Unknown, since);
    let online = event("alice", EventSource::Online, Some(2));
    batch.add(online, Named::Unknown);
    record(db, &batch, AT_ONCE).await.unwrap();
    assert!(waited().await >= 5.0);
    // A call failed, and another callback came: the member has waited all the while.
    let claimed = claim(db, LEASE, AT_ONCE).await.unwrap().unwrap();
    write_all(db, &claimed, &failed(Some(Duration::ZERO))).await;
    let settling = Settling {
        settle: Duration::from_secs(60),
        max_wait: Duration::from_secs(120),
    };
    hear(db, settling, EventSource::Join, Some(3)).await;
    hear(db, settling, EventSource::Online, Some(4)).await;
    assert!(waited().await >= 5.0);
    // The two callbacks of the arrival are debounced as any others.
    assert!(claim(db, LEASE, settling).await.unwrap().is_none());
    let due = alice(db).await.unwrap().due_in_ms.unwrap();
    assert!(due > 30_000.0, "{due} ms");
}

#[tokio::test]
async fn who_went_and_came_back_waits_since_he_came_back() {
    let database = room_with_rule().await;
    let mut batch = Batch::default();
    let ago = |seconds| {
        Instant::now()
            .checked_sub(Duration::from_secs(seconds))
            .unwrap()
    };
    for (source, at, seconds) in [
        (EventSource::Join, 1, 500),
        (EventSource::Exit, 2, 400),
        (EventSource::Join, 3, 5),
        (EventSource::Online, 4, 3),
    ] {
        batch.add_heard(
            event("alice", source, Some(at)),
            Named::Unknown,
            ago(seconds),
        );
    }
    record(database.db(), &batch, AT_ONCE).await.unwrap();
    let seconds = "select extract(epoch from now() - unserved_since)::float8 from members";
    let waited: f64 = sqlx::query_scalar(seconds)
        .fetch_one(database.db())
        .await
        .unwrap();
    assert!((5.0..300.0).contains(&waited), "{waited}");
}
