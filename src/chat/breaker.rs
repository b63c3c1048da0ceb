//! The circuit breaker: stops the calls of this replica while only a person can help, and probes.
//!
//! A fault of the app (plan expired, wrong key, feature off) fails every call alike. While the breaker
//! is open no member is claimed, so nothing is lost and no try is used up. After a while one probe goes
//! out, and only one; the first call that succeeds closes the breaker.
//!
//! Some refusals concern the app, or only one room, or one member; Chat's documents leave it open. One
//! room that gets such a refusal never stops the others: the breaker opens when a second room gets the
//! same one and no call has succeeded in between. A probe avoids the rooms that are known to be
//! refused, and a room that is refused again does not delay the next probe.
//!
//! Each replica has breakers of its own; the budget limits the calls of all of them.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::{ChatError, Reach};
use crate::clock;
use crate::domain::GroupId;

/// The time before the first probe, and the longest one; it doubles in between.
const DELAYS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// Rooms that are remembered as refused, at most.
const MOST_REFUSED: usize = 32;

/// Clones share their state.
#[derive(Debug, Clone)]
pub struct Breaker {
    circuit: &'static str,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct State {
    delays: (Duration, Duration),
    open: Option<Open>,
    /// The last refusal that may concern the app or only a room, and the rooms that got it since a
    /// call succeeded.
    refusal: Option<ChatError>,
    refused: Vec<GroupId>,
    succeeded_at: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    shown: PauseState,
    delay: Duration,
    /// The next probe goes out no sooner.
    until: Instant,
    probing: bool,
    /// Probes that were refused.
    refusals: u32,
}

/// What a try that a person asked for brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// Calls were not paused.
    NotPaused,
    /// The call succeeded.
    Resumed,
    Refused(PauseState),
    /// No member is due whose call could be tried, or the call takes long.
    NothingTried(PauseState),
}

/// Why calls are paused, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PauseState {
    /// What Chat said last.
    pub reason: String,
    /// What to do about it.
    pub advice: Option<String>,
    /// By the clock of this machine.
    pub since: DateTime<Utc>,
}

/// Held while a claimed room is worked on. If it is a probe, its end lets the next one go.
#[derive(Debug)]
pub struct Pass {
    breaker: Breaker,
    probe: bool,
}

impl Breaker {
    pub fn new(circuit: &'static str) -> Self {
        Self::with_delays(circuit, DELAYS.0, DELAYS.1)
    }

    /// A breaker whose first probe goes out after `first`, and the others after `longest` at most.
    pub fn with_delays(circuit: &'static str, first: Duration, longest: Duration) -> Self {
        Self {
            circuit,
            state: watch::Sender::new(State::new((first, longest))),
        }
    }

    /// Waits until a room may be claimed: the breaker is closed, or it is time for a probe.
    pub async fn ready(&self) {
        let mut state = self.state.subscribe();
        loop {
            let wait = state.borrow_and_update().wait(Instant::now());
            match wait {
                Some(Duration::ZERO) => return,
                Some(left) => drop(timeout(left, state.changed()).await),
                None => drop(state.changed().await),
            }
        }
    }

    pub fn is_ready(&self) -> bool {
        self.state.borrow().wait(Instant::now()) == Some(Duration::ZERO)
    }

    /// To be taken when a room has been claimed.
    pub fn pass(&self) -> Pass {
        let mut probe = false;
        self.state.send_if_modified(|state| {
            probe = state.begin_probe(Instant::now());
            probe
        });
        let breaker = self.clone();
        Pass { breaker, probe }
    }

    /// The rooms that a probe leaves to the end.
    pub fn avoided(&self) -> Vec<GroupId> {
        let state = self.state.borrow();
        match state.open {
            Some(_) => state.refused.clone(),
            None => Vec::new(),
        }
    }

    /// A call succeeded.
    pub fn succeeded(&self) {
        let mut closed = None;
        self.state.send_if_modified(|state| {
            closed = state.succeeded(Instant::now());
            closed.is_some()
        });
        if let Some(PauseState { reason, .. }) = closed {
            tracing::info!(
                circuit = self.circuit,
                reason,
                "a call succeeded; resuming calls to Chat"
            );
        }
    }

    /// Chat refused a call for a room. True if the refusal concerns the app, and so says nothing
    /// about the room and its members.
    pub fn refused(&self, group: &GroupId, error: &ChatError) -> bool {
        let (mut of_the_app, mut new) = (false, None);
        self.state.send_modify(|state| {
            let before = state.paused();
            of_the_app = state.refused(group, error, Instant::now(), clock::system()());
            let reason = before.map(|before| before.reason);
            new = state
                .paused()
                .filter(|after| reason.as_ref() != Some(&after.reason));
        });
        if let Some(PauseState { reason, advice, .. }) = new {
            tracing::error!(
                circuit = self.circuit,
                reason,
                advice,
                "pausing calls to Chat: configuration error, operator action required"
            );
        }
        of_the_app
    }

    /// Whether a call of this replica succeeded within the given time.
    pub fn succeeded_within(&self, time: Duration) -> bool {
        let at = self.state.borrow().succeeded_at;
        at.is_some_and(|at| at.elapsed() < time)
    }

    /// Why calls are paused; `None` if they are not.
    pub fn paused(&self) -> Option<PauseState> {
        self.state.borrow().paused()
    }

    /// Lets a probe go now, and waits for what it brings.
    pub async fn try_now(&self, patience: Duration) -> Tried {
        let mut before = None;
        self.state
            .send_modify(|state| before = state.try_now(Instant::now()));
        let Some(before) = before else {
            return Tried::NotPaused;
        };
        let mut state = self.state.subscribe();
        let brought = state.wait_for(|state| {
            let open = state.open.as_ref();
            open.is_none_or(|open| open.refusals != before)
        });
        match timeout(patience, brought).await {
            Ok(Ok(state)) => state.paused().map_or(Tried::Resumed, Tried::Refused),
            _ => self.paused().map_or(Tried::Resumed, Tried::NothingTried),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.state.send_modify(|state| {
                if let Some(open) = &mut state.open {
                    open.probing = false;
                }
            });
        }
    }
}

impl State {
    fn new(delays: (Duration, Duration)) -> Self {
        Self {
            delays,
            open: None,
            refusal: None,
            refused: Vec::new(),
            succeeded_at: None,
        }
    }

    fn paused(&self) -> Option<PauseState> {
        self.open.as_ref().map(|open| open.shown.clone())
    }

    /// How long until a room may be claimed; `None` while a probe is out.
    fn wait(&self, now: Instant) -> Option<Duration> {
        match &self.open {
            None => Some(Duration::ZERO),
            Some(open) if open.probing => None,
            Some(open) => Some(open.until.saturating_duration_since(now)),
        }
    }

    /// Makes the next probe due; the number of probes refused so far, `None` if calls are not paused.
    fn try_now(&mut self, now: Instant) -> Option<u32> {
        let open = self.open.as_mut()?;
        open.until = now;
        Some(open.refusals)
    }

    /// A probe that says nothing about the fault is followed by another after the same time.
    fn begin_probe(&mut self, now: Instant) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        let is_time = !open.probing && open.until <= now;
        if is_time {
            open.probing = true;
            open.until = now + open.delay;
        }
        is_time
    }

    fn succeeded(&mut self, now: Instant) -> Option<PauseState> {
        self.succeeded_at = Some(now);
        self.refusal = None;
        self.refused.clear();
        self.open.take().map(|open| open.shown)
    }

    fn refused(
        &mut self,
        group: &GroupId,
        error: &ChatError,
        now: Instant,
        at: DateTime<Utc>,
    ) -> bool {
        let says_more = match error.reach() {
            Reach::Call => return false,
            Reach::App => true,
            Reach::Unclear => {
                let says_more = self.remember(group, error);
                if self.refused.len() < 2 {
                    return false;
                }
                says_more
            }
        };
        let least = error.code().and_then(|code| code.least_wait());
        let least = least.unwrap_or_default();
        let (reason, advice) = (error.to_string(), error.advice().map(str::to_owned));
        let (first, longest) = self.delays;
        match &mut self.open {
            None => {
                self.open = Some(Open {
                    shown: PauseState {
                        reason,
                        advice,
                        since: at,
                    },
                    delay: first,
                    until: now + first.max(least),
                    probing: false,
                    refusals: 0,
                });
            }
            Some(open) if open.probing || open.until <= now => {
                if says_more {
                    open.delay = (open.delay * 2).min(longest);
                }
                open.until = now + open.delay.max(least);
                open.refusals += 1;
                (open.shown.reason, open.shown.advice) = (reason, advice);
            }
            // The call was under way when the breaker opened, and says the same.
            Some(_) => {}
        }
        true
    }

    /// True for a room that was not known to be refused like this.
    fn remember(&mut self, group: &GroupId, error: &ChatError) -> bool {
        if !self
            .refusal
            .as_ref()
            .is_some_and(|last| last.is_like(error))
        {
            self.refusal = Some(error.clone());
            self.refused.clear();
        }
        let new = !self.refused.contains(group);
        if new && self.refused.len() < MOST_REFUSED {
            self.refused.push(group.clone());
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNPAID: i64 = 60020;
    const UNCLEAR: i64 = 10007;

    /// A breaker whose time the test moves.
    struct Moved {
        state: State,
        now: Instant,
    }

    impl Moved {
        fn new() -> Self {
            Self {
                state: State::new(DELAYS),
                now: Instant::now(),
            }
        }

        fn refused(&mut self, group: &str, error: &ChatError) -> bool {
            let group = GroupId::parse(group).unwrap();
            let at = DateTime::UNIX_EPOCH;
            self.state.refused(&group, error, self.now, at)
        }

        /// Waits until a probe may go out, sends it, and tells after how many seconds that was.
        fn probe(&mut self) -> u64 {
            let wait = self.state.wait(self.now).unwrap();
            self.now += wait;
            assert!(self.state.begin_probe(self.now));
            wait.as_secs()
        }

        fn end_probe(&mut self) {
            self.state.open.as_mut().unwrap().probing = false;
        }
    }

    #[test]
    fn a_fault_of_the_app_opens_it_at_once_and_probes_come_ever_later() {
        let mut breaker = Moved::new();
        let waits: Vec<u64> = (0..6)
            .map(|_| {
                assert!(breaker.refused("a", &ChatError::refusal(UNPAID)));
                if breaker.state.open.as_ref().unwrap().probing {
                    breaker.end_probe();
                }
                breaker.probe()
            })
            .collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert!(breaker.state.succeeded(breaker.now).is_some());
        assert_eq!(breaker.state.wait(breaker.now), Some(Duration::ZERO));
    }

    #[test]
    fn a_refusal_that_may_concern_one_room_opens_it_only_when_a_second_room_gets_the_same() {
        for error in [
            ChatError::refusal(UNCLEAR),
            ChatError::refusal(10016),
            ChatError::HttpStatus(403),
        ] {
            let mut breaker = Moved::new();
            for _ in 0..3 {
                assert!(!breaker.refused("a", &error), "{error}");
            }
            assert!(!breaker.refused("b", &ChatError::HttpStatus(404)));
            assert!(!breaker.refused("a", &error), "another refusal in between");
            breaker.state.succeeded(breaker.now);
            assert!(!breaker.refused("b", &error), "a success in between");
            assert!(breaker.state.open.is_none());
            assert!(breaker.refused("a", &error));
            assert!(breaker.state.open.is_some());
        }
    }

    #[test]
    fn what_concerns_one_call_opens_nothing() {
        let mut breaker = Moved::new();
        for error in [
            ChatError::refusal(10002),
            ChatError::refusal(10004),
            ChatError::refusal(10010),
            ChatError::refusal(10019),
            ChatError::refusal(10030),
            ChatError::refusal(60007),
            ChatError::Timeout,
            ChatError::HttpStatus(502),
        ] {
            for group in ["a", "b", "c"] {
                assert!(!breaker.refused(group, &error), "{error}");
            }
        }
        assert!(breaker.state.open.is_none());
    }

    #[test]
    fn a_room_that_is_known_to_be_refused_does_not_delay_the_next_probe() {
        let mut breaker = Moved::new();
        breaker.refused("a", &ChatError::refusal(UNCLEAR));
        breaker.refused("b", &ChatError::refusal(UNCLEAR));
        for _ in 0..3 {
            assert_eq!(breaker.probe(), 5);
            assert!(breaker.refused("a", &ChatError::refusal(UNCLEAR)));
            breaker.end_probe();
        }
        breaker.probe();
        assert!(breaker.refused("c", &ChatError::refusal(UNCLEAR)));
        breaker.end_probe();
        assert_eq!(breaker.probe(), 10);
    }

    #[test]
    fn one_probe_goes_out_at_a_time_and_calls_that_were_under_way_change_nothing() {
        let mut breaker = Moved::new();
        breaker.refused("a", &ChatError::refusal(UNPAID));
        breaker.refused("b", &ChatError::refusal(UNPAID));
        assert!(!breaker.state.begin_probe(breaker.now), "too early");
        assert_eq!(breaker.probe(), 5);
        assert_eq!(breaker.state.wait(breaker.now), None);
        assert!(!breaker.state.begin_probe(breaker.now + DELAYS.1));
        breaker.end_probe();
        assert_eq!(breaker.probe(), 5, "the probe said nothing of the fault");
    }

    #[test]
    fn where_chat_names_a_time_of_silence_no_probe_goes_out_before() {
        let mut breaker = Moved::new();
        breaker.refused("a", &ChatError::refusal(70050));
        assert_eq!(breaker.probe(), 60);
    }

    #[tokio::test]
    async fn a_waiting_worker_goes_on_as_soon_as_a_call_succeeds_or_the_probe_ends() {
        let waiting = |breaker: &Breaker| {
            let breaker = breaker.clone();
            tokio::spawn(async move { breaker.ready().await })
        };
        let hour = Duration::from_secs(3600);
        let breaker = Breaker::with_delays("test", hour, hour);
        let group = GroupId::parse("a").unwrap();
        assert!(breaker.refused(&group, &ChatError::refusal(UNPAID)));
        assert!(!breaker.is_ready() && breaker.paused().is_some());
        let worker = waiting(&breaker);
        tokio::task::yield_now().await;
        breaker.succeeded();
        worker.await.unwrap();

        let breaker = Breaker::with_delays("test", Duration::ZERO, Duration::ZERO);
        breaker.refused(&group, &ChatError::refusal(UNPAID));
        let probe = breaker.pass();
        assert!(!breaker.is_ready());
        let worker = waiting(&breaker);
        tokio::task::yield_now().await;
        drop(probe);
        worker.await.unwrap();
    }
}
