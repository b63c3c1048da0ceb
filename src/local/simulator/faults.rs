//! Faults of REST calls and of callbacks that tests and people inject.

use std::collections::HashSet;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::callbacks::{Delivery, Event, Kind};
use super::log::Api;

const MAX_FAULTS: usize = 10_000;
/// Callbacks that can be held at once; further ones are lost.
const MAX_HELD: usize = 100_000;
const MAX_COPIES: u32 = 100;

/// Something that goes wrong. Every condition that is given must match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only calls of this API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// Only callbacks of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only so many times, then the fault is gone; else until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Only with this probability, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Seed of the probability and of the shuffle.
    #[serde(default)]
    pub seed: u64,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The call does nothing and is answered with this `ErrorCode`.
    ErrorCode(i64),
    /// The call takes effect and is still answered with this `ErrorCode`.
    LateErrorCode(i64),
    /// The call does nothing and is answered with a bare HTTP status.
    HttpStatus(u16),
    /// The call takes effect; the answer comes so many milliseconds later.
    DelayMs(u64),
    /// The call takes effect; the answer never comes.
    LostAnswer(LostAnswer),
    /// Chat treats members as offline, as when its view lags: all members of the call, or only the
    /// account of the fault.
    Omit,
    /// The callback is never sent.
    LoseCallback,
    /// The callback is sent so many times more (at most 100).
    DuplicateCallback(u32),
    /// The callback is sent so many milliseconds later.
    DelayCallbackMs(u64),
    /// The callback is sent when the fault is cleared.
    HoldCallback,
    /// Callbacks of one command are sent in random order, after the others.
    ShuffleCallbacks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostAnswer {
    /// The connection is closed.
    Close,
    /// The connection stays open and silent until the caller stops waiting.
    Hang,
}

impl Fault {
    /// A fault without conditions.
    pub fn new(effect: Effect) -> Self {
        Self {
            api: None,
            kind: None,
            group: None,
            account: None,
            count: None,
            fraction: None,
            seed: 0,
            effect,
        }
    }

    pub fn api(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    pub fn account(mut self, account: &str) -> Self {
        self.account = Some(account.to_owned());
        self
    }

    pub fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// With this probability; the same seed gives the same sequence.
    pub fn fraction(mut self, fraction: f64, seed: u64) -> Self {
        (self.fraction, self.seed) = (Some(fraction), seed);
        self
    }

    fn is_of_callbacks(&self) -> bool {
        match self.effect {
            Effect::ErrorCode(_)
            | Effect::LateErrorCode(_)
            | Effect::HttpStatus(_)
            | Effect::DelayMs(_)
            | Effect::LostAnswer(_)
            | Effect::Omit => false,
            Effect::LoseCallback
            | Effect::DuplicateCallback(_)
            | Effect::DelayCallbackMs(_)
            | Effect::HoldCallback
            | Effect::ShuffleCallbacks => true,
        }
    }

    fn check(&self) -> Result<(), String> {
        let of_callbacks = self.is_of_callbacks();
        Err(match self.effect {
            Effect::HttpStatus(status) if !(200..=599).contains(&status) => {
                "`http_status` must be from 200 to 599".to_owned()
            }
            Effect::ErrorCode(0) | Effect::LateErrorCode(0) => {
                "an error code must not be 0".to_owned()
            }
            Effect::DuplicateCallback(copies) if copies > MAX_COPIES => {
                format!("`duplicate_callback` must be at most {MAX_COPIES}")
            }
            _ if of_callbacks && self.api.is_some() => {
                "`api` does not fit a fault of callbacks; use `kind`".to_owned()
            }
            _ if !of_callbacks && self.kind.is_some() => {
                "`kind` does not fit a fault of calls; use `api`".to_owned()
            }
            _ if self.count == Some(0) => {
                "`count` must be at least 1; leave it out for every time".to_owned()
            }
            _ if self.fraction.is_some_and(|f| !(0.0..=1.0).contains(&f)) => {
                "`fraction` must be from 0 to 1".to_owned()
            }
            _ => return Ok(()),
        })
    }

    fn matches(&self, group: Option<&str>, names: impl Fn(&str) -> bool) -> bool {
        self.group.as_deref().is_none_or(|own| group == Some(own))
            && self.account.as_deref().is_none_or(names)
    }
}

/// The faults in effect, in the order in which they were injected.
#[derive(Debug, Default)]
pub(super) struct Faults {
    active: Vec<Active>,
    last_id: u64,
    held: Vec<(u64, Delivery)>,
}

#[derive(Debug)]
struct Active {
    id: u64,
    /// Its `count` is what is left of it.
    fault: Fault,
    random: StdRng,
}

/// All that goes wrong with one call.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub error_code: Option<i64>,
    pub late_error_code: Option<i64>,
    pub http_status: Option<u16>,
    pub delay_ms: u64,
    pub lost_answer: Option<LostAnswer>,
    pub omit_all: bool,
    pub omitted: HashSet<String>,
}

impl Active {
    fn strikes(&mut self) -> bool {
        let fault = &mut self.fault;
        if fault.count == Some(0) || fault.fraction.is_some_and(|f| !self.random.random_bool(f)) {
            return false;
        }
        fault.count = fault.count.map(|left| left - 1);
        true
    }
}

impl Faults {
    /// Puts a fault into effect and returns its id, or says what is wrong with it.
    pub(super) fn add(&mut self, fault: Fault) -> Result<u64, String> {
        fault.check()?;
        if self.active.len() >= MAX_FAULTS {
            return Err(format!("at most {MAX_FAULTS} faults can be in effect"));
        }
        self.last_id += 1;
        self.active.push(Active {
            id: self.last_id,
            random: StdRng::seed_from_u64(fault.seed),
            fault,
        });
        Ok(self.last_id)
    }

    /// The faults that can still strike, each with what is left of its `count`.
    pub(super) fn list(&self) -> impl Iterator<Item = (u64, Fault)> + '_ {
        let live = self.active.iter().filter(|a| a.fault.count != Some(0));
        live.map(|active| (active.id, active.fault.clone()))
    }

    /// Ends one fault, or all, and returns the callbacks that it held.
    pub(super) fn clear(&mut self, id: Option<u64>) -> Vec<Delivery> {
        let ended = |fault: u64| id.is_none_or(|id| id == fault);
        self.active.retain(|active| !ended(active.id));
        let free = self.held.extract_if(.., |(fault, _)| ended(*fault));
        free.map(|(_, delivery)| delivery).collect()
    }

    /// Every fault that matches a call strikes.
    pub(super) fn strike_call(&mut self, api: Api, group: &str, accounts: &[&str]) -> Struck {
        let mut struck = Struck::default();
        for active in &mut self.active {
            let fault = &active.fault;
            if fault.is_of_callbacks()
                || fault.api.is_some_and(|own| own != api)
                || !fault.matches(Some(group), |own| accounts.contains(&own))
                || !active.strikes()
            {
                continue;
            }
            match active.fault.effect {
                Effect::ErrorCode(code) => struck.error_code = Some(code),
                Effect::LateErrorCode(code) => struck.late_error_code = Some(code),
                Effect::HttpStatus(status) => struck.http_status = Some(status),
                Effect::DelayMs(delay) => struck.delay_ms = struck.delay_ms.max(delay),
                Effect::LostAnswer(how) => struck.lost_answer = Some(how),
                Effect::Omit => match &active.fault.account {
                    Some(account) => drop(struck.omitted.insert(account.clone())),
                    None => struck.omit_all = true,
                },
                _ => {}
            }
        }
        self.forget_spent();
        struck
    }

    /// The callbacks of one command that are to be sent, each after so many milliseconds. The first
    /// fault that matches a callback strikes.
    pub(super) fn route(&mut self, deliveries: Vec<Delivery>) -> Vec<(Delivery, u64)> {
        let (mut sent, mut shuffled) = (Vec::with_capacity(deliveries.len()), Vec::new());
        let mut order = StdRng::seed_from_u64(0);
        for delivery in deliveries {
            let Some(active) = self.strike_callback(&delivery.event) else {
                sent.push((delivery, 0));
                continue;
            };
            match active.fault.effect {
                Effect::DelayCallbackMs(delay) => sent.push((delivery, delay)),
                Effect::DuplicateCallback(copies) => {
                    sent.extend((0..=copies).map(|_| (delivery.clone(), 0)));
                }
                Effect::HoldCallback => {
                    let id = active.id;
                    if self.held.len() < MAX_HELD {
                        // The command does not wait for a callback that is held.
                        let report = None;
                        self.held.push((id, Delivery { report, ..delivery }));
                    }
                }
                Effect::ShuffleCallbacks => {
                    order = StdRng::seed_from_u64(active.fault.seed);
                    shuffled.push((delivery, 0));
                }
                _ => {}
            }
        }
        shuffled.shuffle(&mut order);
        sent.append(&mut shuffled);
        self.forget_spent();
        sent
    }

    fn strike_callback(&mut self, event: &Event) -> Option<&Active> {
        let group = event.group.as_ref().map(|group| group.as_str());
        let names = |own: &str| event.accounts.iter().any(|account| account.as_str() == own);
        let mut all = self.active.iter_mut();
        all.find_map(|active| {
            let fault = &active.fault;
            let matches = fault.is_of_callbacks()
                && fault.kind.is_none_or(|kind| kind == event.kind)
                && fault.matches(group, names);
            (matches && active.strikes()).then_some(&*active)
        })
    }

    /// A spent fault that still holds callbacks stays, so that clearing it releases them.
    fn forget_spent(&mut self) {
        let held: HashSet<u64> = self.held.iter().map(|(id, _)| *id).collect();
        self.active
            .retain(|active| active.fault.count != Some(0) || held.contains(&active.id));
    }
}
