//! Where callbacks go: what the listener demands of whoever stores them.

use std::future::Future;
use std::sync::Arc;

use super::wire::RequestOverLimit;
use crate::domain::{MemberEvent, RoomEnd};

/// Stores what callbacks say.
///
/// What is handed over belongs to the intake from the first poll on. The listener drops the future
/// when 1.8 s are over, and the server does when Chat hangs up; neither may lose the events: they
/// are stored when that becomes possible, as long as the process lives. An intake that can hold no
/// more says so at once with [`NotStored::Full`].
pub trait Intake: Send + Sync + 'static {
    /// Resolves when all the work that the events cause is committed. There may be several events
    /// of one member, and none at all is never handed over.
    fn record(
        &self,
        events: Vec<MemberEvent>,
    ) -> impl Future<Output = Result<Recorded, NotStored>> + Send;

    /// Resolves when it is committed that the room is gone.
    fn room_destroyed(&self, end: RoomEnd) -> impl Future<Output = Result<(), NotStored>> + Send;

    /// Chat warns that an API nears its limit. A hint: needs no storing and must not block.
    fn over_limit(&self, alert: RequestOverLimit);
}

/// What was done about events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// They were stored.
    Stored,
    /// None of them causes any work.
    NotNeeded,
}

/// Why events were not stored; Chat is answered with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// As much is waiting as memory may hold.
    #[error("too many events are waiting to be stored")]
    Full,
    /// The database refused, or the service is stopping.
    #[error("the events cannot be stored now")]
    Unavailable,
}

impl<I: Intake> Intake for Arc<I> {
    fn record(
        &self,
        events: Vec<MemberEvent>,
    ) -> impl Future<Output = Result<Recorded, NotStored>> + Send {
        I::record(self, events)
    }

    fn room_destroyed(&self, end: RoomEnd) -> impl Future<Output = Result<(), NotStored>> + Send {
        I::room_destroyed(self, end)
    }

    fn over_limit(&self, alert: RequestOverLimit) {
        I::over_limit(self, alert);
    }
}
