//! What arrived lately, for people: when the latest callback of each kind came, how many were refused
//! and why, and which other paths callbacks of this application were posted to.
//!
//! Strangers can fill it, so all of it is bounded. Replicas share their reports in the database: a
//! status is read on one, and callbacks come to any.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answer::Refusal;
use crate::database::Db;
use crate::metrics::{CallbackCommand, Label};
use crate::telemetry::warn_seldom;

/// Callbacks are counted for so many minutes, the current one included.
pub(crate) const MINUTES: usize = 5;

/// How often a report is written, if something arrived.
const WRITE_EVERY: Duration = Duration::from_secs(5);

/// How many other paths are kept.
const PATHS: usize = 5;

/// What a replica received. Clones see the same.
#[derive(Debug, Clone)]
pub struct Arrivals {
    replica: Uuid,
    report: Arc<Mutex<Report>>,
}

/// What one replica received, or several together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// When the replica that has run longest began.
    pub since: DateTime<Utc>,
    /// The latest callback of each command that proved its origin, refused or not.
    pub latest: BTreeMap<Word, DateTime<Utc>>,
    /// By minutes since 1970, in their order for each replica.
    minutes: VecDeque<(i64, Counts)>,
    /// The one with the latest request last.
    pub other_paths: VecDeque<OtherPath>,
}

type Word = Cow<'static, str>;

/// What became of the callbacks of some time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub accepted: u64,
    /// By the code of the refusal.
    pub refused: BTreeMap<Word, Refused>,
}

/// Refusals of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub requests: u64,
    /// The words of the latest.
    pub reason: String,
    pub last_at: DateTime<Utc>,
}

/// A path that is not `callback.path`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CallbackPath)]
pub(crate) struct OtherPath {
    /// At most 100 characters; `{callback.path}` stands for the right path where it contains that.
    pub path: String,
    pub requests: u64,
    pub last_at: DateTime<Utc>,
}

impl Arrivals {
    /// Of a replica that starts at this time.
    pub fn since(since: DateTime<Utc>) -> Self {
        let report = Report {
            since,
            latest: BTreeMap::new(),
            minutes: VecDeque::new(),
            other_paths: VecDeque::new(),
        };
        Self {
            replica: Uuid::new_v4(),
            report: Arc::new(Mutex::new(report)),
        }
    }

    /// A request was answered; `proved` is the command of a callback that proved its origin.
    pub(super) fn answered(
        &self,
        at: DateTime<Utc>,
        proved: Option<CallbackCommand>,
        refusal: Option<&Refusal>,
    ) {
        let mut report = self.report.lock();
        if let Some(command) = proved {
            report.latest.insert(Cow::Borrowed(command.text()), at);
        }
        match refusal {
            None => report.minute(at).accepted += 1,
            Some(Refusal::NotFound | Refusal::OtherMethod) => {}
            Some(Refusal::OtherPath(path)) => report.other_path(path, at),
            Some(refusal) => {
                let refused = Refused {
                    requests: 1,
                    reason: refusal.to_string(),
                    last_at: at,
                };
                report.minute(at).add(refusal.kind().2.into(), refused);
            }
        }
    }

    /// Writes the report of this replica whenever it has changed, until stopped.
    pub(crate) async fn share(self, db: Db, stop: CancellationToken) {
        let mut written = None;
        loop {
            let report = self.report();
            if written.as_ref() != Some(&report) {
                match self.write(&db, &report).await {
                    Ok(()) => written = Some(report),
                    Err(error) => {
                        warn_seldom!(%error, "cannot share which callbacks arrived; trying again")
                    }
                }
            }
            let pause = tokio::time::sleep(WRITE_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn write(&self, db: &Db, report: &Report) -> Result<(), sqlx::Error> {
        let report =
            serde_json::to_value(report).map_err(|error| sqlx::Error::Encode(error.into()))?;
        sqlx::query!(
            "insert into callback_reports (replica, reported_at, report) values ($1, now(), $2)
         on conflict on constraint callback_reports_pkey
         do update set reported_at = excluded.reported_at, report = excluded.report",
            self.replica,
            report,
        )
        .execute(db)
        .await?;
        sqlx::query!("delete from callback_reports where reported_at < now() - interval '1 day'")
            .execute(db)
            .await?;
        Ok(())
    }

    /// What all replicas of the last day received, those that have ended too.
    pub(crate) async fn of_all_replicas(&self, db: &Db) -> Result<Report, sqlx::Error> {
        let others = sqlx::query_scalar!(
            "select report from callback_reports
         where replica <> $1 and reported_at > now() - interval '1 day'",
            self.replica,
        )
        .fetch_all(db)
        .await?;
        let mut all = self.report();
        // Another version may write what this one cannot read.
        for report in others.into_iter().flat_map(serde_json::from_value) {
            all.merge(report);
        }
        Ok(all)
    }

    pub(crate) fn report(&self) -> Report {
        self.report.lock().clone()
    }
}

impl Report {
    fn minute(&mut self, at: DateTime<Utc>) -> &mut Counts {
        let minute = minute(at);
        if self.minutes.back().is_none_or(|(last, _)| *last != minute) {
            self.minutes.push_back((minute, Counts::default()));
            if self.minutes.len() > MINUTES {
                self.minutes.pop_front();
            }
        }
        let last = self.minutes.len() - 1;
        &mut self.minutes[last].1
    }

    fn other_path(&mut self, path: &str, at: DateTime<Utc>) {
        let known = self.other_paths.iter().position(|known| known.path == path);
        let known = known.and_then(|index| self.other_paths.remove(index));
        if self.other_paths.len() == PATHS {
            self.other_paths.pop_front();
        }
        self.other_paths.push_back(OtherPath {
            path: path.to_owned(),
            requests: known.map_or(0, |known| known.requests) + 1,
            last_at: at,
        });
    }

    /// Adds what another replica received.
    pub fn merge(&mut self, other: Self) {
        self.since = self.since.min(other.since);
        for (command, at) in other.latest {
            let latest = self.latest.entry(command).or_insert(at);
            *latest = at.max(*latest);
        }
        self.minutes.extend(other.minutes);
        for path in other.other_paths {
            let mut known = self.other_paths.iter_mut();
            match known.find(|known| known.path == path.path) {
                Some(known) => {
                    known.requests += path.requests;
                    known.last_at = known.last_at.max(path.last_at);
                }
                None => self.other_paths.push_back(path),
            }
        }
    }

    pub fn recent(&self, now: DateTime<Utc>) -> Counts {
        let mut recent = Counts::default();
        let oldest = minute(now) - MINUTES as i64;
        for (_, counts) in self.minutes.iter().filter(|(minute, _)| *minute > oldest) {
            recent.accepted += counts.accepted;
            for (code, refused) in &counts.refused {
                recent.add(code.clone(), refused.clone());
            }
        }
        recent
    }
}

impl Counts {
    fn add(&mut self, code: Word, more: Refused) {
        let known = self.refused.entry(code).or_insert_with(|| Refused {
            requests: 0,
            ..more.clone()
        });
        let requests = known.requests + more.requests;
        if more.last_at >= known.last_at {
            *known = more;
        }
        known.requests = requests;
    }
}

fn minute(at: DateTime<Utc>) -> i64 {
    at.timestamp().div_euclid(60)
}
