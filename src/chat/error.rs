//! What can go wrong with a call, and what that leaves open.
//!
//! Texts from outside are cut, freed of control characters and of anything long enough to be a
//! signature before they enter an error: errors end in logs and in front of people.

use super::error_codes::{ErrorClass, ErrorCode};
use crate::domain::{Account, MAX_MARKS_PER_ROOM, RequestId};
use crate::metrics::CallOutcome;
use crate::telemetry::with_causes;

/// Most members in one call.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
pub const MAX_MEMBERS_PER_CALL: usize = 500;

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
    #[error("the way to Chat answered with HTTP status {0}")]
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
    /// No signature could be made.
    #[error(transparent)]
    NotSigned(#[from] NotSigned),
}

/// A signature could not be made; never seen with the key of a console.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no UserSig could be made: {0}")]
pub struct NotSigned(pub(super) String);

/// Why a call was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCall {
    /// Nobody in it.
    #[error("a call names at least one member")]
    NoMembers,
    /// More than [`MAX_MEMBERS_PER_CALL`].
    #[error("a call names at most {MAX_MEMBERS_PER_CALL} members, this one {0}")]
    TooManyMembers(usize),
    /// What Chat does with a member named twice is not documented.
    #[error("a call names a member once; {0:?} stands twice")]
    MemberTwice(Account),
    /// A member without marks to set or delete.
    #[error("each member of a call has marks; {0:?} has none")]
    NoMarks(Account),
    /// More distinct marks than a room can hold.
    #[error("a call sets at most {MAX_MARKS_PER_ROOM} distinct marks, this one {0}")]
    TooManyMarks(usize),
    /// Not to be written as JSON; never seen.
    #[error("the call cannot be written as JSON: {0}")]
    NotJson(String),
}

impl ChatError {
    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid(_) => ErrorClass::RequestFault,
            Self::NotSigned(_) => ErrorClass::Configuration,
            Self::Refused { code, .. } => code.class(),
            Self::HttpStatus(429) => ErrorClass::SlowDown,
            Self::HttpStatus(408 | 500..) => ErrorClass::Retry,
            Self::HttpStatus(_) => ErrorClass::Configuration,
            Self::Timeout | Self::Unreachable(_) | Self::Interrupted(_) | Self::BadAnswer(_) => {
                ErrorClass::Retry
            }
        }
    }

    pub(super) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Invalid(_) | Self::NotSigned(_) => CallOutcome::NotSent,
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

    /// What a human is to mend: present for every error of [`ErrorClass::Configuration`].
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

    /// True when Chat may have applied the call all the same: nobody heard what became of it, or
    /// Chat itself reports a fault inside.
    pub fn in_doubt(&self) -> bool {
        match self {
            Self::Timeout | Self::Interrupted(_) | Self::BadAnswer(_) => true,
            Self::HttpStatus(status) => matches!(status, 408 | 500..),
            Self::Refused { code, .. } => code.class() == ErrorClass::Retry,
            Self::Invalid(_) | Self::Unreachable(_) | Self::NotSigned(_) => false,
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

/// A text from outside as it may stand in an error: at most 300 characters, no control
/// characters, and no unbroken run that could hold a signature (they have some 200 letters).
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

    #[test]
    fn a_call_is_in_doubt_only_when_it_may_have_arrived() {
        let refused = |code| ChatError::Refused {
            code: ErrorCode::new(code),
            info: String::new(),
            request: None,
        };
        let lost = String::from("lost");
        for (error, in_doubt) in [
            (ChatError::Timeout, true),
            (ChatError::Interrupted(lost.clone()), true),
            (ChatError::BadAnswer("not JSON"), true),
            (ChatError::HttpStatus(502), true),
            (ChatError::HttpStatus(404), false),
            (ChatError::Unreachable(lost), false),
            (refused(10007), false),
            (refused(60008), true),
            (ChatError::Invalid(InvalidCall::NoMembers), false),
        ] {
            assert_eq!(error.in_doubt(), in_doubt, "{error}");
        }
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
