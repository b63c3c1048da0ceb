use super::*;
use chrono::TimeZone;
use proptest::prelude::*;

fn check_rooms(demands: impl IntoIterator<Item = Demand>) -> Result<(), Conflict> {
    let mut walk = Walk::default();
    for demand in demands {
        walk.step(demand)?;
    }
    walk.check_last()
}

fn at(second: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(second, 0).unwrap()
}

fn demand(group: &str, marks: &[i64], from: Option<i64>, to: Option<i64>) -> Demand {
    Demand {
        group: Pattern::parse(group).unwrap(),
        marks: Marks::new(marks.iter().map(|mark| Mark::parse(*mark).unwrap())).unwrap(),
        window: Window {
            starts_at: from.map(at),
            ends_at: to.map(at),
        },
    }
}

fn always(group: &str, marks: &[i64]) -> Demand {
    demand(group, marks, None, None)
}

fn in_order(mut demands: Vec<Demand>) -> Vec<Demand> {
    demands.sort_by(|a, b| a.group_order().cmp(&b.group_order()));
    demands
}

const SIX: [i64; 6] = [1000, 1001, 1002, 1003, 1004, 1005];
const FIVE_MORE: [i64; 5] = [2000, 2001, 2002, 2003, 2004];

#[test]
fn nested_patterns_add_up_and_the_conflict_names_rooms_demands_and_marks() {
    let conflict = check_rooms(in_order(vec![
        always("*", &SIX),
        always("other*", &[3000]),
        always("class-7", &FIVE_MORE),
        always("class-*", &SIX),
    ]))
    .unwrap_err();
    assert_eq!(conflict.group, Pattern::parse("class-7").unwrap());
    assert_eq!(conflict.from, None);
    assert_eq!(conflict.marks.len(), 11);
    let groups: Vec<String> = conflict
        .demands
        .iter()
        .map(|demand| demand.group.to_string())
        .collect();
    assert_eq!(groups, ["*", "class-7"]);
}

#[test]
fn overlapping_windows_conflict_from_the_moment_both_hold() {
    let conflict = check_rooms(vec![
        demand("*", &SIX, None, Some(11)),
        demand("r", &FIVE_MORE, Some(10), None),
    ])
    .unwrap_err();
    assert_eq!(conflict.from, Some(at(10)));
}

#[test]
fn a_hundred_thousand_shows_in_turn_in_one_room_are_checked_quickly() {
    let shows = (0..100_000).map(|hour| {
        let marks = [1000 + hour, 200_000 + hour];
        demand("stage", &marks, Some(hour), Some(hour + 1))
    });
    let demands = std::iter::once(always("*", &SIX)).chain(shows);
    assert_eq!(check_rooms(demands), Ok(()));
}

fn any_demand() -> impl Strategy<Value = Demand> {
    let moment = || proptest::option::of(0i64..6);
    let marks = proptest::collection::btree_set(1000i64..1016, 1..=6);
    ("[ab]{0,3}\\*?", marks, moment(), moment()).prop_filter_map(
        "no pattern",
        |(group, marks, from, to)| {
            Pattern::<GroupId>::parse(&group).ok()?;
            let marks: Vec<i64> = marks.into_iter().collect();
            Some(demand(&group, &marks, from, to))
        },
    )
}

/// Marks needed in a room at a moment, by looking at every demand.
fn needed(demands: &[Demand], room: &GroupId, moment: DateTime<Utc>) -> MarkSet {
    demands
        .iter()
        .filter(|d| d.group.matches(room) && d.window.contains(moment))
        .flat_map(|d| d.marks.iter())
        .collect()
}

/// All ids of one to four letters a and b: a number in binary, but for its first one.
fn rooms() -> Vec<GroupId> {
    let ids = (2..32).map(|number| format!("{number:b}").replace('0', "a").replace('1', "b"));
    ids.map(|id| GroupId::parse(&id[1..]).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn the_walk_agrees_with_looking_at_every_room_and_moment(
        demands in proptest::collection::vec(any_demand(), 0..8)
    ) {
        let worst = rooms().iter()
            .flat_map(|room| (-1..7).map(move |second| (room.clone(), at(second))))
            .map(|(room, moment)| needed(&demands, &room, moment).len())
            .max().unwrap_or(0);
        match check_rooms(in_order(demands.clone())) {
            Ok(()) => prop_assert!(worst <= MAX_MARKS_PER_ROOM),
            Err(conflict) => {
                prop_assert!(worst > MAX_MARKS_PER_ROOM);
                let moment = conflict.from.unwrap_or(at(-1));
                let concerned: Vec<_> = rooms().into_iter()
                    .filter(|room| conflict.group.matches(room)).collect();
                prop_assert!(!concerned.is_empty());
                let named: MarkSet = conflict.demands.iter().flat_map(|d| d.marks.iter()).collect();
                prop_assert!(named.is_superset(&conflict.marks));
                prop_assert!(conflict.demands.iter().all(|d| demands.contains(d)));
                for room in concerned {
                    prop_assert!(needed(&demands, &room, moment).is_superset(&conflict.marks));
                }
            }
        }
    }
}
