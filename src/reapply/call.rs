//! One command for the members of a room, carried through to a verdict for each of them.
//!
//! Usually that is one call. When Chat refuses a whole call because of somebody in it, the culprit
//! is found by halving, so that his neighbours are served. First Chat is asked who is in the room
//! at all: a call in which nobody is online fails too, and must never become a storm of calls. The
//! calls are bounded by the logarithm of the members; every one takes a slot of the budget.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Slot;
use super::worker::Shared;
use crate::chat::{ChatError, CommandType, ErrorClass, MemberMarks, ModifyAnswer};
use crate::domain::{Account, GroupId};
use crate::metrics::MarkResult;

/// If some call succeeded so recently, a refusal that may mean a setting means these members.
const FINE_LATELY: Duration = Duration::from_secs(60);

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

/// Calls for one room, in one round.
pub(super) struct Caller<'a> {
    shared: &'a Shared,
    group: &'a GroupId,
    /// The slot that was taken before the claim, until the first call.
    slot: Option<Slot>,
    signed_anew: bool,
    /// No more halving after this.
    until: Instant,
    /// Whether Chat said that the room is gone.
    room_gone: bool,
}

impl<'a> Caller<'a> {
    /// For a round that has just claimed the room, in a slot of the budget.
    pub(super) fn new(shared: &'a Shared, group: &'a GroupId, slot: Slot) -> Self {
        Self {
            shared,
            group,
            slot: Some(slot),
            signed_anew: false,
            // What a lease leaves after this is for the last calls and the settlement.
            until: Instant::now() + shared.lease / 3,
            room_gone: false,
        }
    }

    /// Whether Chat said that the room is gone.
    pub(super) fn room_is_gone(&self) -> bool {
        self.room_gone
    }

    /// Carries out a command for up to 500 members.
    pub(super) async fn modify(
        &mut self,
        command: CommandType,
        members: Vec<MemberMarks>,
    ) -> Verdicts {
        let mut verdicts = Verdicts::new();
        if members.is_empty() {
            return verdicts;
        }
        match self.call(command, &members).await {
            Ok(confirmed) => note_answer(&mut verdicts, &members, &confirmed),
            Err(error) if is_about_members(&error) => {
                self.isolate(command, members, error, &mut verdicts).await;
            }
            Err(error) => note_failure(&mut verdicts, &members, error, true),
        }
        verdicts
    }

    /// Asks whether those are in the room who were left out once more after all their tries.
    pub(super) async fn look_for(&mut self, omitted: &[Account], verdicts: &mut Verdicts) {
        if omitted.is_empty() {
            return;
        }
        let Ok(here) = self.who_is_here(omitted).await else {
            return;
        };
        for account in omitted {
            let in_room = Some(here.contains(account));
            verdicts.insert(account.clone(), Verdict::Omitted { in_room });
        }
    }

    /// Chat refused the call as a whole, which may be the doing of one member in it.
    async fn isolate(
        &mut self,
        command: CommandType,
        members: Vec<MemberMarks>,
        error: ChatError,
        verdicts: &mut Verdicts,
    ) {
        let most = 2 * members.len().next_power_of_two().ilog2() + 2;
        if error.class() == ErrorClass::Split {
            return Halving::new(self, command, most)
                .run(members, error, verdicts)
                .await;
        }
        let accounts: Vec<Account> = members
            .iter()
            .map(|member| member.account.clone())
            .collect();
        let here = match self.who_is_here(&accounts).await {
            Ok(here) => here,
            Err(why) => return self.undecided(&members, error, why, verdicts),
        };
        let (here, away): (Vec<_>, Vec<_>) = members
            .into_iter()
            .partition(|member| here.contains(&member.account));
        for member in &away {
            verdicts.insert(
                member.account.clone(),
                Verdict::Omitted {
                    in_room: Some(false),
                },
            );
        }
        // Some of those asked for are in the room, so it is not that nobody was online.
        if error.class() == ErrorClass::Configuration && !self.fine_lately() && !here.is_empty() {
            self.shared.pause.begin(&error);
            return note_failure(verdicts, &here, error, false);
        }
        match here.as_slice() {
            [] => {}
            // Nobody to compare with. Chat's view of who is in the room lags, so he may have left.
            [only] if nobody_online(&error) => {
                verdicts.insert(
                    only.account.clone(),
                    Verdict::Omitted {
                        in_room: Some(true),
                    },
                );
            }
            [only] => {
                let culprit = Verdict::Culprit(Arc::new(error));
                verdicts.insert(only.account.clone(), culprit);
            }
            _ if away.is_empty() => {
                Halving::new(self, command, most)
                    .run(here, error, verdicts)
                    .await;
            }
            _ => match self.call(command, &here).await {
                Ok(confirmed) => note_answer(verdicts, &here, &confirmed),
                Err(error) if is_about_members(&error) => {
                    Halving::new(self, command, most - 1)
                        .run(here, error, verdicts)
                        .await;
                }
                Err(error) => note_failure(verdicts, &here, error, true),
            },
        }
    }

    /// Chat refused the call and also would not say who is in the room.
    fn undecided(
        &mut self,
        members: &[MemberMarks],
        error: ChatError,
        why: Option<ChatError>,
        verdicts: &mut Verdicts,
    ) {
        let configuration = why.filter(|why| why.class() == ErrorClass::Configuration);
        let general = configuration.filter(|_| !self.fine_lately());
        if let Some(why) = &general {
            self.shared.pause.begin(why);
        }
        note_failure(verdicts, members, error, general.is_none());
    }

    fn fine_lately(&self) -> bool {
        self.shared.pause.was_fine_within(FINE_LATELY)
    }

    async fn who_is_here(
        &mut self,
        accounts: &[Account],
    ) -> Result<HashSet<Account>, Option<ChatError>> {
        if let Err(error) = self.shared.checks.take().await {
            tracing::warn!(%error, "no slot for a call");
            return Err(None);
        }
        match self.shared.chat.check_members(self.group, accounts).await {
            Ok(here) => Ok(here.into_iter().collect()),
            Err(error) => {
                let (group, members) = (self.group.as_str(), accounts.len());
                tracing::warn!(?group, members, %error, "Chat does not say who is in the room");
                self.room_gone |= error.class() == ErrorClass::RoomGone;
                if error.class() == ErrorClass::SlowDown {
                    slow_down(&self.shared.checks).await;
                }
                Err(Some(error))
            }
        }
    }

    /// One call in a slot of its own; once more at once if only the signature was not taken.
    async fn call(
        &mut self,
        command: CommandType,
        members: &[MemberMarks],
    ) -> Result<HashSet<Account>, ChatError> {
        let mut answer = self.call_once(command, members).await;
        let refused = |e: &ChatError| e.class() == ErrorClass::NewSignature;
        if answer.as_ref().is_err_and(refused) && !self.signed_anew {
            self.signed_anew = true;
            answer = self.call_once(command, members).await;
        }
        if let Err(error) = &answer {
            self.note_error(command, members.len(), error).await;
        }
        answer
    }

    async fn call_once(
        &mut self,
        command: CommandType,
        members: &[MemberMarks],
    ) -> Result<HashSet<Account>, ChatError> {
        if let Err(error) = self.shared.budget.fresh(self.slot.take()).await {
            tracing::warn!(%error, "no slot for a call");
            let reason = "the budget of calls cannot be read".to_owned();
            return Err(ChatError::Unreachable(reason));
        }
        let started = Instant::now();
        let answer = self
            .shared
            .chat
            .modify_user_info(self.group, command, members)
            .await;
        self.count(members.len(), &answer);
        let answer = answer?;
        let (group, asked, confirmed) =
            (self.group.as_str(), members.len(), answer.confirmed.len());
        let took = started.elapsed();
        tracing::debug!(?group, ?command, asked, confirmed, ?took, "Chat answered");
        self.shared.pause.end();
        Ok(answer.confirmed)
    }

    fn count(&self, members: usize, answer: &Result<ModifyAnswer, ChatError>) {
        let metrics = &self.shared.metrics;
        let Ok(answer) = answer else {
            return metrics.marked(MarkResult::Failed, members);
        };
        let confirmed = answer.confirmed.len();
        metrics.marked(MarkResult::Confirmed, confirmed);
        metrics.marked(MarkResult::Omitted, members.saturating_sub(confirmed));
    }

    /// What an error means beyond these members.
    async fn note_error(&mut self, command: CommandType, members: usize, error: &ChatError) {
        let group = self.group.as_str();
        if nobody_online(error) {
            tracing::debug!(?group, members, %error, "nobody online, or somebody at fault");
            return;
        }
        tracing::warn!(?group, ?command, members, %error, "call failed");
        match error.class() {
            ErrorClass::SlowDown => {
                slow_down(&self.shared.budget).await;
                if error.code().is_some_and(|code| code.least_wait().is_some()) {
                    self.shared.pause.begin(error);
                }
            }
            ErrorClass::Configuration | ErrorClass::NewSignature => self.shared.pause.begin(error),
            ErrorClass::RoomGone => self.room_gone = true,
            _ => {}
        }
    }
}

/// The search for the members whom Chat will not take.
struct Halving<'c, 'a> {
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
    fn new(caller: &'c mut Caller<'a>, command: CommandType, most: u32) -> Self {
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
    async fn run(
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
        if self.left == 0 || Instant::now() > self.caller.until {
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

/// What Chat answers when nobody in a call is online is not documented; these codes may mean it.
fn nobody_online(error: &ChatError) -> bool {
    error
        .code()
        .is_some_and(|code| code.may_mean_nobody_online())
}

/// Whether others may be served without some of the members.
fn is_about_members(error: &ChatError) -> bool {
    let class = error.class();
    nobody_online(error)
        || matches!(
            class,
            ErrorClass::MemberFault | ErrorClass::RequestFault | ErrorClass::Split
        )
}

fn note_answer(verdicts: &mut Verdicts, members: &[MemberMarks], confirmed: &HashSet<Account>) {
    for MemberMarks { account, .. } in members {
        let verdict = if confirmed.contains(account) {
            Verdict::Confirmed
        } else {
            Verdict::Omitted { in_room: None }
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

async fn slow_down(budget: &super::Budget) {
    if let Err(error) = budget.slow_down().await {
        tracing::warn!(%error, "the budget cannot be slowed down");
    }
}
