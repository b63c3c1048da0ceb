//! Faults of REST calls that tests and people can inject.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::api::Api;
use super::in_force::{InForce, Injected};
use super::trigger::Trigger;

/// Something that shall go wrong with REST calls. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only calls of this API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<Api>,
    /// Only calls for this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only calls that name this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only so many times, then the fault is gone; else until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Only with this chance, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Seed of the chance.
    #[serde(default)]
    pub seed: u64,
    /// What goes wrong.
    pub effect: Effect,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing is done, and the answer has this `ErrorCode`.
    ErrorCode(i64),
    /// The call is carried out, and yet the answer has this `ErrorCode`.
    LateErrorCode(i64),
    /// Nothing is done, and the answer is a bare HTTP status.
    HttpStatus(u16),
    /// The call is carried out, and the answer comes so many milliseconds later.
    DelayMs(u64),
    /// The call is carried out, and the answer never comes.
    LostAnswer(LostAnswer),
    /// Chat takes the members for offline, as when its view lags: those of the call, or only the
    /// account of the fault.
    Omit,
}

/// How an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostAnswer {
    /// The connection is closed.
    Close,
    /// The connection stays open in silence, until the caller gives up.
    Hang,
}

impl Fault {
    /// A fault without conditions.
    pub fn new(effect: Effect) -> Self {
        Self {
            api: None,
            group: None,
            account: None,
            count: None,
            fraction: None,
            seed: 0,
            effect,
        }
    }

    /// Only calls of this API.
    pub fn api(self, api: Api) -> Self {
        Self {
            api: Some(api),
            ..self
        }
    }

    /// Only calls for this room.
    pub fn group(self, group: &str) -> Self {
        Self {
            group: Some(group.to_owned()),
            ..self
        }
    }

    /// Only calls that name this account.
    pub fn account(self, account: &str) -> Self {
        Self {
            account: Some(account.to_owned()),
            ..self
        }
    }

    /// Only so many times.
    pub fn times(self, count: u64) -> Self {
        Self {
            count: Some(count),
            ..self
        }
    }

    fn matches(&self, api: Api, group: Option<&str>, accounts: &[&str]) -> bool {
        self.api.is_none_or(|wanted| wanted == api)
            && self
                .group
                .as_deref()
                .is_none_or(|wanted| group == Some(wanted))
            && self
                .account
                .as_deref()
                .is_none_or(|wanted| accounts.contains(&wanted))
    }
}

impl Injected for Fault {
    fn trigger(&self) -> Result<Trigger, String> {
        match self.effect {
            Effect::HttpStatus(status) if !(200..=599).contains(&status) => {
                Err("`http_status` is from 200 to 599".to_owned())
            }
            Effect::ErrorCode(0) | Effect::LateErrorCode(0) => {
                Err("an error code is not 0".to_owned())
            }
            _ => Trigger::new(self.count, self.fraction, self.seed),
        }
    }

    fn with_count(self, count: Option<u64>) -> Self {
        Self { count, ..self }
    }
}

/// The faults in force.
pub(super) type Faults = InForce<Fault>;

/// All that goes wrong with one call.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub ids: Vec<u64>,
    pub error_code: Option<i64>,
    pub late_error_code: Option<i64>,
    pub http_status: Option<u16>,
    pub delay_ms: u64,
    pub lost_answer: Option<LostAnswer>,
    pub omit_all: bool,
    pub omitted: BTreeSet<String>,
}

impl Faults {
    /// Lets every fault that matches the call strike.
    pub(super) fn strike_call(
        &mut self,
        api: Api,
        group: Option<&str>,
        accounts: &[&str],
    ) -> Struck {
        let mut struck = Struck::default();
        for (id, fault) in self.strike(|fault| fault.matches(api, group, accounts)) {
            struck.ids.push(id);
            match fault.effect {
                Effect::ErrorCode(code) => struck.error_code = Some(code),
                Effect::LateErrorCode(code) => struck.late_error_code = Some(code),
                Effect::HttpStatus(status) => struck.http_status = Some(status),
                Effect::DelayMs(delay) => struck.delay_ms = struck.delay_ms.max(delay),
                Effect::LostAnswer(how) => struck.lost_answer = Some(how),
                Effect::Omit => match &fault.account {
                    Some(account) => drop(struck.omitted.insert(account.clone())),
                    None => struck.omit_all = true,
                },
            }
        }
        self.forget_spent(|_| false);
        struck
    }
}
