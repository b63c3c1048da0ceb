//! Counts the calls of one API in a sliding second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// The calls of the last second, and the most that ever fell into one second.
#[derive(Debug, Default)]
pub(super) struct Window {
    attempts: VecDeque<Instant>,
    admitted: VecDeque<Instant>,
    peak: usize,
    alerted: Option<Instant>,
}

/// What becomes of one call.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Within the limit. A refused call does not count against the calls after it.
    pub admitted: bool,
    /// Calls in the last second, when they exceed 80 % of the limit and it was not said yet
    /// in this second.
    pub alert: Option<usize>,
}

impl Window {
    /// Counts a call that arrives `now`, where any second admits `limit` calls.
    pub(super) fn admit(&mut self, now: Instant, limit: usize) -> Admission {
        forget(&mut self.attempts, now);
        forget(&mut self.admitted, now);
        self.attempts.push_back(now);
        let count = self.attempts.len();
        self.peak = self.peak.max(count);
        let admitted = self.admitted.len() < limit;
        if admitted {
            self.admitted.push_back(now);
        }
        let silent = self.alerted.is_none_or(|last| now >= last + WINDOW);
        let over = count * 5 > limit * 4;
        let alert = (over && silent).then_some(count);
        if alert.is_some() {
            self.alerted = Some(now);
        }
        Admission { admitted, alert }
    }

    /// The most calls that arrived in any one second.
    pub(super) fn peak(&self) -> usize {
        self.peak
    }
}

fn forget(calls: &mut VecDeque<Instant>, now: Instant) {
    while calls.front().is_some_and(|first| *first + WINDOW <= now) {
        calls.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_however_it_is_cut_admits_more_than_the_limit() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut window = Window::default();
        let mut admit = |ms| window.admit(at(ms), 3).admitted;
        assert!(admit(0) && admit(900) && admit(950));
        assert!(!admit(999));
        // The first call is a second old, the other two are not.
        assert!(admit(1000));
        assert!(!admit(1899));
        assert!(admit(1900));
        // Refused calls count here: 950, 999, 1000, 1899 and 1900.
        assert_eq!(window.peak(), 5);
    }

    #[test]
    fn an_alert_comes_above_four_fifths_and_once_a_second() {
        let start = Instant::now();
        let mut window = Window::default();
        let mut admit = |ms: u64| window.admit(start + Duration::from_millis(ms), 10).alert;
        for _ in 0..8 {
            assert_eq!(admit(0), None);
        }
        assert_eq!(admit(1), Some(9));
        assert_eq!(admit(2), None);
        assert_eq!(admit(999), None);
        for ms in 1001..1008 {
            // Eight or fewer calls lie in the second before.
            assert_eq!(admit(ms), None);
        }
        assert_eq!(admit(1008), Some(9));
    }
}
