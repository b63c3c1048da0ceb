//! One command for the members of a room, carried through to a verdict for each of them.
//!
//! Usually that is one call. When Chat refuses a whole call because of somebody in it, the culprit
//! is searched for. First Chat is asked who is in the room at all: a call in which nobody is online
//! fails too, and must never become a storm of calls. The calls are bounded by the logarithm of the
//! members; every one takes a slot of the budget.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;

use super::budget::Slot;
use super::halving::Halving;
use super::settings::WorkerSettings;
use super::verdict::{Verdict, Verdicts, note_answer, note_failure};
use crate::chat::{ChatError, CommandType, ErrorClass, MemberMarks, ModifyAnswer};
use crate::domain::{Account, GroupId, RequestId};
use crate::metrics::MarkResult;
use crate::telemetry::warn_seldom;

/// If some call succeeded so recently, a refusal that may mean a setting means these members.
const FINE_LATELY: Duration = Duration::from_secs(60);

/// Calls for one room, in one round.
pub(super) struct Caller<'a> {
    shared: &'a WorkerSettings,
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
    pub(super) fn new(shared: &'a WorkerSettings, group: &'a GroupId, slot: Slot) -> Self {
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

    /// Whether the time left belongs to the last calls and the settlement.
    pub(super) fn must_hurry(&self) -> bool {
        Instant::now() > self.until
    }

    /// Whether the slot came to use.
    pub(super) fn has_called(&self) -> bool {
        self.slot.is_none()
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
            Err(why) => return self.undecided(&members, error, why, verdicts).await,
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
            self.shared.pause.begin(&error).await;
            return note_failure(verdicts, &here, error, false);
        }
        match here.as_slice() {
            [] => {}
            // Nobody to compare with. Chat's view of who is in the room lags, so he may have left.
            [only] if nobody_online(&error) => {
                let unseen = Verdict::Unseen(Arc::new(error));
                verdicts.insert(only.account.clone(), unseen);
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
    async fn undecided(
        &mut self,
        members: &[MemberMarks],
        error: ChatError,
        why: Option<ChatError>,
        verdicts: &mut Verdicts,
    ) {
        let configuration = why.filter(|why| why.class() == ErrorClass::Configuration);
        let general = configuration.filter(|_| !self.fine_lately());
        if let Some(why) = &general {
            self.shared.pause.begin(why).await;
        }
        note_failure(verdicts, members, error, general.is_none());
    }

    /// Whether some call succeeded lately, of whatever room.
    pub(super) fn fine_lately(&self) -> bool {
        self.shared.pause.was_fine_within(FINE_LATELY)
    }

    async fn who_is_here(
        &mut self,
        accounts: &[Account],
    ) -> Result<HashSet<Account>, Option<ChatError>> {
        if let Err(error) = self.shared.checks.take().await {
            warn_seldom!(%error, "no slot for a call");
            return Err(None);
        }
        match self.shared.chat.check_members(self.group, accounts).await {
            Ok(here) => Ok(here.into_iter().collect()),
            Err(error) => {
                let (group, members) = (self.group.as_str(), accounts.len());
                warn_seldom!(?group, members, %error, "Chat does not say who is in the room");
                self.room_gone |= error.class() == ErrorClass::RoomGone;
                if error.class() == ErrorClass::SlowDown {
                    slow_down(&self.shared.checks).await;
                }
                Err(Some(error))
            }
        }
    }

    /// One call in a slot of its own; once more at once if only the signature was not taken.
    pub(super) async fn call(
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
            warn_seldom!(%error, "no slot for a call");
            let reason = "the budget of calls cannot be read".to_owned();
            return Err(ChatError::Unreachable(reason));
        }
        let started = Instant::now();
        let span = tracing::debug_span!("call", ?command, members = members.len());
        let answer = self
            .shared
            .chat
            .modify_user_info(self.group, command, members)
            .instrument(span)
            .await;
        self.count(members.len(), &answer);
        let answer = answer?;
        let (group, asked, confirmed) =
            (self.group.as_str(), members.len(), answer.confirmed.len());
        let took = started.elapsed();
        tracing::debug!(?group, ?command, asked, confirmed, ?took, "Chat answered");
        self.shared.pause.end().await;
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
        let chat_request_id = error.request().map(RequestId::as_str);
        warn_seldom!(?group, ?command, members, chat_request_id, %error, "call failed");
        match error.class() {
            ErrorClass::SlowDown => {
                slow_down(&self.shared.budget).await;
                if error.code().is_some_and(|code| code.least_wait().is_some()) {
                    self.shared.pause.begin(error).await;
                }
            }
            ErrorClass::Configuration | ErrorClass::NewSignature => {
                self.shared.pause.begin(error).await
            }
            ErrorClass::RoomGone => self.room_gone = true,
            _ => {}
        }
    }
}

/// What Chat answers when nobody in a call is online is not documented; these codes may mean it.
fn nobody_online(error: &ChatError) -> bool {
    error
        .code()
        .is_some_and(|code| code.may_mean_nobody_online())
}

/// Whether others may be served without some of the members.
pub(super) fn is_about_members(error: &ChatError) -> bool {
    let class = error.class();
    nobody_online(error)
        || matches!(
            class,
            ErrorClass::MemberFault | ErrorClass::RequestFault | ErrorClass::Split
        )
}

async fn slow_down(budget: &super::Budget) {
    if let Err(error) = budget.slow_down().await {
        tracing::warn!(%error, "the budget cannot be slowed down");
    }
}
