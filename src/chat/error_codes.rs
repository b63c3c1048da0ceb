//! Every documented error code of the calls made here, and what a caller is to do about it.
//!
//! Chat answers HTTP 200 whatever happened; the `ErrorCode` of the answer decides. The pages give
//! meanings but hardly any advice, so the classes are ours. A code missing here is taken for a
//! passing fault: repeating a call that sets state harms nobody, giving up loses marks.
//! Sources: <https://www.tencentcloud.com/document/product/1047/34348> (all codes),
//! <https://www.tencentcloud.com/document/product/1047/50294> (those of `modify_user_info`).

use std::fmt;
use std::time::Duration;

use crate::metrics::CallClass;

use ErrorClass::{
    Configuration, MemberFault, NewSignature, RequestFault, Retry, RoomGone, SlowDown, Split,
};

const ALL_CODES: &str = "https://www.tencentcloud.com/document/product/1047/34348";
const MARK_CALL: &str = "https://www.tencentcloud.com/document/product/1047/50294";
const USER_SIG: &str = "https://www.tencentcloud.com/document/product/1047/34385";
const LIMITS: &str = "https://www.tencentcloud.com/document/product/1047/34419";
const BAN_CALL: &str = "https://www.tencentcloud.com/document/product/1047/50296";

/// What a caller is to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A passing fault: the same call again, with backoff. Chat may have applied the first one.
    Retry,
    /// Too many calls: fewer from now on, then the same call again.
    SlowDown,
    /// The signature was not taken; the client has dropped it, the same call again signs anew.
    /// When that fails too, a human has to look at key and admin account.
    NewSignature,
    /// The room does not exist (any more): forget it.
    RoomGone,
    /// A human has to mend settings, plan or payment; see [`ErrorCode::advice`].
    Configuration,
    /// An account in the call is at fault: try the others without it.
    MemberFault,
    /// The call or its answer is too big: the same in smaller calls.
    Split,
    /// Chat understood something else than was meant; the same call again gives the same answer.
    RequestFault,
}

impl ErrorClass {
    /// The page that describes the codes of this class.
    pub fn source(self) -> &'static str {
        match self {
            Retry | MemberFault | RequestFault => ALL_CODES,
            RoomGone | Configuration => MARK_CALL,
            SlowDown => LIMITS,
            NewSignature => USER_SIG,
            Split => BAN_CALL,
        }
    }

    pub(super) fn label(self) -> CallClass {
        match self {
            Retry => CallClass::Retry,
            SlowDown => CallClass::SlowDown,
            NewSignature => CallClass::NewSignature,
            RoomGone => CallClass::RoomGone,
            Configuration => CallClass::Configuration,
            MemberFault => CallClass::MemberFault,
            Split => CallClass::Split,
            RequestFault => CallClass::RequestFault,
        }
    }
}

/// The `ErrorCode` of an answer, not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(i64);

struct Entry {
    code: i64,
    class: ErrorClass,
    meaning: &'static str,
    /// What a human mends; only where he can.
    advice: &'static str,
}

const fn entry(code: i64, class: ErrorClass, meaning: &'static str) -> Entry {
    Entry {
        code,
        class,
        meaning,
        advice: "",
    }
}

const fn mend(code: i64, meaning: &'static str, advice: &'static str) -> Entry {
    Entry {
        code,
        class: Configuration,
        meaning,
        advice,
    }
}

const CHECK_ADMIN: &str = "make chat.admin_account an administrator of the app in the console";
const CHECK_KEY: &str = "check that chat.sdk_app_id and chat.secret_key belong together";
const CHECK_PLAN: &str = "upgrade to the Pro, Pro Plus or Enterprise edition";
const CHECK_APP: &str = "check chat.sdk_app_id and the state of the app in the console";

/// Sorted by code.
const TABLE: &[Entry] = &[
    entry(10001, NewSignature, "the admin account is not logged in"),
    entry(10002, Retry, "internal error"),
    entry(10003, RequestFault, "the command does not exist"),
    entry(
        10004,
        RequestFault,
        "a parameter is illegal or not supported for this type of group",
    ),
    entry(10005, Split, "too many accounts in one call"),
    entry(10006, SlowDown, "the operation is done too often"),
    mend(
        10007,
        "no permission, wrong type of group, or a feature is off",
        "use an administrator as chat.admin_account, switch on \"List of online audio-video group \
         members\" in the console, and make sure that the group is an AVChatRoom",
    ),
    entry(10010, RoomGone, "the group is gone"),
    entry(10011, RequestFault, "the JSON of the call is broken"),
    mend(10012, "the account of the caller is illegal", CHECK_ADMIN),
    entry(10015, RoomGone, "the group id is illegal or does not exist"),
    mend(
        10016,
        "the app's own \"before\" callback refused",
        "let the callback backend of the app allow calls of chat.admin_account",
    ),
    entry(10018, Split, "the answer would be longer than 1 MB"),
    entry(10019, MemberFault, "an account does not exist"),
    entry(10021, RequestFault, "the group id is taken"),
    entry(10023, SlowDown, "too many messages"),
    entry(10025, RequestFault, "the group id is taken by the caller"),
    mend(
        10026,
        "the command is disabled for the app",
        "ask Tencent Cloud to enable the command for the app",
    ),
    mend(
        10036,
        "the app has as many live rooms as its plan allows",
        CHECK_PLAN,
    ),
    mend(10058, "the trial allows no more groups", CHECK_PLAN),
    mend(
        10059,
        "the plan of the app does not include the feature",
        CHECK_PLAN,
    ),
    entry(20004, Retry, "network trouble inside Chat"),
    entry(20005, Retry, "internal error of messages"),
    entry(60002, RequestFault, "the URL of the call cannot be parsed"),
    entry(60003, RequestFault, "the JSON of the call cannot be parsed"),
    entry(
        60004,
        NewSignature,
        "the account or its signature was not accepted",
    ),
    entry(
        60005,
        NewSignature,
        "the account or its signature was not accepted",
    ),
    mend(60006, "the SDKAppID is invalid", CHECK_APP),
    entry(60007, SlowDown, "the API is called too often"),
    entry(60008, Retry, "the service timed out"),
    mend(
        60009,
        "the resource of the URL does not exist",
        "check chat.base_url; it is a scheme and a host, usually without a path",
    ),
    mend(
        60010,
        "the caller is no administrator of the app",
        CHECK_ADMIN,
    ),
    entry(60011, SlowDown, "the app makes too many calls"),
    entry(60012, RequestFault, "the SDKAppID is missing"),
    entry(60013, Retry, "Chat's own answer was broken"),
    entry(60014, Retry, "the check of the account timed out"),
    entry(60015, RequestFault, "an account in the call is no string"),
    mend(60016, "the app is disabled", CHECK_APP),
    mend(
        60017,
        "the call is disabled",
        "ask Tencent Cloud to enable the call for the app",
    ),
    entry(60018, SlowDown, "too many calls"),
    entry(60019, SlowDown, "too many calls"),
    mend(
        60020,
        "the plan has expired or is not paid",
        "renew or pay the plan; calls work again about five minutes later",
    ),
    mend(
        60021,
        "the address of this machine is not on the app's list",
        "put the address that calls leave from on the list of allowed addresses in the console",
    ),
    entry(60025, RequestFault, "a parameter of the URL is wrong"),
    mend(
        60026,
        "the host belongs to another region than the app",
        "set chat.region (or chat.base_url) to the region the app was made in",
    ),
    mend(
        60028,
        "the trial's volume of 24 hours is used up",
        CHECK_PLAN,
    ),
    entry(
        70001,
        NewSignature,
        "the UserSig has expired; if this stays, set this machine's clock",
    ),
    entry(70002, RequestFault, "the UserSig is empty"),
    entry(70003, NewSignature, "the UserSig is invalid"),
    entry(70005, NewSignature, "the UserSig is invalid"),
    mend(
        70009,
        "the UserSig was made with the key of another app",
        CHECK_KEY,
    ),
    mend(70013, "the UserSig is for another account", CHECK_ADMIN),
    mend(70014, "the UserSig is for another app", CHECK_KEY),
    mend(
        70016,
        "the app has no key",
        "make a key for UserSig in the console",
    ),
    mend(70020, "the SDKAppID does not exist", CHECK_APP),
    entry(70050, SlowDown, "too many UserSigs were refused"),
    mend(70051, "the admin account is blocked", CHECK_ADMIN),
    entry(70107, MemberFault, "an account does not exist"),
    entry(70169, Retry, "the server timed out"),
    entry(70202, Retry, "the server timed out"),
    entry(70402, RequestFault, "a parameter is illegal"),
    mend(
        70403,
        "the caller is no administrator of the app",
        CHECK_ADMIN,
    ),
    entry(70500, Retry, "internal error"),
    mend(
        72001,
        "the feature of user status is off",
        "switch on user status query and status change notification in the console",
    ),
    entry(91000, Retry, "internal error"),
];

impl ErrorCode {
    /// Whether it tells of the app as Tencent Cloud has it (disabled, not paid, a volume used up, a
    /// call switched off), which is the same for every replica with whatever settings.
    pub fn is_state_of_the_app(self) -> bool {
        matches!(self.0, 10026 | 60016 | 60017 | 60020 | 60028)
    }

    /// Takes the number of an answer.
    pub const fn new(code: i64) -> Self {
        Self(code)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    fn entry(self) -> Option<&'static Entry> {
        let at = TABLE.binary_search_by_key(&self.0, |entry| entry.code);
        at.ok().and_then(|at| TABLE.get(at))
    }

    /// What to do about it; [`ErrorClass::Retry`] for a code that no page names.
    pub fn class(self) -> ErrorClass {
        self.entry().map_or(Retry, |entry| entry.class)
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        self.entry().map_or("not documented", |entry| entry.meaning)
    }

    /// What a human is to mend: present for every code of [`ErrorClass::Configuration`].
    pub fn advice(self) -> Option<&'static str> {
        self.entry()
            .map(|entry| entry.advice)
            .filter(|advice| !advice.is_empty())
    }

    /// Whether `modify_user_info` may mean by it that none of the accounts is online or exists.
    ///
    /// <https://www.tencentcloud.com/document/product/1047/50294> says that such a call fails, but
    /// not with which code. These three fit by their meaning; each also has another one, so a
    /// caller finds out by asking who is online or by smaller calls.
    pub fn may_mean_nobody_online(self) -> bool {
        matches!(self.0, 10004 | 10007 | 10019)
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
    fn exactly_the_configuration_faults_carry_advice() {
        for entry in TABLE {
            let code = ErrorCode::new(entry.code);
            let mendable = code.class() == Configuration;
            assert_eq!(code.advice().is_some(), mendable, "{code}");
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
            assert!(class.source().starts_with("https://"));
        }
    }

    #[test]
    fn an_unknown_code_is_tried_again() {
        for code in [i64::MIN, -1, 1, 99_999, i64::MAX] {
            assert_eq!(ErrorCode::new(code).class(), Retry);
        }
    }

    #[test]
    fn three_codes_may_mean_that_nobody_is_online() {
        let ambiguous = TABLE
            .iter()
            .filter(|e| ErrorCode::new(e.code).may_mean_nobody_online());
        let codes: Vec<i64> = ambiguous.map(|entry| entry.code).collect();
        assert_eq!(codes, [10004, 10007, 10019]);
    }
}
