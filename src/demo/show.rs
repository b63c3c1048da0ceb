//! Plays the screenplay on the stage and keeps the books of what is seen.
//!
//! One task does it all in turn, so a change of rules enters the books before any look that could
//! show its effect.

use std::io::Stdout;
use std::time::Duration;

use anyhow::{Context, ensure};
use chrono::Utc;
use tokio::time::{Instant, sleep_until};

use super::house::House;
use super::ledger::{Cause, Ledger, Look};
use super::script::{self, Act, MomentAct, Movement};
use super::stage::Stage;
use super::summary::{Spent, Summary};
use super::timeline::{Colour, Timeline};
use super::watch::{self, Watcher};
use crate::simulator::{Api, Fault};

/// How long after the last scene what is still open may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A show under way.
pub(super) struct Show<'a> {
    stage: &'a Stage,
    watcher: Watcher,
    ledger: Ledger,
    timeline: &'a mut Timeline<Stdout>,
    began: Instant,
}

impl<'a> Show<'a> {
    /// Opens the rooms and starts to watch.
    pub(super) async fn open(
        stage: &'a Stage,
        timeline: &'a mut Timeline<Stdout>,
    ) -> anyhow::Result<Self> {
        stage.chat.create(script::LESSON, "school", "Maths").await?;
        stage.chat.create(script::GALA, "shop", "Gala").await?;
        Ok(Self {
            stage,
            watcher: Watcher::start(stage.chat.clone()),
            ledger: Ledger::default(),
            timeline,
            began: Instant::now(),
        })
    }

    /// Plays it to the end, waits for what is still open, and sums up.
    pub(super) async fn play(&mut self) -> anyhow::Result<Summary> {
        self.timeline.begin(Utc::now().timestamp_millis());
        self.began = Instant::now();
        for moment in script::moments() {
            self.watch_until(self.began + Duration::from_millis(moment.at))
                .await?;
            if let Some(title) = moment.says {
                self.timeline.scene(offset(moment.at), title)?;
            }
            if let Some(act) = moment.act {
                self.perform(&act, moment.at).await?;
                self.watcher.nudge();
            }
        }
        self.settle().await?;
        let last = watch::look(&self.stage.chat).await?;
        let mut calls = self.stage.chat.calls().await?;
        calls.retain(|call| call.api == Api::ModifyUserInfo);
        let faults = self.ledger.house().faults(&last.rooms);
        Ok(Summary::new(&self.ledger, Spent::of(&calls), faults))
    }

    /// Goes on telling what happens, by whatever hand.
    pub(super) async fn go_on(&mut self) -> anyhow::Result<()> {
        loop {
            let look = self.watcher.next().await?;
            self.take_in(&look)?;
        }
    }

    /// Prints a text.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.timeline.say(text)?)
    }

    /// Prints the figures and the verdict.
    pub(super) fn close(&mut self, summary: &Summary) -> anyhow::Result<()> {
        let title = self.timeline.paint(Colour::Heading, "Summary");
        let verdict = if summary.is_good() {
            let all = "Every mark that a rule demands is in place.";
            self.timeline.paint(Colour::Good, all)
        } else {
            let complaints = summary.complaints().join("\n");
            self.timeline.paint(Colour::Bad, &complaints)
        };
        self.say(&format!("\n{title}\n{summary}\n{verdict}\n"))
    }

    async fn perform(&mut self, act: &MomentAct, at: u64) -> anyhow::Result<()> {
        let (chat, operator) = (&self.stage.chat, &self.stage.operator);
        let (now, zero) = (Utc::now().timestamp_millis(), self.timeline.zero());
        match act.act {
            Act::Write(rule) => {
                operator.write(&rule, zero).await?;
                self.change_rules(now, "the start", |house| house.write(&rule));
            }
            Act::Edit(id, marks) => {
                operator.edit(id, marks).await?;
                self.change_rules(now, "the edit", |house| house.edit(id, marks));
            }
            Act::Delete(id) => {
                operator.delete(id).await?;
                self.change_rules(now, "the deletion", |house| house.delete(id));
            }
            Act::Opens(id) => {
                let opened = zero + offset(at);
                self.change_rules(opened, "the rule began", |house| house.hold(id, true));
            }
            Act::Closes(id) => {
                let closed = zero + offset(at);
                self.change_rules(closed, "the rule ended", |house| house.hold(id, false));
            }
            Act::Move(movement, group, _) => self.move_members(movement, group, act.who()).await?,
            Act::Trouble(group, times, effect) => {
                let fault = Fault::new(effect).api(Api::ModifyUserInfo);
                chat.inject(&fault.group(group).times(times)).await?;
            }
        }
        Ok(())
    }

    async fn move_members(
        &self,
        movement: Movement,
        group: &str,
        who: &[&str],
    ) -> anyhow::Result<()> {
        let chat = &self.stage.chat;
        let moved = match movement {
            Movement::Join => chat.join(group, who).await,
            Movement::Drop => chat.drop_offline(group, who).await,
            Movement::Back => chat.come_back(group, who).await,
            Movement::Leave => chat.leave(group, who).await,
        };
        let moved = moved.with_context(|| format!("{movement:?} in {group}"))?;
        let (changed, all) = (moved.changed, who.len());
        ensure!(
            changed == all,
            "{movement:?} in {group} moved {changed} of {all} members"
        );
        Ok(())
    }

    fn change_rules(&mut self, at: i64, what: &str, change: impl FnOnce(&mut House)) {
        let mut house = self.ledger.house().clone();
        change(&mut house);
        let what = what.to_owned();
        self.ledger.change_rules(house, &Cause { at, what });
    }

    /// Takes in looks until a time; those that are there already in any case.
    async fn watch_until(&mut self, time: Instant) -> anyhow::Result<()> {
        while let Some(look) = self.watcher.waiting()? {
            self.take_in(&look)?;
        }
        loop {
            tokio::select! {
                biased;
                () = sleep_until(time) => return Ok(()),
                look = self.watcher.next() => self.take_in(&look?)?,
            }
        }
    }

    /// Takes in looks until nothing is open in one that was begun after the last scene.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let (last, limit) = (Utc::now().timestamp_millis(), Instant::now() + PATIENCE);
        loop {
            let look = tokio::select! {
                () = sleep_until(limit) => return Ok(()),
                look = self.watcher.next() => look?,
            };
            self.take_in(&look)?;
            let settled = self.ledger.open() == 0 && self.ledger.revoked() == 0;
            if settled && look.began > last {
                return Ok(());
            }
        }
    }

    fn take_in(&mut self, look: &Look) -> anyhow::Result<()> {
        for change in self.ledger.take_in(look) {
            self.timeline.change(look.at, &change)?;
        }
        Ok(())
    }
}

fn offset(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}
