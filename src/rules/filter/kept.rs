//! Events that were answered with "no" and wait for the next confirmation.
//!
//! Handlers push without a lock; the follower takes out. The count covers an event until it is
//! discarded or the inbox has it, so that the memory is bounded whichever side is slow.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::domain::MemberEvent;

/// The handlers' side.
#[derive(Debug)]
pub(super) struct KeptEvents {
    sender: UnboundedSender<MemberEvent>,
    count: AtomicUsize,
    most: usize,
    crowded: Notify,
}

impl KeptEvents {
    pub fn new(most: usize) -> (Self, UnboundedReceiver<MemberEvent>) {
        let (sender, receiver) = unbounded_channel();
        let kept = Self {
            sender,
            count: AtomicUsize::new(0),
            most,
            crowded: Notify::new(),
        };
        (kept, receiver)
    }

    /// Keeps an event. Returns it if there are too many, or if the follower has ended.
    pub fn keep(&self, event: MemberEvent) -> Result<(), MemberEvent> {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        if before >= self.most {
            self.let_go(1);
            return Err(event);
        }
        if before == self.most / 4 {
            self.crowded.notify_one();
        }
        self.sender.send(event).map_err(|back| {
            self.let_go(1);
            back.0
        })
    }

    /// Waits until a quarter of the space is used: a confirmation now avoids a bypass later.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Frees the space of some events.
    pub fn let_go(&self, events: usize) {
        self.count.fetch_sub(events, Ordering::Relaxed);
    }

    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.most
    }
}
