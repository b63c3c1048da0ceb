//! The JSON of the calls and of their answers.
//!
//! Answers are read tolerantly: Chat's pages disagree on shapes (`MemberList` is an Object in the
//! table and an Array in the sample of
//! <https://www.tencentcloud.com/document/product/1047/50294>) and keys come and go. What is not
//! understood is skipped, never guessed: a member counts only when his account can be read.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::error::{ChatError, InvalidCall, MAX_MEMBERS_PER_CALL, harmless};
use super::error_codes::ErrorCode;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet};

/// Whether marks are set or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CommandType {
    /// 1: the marks are added to those the member has.
    Set,
    /// 2: the marks are taken away.
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
    /// The member.
    pub account: Account,
    /// The marks to set or delete; not empty.
    pub marks: MarkSet,
}

/// What `modify_user_info` did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModifyAnswer {
    /// The members the answer names, of those asked for; nobody else was changed.
    pub confirmed: HashSet<Account>,
}

/// One page of the members online in a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MembersPage {
    /// The members; each at most once a page.
    pub members: Vec<OnlineMember>,
    /// The timestamp to ask the next page with, or `None` at the end.
    pub next: Option<u64>,
}

/// A member whom Chat believes online; its list lags by up to 40 s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlineMember {
    /// The member.
    pub account: Account,
    /// When he joined, to the second, if Chat said so.
    pub joined_at: Option<DateTime<Utc>>,
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
        if command == CommandType::Set && distinct.len() > MAX_MARKS_PER_ROOM {
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

/// An answer with `ErrorCode` 0.
#[derive(Debug)]
pub(super) struct Answer(Value);

impl Answer {
    /// Reads a body; any other `ErrorCode` is an error.
    pub fn parse(body: &[u8]) -> Result<Self, ChatError> {
        let Ok(answer @ Value::Object(_)) = serde_json::from_slice(body) else {
            return Err(ChatError::BadAnswer("it is no JSON object"));
        };
        let code = integer(&answer["ErrorCode"]);
        let code = code.ok_or(ChatError::BadAnswer("it has no ErrorCode"))?;
        if code != 0 {
            let info = harmless(answer["ErrorInfo"].as_str().unwrap_or_default());
            return Err(ChatError::Refused {
                code: ErrorCode::new(code),
                info,
            });
        }
        match &answer["ActionStatus"] {
            Value::String(status) if status != "OK" => Err(ChatError::BadAnswer(
                "it has ErrorCode 0 and an ActionStatus other than OK",
            )),
            _ => Ok(Self(answer)),
        }
    }

    pub fn modified(&self, asked: &[MemberMarks]) -> ModifyAnswer {
        let named: HashSet<&str> = self
            .entries("MemberList")
            .filter_map(account_text)
            .collect();
        let accounts = asked.iter().map(|member| &member.account);
        let confirmed = accounts.filter(|account| named.contains(account.as_str()));
        ModifyAnswer {
            confirmed: confirmed.cloned().collect(),
        }
    }

    pub fn present(&self, asked: &[Account]) -> Vec<Account> {
        let named: HashSet<&str> = self
            .entries("Member_Account")
            .filter_map(account_text)
            .collect();
        let present = asked
            .iter()
            .filter(|account| named.contains(account.as_str()));
        present.cloned().collect()
    }

    /// A page whose `NextTimestamp` is the one just asked for would never end, so it is an error.
    pub fn members_page(&self, asked: u64) -> Result<MembersPage, ChatError> {
        let mut seen = HashSet::new();
        let member = |entry| {
            let account = Account::parse(account_text(entry)?).ok()?;
            let joined_at = integer(&entry["JoinTime"]).filter(|seconds| *seconds > 0);
            let joined_at = joined_at.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            Some(OnlineMember { account, joined_at })
        };
        let members = self.entries("MemberList").filter_map(member);
        let members = members
            .filter(|member| seen.insert(member.account.clone()))
            .collect();
        let next = match &self.0["NextTimestamp"] {
            Value::Null => 0,
            given => integer(given)
                .and_then(|next| u64::try_from(next).ok())
                .ok_or(ChatError::BadAnswer("its NextTimestamp is no timestamp"))?,
        };
        if next != 0 && next == asked {
            return Err(ChatError::BadAnswer("its NextTimestamp does not lead on"));
        }
        Ok(MembersPage {
            members,
            next: (next != 0).then_some(next),
        })
    }

    pub fn online_member_num(&self) -> Result<u64, ChatError> {
        let number = integer(&self.0["OnlineMemberNum"]).and_then(|n| u64::try_from(n).ok());
        number.ok_or(ChatError::BadAnswer("it has no OnlineMemberNum"))
    }

    /// The entries of a list that may be missing, null, an array, or its single entry.
    fn entries(&self, key: &str) -> impl Iterator<Item = &Value> {
        match &self.0[key] {
            Value::Array(entries) => entries.iter(),
            Value::Null => [].iter(),
            single => std::slice::from_ref(single).iter(),
        }
    }
}

/// The account of an entry: a string, or an object with `Member_Account`.
fn account_text(entry: &Value) -> Option<&str> {
    entry.as_str().or_else(|| entry["Member_Account"].as_str())
}

/// An integer, or one in quotes.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn account(text: &str) -> Account {
        Account::parse(text).unwrap()
    }

    fn member(text: &str, marks: &[i64]) -> MemberMarks {
        let marks = marks.iter().map(|mark| Mark::parse(*mark).unwrap());
        MemberMarks {
            account: account(text),
            marks: marks.collect(),
        }
    }

    fn answer(extra: Value) -> Answer {
        let mut body = json!({"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": ""});
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        Answer::parse(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_modify_call_is_written_as_documented() {
        let group = GroupId::parse("room-7").unwrap();
        let members = [member("alice", &[1002, 1000]), member("bob", &[1001])];
        let call = ModifyUserInfo::new(&group, CommandType::Set, &members).unwrap();
        assert_eq!(
            serde_json::to_value(call).unwrap(),
            json!({"GroupId": "room-7", "CommandType": 1, "MemberList": [
                {"Member_Account": "alice", "Marks": [1000, 1002]},
                {"Member_Account": "bob", "Marks": [1001]}]})
        );
    }

    #[test]
    fn a_call_that_breaks_a_limit_is_not_built() {
        let group = GroupId::parse("room-7").unwrap();
        let modify = |command, members: &[MemberMarks]| {
            ModifyUserInfo::new(&group, command, members)
                .map(|_| ())
                .unwrap_err()
        };
        let many: Vec<_> = (0..501)
            .map(|n| member(&format!("a{n}"), &[1000]))
            .collect();
        assert_eq!(modify(CommandType::Set, &[]), InvalidCall::NoMembers);
        assert_eq!(
            modify(CommandType::Set, &many),
            InvalidCall::TooManyMembers(501)
        );
        assert!(ModifyUserInfo::new(&group, CommandType::Set, &many[..500]).is_ok());
        let twice = [
            member("a", &[1000]),
            member("b", &[1000]),
            member("a", &[1001]),
        ];
        assert_eq!(
            modify(CommandType::Delete, &twice),
            InvalidCall::MemberTwice(account("a"))
        );
        let bare = [member("a", &[])];
        assert_eq!(
            modify(CommandType::Set, &bare),
            InvalidCall::NoMarks(account("a"))
        );
        let eleven: Vec<_> = (0..11)
            .map(|n| member(&format!("a{n}"), &[1000 + n]))
            .collect();
        assert_eq!(
            modify(CommandType::Set, &eleven),
            InvalidCall::TooManyMarks(11)
        );
        assert!(ModifyUserInfo::new(&group, CommandType::Delete, &eleven).is_ok());
        let accounts = vec![account("a"); 2];
        assert!(CheckMembers::new(&group, &accounts).is_err());
    }

    #[test]
    fn the_member_list_may_come_in_any_of_its_shapes() {
        let asked = [member("alice", &[1000]), member("bob", &[1000])];
        for (list, confirmed) in [
            (json!({}), &[][..]),
            (json!({"MemberList": null}), &[]),
            (json!({"MemberList": []}), &[]),
            (
                json!({"MemberList": {"Member_Account": "bob", "Marks": [1000]}}),
                &["bob"],
            ),
            (
                json!({"MemberList": [{"Member_Account": "alice", "New": {}}]}),
                &["alice"],
            ),
            (
                json!({"MemberList": [{"Member_Account": "eve"}, {"Member_Account": 7}, 3]}),
                &[],
            ),
        ] {
            let expected: HashSet<Account> = confirmed.iter().map(|text| account(text)).collect();
            assert_eq!(answer(list).modified(&asked).confirmed, expected);
        }
    }

    #[test]
    fn a_page_of_members_leads_on_or_ends() {
        let page = answer(json!({"NextTimestamp": "1760000000", "MemberList": [
            {"Member_Account": "alice", "JoinTime": 1_760_000_000},
            {"Member_Account": "alice"}, {"Member_Account": ""}, {"NickName": "x"}]}));
        let page = page.members_page(0).unwrap();
        let joined_at = DateTime::from_timestamp(1_760_000_000, 0);
        assert_eq!(
            page.members,
            [OnlineMember {
                account: account("alice"),
                joined_at
            }]
        );
        assert_eq!(page.next, Some(1_760_000_000));
        assert_eq!(
            answer(json!({"NextTimestamp": 0}))
                .members_page(5)
                .unwrap()
                .next,
            None
        );
        assert!(answer(json!({"NextTimestamp": 5})).members_page(5).is_err());
        assert!(
            answer(json!({"NextTimestamp": -1}))
                .members_page(5)
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_answer_is_too_strange_to_read(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Answer::parse(&body).is_err());
        }
    }
}
