//! The screenplay: who is there, which rules hold, and what happens when.
//!
//! Times are milliseconds since the curtain; a show that runs late moves the rest on. Nothing here says what the service should do about it;
//! that follows from the rules alone (see `house`).

use crate::local::simulator::Effect;

/// A lesson.
pub(super) const LESSON: &str = "math-7";
/// A live shopping evening.
pub(super) const GALA: &str = "gala";

const TEACHER: &[&str] = &["teacher-li"];
const CLASS: &[&str] = &[
    "teacher-li",
    "helper-1",
    "helper-2",
    "helper-3",
    "mod-ana",
    "pupil-01",
    "pupil-02",
    "pupil-03",
    "pupil-04",
    "pupil-05",
    "pupil-06",
    "pupil-07",
    "pupil-08",
    "pupil-09",
    "pupil-10",
    "pupil-11",
    "pupil-12",
    "pupil-13",
];
const AUDIENCE: &[&str] = &[
    "singer-1", "singer-2", "mod-ana", "mod-ben", "vip-1", "vip-2", "vip-3", "vip-4", "vip-5",
    "vip-6", "vip-7", "vip-8", "guest-01", "guest-02", "guest-03", "guest-04", "guest-05",
    "guest-06", "guest-07", "guest-08", "guest-09", "guest-10",
];

/// A rule as an operator would write it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RuleText {
    pub id: &'static str,
    pub group: &'static str,
    pub account: &'static str,
    pub marks: &'static [u32],
    /// From when to when it holds, counted from its writing; `None` = always.
    pub window: Option<(u64, u64)>,
    pub note: &'static str,
}

/// The rules at the start.
pub(super) const RULES: &[RuleText] = &[
    RuleText {
        id: "math-7-teacher",
        group: LESSON,
        account: "teacher-li",
        marks: &[1001],
        window: None,
        note: "one teacher of one lesson",
    },
    RuleText {
        id: "math-7-helpers",
        group: LESSON,
        account: "helper-*",
        marks: &[1002],
        window: None,
        note: "all helpers of one lesson",
    },
    RuleText {
        id: "gala-vips",
        group: GALA,
        account: "vip-*",
        marks: &[2001],
        window: None,
        note: "all VIPs of one evening",
    },
    // So that the singers are known when the finale's rule is written: the service keeps track only
    // of members whom some rule names, and a new prefix rule reaches others at their next event.
    RuleText {
        id: "gala-singers",
        group: GALA,
        account: "singer-*",
        marks: &[2003],
        window: None,
        note: "all singers of one evening",
    },
    RuleText {
        id: "moderators",
        group: "*",
        account: "mod-*",
        marks: &[9001],
        window: None,
        note: "moderators in every room",
    },
];

/// A rule that the operator writes during the show.
const FINALE: RuleText = RuleText {
    id: "gala-finale",
    group: GALA,
    account: "singer-*",
    marks: &[3001],
    window: Some((500, 3_600)),
    note: "the singers, only during the finale",
};

/// Something that happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    /// The operator writes a rule.
    Write(RuleText),
    /// The operator edits the marks of a rule.
    Edit(&'static str, &'static [u32]),
    /// The operator deletes a rule.
    Delete(&'static str),
    /// Members of a room move, all at once.
    Move(Movement, &'static str, &'static [&'static str]),
    /// Chat lets so many calls for a room go wrong.
    Trouble(&'static str, u64, Effect),
}

/// What members do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Movement {
    Join,
    Drop,
    Back,
    Leave,
}

/// A scene: a line for the audience, and what happens then.
#[derive(Debug, Clone, Copy)]
struct Scene {
    at: u64,
    says: &'static str,
    acts: &'static [Act],
    /// Time between one member and the next where they do not move at once.
    every: u64,
}

const fn scene(at: u64, says: &'static str, acts: &'static [Act]) -> Scene {
    Scene {
        at,
        says,
        acts,
        every: 0,
    }
}

use Act::{Delete, Edit, Move, Trouble, Write};
use Movement::{Back, Drop, Join, Leave};

const SCENES: &[Scene] = &[
    Scene {
        every: 40,
        ..scene(
            400,
            "The lesson begins: 18 members join math-7, one every 40 ms",
            &[Move(Join, LESSON, CLASS)],
        )
    },
    Scene {
        every: 40,
        ..scene(
            1_300,
            "Doors open: 22 members join gala, one every 40 ms",
            &[Move(Join, GALA, AUDIENCE)],
        )
    },
    scene(
        2_600,
        "A tunnel: the teacher's connection drops",
        &[Move(Drop, LESSON, TEACHER)],
    ),
    scene(3_200, "The teacher is back", &[Move(Back, LESSON, TEACHER)]),
    scene(
        3_800,
        "A network fails: all 22 members of gala drop at once",
        &[Move(Drop, GALA, AUDIENCE)],
    ),
    scene(
        4_600,
        "And all 22 come back at once",
        &[Move(Back, GALA, AUDIENCE)],
    ),
    scene(
        5_400,
        "The operator edits the rule gala-vips: VIPs carry 2002 as well",
        &[Edit("gala-vips", &[2001, 2002])],
    ),
    scene(
        6_000,
        "The operator writes gala-finale: singers carry 3001 too, from half a second on, for 3.1 s",
        &[Write(FINALE)],
    ),
    scene(
        7_000,
        "mod-ben leaves the gala",
        &[Move(Leave, GALA, &["mod-ben"])],
    ),
    scene(
        7_500,
        "mod-ben joins again",
        &[Move(Join, GALA, &["mod-ben"])],
    ),
    scene(
        8_000,
        "Chat has a hiccup: the next call for gala fails with 60008, just as a VIP drops",
        &[
            Trouble(GALA, 1, Effect::ErrorCode(60008)),
            Move(Drop, GALA, &["vip-3"]),
        ],
    ),
    scene(
        8_500,
        "The VIP comes back into the hiccup",
        &[Move(Back, GALA, &["vip-3"])],
    ),
    scene(
        10_200,
        "The operator deletes the rule math-7-helpers",
        &[Delete("math-7-helpers")],
    ),
    scene(10_900, "A VIP goes home", &[Move(Leave, GALA, &["vip-8"])]),
];

/// One thing that happens at one time, with the line that introduces it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub at: u64,
    pub says: Option<&'static str>,
    pub act: Option<MomentAct>,
}

/// An act, for all or for one of the members that it names.
#[derive(Debug, Clone, Copy)]
pub(super) struct MomentAct {
    pub act: Act,
    /// The place of the only member who moves.
    pub only: Option<usize>,
}

/// The whole screenplay in order: the rules are written, then the scenes play.
pub(super) fn moments() -> Vec<Moment> {
    let moment = |at, act| Moment {
        at,
        says: None,
        act: Some(MomentAct { act, only: None }),
    };
    let mut moments: Vec<Moment> = RULES.iter().map(|rule| moment(0, Write(*rule))).collect();
    for scene in SCENES {
        moments.push(Moment {
            at: scene.at,
            says: Some(scene.says),
            act: None,
        });
        for act in scene.acts {
            moments.extend(acts_of(scene, *act));
        }
    }
    // Stable: what happens at one time keeps its order.
    moments.sort_by_key(|moment| moment.at);
    moments
}

fn acts_of(scene: &Scene, act: Act) -> Vec<Moment> {
    let one = |at, only| Moment {
        at,
        says: None,
        act: Some(MomentAct { act, only }),
    };
    match act {
        Move(_, _, who) if scene.every > 0 => (0..who.len())
            .map(|place| one(scene.at + scene.every * place as u64, Some(place)))
            .collect(),
        _ => vec![one(scene.at, None)],
    }
}

impl MomentAct {
    /// Who moves, where that is a question.
    pub(super) fn who(&self) -> &'static [&'static str] {
        let Move(_, _, who) = self.act else {
            return &[];
        };
        match self.only {
            Some(place) => who.get(place..=place).unwrap_or_default(),
            None => who,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Account, GroupId, Mark, Pattern, RuleId};

    #[test]
    fn the_screenplay_keeps_the_order_of_time() {
        let moments = moments();
        assert!(moments.is_sorted_by_key(|moment| moment.at));
        assert!(moments.iter().any(|moment| moment.says.is_some()));
    }

    #[test]
    fn a_staggered_arrival_moves_each_member_once() {
        let arrivals: Vec<&str> = moments()
            .iter()
            .filter_map(|moment| moment.act)
            .filter(|act| matches!(act.act, Move(Join, GALA, who) if who.len() > 1))
            .flat_map(|act| act.who())
            .copied()
            .collect();
        assert_eq!(arrivals, AUDIENCE);
    }

    #[test]
    fn the_rules_are_such_as_the_service_takes() {
        for rule in RULES.iter().chain([&FINALE]) {
            RuleId::parse(rule.id).unwrap();
            Pattern::<GroupId>::parse(rule.group).unwrap();
            Pattern::<Account>::parse(rule.account).unwrap();
            for mark in rule.marks {
                Mark::parse(i64::from(*mark)).unwrap();
            }
        }
    }
}
