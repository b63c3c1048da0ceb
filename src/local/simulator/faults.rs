//! Faults of REST calls and of callbacks that tests and people inject.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::callbacks::{Delivery, Kind};
use super::log::Api;

/// Something that goes wrong. Every condition that is given must match.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only calls of this API.
    pub api: Option<Api>,
    /// Only callbacks of this kind.
    pub kind: Option<Kind>,
    pub group: Option<String>,
    pub account: Option<String>,
    /// Only so many times, then the fault is gone; else until cleared.
    pub count: Option<u64>,
    /// Only with this probability, 0 to 1.
    pub fraction: Option<f64>,
    /// Seed of the probability.
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
    /// The callback is sent so many times more.
    DuplicateCallback(u32),
    /// The callback is sent when the fault is cleared.
    HoldCallback,
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

    pub fn api(self, api: Api) -> Self {
        let api = Some(api);
        Self { api, ..self }
    }

    pub fn kind(self, kind: Kind) -> Self {
        let kind = Some(kind);
        Self { kind, ..self }
    }

    pub fn group(self, group: &str) -> Self {
        let group = Some(group.to_owned());
        Self { group, ..self }
    }

    pub fn account(self, account: &str) -> Self {
        let account = Some(account.to_owned());
        Self { account, ..self }
    }

    pub fn times(self, count: u64) -> Self {
        let count = Some(count);
        Self { count, ..self }
    }

    /// With this probability; the same seed gives the same sequence.
    pub fn fraction(self, fraction: f64, seed: u64) -> Self {
        let fraction = Some(fraction);
        Self {
            fraction,
            seed,
            ..self
        }
    }

    fn is_of_callbacks(&self) -> bool {
        use Effect::*;
        matches!(
            self.effect,
            LoseCallback | DuplicateCallback(_) | HoldCallback
        )
    }

    fn check(&self) -> Result<(), &'static str> {
        match self.is_of_callbacks() {
            true if self.api.is_some() => Err("a fault of callbacks takes `kind`, not `api`"),
            false if self.kind.is_some() => Err("a fault of calls takes `api`, not `kind`"),
            _ if self.count == Some(0) => Err("`count` must be at least 1"),
            _ if self.fraction.is_some_and(|f| !(0.0..=1.0).contains(&f)) => {
                Err("`fraction` must be from 0 to 1")
            }
            _ => Ok(()),
        }
    }
}

/// The faults in effect, in the order in which they were injected.
#[derive(Debug, Default)]
pub(super) struct Faults {
    active: BTreeMap<u64, Active>,
    last_id: u64,
}

#[derive(Debug)]
struct Active {
    /// Its `count` is what is left of it.
    fault: Fault,
    random: StdRng,
    held: Vec<Delivery>,
}

/// All that goes wrong with one call.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub error_code: Option<i64>,
    pub late_error_code: Option<i64>,
    pub http_status: Option<u16>,
    pub delay_ms: u64,
    pub lost_answer: Option<LostAnswer>,
    /// Accounts that are left out of the answer; `None` is all of them.
    pub omitted: Vec<Option<String>>,
}

impl Active {
    /// Whether it strikes where these are the room and the members.
    fn strikes(&mut self, group: Option<&str>, accounts: &[&str]) -> bool {
        let fault = &mut self.fault;
        let elsewhere = fault.group.is_some() && fault.group.as_deref() != group;
        let named = |own: &str| accounts.contains(&own);
        if elsewhere
            || !fault.account.as_deref().is_none_or(named)
            || fault.count == Some(0)
            || fault.fraction.is_some_and(|f| !self.random.random_bool(f))
        {
            return false;
        }
        fault.count = fault.count.map(|left| left - 1);
        true
    }
}

impl Faults {
    /// Puts a fault into effect and returns its id, or says what is wrong with it.
    pub(super) fn add(&mut self, fault: Fault) -> Result<u64, &'static str> {
        fault.check()?;
        self.last_id += 1;
        let active = Active {
            random: StdRng::seed_from_u64(fault.seed),
            fault,
            held: Vec::new(),
        };
        self.active.insert(self.last_id, active);
        Ok(self.last_id)
    }

    /// The faults that can still strike, each with what is left of its `count`.
    pub(super) fn list(&self) -> BTreeMap<u64, &Fault> {
        let all = self.active.iter().map(|(id, active)| (*id, &active.fault));
        all.filter(|(_, fault)| fault.count != Some(0)).collect()
    }

    /// Ends one fault, or all, and returns the callbacks that it held.
    pub(super) fn clear(&mut self, id: Option<u64>) -> Vec<Delivery> {
        let ended = |fault: &u64, _: &mut Active| id.is_none_or(|id| id == *fault);
        let ended = self.active.extract_if(.., ended);
        ended.flat_map(|(_, active)| active.held).collect()
    }

    /// Every fault that matches a call strikes.
    pub(super) fn strike_call(&mut self, api: Api, group: &str, accounts: &[&str]) -> Struck {
        let mut struck = Struck::default();
        for active in self.active.values_mut() {
            let fault = &active.fault;
            if fault.is_of_callbacks()
                || fault.api.is_some_and(|own| own != api)
                || !active.strikes(Some(group), accounts)
            {
                continue;
            }
            match active.fault.effect {
                Effect::ErrorCode(code) => struck.error_code = Some(code),
                Effect::LateErrorCode(code) => struck.late_error_code = Some(code),
                Effect::HttpStatus(status) => struck.http_status = Some(status),
                Effect::DelayMs(delay) => struck.delay_ms = struck.delay_ms.max(delay),
                Effect::LostAnswer(how) => struck.lost_answer = Some(how),
                Effect::Omit => struck.omitted.push(active.fault.account.clone()),
                _ => {}
            }
        }
        self.forget_spent();
        struck
    }

    /// The callbacks of one command that are to be sent. The first fault that matches a callback strikes.
    pub(super) fn route(&mut self, deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let mut sent = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let event = &delivery.event;
            let group = event.group.as_ref().map(|group| group.as_str());
            let accounts: Vec<&str> = event.accounts.iter().map(|one| one.as_str()).collect();
            let struck = self.active.values_mut().find_map(|active| {
                let fault = &active.fault;
                let fits =
                    fault.is_of_callbacks() && fault.kind.is_none_or(|kind| kind == event.kind);
                (fits && active.strikes(group, &accounts)).then_some(active)
            });
            let Some(active) = struck else {
                sent.push(delivery);
                continue;
            };
            match active.fault.effect {
                Effect::DuplicateCallback(copies) => {
                    sent.extend((0..=copies).map(|_| delivery.clone()));
                }
                Effect::HoldCallback => {
                    // The command does not wait for a callback that is held.
                    let report = None;
                    active.held.push(Delivery { report, ..delivery });
                }
                _ => {}
            }
        }
        self.forget_spent();
        sent
    }

    /// A spent fault that still holds callbacks stays, so that clearing it releases them.
    fn forget_spent(&mut self) {
        let alive = |active: &Active| active.fault.count != Some(0) || !active.held.is_empty();
        self.active.retain(|_, active| alive(active));
    }
}
