//! The service as a whole: builds its parts, binds both listeners, runs until told to stop.
//!
//! Stopping is orderly. First readiness falls while both listeners go on answering, so that
//! whoever routes callbacks here can turn away, and kept-alive connections end with their next
//! answer; then claiming ends and calls in flight finish, the callback listener closes, the rule
//! filter has its last look at what it held back, the inbox is written out, and last the admin
//! listener closes. Nothing answered with 200 waits in memory when the process ends, and nobody
//! outside can hold up the end.

mod error;
mod intake;
mod listening;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "local")]
use axum::Extension;
use axum::middleware;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "local")]
use crate::api::console::Stage;
use crate::api::status::figures::Figures;
use crate::api::status::{Pulse, Readiness, Watched};
use crate::api::{self, AdminState};
use crate::callback::{
    self, ANSWER_WITHIN, CallbackState, Forward, ForwardCounts, ForwardSettings, Signatures,
};
use crate::chat::{ChatClient, ChatEndpoint};
use crate::clock;
use crate::config::{CallbackSettings, ChatSettings, Settings};
use crate::members::{Inbox, InboxWriter, Settling, WakeUp};
use crate::metrics::Metrics;
use crate::reapply::{Budget, CallRate, Worker, WorkerSettings};
use crate::resync::{Sweeper, SweeperSettings};
use crate::rules::filter::{FilterSettings, Follower, RuleFilter};
pub use error::StartError;
pub use intake::MemberIntake;
use listening::{answered, ended, listen, say_goodbye, serve};

/// How long a stopping service may take once it no longer waits for others to turn away.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// A service that listens but does not answer yet.
#[derive(Debug)]
pub struct Service {
    callback: (TcpListener, axum::Router),
    admin: (TcpListener, axum::Router),
    filter: RuleFilter,
    follower: Follower,
    writer: InboxWriter,
    worker: Worker,
    sweeper: Sweeper,
    figures: Figures,
    pulse: Pulse,
    closing: CancellationToken,
    metrics: Metrics,
    readiness: Readiness,
    forward: Option<Forward>,
    leaving: CancellationToken,
    addresses: (SocketAddr, SocketAddr),
}

impl Service {
    /// Builds every part on a migrated database and binds the addresses.
    ///
    /// # Errors
    /// When a setting that the service needs is missing, or an address cannot be bound.
    pub async fn build(settings: &Settings, pool: PgPool) -> Result<Self, StartError> {
        let wake = WakeUp::default();
        let metrics = Metrics::default();
        let rate = CallRate::new(settings.chat.calls_per_second);
        let budget = |api| Budget::new(pool.clone(), api, rate).measured_by(&metrics);
        let checks = budget("check_members");
        let lists = budget("get_members");
        let budget = budget("modify_user_info");
        let budgets = vec![budget.clone(), checks.clone(), lists.clone()];
        let settling = Settling {
            settle: settings.reapply.settle,
            max_wait: settings.reapply.max_wait,
        };
        let (inbox, writer) = Inbox::new(pool.clone(), settling, wake.clone());
        let writer = writer.measured_by(&metrics);
        let (filter, follower) = RuleFilter::with_metrics(
            &pool,
            inbox.clone(),
            FilterSettings::default(),
            metrics.clone(),
        );
        let forward = forward(&settings.callback, &metrics).await?;
        let intake = MemberIntake::new(inbox.clone(), filter.clone(), budgets.clone());
        let callbacks = callback_router(settings, intake, forward.clone(), &metrics)?;
        let leaving = CancellationToken::new();
        let last_answers = middleware::map_response_with_state(leaving.clone(), say_goodbye);
        let callbacks = callbacks.layer(last_answers);
        let readiness = Readiness::new(pool.clone());
        let state = AdminState::new(
            pool.clone(),
            wake.clone(),
            readiness.clone(),
            &settings.admin.tokens,
        );
        let watched = Watched {
            budgets: budgets.clone(),
            filter: Some(filter.clone()),
            inbox: Some(inbox),
            metrics: metrics.clone(),
            pulse: Pulse::of(metrics.clone()),
            ..Watched::new(&pool)
        };
        let state = state.watching(watched.clone());
        let chat = ChatClient::new(endpoint(&settings.chat)?)?.measured_by(&metrics);
        let pause = watched.worker_pause;
        let sweeper = Sweeper::new(SweeperSettings {
            pool: pool.clone(),
            chat: chat.clone(),
            checks: checks.clone(),
            lists,
            wake_worker: wake.clone(),
            wake: watched.sweeper_wake,
            worker_pause: pause.clone(),
            pause: watched.sweeper_pause,
            interval: settings.resync.interval,
            totals: watched.sweep_totals,
            metrics: metrics.clone(),
        });
        let figures = Figures {
            pool: pool.clone(),
            budgets,
            metrics: metrics.clone(),
        };
        figures.show(settings.chat.calls_per_second, settings.resync.interval);
        let worker = Worker::new(WorkerSettings {
            pool,
            chat,
            budget,
            checks,
            wake,
            pause,
            lease: settings.reapply.lease,
            settling,
            metrics: metrics.clone(),
            restorations: watched.restorations,
        });
        let callback = listen("callback.listen", settings.callback.listen).await?;
        let admin = listen("admin.listen", settings.admin.listen).await?;
        Ok(Self {
            addresses: (callback.1, admin.1),
            callback: (callback.0, callbacks),
            admin: (admin.0, api::router(state)),
            filter,
            follower,
            writer,
            worker,
            sweeper,
            figures,
            pulse: watched.pulse,
            closing: watched.closing,
            metrics,
            readiness,
            forward,
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

    /// How forwarding goes; `None` without a backend to forward to.
    pub fn forward_counts(&self) -> Option<Arc<ForwardCounts>> {
        self.forward.as_ref().map(Forward::counts)
    }

    /// What this replica counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where callbacks are taken, with the port that was bound.
    pub fn callback_address(&self) -> SocketAddr {
        self.addresses.0
    }

    /// Where the management API listens, with the port that was bound.
    pub fn admin_address(&self) -> SocketAddr {
        self.addresses.1
    }

    /// The filter that spares the database callbacks about nobody's rule.
    pub fn rule_filter(&self) -> &RuleFilter {
        &self.filter
    }

    /// Runs until `stop` resolves and the service has stopped in order. For the time that `stop`
    /// gives, readiness is down while everything still works.
    pub async fn run(self, stop: impl Future<Output = Duration>) {
        let managing = self.closing;
        let (claiming, answering, following, writing) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let worker = tokio::spawn(self.worker.run(claiming.clone()));
        let sweeper = tokio::spawn(self.sweeper.run(claiming.clone()));
        let figures = tokio::spawn(self.figures.run(claiming.clone()));
        let pulse = tokio::spawn(self.pulse.run(claiming.clone()));
        let writer = tokio::spawn(self.writer.closed_by(writing.clone()).run());
        let follower = tokio::spawn(self.follower.run(following.clone()));
        let callbacks = tokio::spawn(serve(self.callback, answering.clone()));
        let admin = tokio::spawn(serve(self.admin, managing.clone()));
        let turn_away = stop.await;
        tracing::info!("stopping");
        self.readiness.drain();
        self.leaving.cancel();
        tokio::time::sleep(turn_away).await;
        claiming.cancel();
        answering.cancel();
        let stopped = tokio::time::timeout(STOP_WITHIN, async {
            let last_events = async {
                answered("the callback listener", callbacks).await;
                following.cancel();
                ended("the rule filter", follower).await;
                writing.cancel();
                ended("the inbox", writer).await;
            };
            tokio::join!(
                ended("the sweeper", sweeper),
                ended("the worker", worker),
                ended("the figures", figures),
                ended("the pulse", pulse),
                last_events
            );
            managing.cancel();
            answered("the admin listener", admin).await;
        });
        match stopped.await {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped with work unfinished; it comes due again"),
        }
    }
}

async fn forward(
    callback: &CallbackSettings,
    metrics: &Metrics,
) -> Result<Option<Forward>, StartError> {
    let Some(url) = callback.forward_url.clone() else {
        return Ok(None);
    };
    if callback::leads_to(&url, callback.listen).await {
        return Err(StartError::ForwardsToItself(callback.listen));
    }
    let settings = ForwardSettings::new(url, callback.forward_failure);
    Ok(Some(Forward::with_metrics(settings, metrics.clone())?))
}

fn callback_router(
    settings: &Settings,
    intake: MemberIntake,
    forward: Option<Forward>,
    metrics: &Metrics,
) -> Result<axum::Router, StartError> {
    let callback_settings = callback::CallbackSettings {
        path: settings.callback.path.as_str().to_owned(),
        sdk_app_id: sdk_app_id(&settings.chat)?,
        signatures: Signatures::new(settings.callback.tokens.clone(), settings.callback.max_age),
        answer_within: ANSWER_WITHIN,
        forward,
    };
    let clock = clock::system();
    let state = CallbackState::with_metrics(callback_settings, intake, clock, metrics.clone())?;
    Ok(callback::router(state))
}

fn sdk_app_id(chat: &ChatSettings) -> Result<u64, StartError> {
    let mend = "the Chat console shows it as SDKAppID";
    chat.sdk_app_id.ok_or(StartError::Missing {
        key: "chat.sdk_app_id",
        mend,
    })
}

/// Where and as whom Chat is called.
pub(crate) fn endpoint(chat: &ChatSettings) -> Result<ChatEndpoint, StartError> {
    let mend = "the Chat console shows it as the key of the application";
    Ok(ChatEndpoint {
        base_url: chat
            .base_url
            .clone()
            .unwrap_or_else(|| chat.region.base_url()),
        sdk_app_id: sdk_app_id(chat)?,
        admin_account: chat.admin_account.clone(),
        secret_key: chat.secret_key.clone().ok_or(StartError::Missing {
            key: "chat.secret_key",
            mend,
        })?,
        request_timeout: chat.request_timeout,
    })
}
