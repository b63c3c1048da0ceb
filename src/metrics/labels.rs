//! The labels of the metrics: closed lists, spelled here and nowhere else.

use super::family::Label;
use crate::chat::{ChatError, ErrorClass};

/// Declares an enum that is a label, with the text of each value.
macro_rules! label {
    ($(#[$about:meta])* $name:ident = $key:literal { $($(#[$what:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$what])* $value,)+ }

        impl Label for $name {
            const NAME: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn text(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// The commands of callbacks that mean something here.
    CallbackCommand = "command" {
        /// A member came.
        Join = "Group.CallbackAfterNewMemberJoin",
        /// A member went online or offline.
        StateChange = "Group.CallbackOnMemberStateChange",
        /// A member left.
        Exit = "Group.CallbackAfterMemberExit",
        /// A room is gone.
        Destroyed = "Group.CallbackAfterGroupDestroyed",
        /// An API nears its limit.
        OverLimit = "Alert.RequestOverLimit",
        /// Any other, or none that could be believed.
        Other = "other",
    }
}

impl CallbackCommand {
    /// The one of this name, else [`Self::Other`].
    pub fn named(name: &str) -> Self {
        let mut all = Self::ALL.iter().copied();
        all.find(|command| command.text() == name)
            .unwrap_or(Self::Other)
    }
}

label! {
    /// How a callback was answered.
    CallbackOutcome = "outcome" {
        /// Committed before the answer.
        Stored = "stored",
        /// Needed no storing.
        Ignored = "ignored",
        /// Not signed, or with another token.
        BadSignature = "bad_signature",
        /// Too far from now.
        Stale = "stale",
        /// Of another application.
        OtherApp = "other_app",
        /// Not to be understood.
        Unreadable = "unreadable",
        /// A body over 1 MiB.
        TooLong = "too_long",
        /// A body that did not arrive in time.
        TooSlow = "too_slow",
        /// Not committed in time, or no room to keep it.
        NotStored = "not_stored",
        /// A Stickymark had forwarded it before.
        Loop = "loop",
        /// Other path or method.
        NotFound = "not_found",
    }
}

label! {
    /// What the rule filter said of an event.
    FilterDecision = "decision" {
        /// No rule names the member.
        Skipped = "skipped",
        /// Perhaps one does.
        Passed = "passed",
        /// The filter could not be believed.
        Bypassed = "bypassed",
    }
}

label! {
    /// How a callback fared that was to be forwarded.
    ForwardResult = "outcome" {
        /// The backend answered with 2xx.
        Answered = "answered",
        /// No whole answer in time.
        Timeout = "timeout",
        /// No connection.
        Unreachable = "unreachable",
        /// A status other than 2xx and 3xx.
        BadStatus = "bad_status",
        /// An answer that Chat could not use.
        BadAnswer = "bad_answer",
        /// 3xx.
        Redirect = "redirect",
        /// An answer that is too long.
        Oversized = "oversized",
        /// Not forwarded: it came from a Stickymark.
        Loop = "loop",
        /// Not forwarded: too many were under way.
        Overloaded = "overloaded",
    }
}

label! {
    /// Members with something to do.
    QueueState = "state" {
        /// Now.
        Due = "due",
        /// Later.
        Delayed = "delayed",
        /// Claimed by a worker.
        Leased = "leased",
        /// Given up.
        Failed = "failed",
    }
}

label! {
    /// What became of a member in a call that sets or deletes marks.
    MarkResult = "result" {
        /// The answer names him.
        Confirmed = "confirmed",
        /// The answer leaves him out.
        Omitted = "omitted",
        /// The call failed.
        Failed = "failed",
    }
}

label! {
    /// The calls to Chat, by the last part of their URL.
    Api = "api" {
        /// Sets and deletes marks.
        ModifyUserInfo = "modify_user_info",
        /// Lists members.
        GetMembers = "get_members",
        /// Tells who is in a room.
        CheckMembers = "check_members",
        /// Counts the members online.
        GetOnlineMemberNum = "get_online_member_num",
    }
}

impl Api {
    /// The API of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.text() == name)
    }
}

label! {
    /// How a call to Chat ended.
    CallOutcome = "outcome" {
        /// Done.
        Ok = "ok",
        /// With an `ErrorCode`.
        Refused = "refused",
        /// With an HTTP status other than 2xx.
        HttpStatus = "http_status",
        /// No answer in time.
        Timeout = "timeout",
        /// No connection.
        Unreachable = "unreachable",
        /// The connection broke.
        Interrupted = "interrupted",
        /// An answer that says nothing certain.
        BadAnswer = "bad_answer",
        /// Never left.
        NotSent = "not_sent",
    }
}

impl CallOutcome {
    /// The outcome of a call that failed like this.
    pub fn of(error: &ChatError) -> Self {
        match error {
            ChatError::Invalid(_) | ChatError::NotSigned(_) => Self::NotSent,
            ChatError::Refused { .. } => Self::Refused,
            ChatError::HttpStatus(_) => Self::HttpStatus,
            ChatError::Timeout => Self::Timeout,
            ChatError::Unreachable(_) => Self::Unreachable,
            ChatError::Interrupted(_) => Self::Interrupted,
            ChatError::BadAnswer(_) => Self::BadAnswer,
        }
    }

    /// The classes that such an outcome can have; none for a call that succeeded.
    pub(super) fn classes(self) -> &'static [ErrorClass] {
        use ErrorClass::{
            Configuration, MemberFault, NewSignature, RequestFault, Retry, RoomGone, SlowDown,
            Split,
        };
        match self {
            Self::Ok => &[],
            Self::Refused => &[
                Retry,
                SlowDown,
                NewSignature,
                RoomGone,
                Configuration,
                MemberFault,
                Split,
                RequestFault,
            ],
            Self::HttpStatus => &[Retry, SlowDown, Configuration],
            Self::NotSent => &[Configuration, RequestFault],
            Self::Timeout | Self::Unreachable | Self::Interrupted | Self::BadAnswer => &[Retry],
        }
    }
}

label! {
    /// Why the budget was halved.
    SlowdownReason = "reason" {
        /// Chat refused a call.
        Answer = "answer",
        /// `Alert.RequestOverLimit`.
        Alert = "alert",
    }
}

label! {
    /// How the comparison of a room ended.
    ResyncOutcome = "outcome" {
        /// To the end.
        Ok = "ok",
        /// Before it.
        Failed = "failed",
    }
}

label! {
    /// How a member was found other than he should be.
    DriftKind = "kind" {
        /// Without a mark that a rule demands.
        Missing = "missing",
        /// With a mark that a rule named and none demands.
        Surplus = "surplus",
        /// Present, but no callback had said so.
        Unknown = "unknown",
        /// Taken for present, but away.
        Gone = "gone",
    }
}

label! {
    /// What a connection of the pool does.
    ConnectionState = "state" {
        /// Somebody has it.
        Used = "used",
        /// Nobody has.
        Idle = "idle",
    }
}

label! {
    /// The part that gave a statement to the database.
    DatabasePart = "part" {
        /// Writes what callbacks say.
        Inbox = "inbox",
        /// Claims and settles.
        Worker = "worker",
        /// Grants calls.
        Budget = "budget",
        /// Reads and writes rules.
        Rules = "rules",
        /// Compares rooms.
        Resync = "resync",
        /// Reads the shared figures.
        Figures = "figures",
    }
}
