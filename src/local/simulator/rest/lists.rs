//! The calls that only read.
//!
//! Sources: <https://www.tencentcloud.com/document/product/1047/50293> (`get_members`),
//! <https://www.tencentcloud.com/document/product/1047/60523> (`check_members`),
//! <https://www.tencentcloud.com/document/product/1047/38521> (`get_online_member_num`),
//! <https://www.tencentcloud.com/document/product/1047/34961> (`get_group_info`).

use serde::Serialize;
use serde_json::{Value, json};

use super::answer::{Basic, Done, OK, Refusal, code, encode};
use super::request::{Check, Count, Info, List, account, group_id};
use crate::domain::Mark;
use crate::local::simulator::shared::World;

/// Accounts in one `check_members`; Chat documents no limit.
const MAX_ACCOUNTS: usize = 500;
const MAX_GROUPS: usize = 50;

#[derive(Serialize)]
struct Members<'a> {
    #[serde(flatten)]
    basic: Basic<'a>,
    #[serde(rename = "NextTimestamp")]
    next: i64,
    #[serde(rename = "MemberList")]
    members: Vec<Value>,
}

#[derive(Serialize)]
struct Present<'a> {
    #[serde(flatten)]
    basic: Basic<'a>,
    #[serde(rename = "Member_Account")]
    accounts: &'a [String],
}

#[derive(Serialize)]
struct Online<'a> {
    #[serde(flatten)]
    basic: Basic<'a>,
    #[serde(rename = "OnlineMemberNum")]
    online: usize,
}

#[derive(Serialize)]
struct Groups<'a> {
    #[serde(flatten)]
    basic: Basic<'a>,
    #[serde(rename = "GroupInfo")]
    groups: Vec<Value>,
}

/// A page of the online list, newest first. `NextTimestamp` is the arrival of the last member
/// on the page in microseconds; callers must take it as it is.
pub(super) fn get_members(world: &mut World, request: &List) -> Result<Done, Refusal> {
    let group = group_id(&request.group)?;
    if request.timestamp < 0 {
        return Err(Refusal::parameter(
            "`Timestamp` is 0 or the last `NextTimestamp`",
        ));
    }
    let mark = request.mark.map(Mark::parse).transpose();
    let mark = mark.map_err(|error| Refusal::parameter(error.to_string()))?;
    let page_size = world.settings.page_size;
    let room = world.rooms.find(&group)?;
    let before = (request.timestamp > 0).then_some(request.timestamp);
    let mut page = room.listed(mark, before);
    let more = page.len() > page_size;
    page.truncate(page_size);
    let next = page
        .last()
        .filter(|_| more)
        .map_or(0, |(arrived, _)| *arrived);
    let member = |(arrived, account): &(i64, crate::domain::Account)| {
        json!({
            "Member_Account": account.as_str(), "JoinTime": arrived / 1_000_000,
            "NickName": "", "Avatar": "",
        })
    };
    let members = page.iter().map(member).collect();
    let answered = page
        .iter()
        .map(|(_, account)| account.as_str().to_owned())
        .collect();
    let body = encode(&Members {
        basic: OK,
        next,
        members,
    });
    Ok(Done { body, answered })
}

pub(super) fn check_members(world: &mut World, request: &Check) -> Result<Done, Refusal> {
    let group = group_id(&request.group)?;
    if request.accounts.is_empty() {
        return Err(Refusal::parameter("`Member_Account` is empty"));
    }
    if request.accounts.len() > MAX_ACCOUNTS {
        let info = format!("a call has at most {MAX_ACCOUNTS} accounts");
        return Err(Refusal::new(code::TOO_MANY_ACCOUNTS, info));
    }
    let room = world.rooms.find(&group)?;
    let mut answered = Vec::new();
    for text in &request.accounts {
        let member = room.member(&account(text)?);
        if member.is_some_and(|member| member.online) {
            answered.push(text.clone());
        }
    }
    let body = encode(&Present {
        basic: OK,
        accounts: &answered,
    });
    Ok(Done { body, answered })
}

pub(super) fn online_number(world: &mut World, request: &Count) -> Result<Done, Refusal> {
    let online = world.rooms.find(&group_id(&request.group)?)?.online();
    let body = encode(&Online { basic: OK, online });
    Ok(Done {
        body,
        ..Done::default()
    })
}

/// Each group has an `ErrorCode` of its own; the answer as a whole succeeds.
pub(super) fn group_info(world: &mut World, request: &Info) -> Result<Done, Refusal> {
    if !(1..=MAX_GROUPS).contains(&request.groups.len()) {
        return Err(Refusal::parameter("`GroupIdList` has 1 to 50 groups"));
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for text in &request.groups {
        let found = group_id(text).and_then(|id| Ok(world.rooms.find(&id)?));
        groups.push(match found {
            Ok(room) => json!({
                "GroupId": text, "ErrorCode": 0, "ErrorInfo": "", "Type": "AVChatRoom",
                "Name": room.name, "Owner_Account": room.owner,
            }),
            Err(refusal) => {
                json!({ "GroupId": text, "ErrorCode": refusal.code, "ErrorInfo": "no such group" })
            }
        });
    }
    let body = encode(&Groups { basic: OK, groups });
    Ok(Done {
        body,
        ..Done::default()
    })
}
