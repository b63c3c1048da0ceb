//! The search for members whom Chat will not take, by halving.
//!
//! Chat refuses a whole call because of somebody in it. Halves that are served clear themselves and
//! leave the fault to the others; the culprits are found one after the other and their neighbours
//! are served. The calls are bounded by whoever starts the search.

use std::sync::Arc;

use super::call::{Caller, is_about_members};
use super::verdict::{Verdict, Verdicts, note_answer, note_failure};
use crate::chat::{ChatError, CommandType, MemberMarks};

/// The search for the members whom Chat will not take.
pub(super) struct Halving<'c, 'a> {
    caller: &'c mut Caller<'a>,
    command: CommandType,
    left: u32,
    served: bool,
    culprits: Vec<(MemberMarks, ChatError)>,
}

/// What a call of the search says.
enum Tried {
    Served,
    Refused(ChatError),
    /// The search cannot go on: another sort of error, or no calls left.
    Over(Option<ChatError>),
}

impl<'c, 'a> Halving<'c, 'a> {
    pub(super) fn new(caller: &'c mut Caller<'a>, command: CommandType, most: u32) -> Self {
        Self {
            caller,
            command,
            left: most,
            served: false,
            culprits: Vec::new(),
        }
    }

    /// `suspects` were refused together. One of two halves that is served clears itself and leaves
    /// the fault to the other; the rest, of which nothing is known, is tried in one call at the end.
    pub(super) async fn run(
        mut self,
        mut suspects: Vec<MemberMarks>,
        mut error: ChatError,
        verdicts: &mut Verdicts,
    ) {
        let mut unknown: Vec<MemberMarks> = Vec::new();
        loop {
            let mut refused_alone = suspects.len() == 1;
            while suspects.len() > 1 {
                let right = suspects.split_off(suspects.len() / 2);
                match self.attempt(&suspects, verdicts).await {
                    Tried::Served => (suspects, refused_alone) = (right, false),
                    Tried::Refused(why) => {
                        unknown.extend(right);
                        (error, refused_alone) = (why, true);
                    }
                    Tried::Over(why) => {
                        suspects.extend(right);
                        suspects.extend(unknown);
                        return self.give_up(&suspects, why.unwrap_or(error), verdicts);
                    }
                }
            }
            if !refused_alone {
                match self.attempt(&suspects, verdicts).await {
                    Tried::Served => suspects.clear(),
                    Tried::Refused(why) => error = why,
                    Tried::Over(why) => {
                        suspects.extend(unknown);
                        return self.give_up(&suspects, why.unwrap_or(error), verdicts);
                    }
                }
            }
            let culprits = suspects.drain(..).map(|member| (member, error.clone()));
            self.culprits.extend(culprits);
            if unknown.is_empty() {
                return self.give_up(&[], error, verdicts);
            }
            match self.attempt(&unknown, verdicts).await {
                Tried::Served => return self.give_up(&[], error, verdicts),
                Tried::Refused(why) => (suspects, error) = (std::mem::take(&mut unknown), why),
                Tried::Over(why) => {
                    return self.give_up(&unknown, why.unwrap_or(error), verdicts);
                }
            }
        }
    }

    async fn attempt(&mut self, members: &[MemberMarks], verdicts: &mut Verdicts) -> Tried {
        if self.left == 0 || self.caller.must_hurry() {
            return Tried::Over(None);
        }
        self.left -= 1;
        match self.caller.call(self.command, members).await {
            Ok(confirmed) => {
                self.served |= !confirmed.is_empty();
                note_answer(verdicts, members, &confirmed);
                Tried::Served
            }
            Err(error) if is_about_members(&error) => Tried::Refused(error),
            Err(error) => Tried::Over(Some(error)),
        }
    }

    /// Ends the search. With nobody served the fault lies not with one member, so nobody is blamed.
    fn give_up(self, rest: &[MemberMarks], error: ChatError, verdicts: &mut Verdicts) {
        for (member, why) in self.culprits {
            let error = Arc::new(why);
            let verdict = if self.served {
                Verdict::Culprit(error)
            } else {
                Verdict::Failed {
                    error,
                    counts: true,
                }
            };
            verdicts.insert(member.account, verdict);
        }
        note_failure(verdicts, rest, error, !self.served);
    }
}
