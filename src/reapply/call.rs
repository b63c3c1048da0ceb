//! One command for the members of a room, carried through to a verdict for each of them.
//!
//! Usually that is one call. When Chat refuses a whole call because of a member in it, that member is
//! searched for:
//!
//! 1. Chat is asked who is in the room at all: a call in which no member is online fails too, and must
//!    never become a storm of calls. If one member remains, the search is over.
//! 2. Of several, half is tried. A half that is served clears itself and leaves the fault to the other
//!    half; a half that is refused is halved again, and then nothing is known of the other one. Members
//!    not known to be refused are tried in one call at the end. The calls are bounded by the logarithm of the
//!    members.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::WorkerSettings;
use crate::chat::{ChatError, CommandType, ErrorClass, MemberMarks, ModifyAnswer, Reach};
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, RequestId};
use crate::metrics::MarkResult;
use crate::telemetry::warn_seldom;

/// If some call succeeded so recently, a refusal is about its members rather than about all calls.
const LATELY: Duration = Duration::from_secs(60);

/// What became of a member.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// The answer names the member, with all marks of the call.
    Confirmed,
    /// The answer names the member, but without these marks.
    Partly(MarkSet),
    /// The answer leaves the member out.
    LeftOut {
        /// Whether the member is in the room, if Chat was asked: by `check_members`, which lags by up
        /// to 40 s.
        in_room: Option<bool>,
    },
    /// Chat refuses this member, alone or while it serves others.
    Rejected(Arc<ChatError>),
    Failed {
        error: Arc<ChatError>,
        /// Whether it counts towards giving up; false if it says nothing about the member.
        counts: bool,
    },
}

pub(super) type Verdicts = HashMap<Account, Verdict>;

/// Calls for one room, in one round.
pub(super) struct Caller<'a> {
    shared: &'a WorkerSettings,
    group: &'a GroupId,
    /// No more bisecting after this.
    until: Instant,
    room_gone: bool,
}

impl<'a> Caller<'a> {
    /// For a round that has just claimed the room.
    pub(super) fn new(shared: &'a WorkerSettings, group: &'a GroupId) -> Self {
        Self {
            shared,
            group,
            // The rest of the lease is for the last calls and the write-back.
            until: Instant::now() + shared.lease / 3,
            room_gone: false,
        }
    }

    /// Whether Chat said that the room is gone.
    pub(super) fn room_is_gone(&self) -> bool {
        self.room_gone
    }

    /// Whether some call succeeded lately, of whatever room.
    pub(super) fn chat_works(&self) -> bool {
        self.shared.replica.worker_breaker.succeeded_within(LATELY)
    }

    /// Carries out a command for up to 500 members.
    pub(super) async fn modify(
        &mut self,
        command: CommandType,
        members: Vec<MemberMarks>,
    ) -> Verdicts {
        let mut verdicts = Verdicts::new();
        for members in split_by_marks(members) {
            let mut part = Verdicts::new();
            match self.call(command, &members).await {
                Ok(answer) => note_answer(&mut part, &members, &answer),
                Err(error) => self.isolate(command, members, error, &mut part).await,
            }
            for (account, verdict) in part {
                let known = verdicts.entry(account).or_insert(Verdict::Confirmed);
                if matches!(known, Verdict::Confirmed) {
                    *known = verdict;
                }
            }
        }
        verdicts
    }

    /// Asks whether those members are in the room that were left out once more after all their tries.
    pub(super) async fn look_for(&mut self, left_out: &[Account], verdicts: &mut Verdicts) {
        if left_out.is_empty() {
            return;
        }
        let Ok(here) = self.who_is_here(left_out).await else {
            return;
        };
        for account in left_out {
            let in_room = Some(here.contains(account));
            verdicts.insert(account.clone(), Verdict::LeftOut { in_room });
        }
    }

    /// Chat refused the call as a whole, perhaps because of one member in it, or because no member in
    /// it is online. Which code stands for that is not documented, so any undocumented code may.
    async fn isolate(
        &mut self,
        command: CommandType,
        members: Vec<MemberMarks>,
        error: ChatError,
        verdicts: &mut Verdicts,
    ) {
        let undocumented = error.code().is_some_and(|code| !code.is_documented());
        if !is_about_members(&error) && !undocumented {
            return note_failure(verdicts, &members, error, true);
        }
        if error.class() == ErrorClass::Split {
            let untried = Vec::new();
            return self
                .search(command, members, untried, error, verdicts)
                .await;
        }
        let accounts: Vec<Account> = members.iter().map(|m| m.account.clone()).collect();
        let here = match self.who_is_here(&accounts).await {
            Ok(here) => here,
            Err(why) => {
                let breaker = &self.shared.replica.worker_breaker;
                let of_the_app = match why.reach() {
                    Reach::App => breaker.refused(self.group, &why),
                    Reach::Unclear => breaker.refused(self.group, &error),
                    Reach::Call => false,
                };
                // Where Chat never says who is in a room, the members are searched all the same.
                if is_about_members(&why) && !of_the_app && self.chat_works() {
                    let untried = Vec::new();
                    return self
                        .search(command, members, untried, error, verdicts)
                        .await;
                }
                return note_failure(verdicts, &members, error, !of_the_app);
            }
        };
        let (here, away): (Vec<_>, Vec<_>) = members
            .into_iter()
            .partition(|member| here.contains(&member.account));
        for member in &away {
            let in_room = Some(false);
            verdicts.insert(member.account.clone(), Verdict::LeftOut { in_room });
        }
        if here.is_empty() {
            return;
        }
        let breaker = &self.shared.replica.worker_breaker;
        if breaker.refused(self.group, &error) {
            return note_failure(verdicts, &here, error, false);
        }
        let of_the_member = error.reach() == Reach::Call && !undocumented;
        match here.as_slice() {
            // Chat's view of who is in the room lags, so this member may have left.
            [only] if may_mean_all_offline(&error) || of_the_member => {
                verdicts.insert(only.account.clone(), Verdict::Rejected(Arc::new(error)));
            }
            _ if away.is_empty() && undocumented => note_failure(verdicts, &here, error, true),
            _ => {
                let (refused, untried) = match away.is_empty() {
                    true => (here, Vec::new()),
                    false => (Vec::new(), here),
                };
                self.search(command, refused, untried, error, verdicts)
                    .await;
            }
        }
    }

    /// Searches for the members that Chat refuses. The fault is among `refused`; nothing is known of
    /// `untried`.
    async fn search(
        &mut self,
        command: CommandType,
        mut refused: Vec<MemberMarks>,
        mut untried: Vec<MemberMarks>,
        mut error: ChatError,
        verdicts: &mut Verdicts,
    ) {
        let members = refused.len() + untried.len();
        let mut calls_left = 2 * members.next_power_of_two().ilog2() + 2;
        let mut rejected: Vec<(MemberMarks, ChatError)> = Vec::new();
        let mut served = false;
        if refused.len() == 1 {
            rejected.extend(refused.drain(..).map(|only| (only, error.clone())));
        }
        loop {
            // If the first half is served, the fault is among the others.
            let others = refused.split_off(refused.len().div_ceil(2));
            let mut part = std::mem::replace(&mut refused, others);
            if part.is_empty() {
                part = std::mem::take(&mut untried);
            }
            if part.is_empty() {
                break;
            }
            if calls_left == 0 || Instant::now() > self.until {
                untried.extend(part);
                break;
            }
            calls_left -= 1;
            match self.call(command, &part).await {
                Ok(answer) => {
                    served |= !answer.confirmed.is_empty();
                    note_answer(verdicts, &part, &answer);
                }
                Err(why) if is_about_members(&why) => {
                    untried.append(&mut refused);
                    match part.len() {
                        1 => rejected.extend(part.into_iter().map(|one| (one, why.clone()))),
                        _ => refused = part,
                    }
                    error = why;
                }
                Err(why) => {
                    untried.extend(part);
                    error = why;
                    break;
                }
            }
        }
        for (member, error) in rejected {
            if served {
                verdicts.insert(member.account, Verdict::Rejected(Arc::new(error)));
            } else {
                // With no member served the fault lies not with one of them.
                note_failure(verdicts, &[member], error, true);
            }
        }
        untried.append(&mut refused);
        note_failure(verdicts, &untried, error, !served);
    }

    async fn who_is_here(&mut self, accounts: &[Account]) -> Result<HashSet<Account>, ChatError> {
        let here = self.shared.chat.check_members(self.group, accounts).await;
        if let Err(error) = &here {
            let (group, members) = (self.group.as_str(), accounts.len());
            warn_seldom!(group, members, %error, "cannot read from Chat who is in the room");
            self.room_gone |= error.class() == ErrorClass::RoomGone;
        }
        here.map(|here| here.into_iter().collect())
    }

    async fn call(
        &mut self,
        command: CommandType,
        members: &[MemberMarks],
    ) -> Result<ModifyAnswer, ChatError> {
        let group = self.group.as_str();
        let marked = |result, members: usize| {
            let marked = self.shared.replica.metrics.marked.of(result);
            marked.inc_by(members as u64);
        };
        let (began, asked) = (Instant::now(), members.len());
        let chat = &self.shared.chat;
        let answer = chat.modify_user_info(self.group, command, members).await;
        match &answer {
            Ok(answer) => {
                self.shared.replica.worker_breaker.succeeded();
                let (confirmed, took) = (answer.confirmed.len(), began.elapsed());
                marked(MarkResult::Confirmed, confirmed);
                marked(MarkResult::Omitted, asked.saturating_sub(confirmed));
                tracing::debug!(
                    group,
                    ?command,
                    asked,
                    confirmed,
                    seconds = took.as_secs_f64(),
                    "Chat answered"
                );
            }
            Err(error) => {
                marked(MarkResult::Failed, asked);
                self.note_error(command, asked, error);
            }
        }
        answer
    }

    /// What an error means beyond these members.
    fn note_error(&mut self, command: CommandType, members: usize, error: &ChatError) {
        let group = self.group.as_str();
        if may_mean_all_offline(error) {
            tracing::debug!(group, members, %error, "call refused; asking who is in the room");
            return;
        }
        let chat_request_id = error.request().map(RequestId::as_str);
        warn_seldom!(group, ?command, members, chat_request_id, %error, "call failed");
        self.room_gone |= error.class() == ErrorClass::RoomGone;
        if error.reach() == Reach::App {
            self.shared
                .replica
                .worker_breaker
                .refused(self.group, error);
        }
    }
}

/// Calls of which each names no more distinct marks than a room can hold: in doubt, a delete names the
/// marks of all rules that ended, which may be more.
fn split_by_marks(members: Vec<MemberMarks>) -> Vec<Vec<MemberMarks>> {
    let marks = members
        .iter()
        .flat_map(|member| member.marks.iter().copied());
    let marks: Vec<Mark> = marks.collect::<MarkSet>().into_iter().collect();
    if (1..=MAX_MARKS_PER_ROOM).contains(&marks.len()) {
        return vec![members];
    }
    let call = |marks: &[Mark]| {
        let marks: MarkSet = marks.iter().copied().collect();
        let part = members.iter().map(|member| MemberMarks {
            account: member.account.clone(),
            marks: &member.marks & &marks,
        });
        part.filter(|member| !member.marks.is_empty()).collect()
    };
    marks.chunks(MAX_MARKS_PER_ROOM).map(call).collect()
}

/// A member that the answer does not name was left out.
fn note_answer(verdicts: &mut Verdicts, members: &[MemberMarks], answer: &ModifyAnswer) {
    for MemberMarks { account, marks } in members {
        let verdict = match answer.confirmed.get(account) {
            None => Verdict::LeftOut { in_room: None },
            Some(confirmed) if marks.is_subset(confirmed) => Verdict::Confirmed,
            Some(confirmed) => Verdict::Partly(marks - confirmed),
        };
        verdicts.insert(account.clone(), verdict);
    }
}

fn note_failure(verdicts: &mut Verdicts, members: &[MemberMarks], error: ChatError, counts: bool) {
    let error = Arc::new(error);
    for member in members {
        let error = error.clone();
        verdicts.insert(member.account.clone(), Verdict::Failed { error, counts });
    }
}

/// What Chat answers when no member of a call is online is not documented; these codes may mean it.
pub(super) fn may_mean_all_offline(error: &ChatError) -> bool {
    let code = error.code();
    code.is_some_and(|code| code.may_mean_all_offline())
}

/// Whether Chat may serve others without some of the members.
fn is_about_members(error: &ChatError) -> bool {
    let class = error.class();
    error.reach() == Reach::Unclear
        || matches!(
            class,
            ErrorClass::MemberFault | ErrorClass::RequestFault | ErrorClass::Split
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(account: &str, marks: std::ops::Range<i64>) -> MemberMarks {
        MemberMarks {
            account: Account::parse(account).unwrap(),
            marks: marks.map(|mark| Mark::parse(mark).unwrap()).collect(),
        }
    }

    #[test]
    fn a_call_names_no_more_marks_than_a_room_can_hold() {
        let few = vec![member("a", 1000..1004), member("b", 1004..1010)];
        assert_eq!(split_by_marks(few.clone()), [few]);
        assert!(split_by_marks(Vec::new()).is_empty());
        let many = vec![member("a", 1000..1021), member("b", 1009..1011)];
        let expected = [
            vec![member("a", 1000..1010), member("b", 1009..1010)],
            vec![member("a", 1010..1020), member("b", 1010..1011)],
            vec![member("a", 1020..1021)],
        ];
        assert_eq!(split_by_marks(many), expected);
    }
}
