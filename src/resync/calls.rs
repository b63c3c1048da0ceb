//! The sweep's calls to Chat: each takes a slot of its API's own budget. A call whose signature Chat
//! rejected is retried once, at once.

use crate::chat::{ChatClient, ChatError, ErrorClass, MembersPage};
use crate::domain::{Account, GroupId, Mark};
use crate::reapply::Budget;

/// Why a sweep failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the lease was lost to another replica")]
    LeaseLost,
    #[error("Chat's list has no end")]
    Endless,
}

/// Client and budgets.
#[derive(Debug, Clone)]
pub(super) struct Calls {
    pub chat: ChatClient,
    pub lists: Budget,
    pub checks: Budget,
}

impl Calls {
    pub(super) async fn page(
        &self,
        group: &GroupId,
        timestamp: u64,
        mark: Option<Mark>,
    ) -> Result<MembersPage, SweepError> {
        self.lists.take().await?;
        let mut answer = self.chat.get_members(group, timestamp, mark).await;
        if is_of(&answer, ErrorClass::NewSignature) {
            self.lists.take().await?;
            answer = self.chat.get_members(group, timestamp, mark).await;
        }
        slowed(&self.lists, answer).await
    }

    pub(super) async fn check(
        &self,
        group: &GroupId,
        accounts: &[Account],
    ) -> Result<Vec<Account>, SweepError> {
        self.checks.take().await?;
        let mut answer = self.chat.check_members(group, accounts).await;
        if is_of(&answer, ErrorClass::NewSignature) {
            self.checks.take().await?;
            answer = self.chat.check_members(group, accounts).await;
        }
        slowed(&self.checks, answer).await
    }
}

/// Slows the budget down if Chat reports too many calls.
async fn slowed<T>(budget: &Budget, answer: Result<T, ChatError>) -> Result<T, SweepError> {
    if is_of(&answer, ErrorClass::SlowDown) {
        budget.slow_down().await?;
    }
    Ok(answer?)
}

fn is_of<T>(answer: &Result<T, ChatError>, class: ErrorClass) -> bool {
    answer.as_ref().is_err_and(|error| error.class() == class)
}
