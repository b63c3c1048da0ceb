//! Every documented error code of the calls made here, and what a caller does about it.
//!
//! Chat answers HTTP 200 whatever happened; the `ErrorCode` of the answer decides. The pages give
//! meanings but hardly any advice, so the classes are ours. A code that is missing here is retried:
//! repeating a call that sets state does no harm, giving up loses marks.
//! Sources: <https://www.tencentcloud.com/document/product/1047/34348> (all codes),
//! <https://www.tencentcloud.com/document/product/1047/50294> (those of `modify_user_info`: rooms, plan),
//! <https://www.tencentcloud.com/document/product/1047/34385> (signatures),
//! <https://www.tencentcloud.com/document/product/1047/34419> (limits),
//! <https://www.tencentcloud.com/document/product/1047/50296> (too large a call).

use std::fmt;
use std::time::Duration;

use crate::metrics::ErrorClass;

use ErrorClass::{
    Configuration, MemberFault, NewSignature, RequestFault, Retry, RoomGone, SlowDown, Split,
};

/// The `ErrorCode` of an answer, not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(i64);

struct Entry {
    code: i64,
    class: ErrorClass,
    meaning: &'static str,
    /// What a person does about it; empty where a person cannot.
    advice: &'static str,
}

const CHECK_ADMIN: &str = "make chat.admin_account an administrator of the app in the console";
const CHECK_KEY: &str = "check that chat.sdk_app_id and chat.secret_key belong together";
const CHECK_SIGNER: &str = "check that chat.sdk_app_id, chat.secret_key and chat.admin_account \
                            belong together, and that the clock of this machine is right";
const CHECK_PLAN: &str = "upgrade to the Pro, Pro Plus or Enterprise edition";
const CHECK_APP: &str = "check chat.sdk_app_id and the state of the app in the console";

macro_rules! codes {
    ($($code:literal $class:ident $meaning:literal $(=> $advice:expr)?;)+) => {
        &[$(Entry { code: $code, class: $class, meaning: $meaning, advice: [$($advice,)? ""][0] },)+]
    };
}

/// Sorted by code: its class, its meaning, and what a person does about it.
const TABLE: &[Entry] = codes! {
    10001 NewSignature "the admin account is not logged in" => CHECK_SIGNER;
    10002 Retry "internal error";
    10003 RequestFault "the command does not exist";
    10004 RequestFault "a parameter is illegal or not supported for this type of group";
    10005 Split "too many accounts in one call";
    10006 SlowDown "the operation is done too often";
    10007 Configuration "no permission, wrong type of group, or a feature is off" =>
        "use an administrator as chat.admin_account, switch on \"List of online audio-video group \
         members\" in the console, and make sure that the group is an AVChatRoom";
    10010 RoomGone "the group is gone";
    10011 RequestFault "the JSON of the call is broken";
    10012 Configuration "the account of the caller is illegal" => CHECK_ADMIN;
    10015 RoomGone "the group id is illegal or does not exist";
    10016 Configuration "the app's own \"before\" callback refused" =>
        "let the callback backend of the app allow calls of chat.admin_account";
    10018 Split "the answer would be longer than 1 MB";
    10019 MemberFault "an account does not exist";
    10021 RequestFault "the group id is taken";
    10023 SlowDown "too many messages";
    10025 RequestFault "the group id is taken by the caller";
    10026 Configuration "the command is disabled for the app" =>
        "ask Tencent Cloud to enable the command for the app";
    10036 Configuration "the app has as many live rooms as its plan allows" => CHECK_PLAN;
    10058 Configuration "the trial allows no more groups" => CHECK_PLAN;
    10059 Configuration "the plan of the app does not include the feature" => CHECK_PLAN;
    20004 Retry "network trouble inside Chat";
    20005 Retry "internal error of messages";
    60002 RequestFault "the URL of the call cannot be parsed";
    60003 RequestFault "the JSON of the call cannot be parsed";
    60004 NewSignature "the account or its signature was not accepted" => CHECK_SIGNER;
    60005 NewSignature "the account or its signature was not accepted" => CHECK_SIGNER;
    60006 Configuration "the SDKAppID is invalid" => CHECK_APP;
    60007 SlowDown "the API is called too often";
    60008 Retry "the service timed out";
    60009 Configuration "the resource of the URL does not exist" =>
        "check chat.base_url; it is a scheme and a host, usually without a path";
    60010 Configuration "the caller is no administrator of the app" => CHECK_ADMIN;
    60011 SlowDown "the app makes too many calls";
    60012 RequestFault "the SDKAppID is missing";
    60013 Retry "Chat's own answer was broken";
    60014 Retry "the check of the account timed out";
    60015 RequestFault "an account in the call is no string";
    60016 Configuration "the app is disabled" => CHECK_APP;
    60017 Configuration "the call is disabled" => "ask Tencent Cloud to enable the call for the app";
    60018 SlowDown "too many calls";
    60019 SlowDown "too many calls";
    60020 Configuration "the plan has expired or is not paid" =>
        "renew or pay the plan; calls work again about five minutes later";
    60021 Configuration "the address of this machine is not on the app's list" =>
        "put the address that calls leave from on the list of allowed addresses in the console";
    60025 RequestFault "a parameter of the URL is wrong";
    60026 Configuration "the host belongs to another region than the app" =>
        "set chat.region (or chat.base_url) to the region the app was made in";
    60028 Configuration "the trial's volume of 24 hours is used up" => CHECK_PLAN;
    70001 NewSignature "the UserSig has expired" => CHECK_SIGNER;
    70002 RequestFault "the UserSig is empty";
    70003 NewSignature "the UserSig is invalid" => CHECK_SIGNER;
    70005 NewSignature "the UserSig is invalid" => CHECK_SIGNER;
    70009 Configuration "the UserSig was made with the key of another app" => CHECK_KEY;
    70013 Configuration "the UserSig is for another account" => CHECK_ADMIN;
    70014 Configuration "the UserSig is for another app" => CHECK_KEY;
    70016 Configuration "the app has no key" => "make a key for UserSig in the console";
    70020 Configuration "the SDKAppID does not exist" => CHECK_APP;
    70050 SlowDown "too many UserSigs were refused" => CHECK_SIGNER;
    70051 Configuration "the admin account is blocked" => CHECK_ADMIN;
    70107 MemberFault "an account does not exist";
    70169 Retry "the server timed out";
    70202 Retry "the server timed out";
    70402 RequestFault "a parameter is illegal";
    70403 Configuration "the caller is no administrator of the app" => CHECK_ADMIN;
    70500 Retry "internal error";
    72001 Configuration "the feature of user status is off" =>
        "switch on user status query and status change notification in the console";
    91000 Retry "internal error";
};

impl ErrorCode {
    /// Whether it is about the app in Tencent Cloud (disabled, not paid, a volume used up, a call
    /// switched off), which no setting of ours changes.
    pub fn is_state_of_the_app(self) -> bool {
        matches!(self.0, 10026 | 60016 | 60017 | 60020 | 60028)
    }

    pub const fn new(code: i64) -> Self {
        Self(code)
    }

    pub const fn get(self) -> i64 {
        self.0
    }

    fn entry(self) -> Option<&'static Entry> {
        let at = TABLE.binary_search_by_key(&self.0, |entry| entry.code);
        at.ok().and_then(|at| TABLE.get(at))
    }

    pub fn is_documented(self) -> bool {
        self.entry().is_some()
    }

    /// What to do about it; `Retry` for a code that no page names.
    pub fn class(self) -> ErrorClass {
        self.entry().map_or(Retry, |entry| entry.class)
    }

    /// Every documented code.
    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| Self(entry.code))
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        self.entry().map_or("not documented", |entry| entry.meaning)
    }

    /// What a person does about it: present for every code that stops all calls.
    pub fn advice(self) -> Option<&'static str> {
        self.entry()
            .map(|entry| entry.advice)
            .filter(|advice| !advice.is_empty())
    }

    /// Whether `modify_user_info` may mean by it that none of the accounts is online or exists.
    ///
    /// <https://www.tencentcloud.com/document/product/1047/50294> says that such a call fails, but
    /// not with which code. The meaning of these three fits; each also has another meaning, so a
    /// caller asks who is online, or makes smaller calls.
    pub fn may_mean_all_offline(self) -> bool {
        matches!(self.0, 10004 | 10007 | 10019)
    }

    /// Whether a code that asks for a person may concern only one room. 10007 also means a wrong
    /// type of group and for callers that are not members, and the callback behind 10016 decides call
    /// by call.
    pub fn may_concern_one_room(self) -> bool {
        matches!(self.0, 10007 | 10016)
    }

    /// How long to stay silent at least, where the page says so.
    pub fn least_wait(self) -> Option<Duration> {
        (self.0 == 70050).then_some(Duration::from_secs(60))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_no_code_twice() {
        assert!(TABLE.is_sorted_by(|one, next| one.code < next.code));
    }

    #[test]
    fn exactly_the_codes_that_stop_all_calls_carry_advice() {
        for entry in TABLE {
            let code = ErrorCode::new(entry.code);
            let stops_calls =
                matches!(code.class(), Configuration | NewSignature) || code.least_wait().is_some();
            assert_eq!(code.advice().is_some(), stops_calls, "{code}");
            assert!(!code.meaning().is_empty());
        }
    }

    #[test]
    fn each_class_is_given_for_the_codes_that_pages_put_there() {
        for (class, codes) in [
            (
                Retry,
                &[10002, 60008, 60013, 60014, 70169, 70202, 70500][..],
            ),
            (SlowDown, &[10006, 60007, 60011, 60018, 60019, 70050]),
            (NewSignature, &[10001, 60004, 60005, 70001, 70003, 70005]),
            (RoomGone, &[10010, 10015]),
            (
                Configuration,
                &[10007, 10059, 60020, 60021, 60026, 70009, 70013, 70403],
            ),
            (MemberFault, &[10019, 70107]),
            (Split, &[10005, 10018]),
            (RequestFault, &[10003, 10004, 60002, 60003, 70402]),
        ] {
            for code in codes {
                assert_eq!(ErrorCode::new(*code).class(), class, "{code}");
            }
        }
    }

    #[test]
    fn three_codes_may_mean_that_all_are_offline() {
        let codes = TABLE.iter().map(|entry| ErrorCode::new(entry.code));
        let ambiguous = codes.filter(|code| code.may_mean_all_offline());
        let codes: Vec<i64> = ambiguous.map(|code| code.0).collect();
        assert_eq!(codes, [10004, 10007, 10019]);
    }

    #[test]
    fn an_unknown_code_is_retried() {
        for code in [i64::MIN, -1, 1, 99_999, i64::MAX] {
            assert_eq!(ErrorCode::new(code).class(), Retry);
        }
    }
}
