//! Watches the simulated Chat: a look whenever a call began or ended, on request, and every
//! fifth of a second, since members also move by other hands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{Notify, mpsc};

use super::ledger::Look;
use crate::local::simulator::{ControlError, Result, Simulated};

/// The longest time between two looks.
const PAUSE: Duration = Duration::from_millis(200);
/// Looks that may wait to be taken in.
const WAITING: usize = 64;

/// One who looks. There is only one, so looks come in the order of what they show.
#[derive(Debug)]
pub(super) struct Watcher {
    looks: mpsc::Receiver<Result<Look>>,
    nudge: Arc<Notify>,
}

impl Watcher {
    /// Starts to watch. Dropped, it stops.
    pub(super) fn start(chat: Simulated) -> Self {
        let (sender, looks) = mpsc::channel(WAITING);
        let nudge = Arc::new(Notify::new());
        tokio::spawn(watch(chat, nudge.clone(), sender));
        Self { looks, nudge }
    }

    /// Asks for a look now.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// The next look.
    pub(super) async fn next(&mut self) -> anyhow::Result<Look> {
        let look = self.looks.recv().await;
        Ok(look.ok_or_else(|| anyhow::anyhow!("the watch of the simulated Chat has ended"))??)
    }
}

async fn watch(chat: Simulated, nudge: Arc<Notify>, looks: mpsc::Sender<Result<Look>>) {
    let mut moment = 0;
    loop {
        let look = next(&chat, &nudge, &mut moment).await;
        let failed = look.is_err();
        if looks.send(look).await.is_err() || failed {
            return;
        }
    }
}

async fn next(chat: &Simulated, nudge: &Notify, moment: &mut u64) -> Result<Look> {
    tokio::select! {
        now = chat.moment_after(*moment, PAUSE) => *moment = now?,
        () = nudge.notified() => {}
    }
    look(chat).await
}

/// Reads every room.
pub(super) async fn look(chat: &Simulated) -> Result<Look> {
    let began = Utc::now().timestamp_millis();
    let mut rooms = BTreeMap::new();
    for room in chat.rooms().await? {
        match chat.room(&room.group).await {
            Ok(view) => drop(rooms.insert(room.group, view.members)),
            // Closed since it was listed.
            Err(ControlError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let at = Utc::now().timestamp_millis();
    Ok(Look { began, at, rooms })
}
