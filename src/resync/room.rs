//! The sweep of one room.
//!
//! First the lists of all our marks are read completely, since only then is a missing mark missing; then
//! the members on them are compared with the rules. Where rules match accounts by prefix, the newest members
//! of the room are listed too, since Chat has no other way to find them. Last, Chat is asked about accounts
//! that rules name in full and present members who are on none of the lists.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::Sweeper;
use super::compare::{Difference, compare};
use super::schedule::{LEASE, SweepClaim, renew, reopen};
use crate::chat::{ChatError, MAX_MEMBERS_PER_CALL};
use crate::database::Db;
use crate::domain::{Account, GroupId, Mark, MarkSet};
use crate::members::Found;
use crate::members::store::sweep;
use crate::members::store::write_back;
use crate::members::{MEMBERS_A_CALL, Member, Presence, wake_rooms};
use crate::metrics::DriftKind;
use crate::rules::{Matched, matching_rules};

/// Members of one list after which the sweep fails. Chat lists a thousand for a mark or a room.
const LONGEST_LIST: usize = 20_000;
/// If so many are listed, the room may have more members than Chat lists.
/// Source: <https://www.tencentcloud.com/document/product/1047/50293>.
const NEWEST_LISTED: usize = 1000;

/// The sweep leaves alone what was recorded or confirmed so shortly before: Chat's lists lag by up to 40 s.
/// Source: <https://cloud.tencent.com/document/product/269/77266>.
const QUIET: TimeDelta = TimeDelta::seconds(60);

/// Why a sweep failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the lease was lost to another replica")]
    LeaseLost,
    #[error("Chat's list has no end")]
    Endless,
}

/// The sweep of a claimed room.
pub(super) struct RoomSweep<'a> {
    sweeper: &'a Sweeper,
    db: &'a Db,
    claim: &'a SweepClaim,
    group: &'a GroupId,
    /// What was recorded or confirmed since then is left alone.
    quiet_since: DateTime<Utc>,
    found: Found,
    renewed: Instant,
    /// The members on Chat's lists.
    seen: HashSet<Account>,
}

impl<'a> RoomSweep<'a> {
    pub(super) fn new(sweeper: &'a Sweeper, claim: &'a SweepClaim) -> Self {
        Self {
            sweeper,
            db: &sweeper.replica.db,
            claim,
            group: &claim.group,
            quiet_since: claim.at - QUIET,
            found: Found::default(),
            renewed: Instant::now(),
            seen: HashSet::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Found, SweepError> {
        if self.claim.gone {
            self.reopen().await?;
        }
        let demand = sweep::demand(self.db, self.group).await?;
        let mut holders: BTreeMap<Account, MarkSet> = BTreeMap::new();
        for mark in &demand.marks {
            for account in self.list(Some(*mark)).await?.0 {
                holders.entry(account).or_default().insert(*mark);
            }
        }
        self.examine(holders).await?;
        let mut listed_all = true;
        if demand.by_prefix {
            let (newest, listed) = self.list(None).await?;
            listed_all = listed < NEWEST_LISTED;
            let unseen = newest.into_iter().filter(|one| !self.seen.contains(one));
            let unseen = unseen.map(|account| (account, MarkSet::new())).collect();
            self.examine(unseen).await?;
        }
        self.ask_about_the_rest(!listed_all).await?;
        Ok(self.found)
    }

    /// An event, which may be forged or mistaken, or one answer of Chat declared the room gone. Only if
    /// Chat says so now is it believed.
    async fn reopen(&self) -> Result<(), SweepError> {
        self.sweeper.chat.get_members(self.group, 0, None).await?;
        reopen(self.db, self.claim).await?;
        tracing::warn!(
            group = self.group.as_str(),
            "room was declared gone, but Chat knows it; reopened"
        );
        Ok(())
    }

    /// Chat's list of the members with a mark, or of the newest of the room, and its length. Empty pages
    /// count as full ones, so that few of them are read.
    async fn list(&mut self, mark: Option<Mark>) -> Result<(Vec<Account>, usize), SweepError> {
        let (mut members, mut timestamp, mut listed) = (Vec::new(), 0, 0);
        loop {
            self.keep_lease().await?;
            let chat = &self.sweeper.chat;
            let page = chat.get_members(self.group, timestamp, mark).await?;
            listed += match page.members.len() {
                0 => NEWEST_LISTED,
                members => members,
            };
            members.extend(page.members);
            match page.next {
                None => return Ok((members, listed)),
                Some(_) if listed >= LONGEST_LIST => return Err(SweepError::Endless),
                Some(next) => timestamp = next,
            }
        }
    }

    /// Asks Chat whether members are in the room who are on no list and would lack a mark if they were.
    /// Those who are present by the table and that Chat does not find have left.
    async fn ask_about_the_rest(&mut self, absent_too: bool) -> Result<(), SweepError> {
        let mut after = String::new();
        loop {
            self.keep_lease().await?;
            let page = sweep::candidates(self.db, self.group, &after, absent_too).await?;
            let last = i64::try_from(page.len()).unwrap_or(i64::MAX) < MEMBERS_A_CALL;
            after = page.last().cloned().unwrap_or_default();
            let unseen = page.iter().filter_map(|text| Account::parse(text).ok());
            let unseen = unseen
                .filter(|account| !self.seen.contains(account))
                .collect();
            self.ask_about(unseen).await?;
            if last {
                return Ok(());
            }
        }
    }

    async fn ask_about(&mut self, accounts: Vec<Account>) -> Result<(), SweepError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let (rules, rows) = self.load(&accounts).await?;
        let none = MarkSet::new();
        let worth_asking: Vec<Account> = accounts
            .into_iter()
            .zip(&rules)
            .filter(|(account, rules)| {
                let known = rows.get(account);
                // A failed member who is no longer in the room has not failed any more.
                known.is_some_and(|known| known.failed_at.is_some() && known.quiet)
                    || compare(account, &none, known, rules, self.claim.at).is_some()
            })
            .map(|(account, _)| account)
            .collect();
        if worth_asking.is_empty() {
            return Ok(());
        }
        let chat = &self.sweeper.chat;
        let here = chat.check_members(self.group, &worth_asking).await?;
        let here: HashSet<Account> = here.into_iter().collect();
        let (here, away): (Vec<_>, Vec<_>) = worth_asking
            .into_iter()
            .partition(|account| here.contains(account));
        let believed = away.iter().filter_map(|account| rows.get(account));
        let believed = believed.filter(|known| known.presence == Presence::Present);
        let gone: Vec<Member> = believed.map(|known| known.clone().not_found()).collect();
        let changed = write_back::update(self.db, self.group, gone.iter()).await?;
        for row in gone
            .iter()
            .filter(|row| !changed.contains(row.account.as_str()))
        {
            self.drifted(rows.get(&row.account), &[DriftKind::Gone]);
        }
        let here = here.into_iter().map(|account| (account, none.clone()));
        self.examine(here.collect()).await
    }

    /// Compares members who are in the room, with the marks of ours that they carry, and corrects rows.
    async fn examine(&mut self, present: BTreeMap<Account, MarkSet>) -> Result<(), SweepError> {
        let present: Vec<(Account, MarkSet)> = present.into_iter().collect();
        for chunk in present.chunks(MAX_MEMBERS_PER_CALL) {
            self.keep_lease().await?;
            self.examine_some(chunk).await?;
        }
        self.seen
            .extend(present.into_iter().map(|(account, _)| account));
        Ok(())
    }

    async fn examine_some(&mut self, present: &[(Account, MarkSet)]) -> Result<(), SweepError> {
        let accounts: Vec<Account> = present.iter().map(|(account, _)| account.clone()).collect();
        let (rules, rows) = self.load(&accounts).await?;
        let differences: Vec<Difference> = present
            .iter()
            .zip(&rules)
            .filter_map(|((account, held), rules)| {
                let known = rows.get(account);
                compare(account, held, known, rules, self.claim.at)
            })
            .collect();
        if differences.is_empty() {
            return Ok(());
        }
        let (new, old): (Vec<&Difference>, Vec<&Difference>) =
            differences.iter().partition(|difference| difference.new);
        let new = new.into_iter().map(|d| &d.row);
        let old = old.into_iter().map(|d| &d.row);
        let mut left = write_back::update(self.db, self.group, old).await?;
        let inserted = write_back::insert(self.db, self.group, new).await?;
        left.extend(inserted);
        let counted = differences
            .iter()
            .filter(|difference| !left.contains(difference.row.account.as_str()));
        let mut due = false;
        for difference in counted {
            due |= difference.due;
            let known = rows.get(&difference.row.account);
            self.drifted(known, &difference.kinds);
        }
        let rooms = [self.group.as_str().to_owned()];
        wake_rooms(self.db, &rooms, Duration::ZERO, Duration::ZERO).await?;
        if due {
            self.sweeper.replica.wake_worker.now();
        }
        Ok(())
    }

    /// Counts what is wrong with a member, perhaps since Chat or a sweep last confirmed them.
    fn drifted(&mut self, known: Option<&Member>, kinds: &[DriftKind]) {
        let confirmed = known.and_then(|known| known.confirmed_at);
        let right = confirmed.max(Some(self.claim.compared_at));
        let wrong_for = self.claim.at - right.unwrap_or(self.claim.at);
        let wrong_for = wrong_for.to_std().unwrap_or_default();
        self.sweeper.replica.metrics.drifted(kinds, wrong_for);
        for kind in kinds {
            *match kind {
                DriftKind::Missing => &mut self.found.missing,
                DriftKind::Surplus => &mut self.found.surplus,
                DriftKind::Unknown => &mut self.found.unheard,
                DriftKind::Gone => &mut self.found.vanished,
            } += 1;
        }
    }

    /// The rules of each member, and the rows that there are.
    async fn load(
        &self,
        accounts: &[Account],
    ) -> Result<(Vec<Vec<Matched>>, HashMap<Account, Member>), sqlx::Error> {
        let rows = sweep::known(self.db, self.group, accounts, self.quiet_since).await?;
        let mut rules: Vec<Vec<Matched>> = vec![Vec::new(); accounts.len()];
        for rule in matching_rules(self.db, self.group, accounts).await? {
            rules[rule.account].push(rule);
        }
        Ok((rules, rows))
    }

    async fn keep_lease(&mut self) -> Result<(), SweepError> {
        if self.renewed.elapsed() < LEASE / 4 {
            return Ok(());
        }
        if !renew(self.db, self.claim).await? {
            return Err(SweepError::LeaseLost);
        }
        self.renewed = Instant::now();
        Ok(())
    }
}
