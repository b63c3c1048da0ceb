//! The labels of the metrics: closed lists, so that no text from outside becomes a label.

/// A label with a closed list of values.
pub trait Label: Copy + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];

    fn text(self) -> &'static str;

    fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|label| label.text() == text)
    }

    fn pair(self) -> (&'static str, &'static str) {
        (Self::NAME, self.text())
    }
}

macro_rules! labels {
    ($($(#[$about:meta])* $name:ident = $key:literal {
        $($(#[$note:meta])* $value:ident = $text:literal,)+
    })+) => {$(
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$note])* $value,)+ }

        impl Label for $name {
            const NAME: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn text(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }
        }
    )+};
}

labels! {
    /// The commands of callbacks that are used; `Other` is any other, or that of a refused request.
    CallbackCommand = "command" {
        Join = "Group.CallbackAfterNewMemberJoin",
        StateChange = "Group.CallbackOnMemberStateChange",
        Exit = "Group.CallbackAfterMemberExit",
        Destroyed = "Group.CallbackAfterGroupDestroyed",
        OverLimit = "Alert.RequestOverLimit",
        Other = "other",
    }
    /// How a callback was answered; `deploy/metrics.md` explains each.
    CallbackOutcome = "outcome" {
        Stored = "stored",
        Ignored = "ignored",
        BadSignature = "bad_signature",
        Stale = "stale",
        OtherApp = "other_app",
        Unreadable = "unreadable",
        TooLong = "too_long",
        TooSlow = "too_slow",
        NotStored = "not_stored",
        Loop = "loop",
        OtherPath = "other_path",
        NotFound = "not_found",
    }
    FilterDecision = "decision" {
        Skipped = "skipped",
        Passed = "passed",
        Bypassed = "bypassed",
    }
    /// What became of a callback that was to be forwarded.
    ForwardResult = "outcome" {
        Answered = "answered",
        NotJson = "not_json",
        Timeout = "timeout",
        Unreachable = "unreachable",
        BadStatus = "bad_status",
        BadAnswer = "bad_answer",
        Redirect = "redirect",
        Oversized = "oversized",
        Loop = "loop",
        Overloaded = "overloaded",
    }
    /// Why a request to the admin listener was refused.
    AdminRefusal = "reason" {
        UnknownToken = "unknown_token",
        TooManyGuesses = "too_many_guesses",
        ForeignOrigin = "foreign_origin",
    }
    QueueState = "state" {
        Due = "due",
        Delayed = "delayed",
        Leased = "leased",
        Failed = "failed",
    }
    /// What became of a member in a call that sets or deletes marks.
    MarkResult = "result" {
        Confirmed = "confirmed",
        Omitted = "omitted",
        Failed = "failed",
    }
    /// The calls to Chat, by the last part of their URL.
    Api = "api" {
        ModifyUserInfo = "modify_user_info",
        GetMembers = "get_members",
        CheckMembers = "check_members",
        GetOnlineMemberNum = "get_online_member_num",
    }
    /// How a call to Chat ended.
    CallOutcome = "outcome" {
        Ok = "ok",
        Refused = "refused",
        HttpStatus = "http_status",
        Timeout = "timeout",
        Unreachable = "unreachable",
        Interrupted = "interrupted",
        BadAnswer = "bad_answer",
        NotSent = "not_sent",
    }
    /// What a caller does about an error of a call.
    ErrorClass = "class" {
        /// A fault that passes: the same call again, with backoff. Chat may have applied the first one.
        Retry = "retry",
        /// Too many calls: fewer from now on, then the same call again.
        SlowDown = "slow-down",
        /// Chat did not accept the signature, and the client's second try with a new one neither: a
        /// person has to look at key and admin account.
        NewSignature = "new-signature",
        /// The room does not exist, or no longer.
        RoomGone = "room-gone",
        /// A person has to fix settings, plan or payment; see `crate::chat::ErrorCode::advice`.
        Configuration = "configuration",
        /// An account in the call is at fault: try the others without it.
        MemberFault = "member-fault",
        /// The call or its answer is too big: the same in smaller calls.
        Split = "split",
        /// Chat understood something else than was meant; the same call again gives the same answer.
        RequestFault = "request-fault",
    }
    /// Why the budget was halved: Chat refused a call, or sent `Alert.RequestOverLimit`.
    SlowdownReason = "reason" {
        Answer = "answer",
        Alert = "alert",
    }
    ResyncOutcome = "outcome" {
        Ok = "ok",
        Failed = "failed",
    }
    /// How a sweep found a member to differ: without a required mark, with one too many, present
    /// without a callback, or absent although believed present.
    DriftKind = "kind" {
        Missing = "missing",
        Surplus = "surplus",
        Unknown = "unknown",
        Gone = "gone",
    }
    ConnectionState = "state" {
        Used = "used",
        Idle = "idle",
    }
    /// The tables that grow.
    Table = "table" {
        Rules = "rules",
        History = "rule_history",
        Members = "members",
        Rooms = "rooms",
    }
    /// The part that gave a statement to the database.
    DatabasePart = "part" {
        Inbox = "inbox",
        Worker = "worker",
        Budget = "budget",
        Rules = "rules",
        Resync = "resync",
        Figures = "figures",
    }
}

impl CallbackCommand {
    pub fn named(name: &str) -> Self {
        <Self as Label>::named(name).unwrap_or(Self::Other)
    }
}

impl CallOutcome {
    /// The classes that occur with an outcome; none with a call that succeeded.
    pub fn classes(self) -> &'static [ErrorClass] {
        use ErrorClass::{Configuration, RequestFault, Retry, SlowDown, Split};
        match self {
            Self::Ok => &[],
            Self::Refused => ErrorClass::ALL,
            Self::HttpStatus => &[Retry, SlowDown, Split, Configuration],
            Self::NotSent => &[Configuration, RequestFault],
            Self::Timeout | Self::Unreachable | Self::Interrupted | Self::BadAnswer => &[Retry],
        }
    }
}
