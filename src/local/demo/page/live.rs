//! Draws a picture for each look, and sends it to every page that watches.
//!
//! A page that is slow misses pictures, never the last one: each picture is whole, so nothing queues
//! up for anybody.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use futures::{Stream, StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Shared;
use super::cast::{Cast, Room};
use super::guard::Refused;
use super::news::News;
use super::picture::{self, Calls, Picture};
use super::trouble::Trouble;
use crate::database::Db;
use crate::domain::{Account, GroupId};
use crate::local::demo::house::Marks;
use crate::local::demo::ledger::{Change, Look};
use crate::local::demo::operator::{Operator, Pause};
use crate::local::simulator::Api;
use crate::rules::matching_rules;

/// The least time between two pictures for one page.
const PAUSE: Duration = Duration::from_millis(40);
/// How long the service is believed to go on, or to pause, as it last said.
const STATUS_HOLDS: Duration = Duration::from_secs(1);
/// A page that hears nothing for longer asks again.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One who draws.
struct Painter {
    shared: Arc<Shared>,
    db: Db,
    operator: Operator,
    cast: Cast,
    news: News,
    pause: Option<Pause>,
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
            Ok(picture) => painter.show(picture.into()),
            // What it is drawn from is going as well.
            Err(_) if closing.is_cancelled() => {}
            Err(error) => tracing::warn!(?error, "the stage cannot be drawn"),
        }
    }
}

impl Painter {
    async fn draw(&mut self, look: &Look, changes: &[Change]) -> anyhow::Result<String> {
        self.cast.look(&look.rooms);
        let mut wanted = Vec::new();
        for (group, room) in self.cast.rooms() {
            wanted.push((group.clone(), self.demands(group, room).await?));
        }
        for (group, wanted) in wanted {
            self.cast.want(&group, wanted, look.at);
        }
        self.news.add(look.at, changes, &self.cast);
        self.ask().await;
        let chat = &self.shared.chat;
        let stats = chat.stats().await?;
        let calls = stats.calls.get(&Api::ModifyUserInfo);
        let picture = Picture {
            playing: self.shared.playing.load(Ordering::Relaxed),
            trouble: Trouble::of(&chat.faults().await?),
            calls: calls.map_or_else(Calls::default, |calls| Calls {
                made: calls.calls,
                failed: calls.errors,
            }),
            pause: self.pause.as_ref(),
            rooms: picture::rooms(&self.cast),
            news: self.news.lines(),
        };
        Ok(serde_json::to_string(&picture)?)
    }

    /// What the service's rules require of all members of a room now.
    async fn demands(&self, group: &str, room: &Room) -> anyhow::Result<BTreeMap<String, Marks>> {
        let group = GroupId::parse(group)?;
        let names = room.members.keys();
        let accounts: Vec<Account> = names.filter_map(|name| Account::parse(name).ok()).collect();
        let now = Utc::now();
        let mut wanted: BTreeMap<String, Marks> = BTreeMap::new();
        for rule in matching_rules(&self.db, &group, &accounts).await? {
            let Some(account) = accounts.get(rule.account) else {
                continue;
            };
            if rule.enabled && rule.window.contains(now) {
                let marks = wanted.entry(account.as_str().to_owned()).or_default();
                marks.extend(rule.marks.iter().map(|mark| mark.get()));
            }
        }
        Ok(wanted)
    }

    /// Asks the service now and then whether it makes calls.
    async fn ask(&mut self) {
        let holds = |asked: Instant| asked.elapsed() < STATUS_HOLDS;
        if self.asked.is_some_and(holds) || self.shared.pictures.receiver_count() == 0 {
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

    /// Shows a picture, unless it is the one already shown.
    fn show(&self, picture: Arc<str>) {
        self.shared.pictures.send_if_modified(|shown| {
            let other = *shown != picture;
            *shown = picture;
            other
        });
    }
}

/// Pictures as they come, the present one first.
pub(super) async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(seat) = shared.seats.clone().try_acquire_owned() else {
        let detail = "too many pages watch the stage; close one";
        return Refused(StatusCode::SERVICE_UNAVAILABLE, detail.to_owned()).into_response();
    };
    let pictures = pictures(shared.pictures.subscribe()).map(move |event| {
        let _seat = &seat;
        Ok::<_, Infallible>(event)
    });
    let pictures = pictures.take_until(shared.closing.clone().cancelled_owned());
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Sse::new(pictures).keep_alive(keep_alive).into_response()
}

fn pictures(mut shown: watch::Receiver<Arc<str>>) -> impl Stream<Item = Event> {
    shown.mark_changed();
    stream::unfold((shown, false), async |(mut shown, later)| {
        if later {
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            shown.changed().await.ok()?;
            let picture = shown.borrow_and_update().clone();
            if !picture.is_empty() {
                return Some((Event::default().data(&*picture), (shown, true)));
            }
        }
    })
}
