//! Slots that one replica has taken from the budget and not yet used.
//!
//! They come in blocks that grow while all of them are used: a busy replica writes the shared row
//! once for eight calls, an idle one keeps nothing from the others. A slot is used within moments of
//! its time or not at all.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A slot that would be used later than this is dropped.
const LATEST_USE: Duration = Duration::from_millis(40);
/// Slots that are taken at once, at most, in number and in time: the others wait for what one replica
/// holds.
const LARGEST_BLOCK: u32 = 8;
const LONGEST_BLOCK: Duration = Duration::from_millis(60);

/// Slots taken and not yet used.
#[derive(Debug)]
pub(super) struct Reserved {
    slots: VecDeque<Slot>,
    /// How many to take the next time: more while all are used, one when some were not.
    block: u32,
    /// Time between two of them when they were taken last.
    apart: Duration,
    /// The last one that was granted.
    last: Option<Instant>,
}

impl Reserved {
    pub(super) fn none_yet(apart: Duration) -> Self {
        Self {
            slots: VecDeque::new(),
            block: 1,
            apart,
            last: None,
        }
    }

    /// The next slot that can still be used.
    pub(super) fn next(&mut self) -> Option<Slot> {
        while let Some(slot) = self.slots.pop_front() {
            if slot.is_fresh() {
                if self.slots.is_empty() {
                    self.block = (self.block * 2).min(LARGEST_BLOCK);
                }
                return Some(slot);
            }
            self.block = 1;
        }
        None
    }

    /// Adds slots that were granted, the first of them after so many seconds; below 0 is now.
    pub(super) fn granted(&mut self, first: f64, count: u32, apart: Duration) {
        let now = Instant::now();
        self.apart = apart;
        self.slots.extend((0..count).map(|place| {
            let seconds = first + f64::from(place) * apart.as_secs_f64();
            Slot(now + Duration::from_secs_f64(seconds.max(0.0)))
        }));
        self.last = self.slots.back().map(Slot::at);
    }

    /// The moment from which on the slots that calls wait for are no more than one block.
    pub(super) fn soon(&self) -> Instant {
        let now = Instant::now();
        self.last
            .and_then(|last| last.checked_sub(LONGEST_BLOCK))
            .unwrap_or(now)
    }

    /// Drops all that is not yet used.
    pub(super) fn drop_all(&mut self) {
        self.slots.clear();
    }

    /// How many to take now. Where calls are slow a second slot would be a long time away.
    pub(super) fn wanted(&self) -> u32 {
        (1..=self.block)
            .rev()
            .find(|slots| self.apart * *slots <= LONGEST_BLOCK)
            .unwrap_or(1)
    }
}

/// One call may go out at this time.
#[derive(Debug)]
pub(super) struct Slot(Instant);

impl Slot {
    pub(super) fn at(&self) -> Instant {
        self.0
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.0.elapsed() <= LATEST_USE
    }
}

#[cfg(test)]
mod tests {
    use super::super::CallRate;
    use super::*;

    fn take(reserved: &mut Reserved) -> u32 {
        let slots = reserved.wanted();
        let apart = reserved.apart;
        reserved.granted(1.0, slots, apart);
        slots
    }

    fn use_up(reserved: &mut Reserved) {
        while reserved.next().is_some() {}
    }

    #[test]
    fn blocks_grow_while_all_slots_are_used_and_start_again_when_one_was_not() {
        let mut reserved = Reserved::none_yet(CallRate::new(160).interval());
        let taken: Vec<u32> = (0..5)
            .map(|_| {
                let slots = take(&mut reserved);
                use_up(&mut reserved);
                slots
            })
            .collect();
        assert_eq!(taken, [1, 2, 4, 8, 8]);
        take(&mut reserved);
        let old = Instant::now().checked_sub(LATEST_USE * 2).unwrap();
        reserved.slots.back_mut().unwrap().0 = old;
        use_up(&mut reserved);
        assert_eq!(take(&mut reserved), 1);
    }

    #[test]
    fn at_a_slow_rate_no_replica_holds_what_others_wait_for() {
        let mut reserved = Reserved::none_yet(CallRate::new(1).interval());
        for _ in 0..5 {
            assert_eq!(take(&mut reserved), 1);
            use_up(&mut reserved);
        }
        let slowed = CallRate::new(160).interval() * 4;
        let mut reserved = Reserved {
            block: LARGEST_BLOCK,
            ..Reserved::none_yet(slowed)
        };
        assert_eq!(take(&mut reserved), 2);
    }

    #[test]
    fn a_replica_prepares_no_call_that_would_wait_longer_than_a_block() {
        let mut reserved = Reserved::none_yet(CallRate::new(160).interval());
        assert!(
            reserved.soon() <= Instant::now(),
            "an idle one waits for nothing"
        );
        let granted = Instant::now();
        reserved.granted(1.0, 1, Duration::from_secs(1));
        let soon = reserved.soon().duration_since(granted);
        assert!(soon >= Duration::from_secs(1) - LONGEST_BLOCK, "{soon:?}");
    }
}
