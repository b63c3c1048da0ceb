//! Where the callback listener meets the members: events that some rule may concern go to the
//! inbox, alerts to the budget.

use crate::callback::{Intake, NotStored, Recorded, RequestOverLimit};
use crate::chat::Budget;
use crate::domain::{MemberEvent, RoomEnd};
use crate::members::{Inbox, News, NotTaken};
use crate::rules::filter::RuleFilter;

/// Hands news to the inbox of this replica, except that of members whom no rule names.
#[derive(Debug)]
pub struct MemberIntake {
    inbox: Inbox,
    filter: RuleFilter,
    budgets: Vec<Budget>,
}

impl MemberIntake {
    /// The filter may look at events late and hands those to the same inbox; `budgets` slow down
    /// when Chat warns of their API.
    pub fn new(inbox: Inbox, filter: RuleFilter, budgets: Vec<Budget>) -> Self {
        Self {
            inbox,
            filter,
            budgets,
        }
    }

    async fn store(&self, news: News) -> Result<(), NotStored> {
        self.inbox.hand_in(news).await.map_err(|error| match error {
            NotTaken::Full => NotStored::Full,
            NotTaken::Closed => NotStored::Unavailable,
        })
    }
}

impl Intake for MemberIntake {
    async fn record(&self, events: Vec<MemberEvent>) -> Result<Recorded, NotStored> {
        let (events, named) = self.filter.named(events);
        if events.is_empty() {
            return Ok(Recorded::NotNeeded);
        }
        self.store(News::Members(events, named)).await?;
        Ok(Recorded::Stored)
    }

    /// Always written: it happens once a room, and rows may outlive their rules.
    async fn room_destroyed(&self, end: RoomEnd) -> Result<(), NotStored> {
        self.store(News::RoomDestroyed(end)).await
    }

    /// Chat sends this at 80 % of its own limit, so somebody else calls too: make room.
    fn over_limit(&self, alert: RequestOverLimit) {
        let covers = |budget: &&Budget| budget.covers(&alert.service, &alert.command);
        let Some(budget) = self.budgets.iter().find(covers).cloned() else {
            return;
        };
        tracing::warn!(
            api = ?alert.command,
            request = alert.request,
            limit = alert.limit,
            "Chat warns of too many calls"
        );
        tokio::spawn(async move { budget.react_to_alert().await });
    }
}
