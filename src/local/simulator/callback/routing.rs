//! What goes wrong with callbacks on their way: lost, doubled, late, held back, out of order.

use std::collections::VecDeque;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::event::{Event, Kind};
use super::outbox::Delivery;
use crate::local::simulator::in_force::{InForce, Injected};
use crate::local::simulator::trigger::Trigger;

/// Callbacks that may be held back at once; more are lost.
const MAX_HELD: usize = 100_000;
/// Copies of one callback that a fault can add.
const MAX_COPIES: u32 = 100;

/// Something that shall go wrong with callbacks. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackFault {
    /// Only callbacks of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Only callbacks of this room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only callbacks that tell of this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Only so many times, then the fault is gone; else until cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Only with this chance, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fraction: Option<f64>,
    /// Seed of the chance and of the shuffle.
    #[serde(default)]
    pub seed: u64,
    /// What happens to the callback.
    pub effect: CallbackEffect,
}

/// What happens to a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallbackEffect {
    /// It is never sent.
    Lose,
    /// It is sent once and then so many times more (at most 100).
    Duplicate(u32),
    /// It is sent so many milliseconds later.
    DelayMs(u64),
    /// It is sent when the fault is cleared, in the order of the events.
    Hold,
    /// The callbacks of one command are sent in a random order.
    Shuffle,
}

impl CallbackFault {
    /// A fault without conditions.
    pub fn new(effect: CallbackEffect) -> Self {
        Self {
            kind: None,
            group: None,
            account: None,
            count: None,
            fraction: None,
            seed: 0,
            effect,
        }
    }

    fn matches(&self, event: &Event) -> bool {
        let group = event.group.as_ref().map(|group| group.as_str());
        self.kind.is_none_or(|kind| kind == event.kind())
            && self
                .group
                .as_deref()
                .is_none_or(|wanted| group == Some(wanted))
            && self.account.as_deref().is_none_or(|wanted| {
                event
                    .accounts()
                    .iter()
                    .any(|account| account.as_str() == wanted)
            })
    }
}

impl Injected for CallbackFault {
    fn trigger(&self) -> Result<Trigger, String> {
        match self.effect {
            CallbackEffect::Duplicate(copies) if copies > MAX_COPIES => {
                Err(format!("`duplicate` is at most {MAX_COPIES}"))
            }
            _ => Trigger::new(self.count, self.fraction, self.seed),
        }
    }

    fn with_count(self, count: Option<u64>) -> Self {
        Self { count, ..self }
    }
}

/// The faults in force, and what they hold back.
#[derive(Debug, Default)]
pub(in crate::local::simulator) struct Routing {
    faults: InForce<CallbackFault>,
    held: VecDeque<(u64, Delivery)>,
}

/// Where the callbacks of one command go.
#[derive(Debug, Default)]
pub(in crate::local::simulator) struct Routed {
    /// To be sent, each after so many milliseconds.
    pub sent: Vec<(Delivery, u64)>,
    pub lost: Vec<Kind>,
    pub duplicated: Vec<Kind>,
    pub held: Vec<Kind>,
}

impl Routing {
    pub(in crate::local::simulator) fn add(
        &mut self,
        id: u64,
        fault: CallbackFault,
    ) -> Result<(), String> {
        self.faults.add(id, fault)
    }

    /// The faults in force, with the number of strikes left in `count`.
    pub(in crate::local::simulator) fn list(
        &self,
    ) -> impl Iterator<Item = (u64, CallbackFault)> + '_ {
        self.faults.list()
    }

    /// Ends one fault, or all, and gives back what they held.
    pub(in crate::local::simulator) fn clear(&mut self, id: Option<u64>) -> Vec<Delivery> {
        let ended = |fault: u64| id.is_none_or(|id| id == fault);
        self.faults.clear(id);
        let (free, kept): (VecDeque<_>, VecDeque<_>) =
            self.held.drain(..).partition(|(fault, _)| ended(*fault));
        self.held = kept;
        free.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Lets the first fault that matches each callback strike.
    pub(in crate::local::simulator) fn route(&mut self, deliveries: Vec<Delivery>) -> Routed {
        let mut routed = Routed::default();
        let mut shuffled: Option<(u64, Vec<usize>)> = None;
        for delivery in deliveries {
            let kind = delivery.event.kind();
            let struck = {
                let mut strikes = self.faults.strike(|fault| fault.matches(&delivery.event));
                let first = strikes.next();
                first.map(|(id, fault)| (id, fault.effect, fault.seed))
            };
            let Some((id, effect, seed)) = struck else {
                routed.sent.push((delivery, 0));
                continue;
            };
            match effect {
                CallbackEffect::Lose => routed.lost.push(kind),
                CallbackEffect::DelayMs(delay) => routed.sent.push((delivery, delay)),
                CallbackEffect::Duplicate(copies) => {
                    for _ in 0..copies {
                        routed.sent.push((delivery.clone(), 0));
                        routed.duplicated.push(kind);
                    }
                    routed.sent.push((delivery, 0));
                }
                CallbackEffect::Hold if self.held.len() < MAX_HELD => {
                    self.held.push_back((id, delivery.without_report()));
                    routed.held.push(kind);
                }
                CallbackEffect::Hold => routed.lost.push(kind),
                CallbackEffect::Shuffle => {
                    let (_, places) = shuffled.get_or_insert_with(|| (seed, Vec::new()));
                    places.push(routed.sent.len());
                    routed.sent.push((delivery, 0));
                }
            }
        }
        if let Some((seed, places)) = shuffled {
            shuffle(&mut routed.sent, &places, seed);
        }
        // A spent fault that still holds callbacks must stay, so that clearing it frees them.
        let held = &self.held;
        self.faults
            .forget_spent(|id| held.iter().any(|(fault, _)| *fault == id));
        routed
    }
}

/// Puts what stands at `places` into another order; never the same one where there are two.
fn shuffle<T: Clone>(items: &mut [T], places: &[usize], seed: u64) {
    let mut order = places.to_vec();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    if order == places && order.len() > 1 {
        order.rotate_left(1);
    }
    let moved: Vec<T> = order.iter().map(|place| items[*place].clone()).collect();
    for (place, item) in places.iter().zip(moved) {
        items[*place] = item;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_keeps_every_item_and_changes_the_order() {
        for seed in 0..50 {
            let mut items: Vec<u32> = (0..10).collect();
            shuffle(&mut items, &[1, 2, 3, 7, 9], seed);
            assert_ne!(items, (0..10).collect::<Vec<_>>());
            assert_eq!((items[0], items[4], items[5]), (0, 4, 5));
            items.sort_unstable();
            assert_eq!(items, (0..10).collect::<Vec<_>>());
        }
    }
}
