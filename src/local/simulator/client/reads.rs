//! Reading rooms, calls and figures, and waiting for what shall come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{ControlError, Result, Simulated};
use crate::local::simulator::api::Api;
use crate::local::simulator::calls::CallRecord;
use crate::local::simulator::wire::{CallPage, MemberView, Moment, RoomSummary, RoomView, Stats};

/// How long one wait for a moment lasts before it is asked for again.
const ONE_WAIT: Duration = Duration::from_secs(10);

impl Simulated {
    /// Every remembered call, oldest first.
    pub async fn calls(&self) -> Result<Vec<CallRecord>> {
        self.calls_after(0).await
    }

    /// Every remembered call of one API for one room, oldest first.
    pub async fn calls_of(&self, api: Api, group: &str) -> Result<Vec<CallRecord>> {
        self.read_calls(
            0,
            &[
                ("api", api.command().to_owned()),
                ("group", group.to_owned()),
            ],
        )
        .await
    }

    /// Every remembered call with a greater `seq`, oldest first.
    pub async fn calls_after(&self, seq: u64) -> Result<Vec<CallRecord>> {
        self.read_calls(seq, &[]).await
    }

    async fn read_calls(&self, seq: u64, filter: &[(&str, String)]) -> Result<Vec<CallRecord>> {
        let mut calls = Vec::new();
        let mut after = Some(seq);
        while let Some(seq) = after {
            let mut query = filter.to_vec();
            query.push(("after", seq.to_string()));
            let page: CallPage = self.get("calls", &query).await?;
            calls.extend(page.items);
            after = page.next;
        }
        Ok(calls)
    }

    /// Every room.
    pub async fn rooms(&self) -> Result<Vec<RoomSummary>> {
        self.get("rooms", &[]).await
    }

    /// One room in full.
    pub async fn room(&self, group: &str) -> Result<RoomView> {
        self.get("room", &[("group", group.to_owned())]).await
    }

    /// The marks of each member of a room; those without marks have an empty set.
    pub async fn marks(&self, group: &str) -> Result<BTreeMap<String, BTreeSet<u32>>> {
        let members = self.room(group).await?.members;
        let marks = |(account, member): (String, MemberView)| (account, member.marks);
        Ok(members.into_iter().map(marks).collect())
    }

    /// Waits until a member has exactly these marks.
    pub async fn wait_for_marks(
        &self,
        group: &str,
        account: &str,
        marks: &[u32],
        within: Duration,
    ) -> Result<()> {
        let wanted: BTreeSet<u32> = marks.iter().copied().collect();
        let wait = self.wait_until(group, within, |members| {
            members.get(account).is_some_and(|marks| *marks == wanted)
        });
        wait.await
    }

    /// Waits until `holds` is true of the marks of a room.
    pub async fn wait_until(
        &self,
        group: &str,
        within: Duration,
        holds: impl Fn(&BTreeMap<String, BTreeSet<u32>>) -> bool,
    ) -> Result<()> {
        let began = Instant::now();
        loop {
            let moment = self.moment().await?;
            let marks = self.marks(group).await?;
            if holds(&marks) {
                return Ok(());
            }
            let Some(left) = within
                .checked_sub(began.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return Err(ControlError::TimedOut(within, format!("{marks:?}")));
            };
            self.moment_after(moment, left.min(ONE_WAIT)).await?;
        }
    }

    /// How many calls began or ended so far.
    pub async fn moment(&self) -> Result<u64> {
        let answer: Moment = self.get("moment", &[]).await?;
        Ok(answer.moment)
    }

    /// Waits until a call began or ended after `moment`, or for `wait` (at most 30 s), and gives
    /// the moment then.
    pub async fn moment_after(&self, moment: u64, wait: Duration) -> Result<u64> {
        let wait = wait.as_millis().max(1).to_string();
        let query = [("after", moment.to_string()), ("wait_ms", wait)];
        let answer: Moment = self.get("moment", &query).await?;
        Ok(answer.moment)
    }

    /// Figures since the start or the last reset.
    pub async fn stats(&self) -> Result<Stats> {
        self.get("stats", &[]).await
    }
}
