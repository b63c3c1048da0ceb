//! The part of all rules that a write can bring into conflict.
//!
//! Before the write no room was in conflict. So a conflict can arise only in rooms that a written
//! rule names, at moments at which it holds, and a rule can contribute to it only marks that the
//! write does not bring anyway.

use std::cmp::Reverse;

use super::walk::{Demand, includes};
use crate::domain::{GroupId, MarkSet, Pattern, Window};

/// Rooms and time to look at.
#[derive(Debug)]
pub(in crate::rules) struct Area {
    /// The rooms; areas have no room in common.
    pub group: Pattern<GroupId>,
    /// The time in which a written demand can hold.
    pub window: Window,
    /// Written demands that hold in all of these rooms all of this time. Their marks are needed
    /// there in any case.
    pub floor: Vec<Demand>,
}

impl Area {
    /// The marks of the floor.
    pub(super) fn floor_marks(&self) -> MarkSet {
        self.floor
            .iter()
            .flat_map(|demand| demand.marks.iter())
            .collect()
    }

    /// The first text after all texts that begin as the rooms of this area do.
    pub(super) fn end_of_texts(&self) -> String {
        // Ids are printable ASCII, so the next byte is ASCII too, and DEL is behind all of them.
        let mut bytes = self.group.text().as_bytes().to_vec();
        match bytes.last_mut() {
            Some(last) => *last += 1,
            None => bytes.push(0x7f),
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The areas of written demands, in the order of their rooms.
pub(in crate::rules) fn areas(mut written: Vec<Demand>) -> Vec<Area> {
    written.sort_unstable_by(|a, b| order(&a.group).cmp(&order(&b.group)));
    let mut areas: Vec<Area> = Vec::new();
    for demand in written {
        match areas.last_mut() {
            // The widest pattern of an area comes first, so its own demands come before others.
            Some(area) if area.group.covers(&demand.group) => {
                area.window = hull(area.window, demand.window);
                if area.group == demand.group {
                    area.floor.push(demand);
                }
            }
            _ => areas.push(Area {
                group: demand.group.clone(),
                window: demand.window,
                floor: vec![demand],
            }),
        }
    }
    for area in &mut areas {
        let window = area.window;
        area.floor.retain(|demand| includes(demand.window, window));
    }
    areas
}

/// The order of the walk.
pub(super) fn order(group: &Pattern<GroupId>) -> (&str, Reverse<i16>) {
    (group.text(), Reverse(group.prefix_len()))
}

fn hull(one: Window, two: Window) -> Window {
    Window {
        starts_at: one.starts_at.zip(two.starts_at).map(|(a, b)| a.min(b)),
        ends_at: one.ends_at.zip(two.ends_at).map(|(a, b)| a.max(b)),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::domain::{Mark, Marks};
    use chrono::DateTime;

    fn demand(group: &str, from: Option<i64>, to: Option<i64>) -> Demand {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        Demand {
            group: Pattern::parse(group).unwrap(),
            marks: Marks::new([Mark::parse(1000).unwrap()]).unwrap(),
            window: Window {
                starts_at: from.map(at),
                ends_at: to.map(at),
            },
        }
    }

    #[test]
    fn nested_rooms_are_one_area_and_others_are_apart() {
        let areas = areas(vec![
            demand("ab", Some(0), None),
            demand("a*", Some(5), Some(9)),
            demand("b", None, None),
        ]);
        let groups: Vec<String> = areas.iter().map(|area| area.group.to_string()).collect();
        assert_eq!(groups, ["a*", "b"]);
        assert_eq!(areas[0].window, demand("a", Some(0), None).window);
        assert!(areas[0].floor.is_empty(), "a* does not hold as long as ab");
        assert_eq!(areas[1].floor.len(), 1);
    }

    #[test]
    fn the_end_of_texts_lies_behind_every_room_of_the_area() {
        for (pattern, inside, outside) in [
            ("a*", "a~~~", "b"),
            ("*", "~~~~", "\u{7f}"),
            ("~*", "~~", "\u{7f}"),
        ] {
            let end = areas(vec![demand(pattern, None, None)])[0].end_of_texts();
            assert!(inside < end.as_str());
            assert!(outside >= end.as_str());
        }
    }
}
