//! The bodies of REST calls. Unknown keys are refused, so that a misspelt one is found.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::answer::{Refusal, code};
use crate::domain::{Account, GroupId};
use crate::local::simulator::api::Api;
use crate::local::simulator::calls::CalledMember;

/// The body of one call.
#[derive(Debug)]
pub(super) enum Request {
    Modify(Modify),
    List(List),
    Check(Check),
    Count(Count),
    Info(Info),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Modify {
    #[serde(rename = "GroupId")]
    pub group: String,
    #[serde(rename = "CommandType")]
    pub command_type: i64,
    #[serde(rename = "MemberList")]
    pub members: Vec<ModifyMember>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModifyMember {
    #[serde(rename = "Member_Account")]
    pub account: String,
    #[serde(rename = "Marks")]
    pub marks: Vec<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(rename = "GroupId")]
    pub group: String,
    #[serde(rename = "Timestamp")]
    pub timestamp: i64,
    #[serde(rename = "Mark")]
    pub mark: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    #[serde(rename = "GroupId")]
    pub group: String,
    #[serde(rename = "Member_Account")]
    pub accounts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Count {
    #[serde(rename = "GroupId")]
    pub group: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Info {
    #[serde(rename = "GroupIdList")]
    pub groups: Vec<String>,
    /// Accepted and not obeyed: the answer is minimal anyway.
    #[serde(rename = "ResponseFilter")]
    _filter: Option<Box<RawValue>>,
}

impl Request {
    pub(super) fn parse(api: Api, body: &[u8]) -> Result<Self, Refusal> {
        Ok(match api {
            Api::ModifyUserInfo => Self::Modify(read(body)?),
            Api::GetMembers => Self::List(read(body)?),
            Api::CheckMembers => Self::Check(read(body)?),
            Api::GetOnlineMemberNum => Self::Count(read(body)?),
            Api::GetGroupInfo => Self::Info(read(body)?),
        })
    }

    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Modify(request) => Some(&request.group),
            Self::List(request) => Some(&request.group),
            Self::Check(request) => Some(&request.group),
            Self::Count(request) => Some(&request.group),
            Self::Info(request) => request.groups.first().map(String::as_str),
        }
    }

    /// The members it names, for the log.
    pub(super) fn members(&self) -> Vec<CalledMember> {
        let plain = |account: &String| CalledMember {
            account: account.clone(),
            marks: vec![],
        };
        match self {
            Self::Modify(request) => {
                let members = request.members.iter().map(|member| CalledMember {
                    account: member.account.clone(),
                    marks: member.marks.clone(),
                });
                members.collect()
            }
            Self::Check(request) => request.accounts.iter().map(plain).collect(),
            Self::List(_) | Self::Count(_) | Self::Info(_) => Vec::new(),
        }
    }

    /// `CommandType` and `Mark`, for the log.
    pub(super) fn command_type_and_mark(&self) -> (Option<i64>, Option<i64>) {
        match self {
            Self::Modify(request) => (Some(request.command_type), None),
            Self::List(request) => (None, request.mark),
            _ => (None, None),
        }
    }
}

/// JSON that is none has another code than JSON of another shape.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => code::JSON_WRONG,
            _ => code::JSON_UNREADABLE,
        };
        Refusal::new(code, error.to_string())
    })
}

pub(super) fn group_id(text: &str) -> Result<GroupId, Refusal> {
    GroupId::parse(text).map_err(|error| Refusal::new(code::GROUP_ID, error.to_string()))
}

pub(super) fn account(text: &str) -> Result<Account, Refusal> {
    Account::parse(text).map_err(|error| Refusal::parameter(error.to_string()))
}
