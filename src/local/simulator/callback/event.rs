//! What callbacks say, field by field.
//!
//! Sources: <https://www.tencentcloud.com/document/product/1047/34372> (join),
//! <https://www.tencentcloud.com/document/product/1047/34373> (exit),
//! <https://www.tencentcloud.com/document/product/1047/48734> (online and offline),
//! <https://www.tencentcloud.com/document/product/1047/34377> (destroyed),
//! <https://www.tencentcloud.com/document/product/1047/60256> (over limit).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::domain::{Account, GroupId};
use crate::local::simulator::api::Api;

/// The callbacks that can be switched on and off.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Kind {
    /// `Group.CallbackAfterNewMemberJoin`
    NewMemberJoin,
    /// `Group.CallbackAfterMemberExit`
    MemberExit,
    /// `Group.CallbackOnMemberStateChange`
    MemberStateChange,
    /// `Group.CallbackAfterGroupDestroyed`
    GroupDestroyed,
    /// `Alert.RequestOverLimit`
    RequestOverLimit,
}

/// Something that Chat tells of.
#[derive(Debug, Clone)]
pub(in crate::local::simulator) struct Event {
    /// The room, except for alerts.
    pub group: Option<GroupId>,
    /// Unix milliseconds.
    pub at: i64,
    pub what: What,
}

/// The part of an event that depends on its kind.
#[derive(Debug, Clone)]
pub(in crate::local::simulator) enum What {
    NewMemberJoin {
        accounts: Vec<Account>,
    },
    MemberExit {
        accounts: Vec<Account>,
        kicked_by: Option<String>,
    },
    StateChange {
        accounts: Vec<Account>,
        cause: Cause,
    },
    GroupDestroyed {
        owner: String,
        name: String,
    },
    RequestOverLimit {
        api: Api,
        request: usize,
        limit: usize,
    },
}

/// Why a member came online or went offline (`EventCause`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::local::simulator) enum Cause {
    Join,
    Quit,
    HeartbeatInterrupt,
    HeartbeatRecover,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [
        Self::NewMemberJoin,
        Self::MemberExit,
        Self::MemberStateChange,
        Self::GroupDestroyed,
        Self::RequestOverLimit,
    ];

    /// The value of `CallbackCommand`.
    pub fn command(self) -> &'static str {
        match self {
            Self::NewMemberJoin => "Group.CallbackAfterNewMemberJoin",
            Self::MemberExit => "Group.CallbackAfterMemberExit",
            Self::MemberStateChange => "Group.CallbackOnMemberStateChange",
            Self::GroupDestroyed => "Group.CallbackAfterGroupDestroyed",
            Self::RequestOverLimit => "Alert.RequestOverLimit",
        }
    }

    /// `ClientIP` and `OptPlatform`, which the address of some callbacks lacks.
    pub(super) fn origin(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::NewMemberJoin | Self::MemberExit => Some(("203.0.113.7", "Android")),
            Self::GroupDestroyed => Some(("203.0.113.7", "RESTAPI")),
            Self::MemberStateChange | Self::RequestOverLimit => None,
        }
    }
}

impl Cause {
    fn event_type(self) -> &'static str {
        match self {
            Self::Join | Self::HeartbeatRecover => "Online",
            Self::Quit | Self::HeartbeatInterrupt => "Offline",
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Join => "Join",
            Self::Quit => "Quit",
            Self::HeartbeatInterrupt => "HeartbeatInterrupt",
            Self::HeartbeatRecover => "HeartbeatRecover",
        }
    }
}

impl Event {
    pub(in crate::local::simulator) fn kind(&self) -> Kind {
        match self.what {
            What::NewMemberJoin { .. } => Kind::NewMemberJoin,
            What::MemberExit { .. } => Kind::MemberExit,
            What::StateChange { .. } => Kind::MemberStateChange,
            What::GroupDestroyed { .. } => Kind::GroupDestroyed,
            What::RequestOverLimit { .. } => Kind::RequestOverLimit,
        }
    }

    /// The members it tells of.
    pub(in crate::local::simulator) fn accounts(&self) -> &[Account] {
        match &self.what {
            What::NewMemberJoin { accounts }
            | What::MemberExit { accounts, .. }
            | What::StateChange { accounts, .. } => accounts,
            What::GroupDestroyed { .. } | What::RequestOverLimit { .. } => &[],
        }
    }

    /// The request's body.
    pub(super) fn body(&self) -> Value {
        let command = self.kind().command();
        let group = self.group.as_ref().map(GroupId::as_str);
        let time = self.at;
        match &self.what {
            What::NewMemberJoin { accounts } => json!({
                "CallbackCommand": command, "GroupId": group, "Type": "AVChatRoom",
                "JoinType": "Apply", "Operator_Account": accounts.first().map(Account::as_str),
                "NewMemberList": wrapped(accounts), "EventTime": time,
            }),
            What::MemberExit {
                accounts,
                kicked_by,
            } => json!({
                "CallbackCommand": command, "GroupId": group, "Type": "AVChatRoom",
                "ExitType": if kicked_by.is_some() { "Kicked" } else { "Quit" },
                "Operator_Account":
                    kicked_by.as_deref().or(accounts.first().map(Account::as_str)),
                "ExitMemberList": wrapped(accounts), "EventTime": time,
            }),
            What::StateChange { accounts, cause } => json!({
                "CallbackCommand": command, "GroupId": group,
                "EventType": cause.event_type(), "EventCause": cause.as_str(),
                "MemberList": wrapped(accounts), "EventTime": time,
            }),
            What::GroupDestroyed { owner, name } => json!({
                "CallbackCommand": command, "GroupId": group, "Type": "AVChatRoom",
                "Owner_Account": owner, "Name": name, "EventTime": time,
            }),
            What::RequestOverLimit {
                api,
                request,
                limit,
            } => json!({
                "CallbackCommand": command, "ServiceName": api.service(),
                "Command": api.command(), "Request": request, "Limit": limit,
            }),
        }
    }
}

fn wrapped(accounts: &[Account]) -> Vec<Value> {
    let wrap = |account: &Account| json!({ "Member_Account": account.as_str() });
    accounts.iter().map(wrap).collect()
}
