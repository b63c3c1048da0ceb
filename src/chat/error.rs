//! What can go wrong with a call, and what that leaves open.
//!
//! Texts from outside are cut, and lose control characters and anything long enough to be a
//! signature, before they enter an error: errors end in logs and in front of people.

use super::error_codes::ErrorCode;
use crate::domain::{Account, MAX_MARKS_PER_ROOM, RequestId};
use crate::metrics::{CallOutcome, ErrorClass};
use crate::telemetry::with_causes;

/// Most members in one call.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MAX_MEMBERS_PER_CALL: usize = 500;

/// What a failure concerns, as far as Chat's documents say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every call of the app.
    App,
    /// The app, or only the room or a member of it: the answer for another room shows which.
    Unclear,
    /// This call, its room and its members.
    Call,
}

/// Why a call brought no answer to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// The call breaks a limit of Chat and was not sent.
    #[error(transparent)]
    Invalid(#[from] InvalidCall),
    /// Chat answered with an error code.
    #[error("Chat refused the call with {code} ({meaning}): {info}", meaning = code.meaning())]
    Refused {
        /// The code; see its class.
        code: ErrorCode,
        /// Chat's own words, made harmless.
        info: String,
        /// Chat's id of the call, which some answers have and its support asks for. Not part of the
        /// text: failures of a kind are counted by it.
        request: Option<RequestId>,
    },
    /// An HTTP status other than 2xx; Chat itself always answers 200.
    #[error("a server on the way to Chat answered with HTTP status {0}")]
    HttpStatus(u16),
    /// No answer within `chat.request_timeout`.
    #[error("Chat did not answer in time")]
    Timeout,
    /// No connection: nothing was sent.
    #[error("Chat cannot be reached: {0}")]
    Unreachable(String),
    /// The connection broke after the call had begun.
    #[error("the connection to Chat broke: {0}")]
    Interrupted(String),
    /// An answer that says nothing certain.
    #[error("Chat's answer cannot be used: {0}")]
    BadAnswer(&'static str),
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
    /// The budget could not be read, so the call was not sent.
    #[error("no slot for a call: the database failed: {0}")]
    NoSlot(String),
}

/// Never seen with a key from the console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot create a UserSig: {0}")]
pub struct NotSigned(pub(super) String);

/// Why a call was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCall {
    #[error("a call names at least one member")]
    NoMembers,
    /// More than [`MAX_MEMBERS_PER_CALL`].
    #[error("a call names at most {MAX_MEMBERS_PER_CALL} members, this one {0}")]
    TooManyMembers(usize),
    /// What Chat does with a member named twice is not documented.
    #[error("a call names a member once; {0:?} is in it twice")]
    MemberTwice(Account),
    #[error("each member of a call has marks; {0:?} has none")]
    NoMarks(Account),
    /// More distinct marks than a room can hold.
    #[error("a call names at most {MAX_MARKS_PER_ROOM} distinct marks, this one {0}")]
    TooManyMarks(usize),
}

impl ChatError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) => ErrorClass::RequestFault,
            Self::NotSigned(_) => ErrorClass::Configuration,
            Self::Refused { code, .. } => code.class(),
            Self::HttpStatus(413) => ErrorClass::Split,
            Self::HttpStatus(429) => ErrorClass::SlowDown,
            Self::HttpStatus(408 | 500..) => ErrorClass::Retry,
            Self::HttpStatus(_) => ErrorClass::Configuration,
            Self::Timeout
            | Self::Unreachable(_)
            | Self::Interrupted(_)
            | Self::BadAnswer(_)
            | Self::NoSlot(_) => ErrorClass::Retry,
        }
    }

    /// What it concerns.
    pub fn reach(&self) -> Reach {
        match (self.class(), self) {
            (ErrorClass::NewSignature, _) => Reach::App,
            (ErrorClass::Configuration, Self::HttpStatus(_)) => Reach::Unclear,
            (ErrorClass::Configuration, Self::Refused { code, .. })
                if code.may_concern_one_room() =>
            {
                Reach::Unclear
            }
            (ErrorClass::Configuration, _) => Reach::App,
            (_, Self::Refused { code, .. }) if code.least_wait().is_some() => Reach::App,
            _ => Reach::Call,
        }
    }

    /// Whether both are the same refusal.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Refused { code: one, .. }, Self::Refused { code: other, .. }) => one == other,
            (Self::HttpStatus(one), Self::HttpStatus(other)) => one == other,
            _ => false,
        }
    }

    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Invalid(_) | Self::NotSigned(_) | Self::NoSlot(_) => CallOutcome::NotSent,
            Self::Refused { .. } => CallOutcome::Refused,
            Self::HttpStatus(_) => CallOutcome::HttpStatus,
            Self::Timeout => CallOutcome::Timeout,
            Self::Unreachable(_) => CallOutcome::Unreachable,
            Self::Interrupted(_) => CallOutcome::Interrupted,
            Self::BadAnswer(_) => CallOutcome::BadAnswer,
        }
    }

    /// Chat's error code, if it gave one.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Chat's id of the call, if its refusal had one.
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Refused { request, .. } => request.as_ref(),
            _ => None,
        }
    }

    /// What a person does about it: present for every error that can stop all calls.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => code.advice(),
            Self::NotSigned(_) => Some("check chat.secret_key"),
            Self::HttpStatus(_) if self.class() == ErrorClass::Configuration => {
                Some("check chat.base_url and any proxy on the way; Chat itself answers 200")
            }
            _ => None,
        }
    }

    /// True when Chat may have applied the call all the same: no answer says what became of it, or
    /// Chat itself reports an internal fault.
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::Timeout | Self::Interrupted(_) | Self::BadAnswer(_) => true,
            Self::HttpStatus(status) => matches!(status, 408 | 500..),
            Self::Refused { code, .. } => code.class() == ErrorClass::Retry,
            Self::Invalid(_) | Self::Unreachable(_) | Self::NotSigned(_) | Self::NoSlot(_) => false,
        }
    }
}

#[cfg(test)]
impl ChatError {
    /// Chat's answer with this code.
    pub(crate) fn refusal(code: i64) -> Self {
        Self::Refused {
            code: ErrorCode::new(code),
            info: String::new(),
            request: None,
        }
    }
}

impl From<reqwest::Error> for ChatError {
    /// The URL carries the signature, so it is taken out first.
    fn from(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() {
            Self::Unreachable(harmless(&with_causes(&error)))
        } else if error.is_timeout() {
            Self::Timeout
        } else {
            Self::Interrupted(harmless(&with_causes(&error)))
        }
    }
}

/// A text from outside as an error may contain it: at most 300 characters, no control characters,
/// and no unbroken run that could hold a signature (they have some 200 letters).
pub(super) fn harmless(text: &str) -> String {
    const LONGEST: usize = 300;
    const LONGEST_RUN: usize = 64;
    let could_be_sig =
        |letter: &char| letter.is_ascii_alphanumeric() || "*-_%+/=".contains(*letter);
    let mut out = String::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if out.len() >= LONGEST {
            out.push('…');
            break;
        }
        if !could_be_sig(&letter) {
            out.push(if letter.is_control() { ' ' } else { letter });
            continue;
        }
        let mut run = String::from(letter);
        while let Some(next) = letters.next_if(could_be_sig) {
            run.push(next);
        }
        out.push_str(if run.len() > LONGEST_RUN {
            "[long text]"
        } else {
            &run
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn chats_own_words_are_kept_but_made_harmless() {
        assert_eq!(harmless("bad parameter: GroupId"), "bad parameter: GroupId");
        assert_eq!(harmless("a\r\nb\u{1b}[31m"), "a  b [31m");
        let sig = format!("usersig={}", "eJyrVgrx*-_".repeat(10));
        assert_eq!(
            harmless(&format!("illegal {sig}, sorry")),
            "illegal [long text], sorry"
        );
        assert_eq!(
            harmless("no /v4/group_open_avchatroom_http_svc/modify_user_info"),
            "no /v4/group_open_avchatroom_http_svc/modify_user_info"
        );
    }

    /// For what is no answer of Chat see the tests of the client.
    #[test]
    fn only_an_internal_fault_of_chat_leaves_a_refused_call_in_doubt() {
        assert!(ChatError::refusal(60008).in_doubt());
        assert!(!ChatError::refusal(10007).in_doubt());
        assert!(!ChatError::Invalid(InvalidCall::NoMembers).in_doubt());
    }

    proptest! {
        #[test]
        fn no_text_from_outside_grows_or_breaks_a_log(text in any::<String>()) {
            let shown = harmless(&text);
            prop_assert!(shown.chars().count() <= 400);
            prop_assert!(!shown.chars().any(char::is_control));
        }
    }
}
