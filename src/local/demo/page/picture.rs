//! What a page is sent: the whole stage at one moment.

use std::collections::VecDeque;

use serde::Serialize;

use super::cast::{Cast, Room, State};
use super::news::Line;
use super::trouble::Trouble;
use crate::local::demo::house::Marks;
use crate::local::demo::operator::Pause;

/// The stage. Times are Unix milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Picture<'a> {
    /// True while the screenplay moves the members and takes no orders.
    pub playing: bool,
    pub trouble: Trouble,
    pub calls: Calls,
    /// Why the service makes no calls, if so.
    pub pause: Option<&'a Pause>,
    pub rooms: Vec<RoomView<'a>>,
    pub news: &'a VecDeque<Line>,
}

/// Calls that set or delete marks, so far.
#[derive(Debug, Default, Serialize)]
pub(super) struct Calls {
    pub made: u64,
    pub failed: u64,
}

/// A room.
#[derive(Debug, Serialize)]
pub(super) struct RoomView<'a> {
    group: &'a str,
    open: bool,
    /// Members that have no place on the page.
    hidden: usize,
    members: Vec<MemberView<'a>>,
}

/// A member.
#[derive(Debug, Serialize)]
pub(super) struct MemberView<'a> {
    account: &'a str,
    state: State,
    marks: &'a Marks,
    /// What the rules require while the member is online.
    wanted: &'a Marks,
    /// Milliseconds from the arrival until the member had all of it.
    delay: Option<i64>,
}

/// Every room of the cast.
pub(super) fn rooms(cast: &Cast) -> Vec<RoomView<'_>> {
    let rooms = cast.rooms().iter();
    rooms
        .map(|(group, room)| RoomView::new(group, room))
        .collect()
}

impl<'a> RoomView<'a> {
    fn new(group: &'a str, room: &'a Room) -> Self {
        let members = room.members.iter().map(|(account, member)| MemberView {
            account,
            state: member.state,
            marks: &member.marks,
            wanted: &member.wanted,
            delay: member.delay,
        });
        Self {
            group,
            open: room.open,
            hidden: room.hidden,
            members: members.collect(),
        }
    }
}
