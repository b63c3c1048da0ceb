//! Plays the screenplay on the stage and keeps the books of what is seen.
//!
//! One task does it all in turn, so a change of rules enters the books before any look that could
//! show its effect.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::Utc;
use parking_lot::MutexGuard;
use tokio::time::{Instant, sleep, sleep_until};

use super::ledger::{Ledger, Look, Seat};
use super::report::{Timeline, invitation, verdict};
use super::script::{Act, GALA, LESSON, RULES, SCENES};
use super::stage::Stage;
use crate::local::simulator::{Api, Fault, Movement, Result, Simulated};

/// How long the whole show waits for marks that are due before it goes on without them.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(15);

pub(super) struct Show<'a> {
    stage: &'a Stage,
    timeline: &'a mut Timeline,
    /// What is left of [`PATIENCE`].
    patience: Duration,
}

impl<'a> Show<'a> {
    pub(super) fn new(stage: &'a Stage, timeline: &'a mut Timeline) -> Self {
        Self {
            stage,
            timeline,
            patience: PATIENCE,
        }
    }

    /// Plays it to the end, waits for what is still due, and prints the summary. Returns what is wrong.
    pub(super) async fn play(&mut self) -> anyhow::Result<Vec<String>> {
        for room in [LESSON, GALA] {
            self.stage.page.chat.create(room).await?;
        }
        self.timeline.zero = now();
        let began = Instant::now();
        for rule in RULES {
            self.perform(&Act::Write(*rule)).await?;
        }
        let mut late = Duration::ZERO;
        for (at, title, acts) in SCENES {
            let planned = began + Duration::from_millis(*at) + late;
            self.watch_until(planned).await?;
            // On a slow machine scenes wait for each other, or a loss would be missed.
            self.settle().await?;
            self.timeline.scene(now(), title)?;
            late += planned.elapsed();
            for act in *acts {
                self.perform(act).await?;
            }
        }
        while self.ledger().awaits_window() {
            self.watch_until(Instant::now() + PAUSE).await?;
        }
        self.settle().await?;
        let mut calls = self.stage.page.chat.calls().await?;
        calls.retain(|call| call.api == Api::ModifyUserInfo);
        let complaints = self.ledger().complaints();
        let verdict = verdict(&self.ledger(), &calls, &complaints, self.timeline.colours);
        self.timeline.say(&verdict)?;
        Ok(complaints)
    }

    /// Goes on printing what happens, by whatever hand.
    pub(super) async fn go_on(&mut self) -> anyhow::Result<()> {
        self.stage.page.playing.store(false, Ordering::Relaxed);
        self.timeline.say(&invitation(&self.stage.places))?;
        loop {
            self.look().await?;
            sleep(PAUSE).await;
        }
    }

    async fn perform(&mut self, act: &Act) -> anyhow::Result<()> {
        let (chat, operator) = (&self.stage.page.chat, &self.stage.page.operator);
        let now = now();
        match act {
            Act::Write(rule) => {
                operator.write(rule, now).await?;
                self.ledger().write(rule, now);
            }
            Act::Delete(id) => {
                operator.delete(id).await?;
                self.ledger().delete(id, now);
            }
            Act::Move(movement, group, who) => move_members(chat, *movement, group, who).await?,
            Act::Arrive(group, who, every) => {
                let began = Instant::now();
                for (place, one) in (0..).zip(who.chunks(1)) {
                    let time = began + Duration::from_millis(every * place);
                    self.watch_until(time).await?;
                    move_members(&self.stage.page.chat, Movement::Join, group, one).await?;
                }
            }
            Act::Fail(group, effect) => {
                let fault = Fault::new(*effect).api(Api::ModifyUserInfo);
                chat.inject(&fault.group(group).times(1)).await?;
            }
        }
        Ok(())
    }

    /// Looks again and again until this time.
    async fn watch_until(&mut self, time: Instant) -> anyhow::Result<()> {
        while Instant::now() < time {
            self.look().await?;
            sleep_until(time.min(Instant::now() + PAUSE)).await;
        }
        Ok(())
    }

    /// Looks until nothing is due.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        self.look().await?;
        while !self.ledger().is_settled() && began.elapsed() < self.patience {
            sleep(PAUSE).await;
            self.look().await?;
        }
        self.patience = self.patience.saturating_sub(began.elapsed());
        Ok(())
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let look = look(&self.stage.page.chat).await?;
        let at = look.at;
        let (titles, changes) = {
            let mut ledger = self.ledger();
            (ledger.pass_time(at), ledger.take_in(look))
        };
        for (at, title) in titles {
            self.timeline.scene(at, &title)?;
        }
        for change in &changes {
            self.timeline.change(at, change)?;
        }
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.stage.page.ledger.lock()
    }
}

async fn move_members(
    chat: &Simulated,
    movement: Movement,
    group: &str,
    who: &[&str],
) -> anyhow::Result<()> {
    let moved = chat.moves(movement, group, who).await;
    let moved = moved.with_context(|| format!("{movement:?} in {group}"))?;
    let (changed, all) = (moved.changed, who.len());
    ensure!(
        changed == all,
        "{movement:?} in {group} moved {changed} of {all} members"
    );
    Ok(())
}

async fn look(chat: &Simulated) -> Result<Look> {
    let rooms = chat.rooms().await?;
    let at = now();
    let groups = rooms.keys().cloned().collect();
    let members = rooms.into_iter().flat_map(|(group, members)| {
        let seat = move |(account, view)| {
            let group = group.clone();
            (Seat { group, account }, view)
        };
        members.into_iter().map(seat)
    });
    Ok(Look {
        at,
        rooms: groups,
        members: members.collect(),
    })
}

fn now() -> i64 {
    Utc::now().timestamp_millis()
}
