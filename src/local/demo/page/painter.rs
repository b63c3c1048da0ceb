//! Draws a picture for each look: the whole stage at one moment, as JSON. Times are Unix milliseconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Shared;
use super::news::News;
use super::orders::Trouble;
use super::rooms::Cast;
use crate::database::Db;
use crate::domain::{Account, GroupId};
use crate::local::demo::ledger::{Change, Look, Marks};
use crate::local::demo::stage::Operator;
use crate::local::simulator::Api;
use crate::rules::matching_rules;

/// How long the last status of the service counts.
const STATUS_COUNTS: Duration = Duration::from_secs(1);

struct Painter {
    shared: Arc<Shared>,
    db: Db,
    operator: Operator,
    cast: Cast,
    news: News,
    /// Why the service makes no calls, if so, and when that was asked.
    pause: Option<Value>,
    asked: Option<Instant>,
}

/// Draws as long as looks come and the page is not closing; a picture that was begun is finished.
pub(super) async fn draw(
    shared: Arc<Shared>,
    db: Db,
    operator: Operator,
    mut looks: mpsc::Receiver<(Look, Vec<Change>)>,
) {
    let closing = shared.closing.clone();
    let mut painter = Painter {
        shared,
        db,
        operator,
        cast: Cast::default(),
        news: News::default(),
        pause: None,
        asked: None,
    };
    while let Some(Some((look, changes))) = closing.run_until_cancelled(looks.recv()).await {
        match painter.draw(&look, &changes).await {
            Ok(picture) => {
                painter.shared.pictures.send_if_modified(|shown| {
                    let other = **shown != *picture;
                    *shown = picture.into();
                    other
                });
            }
            // What it is drawn from is going as well.
            Err(_) if closing.is_cancelled() => {}
            Err(error) => {
                tracing::warn!(?error, "cannot draw the stage; waiting for the next look")
            }
        }
    }
}

impl Painter {
    async fn draw(&mut self, look: &Look, changes: &[Change]) -> anyhow::Result<String> {
        self.cast.look(&look.rooms);
        for (group, room) in &mut self.cast.0 {
            let names = room.members.keys().map(String::as_str);
            let wanted = demands(&self.db, group, names).await?;
            room.want(wanted, look.at);
        }
        self.news.add(look.at, changes, &self.cast);
        self.ask().await;
        let chat = &self.shared.chat;
        let calls = chat.stats().await?.calls;
        let calls = calls.get(&Api::ModifyUserInfo).copied().unwrap_or_default();
        let picture = json!({
            // While the screenplay moves the members it takes no orders.
            "playing": self.shared.playing.load(Ordering::Relaxed),
            "trouble": Trouble::of(&chat.faults().await?),
            "calls": { "made": calls.calls, "failed": calls.errors },
            "pause": self.pause,
            "rooms": self.cast,
            "news": self.news.lines,
        });
        Ok(picture.to_string())
    }

    /// Asks the service now and then whether it makes calls.
    async fn ask(&mut self) {
        let counts = |asked: Instant| asked.elapsed() < STATUS_COUNTS;
        if self.asked.is_some_and(counts) || self.shared.pictures.receiver_count() == 0 {
            return;
        }
        self.asked = Some(Instant::now());
        match self.operator.pause().await {
            Ok(pause) => self.pause = pause,
            Err(_) if self.shared.closing.is_cancelled() => {}
            Err(error) => tracing::warn!(
                ?error,
                "cannot read the status of the service; trying again"
            ),
        }
    }
}

/// What the service's rules require of members of a room now.
async fn demands(
    db: &Db,
    group: &str,
    names: impl Iterator<Item = &str>,
) -> anyhow::Result<BTreeMap<String, Marks>> {
    let group = GroupId::parse(group)?;
    let accounts: Vec<Account> = names.filter_map(|name| Account::parse(name).ok()).collect();
    let now = Utc::now();
    let mut wanted: BTreeMap<String, Marks> = BTreeMap::new();
    for rule in matching_rules(db, &group, &accounts).await? {
        if let Some(account) = accounts.get(rule.account)
            && rule.enabled
            && rule.window.contains(now)
        {
            let marks = wanted.entry(account.as_str().to_owned()).or_default();
            marks.extend(rule.marks.iter().map(|mark| mark.get()));
        }
    }
    Ok(wanted)
}
