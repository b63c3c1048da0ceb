//! The service as a whole: builds its parts, binds both listeners, runs until it is stopped or a part
//! ends by itself.
//!
//! The stop has an order. First the service is not ready while both listeners still answer, so that
//! load balancers stop sending traffic, and kept-alive connections end with their next answer. Then
//! claiming ends and calls in flight finish, the callback listener closes, the rule filter checks its
//! kept events once more, the inbox is written, and last the admin listener closes. Nothing answered
//! with 200 waits in memory when the process ends, and no client can delay the end.

mod listening;
mod signals;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

#[cfg(feature = "local")]
use axum::Extension;
use axum::middleware;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all, select_all};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;

#[cfg(feature = "local")]
use crate::api::console::Stage;
use crate::api::marks::MarkNames;
use crate::api::status::Readiness;
use crate::api::status::figures::Figures;
use crate::api::{self, AdminState};
use crate::callback::{self, Events};
use crate::chat::{CallRate, ChatClient, ClientError};
use crate::config::{ConfigError, Settings};
use crate::database::Db;
use crate::members::{Inbox, Settling};
use crate::metrics::{DatabasePart, Metrics};
use crate::reapply::{Worker, WorkerSettings};
use crate::replica::Replica;
use crate::resync::Sweeper;
use crate::rules::filter::{FilterSettings, RuleFilter};
use crate::rules::propagation;
pub(crate) use listening::listen;
use listening::{Limits, say_goodbye, serve};
pub(crate) use signals::Signals;

/// The longest pause in a body that the admin listener reads. The callback listener limits the whole.
const NEXT_OF_A_BODY_WITHIN: Duration = Duration::from_secs(10);

/// How long the service still answers once it is not ready, until every load balancer has seen that.
const TURN_AWAY: Duration = Duration::from_secs(3);
/// How long requests under way may take to end. Complete requests are answered by then; the sender
/// of an incomplete one may be anyone.
const ANSWER_LAST_WITHIN: Duration = Duration::from_secs(3);
/// How long a stop may take after that.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("callbacks cannot be forwarded: cannot set up TLS: {0}")]
    Forward(io::Error),
    #[error("cannot listen on {key} = {address}: {reason}")]
    Listen {
        key: &'static str,
        address: SocketAddr,
        reason: io::Error,
    },
}

/// The part that ended although nothing had stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task \"{0}\" ended by itself; the log says why")]
pub struct PartEnded(pub &'static str);

/// A task that runs until it is stopped, and its name.
type Part = (&'static str, BoxFuture<'static, ()>);

/// The end of a task that was started; it resolves to its name.
type Ended = Shared<BoxFuture<'static, &'static str>>;

fn start((name, part): Part) -> Ended {
    let task = tokio::spawn(part);
    let ended = async move {
        if let Err(error) = task.await {
            tracing::error!(task = name, %error, "a task of the service failed");
        }
        name
    };
    ended.boxed().shared()
}

/// A service that listens but does not answer yet.
pub struct Service {
    callback: (TcpListener, axum::Router),
    admin: (TcpListener, axum::Router),
    filter: RuleFilter,
    /// They stop first, in any order.
    working: (CancellationToken, Vec<Part>),
    follower: (CancellationToken, Part),
    writer: (CancellationToken, Part),
    replica: Replica,
    readiness: Readiness,
    leaving: CancellationToken,
    addresses: (SocketAddr, SocketAddr),
}

impl Service {
    /// Builds every part on a migrated database and binds the addresses.
    pub async fn build(settings: &Settings, db: Db) -> Result<Self, StartError> {
        let replica = Replica::new(db, CallRate::new(settings.chat.calls_per_second));
        let settling = Settling {
            settle: settings.reapply.settle,
            max_wait: settings.reapply.max_wait,
        };
        let (inbox, writer) = Inbox::new(&replica, settling);
        let (filter, follower) =
            RuleFilter::new(&replica, inbox.clone(), FilterSettings::default());
        let readiness = Readiness::new(replica.db.clone());
        let state = AdminState {
            mark_names: MarkNames::new(settings.marks.names.clone()),
            filter: Some(filter.clone()),
            inbox: Some(inbox.clone()),
            ..AdminState::new(replica.clone(), readiness.clone(), &settings.admin.tokens)
        };
        let events = Events::new(inbox, filter.clone(), replica.budgets.all().to_vec());
        let callbacks = callback::Listener::new(
            &settings.callback,
            settings.chat.app()?.0,
            events,
            state.arrivals.clone(),
            replica.metrics.clone(),
        )
        .map_err(StartError::Forward)?;
        let leaving = CancellationToken::new();
        let last_answers = middleware::map_response_with_state(leaving.clone(), say_goodbye);
        let callbacks = callbacks.router().layer(last_answers);
        let chat = ChatClient::new(&settings.chat, replica.budgets.clone())?;
        let worker = Worker::new(WorkerSettings {
            replica: replica.clone(),
            chat: chat.clone(),
            lease: settings.reapply.lease,
            settling,
            restorations: state.restorations.clone(),
        });
        let sweeper = Sweeper {
            replica: replica.part(DatabasePart::Resync),
            chat,
            interval: settings.resync.interval,
            keep_absent: settings.retention.members,
            keep_history: settings.retention.history,
            totals: state.sweep_totals.clone(),
        };
        let of_rules = replica.part(DatabasePart::Rules);
        let figures = Figures::new(&replica);
        figures.show(settings.chat.calls_per_second, settings.resync.interval);
        let (pulse, arrivals) = (state.pulse.clone(), state.arrivals.clone());
        let reporting = replica.part(DatabasePart::Figures).db;
        let slow_bodies = RequestBodyTimeoutLayer::new(NEXT_OF_A_BODY_WITHIN);
        let working = CancellationToken::new();
        let stop = || working.clone();
        let parts = vec![
            ("worker", worker.run(stop()).boxed()),
            ("sweeper", sweeper.run(stop()).boxed()),
            ("propagation", propagation::run(of_rules, stop()).boxed()),
            ("figures", figures.run(stop()).boxed()),
            ("pulse", pulse.run(stop()).boxed()),
            ("reports", arrivals.share(reporting, stop()).boxed()),
        ];
        let (following, writing) = (CancellationToken::new(), CancellationToken::new());
        let follower = follower.run(following.clone());
        let writer = writer.run(writing.clone());
        let callback = listen("callback.listen", settings.callback.listen)?;
        let admin = listen("admin.listen", settings.admin.listen)?;
        Ok(Self {
            addresses: (callback.1, admin.1),
            callback: (callback.0, callbacks),
            admin: (admin.0, api::router(state).layer(slow_bodies)),
            filter,
            working: (working, parts),
            follower: (following, ("rule filter", follower.boxed())),
            writer: (writing, ("inbox", writer.boxed())),
            replica,
            readiness,
            leaving,
        })
    }

    /// The same with the stage of the demo on the admin listener. It brings guards of its own.
    #[cfg(feature = "local")]
    #[must_use]
    pub fn with_stage(mut self, stage: axum::Router) -> Self {
        // The console leads there.
        self.admin.1 = self.admin.1.merge(stage).layer(Extension(Stage));
        self
    }

    pub fn metrics(&self) -> &Metrics {
        &self.replica.metrics
    }

    /// With the port that was bound.
    pub fn callback_address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// With the port that was bound.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }

    pub fn rule_filter(&self) -> &RuleFilter {
        &self.filter
    }

    /// Runs until `stop` resolves, or until a part ends by itself, and then stops in order. For the time
    /// that `stop` gives, the service is not ready while everything still works.
    pub async fn run(self, stop: impl Future<Output = Duration>) -> Result<(), PartEnded> {
        let (for_callbacks, for_admin) = Limits::of_both();
        let (answering, managing) = (CancellationToken::new(), self.replica.closing);
        let (claiming, working) = self.working;
        let working: Vec<Ended> = working.into_iter().map(start).collect();
        let (writing, writer) = self.writer;
        let (following, follower) = self.follower;
        let (writer, follower) = (start(writer), start(follower));
        let callbacks = serve(self.callback, for_callbacks, answering.clone());
        let callbacks = start(("callback listener", callbacks.boxed()));
        let admin = serve(self.admin, for_admin, managing.clone());
        let admin = start(("admin listener", admin.boxed()));
        // A replica without its worker or its inbox would look healthy and do nothing.
        let others = [&writer, &follower, &callbacks, &admin];
        let first_end = select_all(working.iter().chain(others).cloned());
        let (turn_away, outcome) = tokio::select! {
            turn_away = stop => (turn_away, Ok(())),
            (name, ..) = first_end => {
                tracing::error!(task = name, "a task ended by itself; ending the process");
                self.readiness.fail();
                (TURN_AWAY, Err(PartEnded(name)))
            }
        };
        tracing::info!("stopping");
        self.readiness.drain();
        self.leaving.cancel();
        tokio::time::sleep(turn_away).await;
        claiming.cancel();
        answering.cancel();
        let stopped = timeout(STOP_WITHIN, async {
            let last_events = async {
                in_time(callbacks, "callback listener").await;
                following.cancel();
                follower.await;
                writing.cancel();
                writer.await;
            };
            tokio::join!(join_all(working), last_events);
            managing.cancel();
            in_time(admin, "admin listener").await;
        });
        match stopped.await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped with work unfinished; it will be due again"),
        }
        outcome
    }
}

/// Waits for a listener that was stopped, for a limited time.
async fn in_time(ended: Ended, listener: &str) {
    if timeout(ANSWER_LAST_WITHIN, ended).await.is_err() {
        tracing::warn!(
            listener,
            "closing connections whose request is still incomplete"
        );
    }
}
