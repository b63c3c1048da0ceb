//! `modify_user_info`: sets and deletes marks.
//!
//! Where Chat's documents are silent the strict reading holds: a member twice in a call, a mark
//! twice on a member and a call without members are refused.
//! Source: <https://www.tencentcloud.com/document/product/1047/50294>.

use std::collections::HashSet;

use serde::Serialize;

use super::answer::{Basic, Done, OK, Refusal, code, encode};
use super::request::{Modify, ModifyMember, account, group_id};
use crate::domain::{Account, Mark};
use crate::local::simulator::callback::{Cause, Event, What};
use crate::local::simulator::clock;
use crate::local::simulator::fault::Struck;
use crate::local::simulator::room::Marking;
use crate::local::simulator::shared::{Shared, World};

/// Accounts in one call.
const MAX_ACCOUNTS: usize = 500;

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    basic: Basic<'a>,
    #[serde(rename = "CommandType")]
    command_type: i64,
    #[serde(rename = "MemberList")]
    members: Vec<AnswerMember<'a>>,
}

#[derive(Serialize)]
struct AnswerMember<'a> {
    #[serde(rename = "Member_Account")]
    account: &'a str,
    #[serde(rename = "Marks")]
    marks: &'a [i64],
}

pub(super) fn apply(
    shared: &Shared,
    world: &mut World,
    request: &Modify,
    struck: &Struck,
) -> Result<Done, Refusal> {
    let group = group_id(&request.group)?;
    let marking = match request.command_type {
        1 if world.settings.set_replaces => Marking::Replace,
        1 => Marking::Add,
        2 => Marking::Delete,
        _ => {
            return Err(Refusal::parameter(
                "`CommandType` is 1 to set or 2 to delete",
            ));
        }
    };
    let wanted = wanted(&request.members)?;
    let all_offline = world.settings.all_offline_code;
    let room = world.rooms.find(&group)?;
    let visible =
        |account: &Account| !struck.omit_all && !struck.omitted.contains(account.as_str());
    let now = clock::unix_ms();
    let marked = room.mark(&wanted, marking, now, visible)?;
    let at = room.time_of(&marked.fallen, now);
    for account in &marked.fallen {
        room.note_moved(account, at);
    }
    let fallen = marked.fallen.into_iter().map(|account| {
        let (accounts, cause) = (vec![account], Cause::HeartbeatInterrupt);
        let what = What::StateChange { accounts, cause };
        Event {
            group: Some(group.clone()),
            at,
            what,
        }
    });
    shared.emit(world, fallen.collect(), &None);
    if marked.served.is_empty() {
        return Err(Refusal::new(
            all_offline,
            "none of the members could be served",
        ));
    }
    let served = || marked.served.iter().map(|place| &request.members[*place]);
    let body = encode(&Answer {
        basic: OK,
        command_type: request.command_type,
        members: served()
            .map(|member| AnswerMember {
                account: &member.account,
                marks: &member.marks,
            })
            .collect(),
    });
    let answered = served().map(|member| member.account.clone()).collect();
    Ok(Done { body, answered })
}

fn wanted(members: &[ModifyMember]) -> Result<Vec<(Account, Vec<Mark>)>, Refusal> {
    if members.is_empty() {
        return Err(Refusal::parameter("`MemberList` is empty"));
    }
    if members.len() > MAX_ACCOUNTS {
        let info = format!("a call has at most {MAX_ACCOUNTS} members");
        return Err(Refusal::new(code::TOO_MANY_ACCOUNTS, info));
    }
    let mut seen = HashSet::with_capacity(members.len());
    let mut wanted = Vec::with_capacity(members.len());
    for member in members {
        let account = account(&member.account)?;
        if !seen.insert(&member.account) {
            let info = format!("{:?} stands twice in `MemberList`", member.account);
            return Err(Refusal::parameter(info));
        }
        wanted.push((account, marks(&member.marks)?));
    }
    Ok(wanted)
}

fn marks(numbers: &[i64]) -> Result<Vec<Mark>, Refusal> {
    if numbers.is_empty() {
        return Err(Refusal::parameter("`Marks` is empty"));
    }
    let mut marks = Vec::with_capacity(numbers.len());
    for number in numbers {
        let mark = Mark::parse(*number).map_err(|error| Refusal::parameter(error.to_string()))?;
        if marks.contains(&mark) {
            return Err(Refusal::parameter(format!(
                "the mark {mark} stands twice in `Marks`"
            )));
        }
        marks.push(mark);
        // Ten distinct marks are all that a room can hold; a longer list is not read on.
        if marks.len() > crate::domain::MAX_MARKS_PER_ROOM {
            return Err(crate::local::simulator::room::TooManyMarks.into());
        }
    }
    Ok(marks)
}
