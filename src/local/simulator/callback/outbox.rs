//! The queue of callbacks and the senders behind it.
//!
//! Requests start in the order of the queue; up to [`SENDERS`] are under way at once, so they may
//! arrive in another order, as Chat's may. The queue is bounded; what does not fit is counted and
//! dropped, as nothing in Chat's documents promises delivery. Only a timeout is tried again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::counters::{AnswerTimes, Counters, KindCount};
use super::event::{Event, Kind};
use super::routing::Routed;
use super::target::Target;
use crate::local::simulator::clock;

/// Requests under way at once.
const SENDERS: usize = 64;
/// Callbacks waiting at once.
const QUEUE: usize = 500_000;

/// One callback on its way.
#[derive(Debug, Clone)]
pub(in crate::local::simulator) struct Delivery {
    pub target: Arc<Target>,
    pub event: Event,
    /// Hears whether it was delivered; closed when nothing more will come.
    pub report: Option<mpsc::UnboundedSender<bool>>,
    /// Which life of the queue it belongs to; a reset begins a new one.
    pub epoch: u64,
}

/// The queue.
#[derive(Debug)]
pub(in crate::local::simulator) struct Outbox {
    queue: mpsc::Sender<Delivery>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    counters: Mutex<Counters>,
    epoch: AtomicU64,
}

enum Failure {
    Timeout,
    Other,
}

impl Outbox {
    /// Starts the senders; they end when `stop` is cancelled.
    pub(in crate::local::simulator) fn start(stop: CancellationToken) -> reqwest::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(SENDERS)
            .build()?;
        tokio::spawn(stop.clone().run_until_cancelled_owned(send_all(
            waiting,
            http,
            shared.clone(),
        )));
        Ok(Self {
            queue,
            shared,
            stop,
        })
    }

    /// The current life of the queue.
    pub(in crate::local::simulator) fn epoch(&self) -> u64 {
        self.shared.epoch.load(Ordering::Relaxed)
    }

    /// Forgets what waits and what was counted.
    pub(in crate::local::simulator) fn reset(&self) {
        self.shared.epoch.fetch_add(1, Ordering::Relaxed);
        *self.shared.counters() = Counters::default();
    }

    /// Queues what shall be sent and counts the rest.
    pub(in crate::local::simulator) fn take(&self, routed: Routed) {
        let mut counters = self.shared.counters();
        for (kinds, count) in [
            (
                &routed.lost,
                (|c| &mut c.lost) as fn(&mut KindCount) -> &mut u64,
            ),
            (&routed.duplicated, |c| &mut c.duplicated),
            (&routed.held, |c| &mut c.held),
        ] {
            for kind in kinds {
                *count(counters.of(*kind)) += 1;
            }
        }
        for (delivery, delay_ms) in routed.sent {
            let count = counters.of(delivery.event.kind());
            if delay_ms > 0 {
                count.queued += 1;
                self.push_later(delivery, Duration::from_millis(delay_ms));
            } else if self.queue.try_send(delivery).is_ok() {
                count.queued += 1;
            } else {
                count.overflowed += 1;
            }
        }
    }

    /// Queues callbacks that a fault had held back.
    pub(in crate::local::simulator) fn send_all(&self, freed: Vec<Delivery>) {
        let sent = freed.into_iter().map(|delivery| (delivery, 0)).collect();
        self.take(Routed {
            sent,
            ..Routed::default()
        });
    }

    /// Counts callbacks that have nowhere to go.
    pub(in crate::local::simulator) fn count_unsent(&self, kinds: impl Iterator<Item = Kind>) {
        let mut counters = self.shared.counters();
        for kind in kinds {
            counters.of(kind).unsent += 1;
        }
    }

    pub(in crate::local::simulator) fn counts(&self) -> (BTreeMap<Kind, KindCount>, AnswerTimes) {
        let counters = self.shared.counters();
        (counters.kinds(), counters.times())
    }

    fn push_later(&self, delivery: Delivery, delay: Duration) {
        let queue = self.queue.clone();
        let later = async move {
            tokio::time::sleep(delay).await;
            // The queue closes only when the simulator ends.
            let _ended = queue.send(delivery).await;
        };
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(later));
    }
}

impl Shared {
    fn counters(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Delivery {
    /// The same for nobody who waits.
    pub(super) fn without_report(self) -> Self {
        Self {
            report: None,
            ..self
        }
    }
}

async fn send_all(
    mut waiting: mpsc::Receiver<Delivery>,
    http: reqwest::Client,
    shared: Arc<Shared>,
) {
    let senders = Arc::new(Semaphore::new(SENDERS));
    while let Some(delivery) = waiting.recv().await {
        if delivery.epoch != shared.epoch.load(Ordering::Relaxed) {
            continue;
        }
        let Ok(permit) = senders.clone().acquire_owned().await else {
            return;
        };
        let (http, shared) = (http.clone(), shared.clone());
        tokio::spawn(async move {
            let delivered = deliver(&http, &shared, &delivery).await;
            if let Some(report) = &delivery.report {
                // Whoever waited may have gone.
                let _gone = report.send(delivered);
            }
            drop(permit);
        });
    }
}

async fn deliver(http: &reqwest::Client, shared: &Shared, delivery: &Delivery) -> bool {
    let kind = delivery.event.kind();
    let mut left = delivery.target.retries;
    loop {
        let began = Instant::now();
        let result = post(http, delivery).await;
        let mut counters = shared.counters();
        let count = counters.of(kind);
        match result {
            Ok(()) => {
                count.delivered += 1;
                counters.took(began.elapsed());
                return true;
            }
            Err(Failure::Timeout) if left > 0 => {
                left -= 1;
                count.retried += 1;
            }
            Err(Failure::Timeout) => {
                count.timed_out += 1;
                return false;
            }
            Err(Failure::Other) => {
                count.failed += 1;
                return false;
            }
        }
    }
}

async fn post(http: &reqwest::Client, delivery: &Delivery) -> Result<(), Failure> {
    let target = &delivery.target;
    let answer = http
        .post(target.address(delivery.event.kind(), clock::unix_ms() / 1000))
        .header(CONTENT_TYPE, "application/json")
        .timeout(target.timeout)
        .body(delivery.event.body().to_string())
        .send()
        .await
        .map_err(failure)?;
    let status = answer.status();
    let body = answer.bytes().await.map_err(failure)?;
    let json = serde_json::from_slice::<serde_json::Value>(&body).is_ok();
    if status != reqwest::StatusCode::OK || !json {
        tracing::debug!(%status, json, "the receiver did not accept a callback");
        return Err(Failure::Other);
    }
    Ok(())
}

fn failure(error: reqwest::Error) -> Failure {
    // The address holds `Sign` and perhaps a secret path.
    let error = error.without_url();
    tracing::debug!(%error, "a callback was not delivered");
    if error.is_timeout() {
        Failure::Timeout
    } else {
        Failure::Other
    }
}
