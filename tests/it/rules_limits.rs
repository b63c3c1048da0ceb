//! The SQL of the rules against plain loops over the same rules: the limit of ten marks, the match,
//! and the counts of shapes, under random writes of single rules and of sets.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use stickymark::testing::WakeUp;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, GroupId, MAX_MARKS_PER_ROOM, Mark, Marks, Pattern, RuleDraft, RuleId, Window,
};
use stickymark::testing::rules::import::{Brought, ImportOptions, Mode};
use stickymark::testing::rules::{Author, Rules, WriteError, matching_rules};

use crate::support;

type Standing = BTreeMap<RuleId, RuleDraft>;

const GROUPS: [&str; 12] = [
    "*", "a*", "a", "ab*", "ab", "aba", "aba*", "b*", "b", "ba*", "~*", "\\**",
];
const ACCOUNTS: [&str; 6] = ["*", "老*", "老师", "老师1", "t*", "t1"];

fn random_draft(random: &mut StdRng, now: DateTime<Utc>) -> RuleDraft {
    let count = random.random_range(1..=6);
    let marks: BTreeSet<i64> = (0..count)
        .map(|_| random.random_range(1000..1020))
        .collect();
    let mut moment = |odds: f64| {
        let hours = random.random_range(-3..6);
        random
            .random_bool(odds)
            .then(|| now + Duration::hours(hours))
    };
    let (starts_at, ends_at) = (moment(0.4), moment(0.4));
    let in_order = starts_at
        .zip(ends_at)
        .is_none_or(|(start, end)| start < end);
    RuleDraft {
        group: Pattern::parse(GROUPS.choose(random).unwrap()).unwrap(),
        account: Pattern::parse(ACCOUNTS.choose(random).unwrap()).unwrap(),
        marks: Marks::new(marks.into_iter().map(|mark| Mark::parse(mark).unwrap())).unwrap(),
        enabled: random.random_bool(0.9),
        window: Window {
            starts_at,
            ends_at: ends_at.filter(|_| in_order),
        },
        label: String::new(),
        note: String::new(),
    }
}

/// The most marks that any room needs from now on, by looking at every rule.
fn worst(standing: &Standing, now: DateTime<Utc>) -> usize {
    let rooms = [
        "a", "aa", "ab", "aba", "abab", "abb", "b", "ba", "bb", "c", "~", "~a", "*", "*a",
    ];
    let moments = (0..12).map(|half_hours| now + Duration::minutes(30 * half_hours + 1));
    moments
        .flat_map(|moment| {
            rooms
                .iter()
                .map(move |room| (moment, GroupId::parse(room).unwrap()))
        })
        .map(|(moment, room)| {
            let marks: BTreeSet<Mark> = standing
                .values()
                .filter(|r| r.enabled && r.group.matches(&room) && r.window.contains(moment))
                .flat_map(|rule| rule.marks.iter())
                .collect();
            marks.len()
        })
        .max()
        .unwrap_or(0)
}

fn author() -> Author {
    Author {
        name: "test".to_owned(),
        request_id: None,
    }
}

async fn assert_shapes_are_counted(db: &Db) {
    let counted: Vec<(i16, i16, i64)> = sqlx::query_as(
        "select group_prefix_len, account_prefix_len, rules from rule_shapes order by 1, 2",
    )
    .fetch_all(db)
    .await
    .unwrap();
    let actual: Vec<(i16, i16, i64)> = sqlx::query_as(
        "select group_prefix_len, account_prefix_len, count(*) from rules group by 1, 2 order by 1, 2",
    )
    .fetch_all(db)
    .await
    .unwrap();
    assert_eq!(counted, actual);
}

async fn assert_demands_are_counted(db: &Db) {
    let differing: i64 = sqlx::query_scalar(
        "with actual as (
             select group_text, group_prefix_len, coalesce(ends_at, 'infinity') as ends_at,
                    coalesce(starts_at, '-infinity') as starts_at, marks, count(*) as rules
             from rules where enabled group by 1, 2, 3, 4, 5
         )
         select count(*) from (
             (table actual except table room_demands) union all
             (table room_demands except table actual)
         ) as differing",
    )
    .fetch_one(db)
    .await
    .unwrap();
    assert_eq!(differing, 0);
}

async fn assert_matches_are_found(db: &Db, standing: &Standing) {
    let accounts: Vec<Account> = ["老", "老师", "老师1", "老师12", "t", "t1", "x", "*"]
        .iter()
        .map(|text| Account::parse(text).unwrap())
        .collect();
    for room in ["a", "ab", "aba", "abab", "b", "c", "*"] {
        let room = GroupId::parse(room).unwrap();
        let found = matching_rules(db, &room, &accounts).await.unwrap();
        let found: BTreeSet<(usize, RuleId)> = found
            .into_iter()
            .map(|matched| {
                let rule = &standing[&matched.rule];
                assert_eq!(
                    (&matched.marks, matched.enabled),
                    (&rule.marks, rule.enabled)
                );
                assert_eq!(matched.window, rule.window);
                (matched.account, matched.rule)
            })
            .collect();
        let expected = accounts.iter().enumerate().flat_map(|(index, account)| {
            let room = &room;
            let named = standing
                .iter()
                .filter(move |(_, rule)| rule.group.matches(room) && rule.account.matches(account));
            named.map(move |(id, _)| (index, id.clone()))
        });
        assert_eq!(found, expected.collect());
    }
}

/// Random sets of changes; what the database accepts and refuses is what the loop does, in a dry run too.
async fn random_writes(seed: u64, longest_set: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let database = support::database().await;
    let rules = Rules::new(database.db().clone(), WakeUp::default());
    // Windows begin and end at whole hours from here; the loop looks between them.
    let base = DateTime::from_timestamp(Utc::now().timestamp(), 0).unwrap();
    let mut standing = Standing::new();
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..120 {
        let mut wanted = BTreeMap::new();
        for _ in 0..random.random_range(1..=longest_set) {
            let id = RuleId::parse(&format!("r{}", random.random_range(0..20))).unwrap();
            let draft = random
                .random_bool(0.8)
                .then(|| random_draft(&mut random, base));
            wanted.insert(id, draft);
        }
        let mut next = standing.clone();
        for (id, draft) in &wanted {
            match draft {
                Some(draft) => next.insert(id.clone(), draft.clone()),
                None => next.remove(id),
            };
        }
        let fits = worst(&next, base) <= MAX_MARKS_PER_ROOM;
        let import = async |dry_run| {
            let brought: Brought = next
                .iter()
                .map(|(id, draft)| (id.clone(), (0, draft.clone())))
                .collect();
            let options = ImportOptions {
                mode: Mode::Replace,
                max_removals: Some(u32::MAX),
                label: None,
                dry_run,
            };
            rules.import(brought, &options, &author()).await
        };
        let dry = import(true).await;
        match (import(false).await, dry) {
            (Ok(_), Ok(_)) => {
                assert!(
                    fits,
                    "accepted though a room would need too much; seed {seed}"
                );
                standing = next;
                accepted += 1;
            }
            (
                Err(WriteError::MarkLimit { conflict, rules }),
                Err(WriteError::MarkLimit { conflict: dry, .. }),
            ) => {
                assert!(!fits, "refused without need; seed {seed}: {conflict:?}");
                assert_eq!(conflict, dry, "seed {seed}");
                assert!(conflict.marks.len() > MAX_MARKS_PER_ROOM);
                assert_eq!(rules.len(), conflict.demands.len());
                let named: BTreeSet<Mark> = rules
                    .iter()
                    .flat_map(|rule| next[rule].marks.iter())
                    .collect();
                assert!(named.is_superset(&conflict.marks));
                refused += 1;
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
    assert!(
        accepted > 10 && refused > 10,
        "{accepted} accepted, {refused} refused"
    );
    assert_shapes_are_counted(database.db()).await;
    assert_demands_are_counted(database.db()).await;
    assert_matches_are_found(database.db(), &standing).await;
}

#[tokio::test]
async fn single_writes_are_refused_exactly_when_a_room_would_need_too_many_marks() {
    for seed in 0..2 {
        random_writes(seed, 1).await;
    }
}

#[tokio::test]
async fn sets_of_writes_are_refused_exactly_when_a_room_would_need_too_many_marks() {
    for seed in 100..102 {
        random_writes(seed, 6).await;
    }
}
