//! The form of every answer, and the error codes that the simulator gives.

use serde::Serialize;

use crate::local::simulator::room::TooManyMarks;
use crate::local::simulator::rooms::RoomError;

/// Error codes. Source: <https://www.tencentcloud.com/document/product/1047/34348>.
pub(super) mod code {
    pub(in crate::local::simulator) const PARAMETER: i64 = 10004;
    pub(in crate::local::simulator) const TOO_MANY_ACCOUNTS: i64 = 10005;
    pub(in crate::local::simulator) const GROUP_GONE: i64 = 10010;
    pub(in crate::local::simulator) const JSON_WRONG: i64 = 10011;
    pub(in crate::local::simulator) const GROUP_ID: i64 = 10015;
    pub(in crate::local::simulator) const JSON_UNREADABLE: i64 = 60003;
    pub(in crate::local::simulator) const SDK_APP_ID: i64 = 60006;
    pub(in crate::local::simulator) const TOO_FREQUENT: i64 = 60007;
    pub(in crate::local::simulator) const HTTP_FORMAT: i64 = 60008;
    pub(in crate::local::simulator) const NO_SUCH_COMMAND: i64 = 60009;
    pub(in crate::local::simulator) const NEEDS_ADMIN: i64 = 60010;
    pub(in crate::local::simulator) const SDK_APP_ID_MISSING: i64 = 60012;
    pub(in crate::local::simulator) const URL_PARAMETER: i64 = 60025;
    pub(in crate::local::simulator) const SIG_EXPIRED: i64 = 70001;
    pub(in crate::local::simulator) const SIG_EMPTY: i64 = 70002;
    pub(in crate::local::simulator) const SIG_MALFORMED: i64 = 70003;
    pub(in crate::local::simulator) const SIG_WRONG_KEY: i64 = 70009;
    pub(in crate::local::simulator) const SIG_OTHER_ACCOUNT: i64 = 70013;
    pub(in crate::local::simulator) const SIG_OTHER_APPLICATION: i64 = 70014;
    pub(in crate::local::simulator) const SDK_APP_ID_UNKNOWN: i64 = 70020;
}

/// A call that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: i64,
    info: String,
}

/// The fields that every answer has.
#[derive(Debug, Serialize)]
pub(super) struct Basic<'a> {
    #[serde(rename = "ActionStatus")]
    status: &'a str,
    #[serde(rename = "ErrorCode")]
    code: i64,
    #[serde(rename = "ErrorInfo")]
    info: &'a str,
}

/// The fields of success.
pub(super) const OK: Basic<'static> = Basic {
    status: "OK",
    code: 0,
    info: "",
};

/// A call that succeeds.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub body: Vec<u8>,
    /// The accounts in the answer.
    pub answered: Vec<String>,
}

impl Refusal {
    pub(super) fn new(code: i64, info: impl Into<String>) -> Self {
        Self {
            code,
            info: info.into(),
        }
    }

    pub(super) fn parameter(info: impl Into<String>) -> Self {
        Self::new(code::PARAMETER, info)
    }

    pub(super) fn injected(code: i64) -> Self {
        Self::new(code, "injected fault")
    }

    pub(super) fn body(&self) -> Vec<u8> {
        encode(&Basic {
            status: "FAIL",
            code: self.code,
            info: &self.info,
        })
    }
}

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Destroyed(_) => Self::new(code::GROUP_GONE, "the group is gone"),
            _ => Self::new(code::GROUP_ID, "the group does not exist"),
        }
    }
}

impl From<TooManyMarks> for Refusal {
    fn from(_: TooManyMarks) -> Self {
        Self::parameter("a group has at most 10 different marks")
    }
}

/// The bytes of an answer. Its maps have text keys, so that writing them cannot fail.
pub(super) fn encode(answer: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap_or_default()
}
