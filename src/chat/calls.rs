//! The JSON of the calls.
//!
//! A body is built only if it keeps the limits of Chat, so that no call can break them.
//! Source: <https://www.tencentcloud.com/document/product/1047/50294>.

use std::collections::HashSet;

use serde::{Serialize, Serializer};

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

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ModifyUserInfo<'a> {
    #[serde(serialize_with = "group_text")]
    group_id: &'a GroupId,
    command_type: u8,
    member_list: Vec<MemberEntry<'a>>,
}

#[derive(Serialize)]
struct MemberEntry<'a> {
    #[serde(rename = "Member_Account")]
    account: &'a str,
    #[serde(rename = "Marks")]
    marks: Vec<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMembers<'a> {
    #[serde(serialize_with = "group_text")]
    pub group_id: &'a GroupId,
    pub timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct CheckMembers<'a> {
    #[serde(rename = "GroupId", serialize_with = "group_text")]
    group_id: &'a GroupId,
    #[serde(rename = "Member_Account")]
    accounts: Vec<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetOnlineMemberNum<'a> {
    #[serde(serialize_with = "group_text")]
    pub group_id: &'a GroupId,
}

fn group_text<S: Serializer>(group: &GroupId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(group.as_str())
}

impl<'a> ModifyUserInfo<'a> {
    /// Builds the body, or says which limit of Chat it would break.
    pub fn new(
        group_id: &'a GroupId,
        command: CommandType,
        members: &'a [MemberMarks],
    ) -> Result<Self, InvalidCall> {
        check_accounts(members.iter().map(|member| &member.account))?;
        if let Some(bare) = members.iter().find(|member| member.marks.is_empty()) {
            return Err(InvalidCall::NoMarks(bare.account.clone()));
        }
        let distinct: HashSet<Mark> = members
            .iter()
            .flat_map(|m| m.marks.iter().copied())
            .collect();
        if distinct.len() > MAX_MARKS_PER_ROOM {
            return Err(InvalidCall::TooManyMarks(distinct.len()));
        }
        let entry = |member: &'a MemberMarks| MemberEntry {
            account: member.account.as_str(),
            marks: member.marks.iter().map(|mark| mark.get()).collect(),
        };
        Ok(Self {
            group_id,
            command_type: command.number(),
            member_list: members.iter().map(entry).collect(),
        })
    }
}

impl<'a> CheckMembers<'a> {
    /// Builds the body, or says which limit it would break.
    pub fn new(group_id: &'a GroupId, accounts: &'a [Account]) -> Result<Self, InvalidCall> {
        check_accounts(accounts.iter())?;
        let accounts = accounts.iter().map(Account::as_str).collect();
        Ok(Self { group_id, accounts })
    }
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
