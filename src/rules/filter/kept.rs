//! Events that were answered with "no" and wait for the next confirmation.
//!
//! Handlers push without a lock; the follower takes out. The count covers an event until it is
//! discarded or the inbox has it, so that the memory is bounded whoever falls behind.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::domain::MemberEvent;

/// An event and the revision of the rules that do not name its member.
#[derive(Debug)]
pub(super) struct Kept {
    pub event: MemberEvent,
    pub revision: i64,
}

/// The handlers' side.
#[derive(Debug)]
pub(super) struct KeptEvents {
    sender: UnboundedSender<Kept>,
    count: AtomicUsize,
    most: usize,
    crowded: Notify,
}

impl KeptEvents {
    pub fn new(most: usize) -> (Self, UnboundedReceiver<Kept>) {
        let (sender, receiver) = unbounded_channel();
        let kept = Self {
            sender,
            count: AtomicUsize::new(0),
            most,
            crowded: Notify::new(),
        };
        (kept, receiver)
    }

    /// Keeps an event. Given back if there are too many or nobody would look at it again.
    pub fn keep(&self, event: MemberEvent, revision: i64) -> Result<(), MemberEvent> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before >= self.most {
            self.let_go(1);
            return Err(event);
        }
        if before == self.most / 4 {
            self.crowded.notify_one();
        }
        self.sender.send(Kept { event, revision }).map_err(|back| {
            self.let_go(1);
            back.0.event
        })
    }

    /// Waits until a quarter of the room is taken: a confirmation now spares a bypass later.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Frees the room of some events.
    pub fn let_go(&self, events: usize) {
        self.count.fetch_sub(events, Ordering::Relaxed);
    }

    /// Number of events kept.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether no more can be kept.
    pub fn is_full(&self) -> bool {
        self.len() >= self.most
    }
}
