//! What a command to Chat comes to for each member it was about.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::chat::{ChatError, MemberMarks};
use crate::domain::Account;

/// What became of a member.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The answer names him.
    Confirmed,
    /// The answer leaves him out. Whether he is in the room, if Chat was asked.
    Omitted {
        /// By `check_members`, which lags by up to 40 s.
        in_room: Option<bool>,
    },
    /// Chat refuses him alone, while others were served.
    Culprit(Arc<ChatError>),
    /// Chat refuses him alone as if nobody were online, though it says that he is in the room; there
    /// was nobody else to compare with.
    Unseen(Arc<ChatError>),
    /// The call failed; whether that counts towards giving up.
    Failed {
        /// Why.
        error: Arc<ChatError>,
        /// False if it says nothing about him.
        counts: bool,
    },
}

/// The verdicts of one command.
pub(super) type Verdicts = HashMap<Account, Verdict>;

/// Who is named in the answer is marked, who is not was left out.
pub(super) fn note_answer(
    verdicts: &mut Verdicts,
    members: &[MemberMarks],
    confirmed: &HashSet<Account>,
) {
    for MemberMarks { account, .. } in members {
        let verdict = if confirmed.contains(account) {
            Verdict::Confirmed
        } else {
            Verdict::Omitted { in_room: None }
        };
        verdicts.insert(account.clone(), verdict);
    }
}

/// All of them share the failure.
pub(super) fn note_failure(
    verdicts: &mut Verdicts,
    members: &[MemberMarks],
    error: ChatError,
    counts: bool,
) {
    let error = Arc::new(error);
    for member in members {
        let error = error.clone();
        verdicts.insert(member.account.clone(), Verdict::Failed { error, counts });
    }
}
