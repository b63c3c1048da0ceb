//! The stage as a page of the demo's admin listener: `/stage` shows the rooms of the simulated Chat
//! with all members' marks, and lets a visitor move members and make Chat fail.
//!
//! The page asks for a picture several times a second. What it shows comes from the looks that the
//! demo takes anyway, and from the service's own rules; its orders are commands of the simulated Chat's
//! control API. It takes no token: it exists in the demo alone, whose listener is on
//! loopback, and lets in only requests for this machine and none of other sites.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use super::ledger::{Ledger, Marks};
use super::operator::Operator;
use crate::api::this_machine_only;
use crate::database::Db;
use crate::domain::{Account, GroupId};
use crate::local::simulator::{Api, ControlError, Simulated};
use crate::rules::matching_rules;

pub(super) const PATH: &str = "/stage";
/// Enough for the accounts of the largest order.
const LARGEST_BODY: usize = 64 * 1024;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
/// Compiled in. Frame, colours and small parts are the console's.
const FILES: [(&str, &str, &str); 7] = [
    (PATH, HTML, include_str!("assets/stage.html")),
    ("/stage/stage.css", CSS, include_str!("assets/stage.css")),
    ("/stage/stage.js", JS, include_str!("assets/stage.js")),
    ("/stage/room.js", JS, include_str!("assets/room.js")),
    ("/stage/frame.js", JS, include_str!("assets/frame.js")),
    ("/stage/dom.js", JS, include_str!("assets/dom.js")),
    ("/stage/words.js", JS, include_str!("assets/words.js")),
];

#[derive(Debug)]
pub(super) struct Page {
    pub chat: Simulated,
    pub db: Db,
    pub operator: Operator,
    /// True while only the script may move the members.
    pub playing: AtomicBool,
    pub ledger: Mutex<Ledger>,
}

impl Page {
    pub(super) fn router(self: Arc<Self>) -> Router {
        let always =
            |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
        let orders = Router::new()
            .route("/stage/order", post(order))
            .route("/stage/picture", get(picture));
        let all = FILES
            .into_iter()
            .fold(orders, |router, (path, kind, text)| {
                let answer = move || future::ready(([(header::CONTENT_TYPE, kind)], text));
                router.route(path, get(answer))
            });
        all.layer(DefaultBodyLimit::max(LARGEST_BODY))
            .layer(CatchPanicLayer::new())
            .layer(middleware::from_fn(guard))
            .layer(always(header::CONTENT_SECURITY_POLICY, POLICY))
            .layer(always(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
            .layer(always(header::REFERRER_POLICY, "no-referrer"))
            .layer(always(header::CACHE_CONTROL, "no-cache"))
            .with_state(self)
    }

    /// The whole stage at one moment. Times are Unix milliseconds.
    async fn draw(&self) -> anyhow::Result<Value> {
        let (last, seen, news) = {
            let ledger = self.ledger.lock();
            (
                ledger.last.clone(),
                ledger.seen.clone(),
                ledger.news.clone(),
            )
        };
        let ever = seen.keys().map(|seat| &seat.group).chain(&last.rooms);
        let mut rooms = Vec::new();
        for group in ever.collect::<BTreeSet<_>>() {
            let seen = seen.iter().filter(|(seat, _)| seat.group == *group);
            let accounts = seen.clone().map(|(seat, _)| &seat.account);
            let mut wanted = required(&self.db, group, accounts).await?;
            let members = seen.map(|(seat, delay)| {
                let view = last.members.get(seat);
                let marks = view.map(|view| view.marks.clone()).unwrap_or_default();
                json!({
                    "account": seat.account,
                    "state": match view.map(|view| view.online) {
                        Some(true) => "here",
                        Some(false) => "away",
                        None => "gone",
                    },
                    "delay": delay.filter(|_| !marks.is_empty()),
                    "marks": marks,
                    "wanted": wanted.remove(&seat.account).unwrap_or_default(),
                })
            });
            let (open, members) = (last.rooms.contains(group), members.collect::<Value>());
            rooms.push(json!({ "group": group, "open": open, "members": members }));
        }
        let calls = self.chat.stats().await?.calls;
        let calls = calls.get(&Api::ModifyUserInfo).copied().unwrap_or_default();
        Ok(json!({
            // While the screenplay moves the members the page takes no orders.
            "playing": self.playing.load(Ordering::Relaxed),
            "faults": self.chat.faults().await?,
            "calls": { "made": calls.calls, "failed": calls.errors },
            "pause": self.operator.pause().await?,
            "rooms": rooms,
            "news": news,
        }))
    }
}

/// What the service's rules require of the members of a room while they are online.
async fn required(
    db: &Db,
    group: &str,
    accounts: impl Iterator<Item = &String>,
) -> anyhow::Result<BTreeMap<String, Marks>> {
    let group = GroupId::parse(group)?;
    let accounts = accounts.filter_map(|name| Account::parse(name).ok());
    let accounts: Vec<Account> = accounts.collect();
    let now = Utc::now();
    let mut required = BTreeMap::<String, Marks>::new();
    for rule in matching_rules(db, &group, &accounts).await? {
        if let Some(account) = accounts.get(rule.account)
            && rule.enabled
            && rule.window.contains(now)
        {
            let marks = required.entry(account.as_str().to_owned()).or_default();
            marks.extend(rule.marks.iter().map(|mark| mark.get()));
        }
    }
    Ok(required)
}

async fn picture(State(page): State<Arc<Page>>) -> Result<Json<Value>, Refused> {
    page.draw().await.map(Json).map_err(|error| {
        tracing::warn!(?error, "cannot draw the stage; the page asks again");
        let detail = "a part of the demo does not respond";
        Refused(StatusCode::BAD_GATEWAY, detail.to_owned())
    })
}

/// Passes a command on to the simulated Chat, once the screenplay is over.
async fn order(
    State(page): State<Arc<Page>>,
    // It requires the content type: browsers let pages of any site send others.
    command: Result<Json<BTreeMap<String, Value>>, JsonRejection>,
) -> Result<StatusCode, Refused> {
    if page.playing.load(Ordering::Relaxed) {
        let detail = "the show is still playing; take over when it has ended";
        return Err(Refused(StatusCode::CONFLICT, detail.to_owned()));
    }
    let command = command.map_err(|error| Refused(error.status(), error.body_text()))?;
    let (command, fields) = command.0.into_iter().next().unwrap_or_default();
    match page.chat.ask::<Value>(&command, fields).await {
        Ok(_) => Ok(StatusCode::NO_CONTENT),
        Err(ControlError::Refused { status, reason }) => Err(Refused(status, reason)),
        Err(error) => {
            tracing::warn!(?error, "the simulated Chat does not answer an order");
            let detail = "the simulated Chat does not answer";
            Err(Refused(StatusCode::BAD_GATEWAY, detail.to_owned()))
        }
    }
}

async fn guard(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match this_machine_only(&head) {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(problem) => problem.into_response(),
    }
}

/// An order that is not carried out, and why.
#[derive(Debug)]
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "detail": self.1 }))).into_response()
    }
}
