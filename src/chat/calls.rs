//! The JSON of the calls.
//!
//! A body is built only if it keeps the limits of Chat, so that no call can break them.
//! Source: <https://www.tencentcloud.com/document/product/1047/50294>.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::error::{InvalidCall, MAX_MEMBERS_PER_CALL};
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandType {
    /// 1: the marks are added to those the member has.
    Set,
    /// 2
    Delete,
}

impl CommandType {
    /// The number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Set => 1,
            Self::Delete => 2,
        }
    }
}

/// One member of a `modify_user_info` call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberMarks {
    pub account: Account,
    /// Not empty.
    pub marks: MarkSet,
}

pub(super) fn modify_user_info(
    group: &GroupId,
    command: CommandType,
    members: &[MemberMarks],
) -> Result<Value, InvalidCall> {
    check_accounts(members.iter().map(|member| &member.account))?;
    if let Some(bare) = members.iter().find(|member| member.marks.is_empty()) {
        return Err(InvalidCall::NoMarks(bare.account.clone()));
    }
    let marks = members.iter().flat_map(|member| &member.marks);
    let distinct = marks.collect::<HashSet<&Mark>>().len();
    if distinct > MAX_MARKS_PER_ROOM {
        return Err(InvalidCall::TooManyMarks(distinct));
    }
    let entry = |MemberMarks { account, marks }: &MemberMarks| {
        let marks: Vec<u32> = marks.iter().map(|mark| mark.get()).collect();
        json!({ "Member_Account": account.as_str(), "Marks": marks })
    };
    Ok(json!({
        "GroupId": group.as_str(),
        "CommandType": command.number(),
        "MemberList": members.iter().map(entry).collect::<Value>(),
    }))
}

pub(super) fn get_members(group: &GroupId, timestamp: u64, mark: Option<Mark>) -> Value {
    let mut body = json!({ "GroupId": group.as_str(), "Timestamp": timestamp });
    if let Some(mark) = mark {
        body["Mark"] = mark.get().into();
    }
    body
}

pub(super) fn check_members(group: &GroupId, accounts: &[Account]) -> Result<Value, InvalidCall> {
    check_accounts(accounts.iter())?;
    let accounts: Vec<&str> = accounts.iter().map(Account::as_str).collect();
    Ok(json!({ "GroupId": group.as_str(), "Member_Account": accounts }))
}

pub(super) fn get_online_member_num(group: &GroupId) -> Value {
    json!({ "GroupId": group.as_str() })
}

/// At least one, at most 500, none twice.
fn check_accounts<'a>(
    accounts: impl ExactSizeIterator<Item = &'a Account>,
) -> Result<(), InvalidCall> {
    match accounts.len() {
        0 => return Err(InvalidCall::NoMembers),
        1..=MAX_MEMBERS_PER_CALL => {}
        many => return Err(InvalidCall::TooManyMembers(many)),
    }
    let mut seen = HashSet::with_capacity(accounts.len());
    for account in accounts {
        if !seen.insert(account) {
            return Err(InvalidCall::MemberTwice(account.clone()));
        }
    }
    Ok(())
}
