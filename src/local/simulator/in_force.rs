//! Faults in force, of either sort: each with its number, and the trigger that says when it strikes.

use super::trigger::Trigger;

/// Something that can be made to go wrong.
pub(super) trait Injected: Clone {
    /// When it strikes; or what is wrong with it.
    fn trigger(&self) -> Result<Trigger, String>;
    /// The same with so many strikes left.
    fn with_count(self, count: Option<u64>) -> Self;
}

/// The faults in the order in which they were injected.
#[derive(Debug)]
pub(super) struct InForce<F>(Vec<(u64, F, Trigger)>);

impl<F> Default for InForce<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<F: Injected> InForce<F> {
    /// Puts one in force; says what is wrong with it if it cannot be.
    pub(super) fn add(&mut self, id: u64, fault: F) -> Result<(), String> {
        let trigger = fault.trigger()?;
        self.0.push((id, fault, trigger));
        Ok(())
    }

    /// Those that can still strike, with the number of strikes left as their count.
    pub(super) fn list(&self) -> impl Iterator<Item = (u64, F)> + '_ {
        let live = self.0.iter().filter(|(_, _, trigger)| !trigger.is_spent());
        live.map(|(id, fault, trigger)| (*id, fault.clone().with_count(trigger.left())))
    }

    /// Ends one, or all.
    pub(super) fn clear(&mut self, id: Option<u64>) {
        self.0
            .retain(|(fault, _, _)| id.is_some_and(|id| id != *fault));
    }

    /// Those that match and strike. Who takes only the first lets only that one strike.
    pub(super) fn strike(
        &mut self,
        matches: impl Fn(&F) -> bool,
    ) -> impl Iterator<Item = (u64, &F)> {
        self.0.iter_mut().filter_map(move |(id, fault, trigger)| {
            let strikes = matches(fault) && trigger.strikes();
            strikes.then_some((*id, &*fault))
        })
    }

    /// Forgets those that will never strike again, except the ones that are still needed.
    pub(super) fn forget_spent(&mut self, needed: impl Fn(u64) -> bool) {
        self.0
            .retain(|(id, _, trigger)| !trigger.is_spent() || needed(*id));
    }
}
