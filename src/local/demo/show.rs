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
use super::script::{self, Act, MomentAct, Movement, RuleText};
use super::stage::Stage;
use super::summary::{Spent, Summary};
use super::timeline::{Colour, Timeline};
use super::watch::{self, Watcher};
use crate::local::simulator::{Api, Fault};

/// How long the whole show waits for marks that are due before it goes on without them.
const PATIENCE: Duration = Duration::from_secs(60);

/// A show under way.
pub(super) struct Show<'a> {
    stage: &'a Stage,
    watcher: Watcher,
    ledger: Ledger,
    timeline: &'a mut Timeline<Stdout>,
    began: Instant,
    /// Windows of rules that will open or close.
    boundaries: Vec<Boundary>,
    /// When the latest look was begun, Unix milliseconds.
    last_look: i64,
    /// What is left of [`PATIENCE`].
    patience: Duration,
}

/// A window of a rule opens or closes, by itself.
#[derive(Debug, Clone, Copy)]
struct Boundary {
    /// Unix milliseconds.
    at: i64,
    rule: &'static str,
    opens: bool,
}

impl<'a> Show<'a> {
    /// Opens the rooms and starts to watch.
    pub(super) async fn open(
        stage: &'a Stage,
        timeline: &'a mut Timeline<Stdout>,
    ) -> anyhow::Result<Self> {
        stage.chat.create(script::LESSON).await?;
        stage.chat.create(script::GALA).await?;
        Ok(Self {
            stage,
            watcher: Watcher::start(stage.chat.clone()),
            ledger: Ledger::default(),
            timeline,
            began: Instant::now(),
            boundaries: Vec::new(),
            last_look: 0,
            patience: PATIENCE,
        })
    }

    /// Plays it to the end, waits for what is still open, and sums up.
    pub(super) async fn play(&mut self) -> anyhow::Result<Summary> {
        self.timeline.begin(Utc::now().timestamp_millis());
        self.began = Instant::now();
        let mut late = Duration::ZERO;
        for moment in script::moments() {
            let planned = self.began + Duration::from_millis(moment.at) + late;
            self.watch_until(planned).await?;
            if let Some(title) = moment.says {
                // On a slow machine scenes wait for each other, or a loss would be missed.
                self.settle().await?;
                let now = Utc::now().timestamp_millis();
                self.timeline.scene(now, title)?;
            }
            late += Instant::now().saturating_duration_since(planned);
            if let Some(act) = moment.act {
                self.perform(&act).await?;
                self.watcher.nudge();
            }
        }
        while !self.boundaries.is_empty() {
            self.step(Instant::now() + PATIENCE).await?;
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
        self.stage.page.hand_over();
        loop {
            tokio::select! {
                look = self.watcher.next() => self.take_in(&look?)?,
                () = self.stage.page.moved() => self.watcher.nudge(),
            }
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

    async fn perform(&mut self, act: &MomentAct) -> anyhow::Result<()> {
        let (chat, operator) = (&self.stage.chat, &self.stage.operator);
        let now = Utc::now().timestamp_millis();
        match act.act {
            Act::Write(rule) => {
                operator.write(&rule, now).await?;
                self.change_rules(now, "the start", |house| house.write(&rule));
                self.expect_window(&rule, now);
            }
            Act::Edit(id, marks) => {
                operator.edit(id, marks).await?;
                self.change_rules(now, "the edit", |house| house.edit(id, marks));
            }
            Act::Delete(id) => {
                operator.delete(id).await?;
                self.change_rules(now, "the deletion", |house| house.delete(id));
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

    fn expect_window(&mut self, rule: &RuleText, written: i64) {
        let Some((from, to)) = rule.window else {
            return;
        };
        let boundary = |after: u64, opens| Boundary {
            at: written.saturating_add_unsigned(after),
            rule: rule.id,
            opens,
        };
        self.boundaries
            .extend([boundary(from, true), boundary(to, false)]);
    }

    fn cross(&mut self, boundary: Boundary) -> anyhow::Result<()> {
        let Boundary { at, rule, opens } = boundary;
        self.boundaries.retain(|other| other.at > at);
        let (title, cause) = match opens {
            true => (format!("{rule} begins to hold"), "the rule began"),
            false => (format!("{rule} holds no longer"), "the rule ended"),
        };
        self.timeline.scene(at, &title)?;
        self.change_rules(at, cause, |house| house.hold(rule, opens));
        Ok(())
    }

    /// Waits for the next look, boundary or the given time. True when the time has come.
    async fn step(&mut self, until: Instant) -> anyhow::Result<bool> {
        let boundary = self.boundaries.first().copied();
        let crossing = boundary.map(|boundary| {
            let after = boundary.at.saturating_sub(self.timeline.zero());
            self.began + Duration::from_millis(u64::try_from(after).unwrap_or_default())
        });
        tokio::select! {
            biased;
            () = sleep_until(crossing.unwrap_or(until)), if crossing.is_some() => {
                boundary.map_or(Ok(()), |boundary| self.cross(boundary))?;
                Ok(false)
            }
            look = self.watcher.next() => {
                self.take_in(&look?)?;
                Ok(false)
            }
            () = sleep_until(until) => Ok(true),
        }
    }

    async fn watch_until(&mut self, time: Instant) -> anyhow::Result<()> {
        while !self.step(time).await? {}
        Ok(())
    }

    /// Waits until nothing is open in a look that was begun after this call.
    async fn settle(&mut self) -> anyhow::Result<()> {
        let (now, began) = (Utc::now().timestamp_millis(), Instant::now());
        self.watcher.nudge();
        while !(self.ledger.is_settled() && self.last_look > now) {
            if self.step(began + self.patience).await? {
                break;
            }
        }
        self.patience = self.patience.saturating_sub(began.elapsed());
        Ok(())
    }

    fn take_in(&mut self, look: &Look) -> anyhow::Result<()> {
        // Timers of a busy runtime may be late; the books must not be.
        while let Some(boundary) = self.boundaries.first().copied() {
            if boundary.at > look.at {
                break;
            }
            self.cross(boundary)?;
        }
        self.last_look = look.began;
        let changes = self.ledger.take_in(look);
        self.stage.page.show(look, &changes);
        for change in &changes {
            self.timeline.change(look.at, change)?;
        }
        Ok(())
    }
}
