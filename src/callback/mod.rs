//! The callback listener: the only part that faces the internet.
//!
//! It checks that a request comes from Chat, reads what it says of members and rooms, passes that to
//! the inbox, and answers only when it is stored. With `callback.forward_url` an existing backend receives
//! the callback too, and gives the answer. Nothing sent from outside can make it panic, exceed its
//! memory for bodies, or enter a log unescaped.
//! Source of the protocol: <https://www.tencentcloud.com/document/product/1047/34354>.

mod answer;
mod arrivals;
mod forward;
mod listener;
mod signature;
mod wire;

#[cfg(test)]
mod tests;

pub use arrivals::Arrivals;
pub(crate) use arrivals::{MINUTES, OtherPath, Report};
pub use listener::Listener;

use wire::OverLimit;

use crate::chat::Budget;
use crate::domain::{MemberEvent, RoomEnd};
use crate::members::{Inbox, News, NotTaken};
use crate::rules::filter::RuleFilter;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    Stored,
    /// It causes no work.
    NotNeeded,
}

/// Hands events that some rule may concern to the inbox of this replica, alerts to its budgets.
///
/// From the first poll on they are the inbox's. The listener drops the future after 1.8 s, the
/// server when Chat hangs up; the events are stored all the same, as long as the process lives.
#[derive(Debug)]
pub struct Events {
    inbox: Inbox,
    filter: RuleFilter,
    budgets: Vec<Budget>,
}

impl Events {
    /// `filter` must hand the events that it looks at late to the same inbox.
    pub fn new(inbox: Inbox, filter: RuleFilter, budgets: Vec<Budget>) -> Self {
        Self {
            inbox,
            filter,
            budgets,
        }
    }

    /// Returns when all the work that the events cause is committed.
    pub async fn record(&self, events: Vec<MemberEvent>) -> Result<Recorded, NotTaken> {
        let (events, named) = self.filter.named(events);
        if events.is_empty() {
            return Ok(Recorded::NotNeeded);
        }
        self.inbox.hand_in(News::Members(events, named)).await?;
        Ok(Recorded::Stored)
    }

    /// Always stored: it happens once a room, and rows may outlive their rules.
    async fn room_destroyed(&self, end: RoomEnd) -> Result<Recorded, NotTaken> {
        self.inbox.hand_in(News::RoomDestroyed(end)).await?;
        Ok(Recorded::Stored)
    }

    /// Chat sends this at 80 % of its own limit, so other callers use the API too.
    fn over_limit(&self, alert: &OverLimit) {
        let covers = |budget: &&Budget| budget.covers(&alert.service_name, &alert.command);
        let Some(budget) = self.budgets.iter().find(covers).cloned() else {
            return;
        };
        tracing::warn!(
            api = alert.command,
            request = alert.request,
            limit = alert.limit,
            "Chat warns of too many calls; slowing down"
        );
        tokio::spawn(async move { budget.react_to_alert().await });
    }
}
