//! The REST calls that the simulated Chat answers.

use serde::{Deserialize, Serialize};

/// One REST API of Chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Sets or deletes marks: <https://www.tencentcloud.com/document/product/1047/50294>.
    ModifyUserInfo,
    /// The online list: <https://www.tencentcloud.com/document/product/1047/50293>.
    GetMembers,
    /// Who of these is in the room: <https://www.tencentcloud.com/document/product/1047/60523>.
    CheckMembers,
    /// How many are online: <https://www.tencentcloud.com/document/product/1047/38521>.
    GetOnlineMemberNum,
    /// Existence, type and name: <https://www.tencentcloud.com/document/product/1047/34961>.
    GetGroupInfo,
}

impl Api {
    /// Every API that is answered.
    pub const ALL: [Api; 5] = [
        Self::ModifyUserInfo,
        Self::GetMembers,
        Self::CheckMembers,
        Self::GetOnlineMemberNum,
        Self::GetGroupInfo,
    ];

    /// The service in the path, `v4/{service}/{command}`.
    pub fn service(self) -> &'static str {
        match self {
            Self::ModifyUserInfo | Self::GetMembers | Self::CheckMembers => {
                "group_open_avchatroom_http_svc"
            }
            Self::GetOnlineMemberNum | Self::GetGroupInfo => "group_open_http_svc",
        }
    }

    /// The command in the path, also the name in the control API.
    pub fn command(self) -> &'static str {
        match self {
            Self::ModifyUserInfo => "modify_user_info",
            Self::GetMembers => "get_members",
            Self::CheckMembers => "check_members",
            Self::GetOnlineMemberNum => "get_online_member_num",
            Self::GetGroupInfo => "get_group_info",
        }
    }

    /// The API behind a path below `v4/`, if it is one of ours.
    pub(super) fn at(path: &str) -> Option<Self> {
        let (service, command) = path.split_once('/')?;
        Self::ALL
            .into_iter()
            .find(|api| api.service() == service && api.command() == command)
    }
}
