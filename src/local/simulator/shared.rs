//! What every request handler of the simulator shares.
//!
//! All state lies behind one lock that is never held across an await. Callbacks enter the queue
//! under that lock, so their order is the order of the changes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::api::Api;
use super::callback::{Delivery, Event, Kind, Outbox, Routing, Target, What};
use super::calls::CallLog;
use super::clock;
use super::fault::Faults;
use super::options::{CallbackOptions, Options, Settings};
use super::rooms::Rooms;

/// The application, its state, and the ways out.
#[derive(Debug)]
pub(super) struct Shared {
    pub sdk_app_id: u32,
    pub secret_key: SecretString,
    pub admin_account: String,
    pub stop: CancellationToken,
    pub outbox: Outbox,
    world: Mutex<World>,
    moment: watch::Sender<u64>,
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct World {
    pub rooms: Rooms,
    pub faults: Faults,
    pub routing: Routing,
    pub log: CallLog,
    pub settings: Settings,
    pub callback: CallbackOptions,
    last_fault: u64,
}

/// Counts the callbacks of one command.
pub(super) type Report = Option<mpsc::UnboundedSender<bool>>;

impl Shared {
    pub(super) fn new(options: Options, stop: CancellationToken) -> reqwest::Result<Arc<Self>> {
        let world = World {
            rooms: Rooms::default(),
            faults: Faults::default(),
            routing: Routing::default(),
            log: CallLog::default(),
            settings: options.settings,
            callback: options.callback,
            last_fault: 0,
        };
        Ok(Arc::new(Self {
            sdk_app_id: options.sdk_app_id,
            secret_key: options.secret_key,
            admin_account: options.admin_account,
            outbox: Outbox::start(stop.clone())?,
            stop,
            world: Mutex::new(world),
            moment: watch::Sender::new(0),
        }))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends callbacks for what just happened. Answers how many were queued.
    pub(super) fn emit(&self, world: &mut World, events: Vec<Event>, report: &Report) -> usize {
        let on: &BTreeSet<Kind> = &world.callback.kinds;
        let Some(target) = self.target(world) else {
            self.outbox.count_unsent(events.iter().map(Event::kind));
            return 0;
        };
        let (wanted, unwanted): (Vec<Event>, Vec<Event>) = events
            .into_iter()
            .partition(|event| on.contains(&event.kind()));
        self.outbox.count_unsent(unwanted.iter().map(Event::kind));
        let epoch = self.outbox.epoch();
        let delivery = |event| Delivery {
            target: target.clone(),
            event,
            report: report.clone(),
            epoch,
        };
        let routed = world
            .routing
            .route(wanted.into_iter().map(delivery).collect());
        let queued = routed.sent.len();
        self.outbox.take(routed);
        queued
    }

    /// Sends `Alert.RequestOverLimit`.
    pub(super) fn alert(&self, world: &mut World, api: Api, request: usize) {
        let limit = world.settings.calls_per_second;
        let what = What::RequestOverLimit {
            api,
            request,
            limit,
        };
        let event = Event {
            group: None,
            at: clock::unix_ms(),
            what,
        };
        self.emit(world, vec![event], &None);
    }

    /// Ends mark 500 where its time is over.
    pub(super) fn expire(&self) {
        let mut world = self.world();
        let events = world.rooms.expire(clock::unix_ms());
        if !events.is_empty() {
            self.emit(&mut world, events, &None);
        }
    }

    /// Tells those who wait that a call began or ended.
    pub(super) fn announce(&self, world: &World) {
        self.moment.send_replace(world.log.moment());
    }

    /// Hears of begins and ends of calls.
    pub(super) fn moments(&self) -> watch::Receiver<u64> {
        self.moment.subscribe()
    }

    fn target(&self, world: &World) -> Option<Arc<Target>> {
        Some(Arc::new(Target {
            sdk_app_id: self.sdk_app_id,
            url: world.callback.url.clone()?,
            token: world.callback.token.clone(),
            timeout: Duration::from_millis(world.settings.callback_timeout_ms),
            retries: world.settings.callback_retries,
        }))
    }
}

impl World {
    /// A number for a new fault.
    pub(super) fn next_fault(&mut self) -> u64 {
        self.last_fault += 1;
        self.last_fault
    }

    /// Forgets rooms, faults and calls; settings and the callback's receiver stay.
    pub(super) fn reset(&mut self) {
        self.rooms = Rooms::default();
        self.faults = Faults::default();
        self.routing = Routing::default();
        self.log.reset();
    }
}
