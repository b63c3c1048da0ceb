//! The screenplay: who is there, which rules are active, and what happens when.
//!
//! Times are milliseconds since the start; a show that runs late moves the rest on. Nothing here says
//! what the service should do about it; that follows from the rules alone (see `ledger`).

use crate::local::simulator::{Effect, Movement};

/// A lesson.
pub(super) const LESSON: &str = "math-7";
/// A live shopping evening.
pub(super) const GALA: &str = "gala";

const TEACHER: &[&str] = &["teacher-li"];
#[rustfmt::skip]
const CLASS: &[&str] = &[
    "teacher-li", "helper-1", "helper-2", "helper-3", "mod-ana", "pupil-01", "pupil-02", "pupil-03",
    "pupil-04", "pupil-05", "pupil-06", "pupil-07", "pupil-08", "pupil-09", "pupil-10", "pupil-11",
    "pupil-12", "pupil-13",
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
    /// From when to when it is active, counted from its writing; `None` = always.
    pub window: Option<(i64, i64)>,
    pub note: &'static str,
}

const fn rule(
    id: &'static str,
    group: &'static str,
    account: &'static str,
    marks: &'static [u32],
    note: &'static str,
) -> RuleText {
    RuleText {
        id,
        group,
        account,
        marks,
        window: None,
        note,
    }
}

#[rustfmt::skip]
pub(super) const RULES: &[RuleText] = &[
    rule("math-7-teacher", LESSON, "teacher-li", &[1001], "one teacher of one lesson"),
    rule("math-7-helpers", LESSON, "helper-*", &[1002], "all helpers of one lesson"),
    rule("gala-vips", GALA, "vip-*", &[2001], "all VIPs of one evening"),
    // So that the singers are known when the finale's rule is written: the service keeps track only
    // of members that some rule matches, and a new prefix rule reaches others at their next event.
    rule("gala-singers", GALA, "singer-*", &[2003], "all singers of one evening"),
    rule("moderators", "*", "mod-*", &[9001], "moderators in every room"),
];

/// A rule that the operator writes during the show.
const FINALE: RuleText = RuleText {
    window: Some((500, 3_600)),
    ..rule(
        "gala-finale",
        GALA,
        "singer-*",
        &[3001],
        "the singers, only during the finale",
    )
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Write(RuleText),
    Delete(&'static str),
    /// Members of a room move, all at once.
    Move(Movement, &'static str, &'static [&'static str]),
    /// Members enter a room, one every so many milliseconds.
    Arrive(&'static str, &'static [&'static str], u64),
    /// One call for a room is answered with this error.
    Fail(&'static str, Effect),
}

/// A scene: when, a line for the audience, and what happens then.
pub(super) type Scene = (u64, &'static str, &'static [Act]);

use Act::{Arrive, Delete, Fail, Move, Write};
use Movement::{Back, Drop, Join, Leave};

#[rustfmt::skip]
pub(super) const SCENES: &[Scene] = &[
    (400, "The lesson begins: 18 members join math-7, one every 40 ms", &[Arrive(LESSON, CLASS, 40)]),
    (1_300, "Doors open: 22 members join gala, one every 40 ms", &[Arrive(GALA, AUDIENCE, 40)]),
    (2_600, "A tunnel: the teacher's connection drops", &[Move(Drop, LESSON, TEACHER)]),
    (3_200, "The teacher is back", &[Move(Back, LESSON, TEACHER)]),
    (3_800, "A network fails: all 22 members of gala drop at once", &[Move(Drop, GALA, AUDIENCE)]),
    (4_600, "And all 22 come back at once", &[Move(Back, GALA, AUDIENCE)]),
    (5_400, "The operator edits the rule gala-vips: VIPs also get 2002",
        &[Write(rule("gala-vips", GALA, "vip-*", &[2001, 2002], "all VIPs of one evening"))]),
    (6_000, "The operator writes gala-finale: singers also get 3001, starting in half a second, for 3.1 s",
        &[Write(FINALE)]),
    (7_000, "mod-ben leaves the gala", &[Move(Leave, GALA, &["mod-ben"])]),
    (7_500, "mod-ben joins again", &[Move(Join, GALA, &["mod-ben"])]),
    (8_000, "Chat has a hiccup: the next call for gala fails with 60008, just as a VIP drops",
        &[Fail(GALA, Effect::ErrorCode(60008)), Move(Drop, GALA, &["vip-3"])]),
    (8_500, "The VIP comes back into the hiccup", &[Move(Back, GALA, &["vip-3"])]),
    (10_200, "The operator deletes the rule math-7-helpers", &[Delete("math-7-helpers")]),
    (10_900, "A VIP goes home", &[Move(Leave, GALA, &["vip-8"])]),
];
