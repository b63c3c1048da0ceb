//! The log of REST calls.
//!
//! A ring, bounded in calls and in the members they name. Every begin and every end of a call
//! has a number of its own from one sequence, so that overlap can be told without a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::api::Api;
use super::clock;
use super::rate::{Admission, Window};

/// Calls that are remembered.
const MAX_CALLS: usize = 100_000;
/// Members that the remembered calls name in all.
const MAX_MEMBERS: usize = 1_000_000;

/// One REST call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// 1 for the first call, and so on.
    pub seq: u64,
    /// The API that was called.
    pub api: Api,
    /// The room it is about.
    pub group: Option<String>,
    /// 1 set, 2 delete; only `modify_user_info`.
    pub command_type: Option<i64>,
    /// The mark that `get_members` was asked for.
    pub mark: Option<i64>,
    /// The members in the request; marks only for `modify_user_info`.
    pub members: Vec<CalledMember>,
    /// The accounts in the answer, also when the answer was lost.
    pub answered: Vec<String>,
    /// `ErrorCode` of the answer.
    pub error_code: i64,
    /// HTTP status of the answer.
    pub http_status: u16,
    /// Whether an injected fault kept the answer back for good.
    pub answer_lost: bool,
    /// The injected faults that struck.
    pub faults: Vec<u64>,
    /// Place of its begin among all begins and ends.
    pub began: u64,
    /// Place of its end among all begins and ends; none while it is under way.
    pub ended: Option<u64>,
    /// Unix milliseconds of its arrival.
    pub received_at: i64,
    /// Unix milliseconds when its answer was handed over, or it was given up.
    pub finished_at: Option<i64>,
}

/// A member in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledMember {
    /// The account.
    pub account: String,
    /// The marks to set or delete.
    pub marks: Vec<i64>,
}

/// Figures of one API since the start or the last reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiCount {
    /// Calls that came.
    pub calls: u64,
    /// Calls answered with an error code or an HTTP status other than 200.
    pub errors: u64,
    /// Calls over the limit.
    pub over_limit: u64,
    /// The most calls that came in any one second.
    pub peak_per_second: usize,
    /// Members that all requests named.
    pub members: u64,
    /// The most members that one request named.
    pub most_members: usize,
    /// The most calls that were under way at once.
    pub most_at_once: usize,
    /// The most calls that were under way for one room at once.
    pub most_at_once_in_a_room: usize,
}

impl CallRecord {
    /// Whether both calls were under way at some moment.
    pub fn overlaps(&self, other: &CallRecord) -> bool {
        let before = |a: &CallRecord, b: &CallRecord| a.ended.is_some_and(|end| end < b.began);
        !before(self, other) && !before(other, self)
    }
}

/// The log, its figures, and the rate of each API.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    ring: VecDeque<CallRecord>,
    last_seq: u64,
    members: usize,
    moment: u64,
    apis: BTreeMap<Api, ApiState>,
}

#[derive(Debug, Default)]
struct ApiState {
    count: ApiCount,
    window: Window,
    under_way: usize,
    rooms: HashMap<String, usize>,
}

impl CallLog {
    /// Notes the arrival of a call and gives its number.
    pub(super) fn begin(&mut self, api: Api) -> u64 {
        self.last_seq += 1;
        self.moment += 1;
        let state = self.apis.entry(api).or_default();
        state.count.calls += 1;
        state.under_way += 1;
        state.count.most_at_once = state.count.most_at_once.max(state.under_way);
        self.ring.push_back(CallRecord {
            seq: self.last_seq,
            api,
            group: None,
            command_type: None,
            mark: None,
            members: Vec::new(),
            answered: Vec::new(),
            error_code: 0,
            http_status: 200,
            answer_lost: false,
            faults: Vec::new(),
            began: self.moment,
            ended: None,
            received_at: clock::unix_ms(),
            finished_at: None,
        });
        self.shrink();
        self.last_seq
    }

    /// Counts the call against the limit of its API.
    pub(super) fn admit(&mut self, api: Api, limit: usize) -> Admission {
        let state = self.apis.entry(api).or_default();
        let admission = state.window.admit(Instant::now(), limit);
        state.count.over_limit += u64::from(!admission.admitted);
        admission
    }

    /// Notes what a call asks for.
    pub(super) fn describe(
        &mut self,
        seq: u64,
        api: Api,
        group: Option<&str>,
        members: Vec<CalledMember>,
    ) -> Option<&mut CallRecord> {
        let state = self.apis.entry(api).or_default();
        state.count.members += members.len() as u64;
        state.count.most_members = state.count.most_members.max(members.len());
        if let Some(group) = group {
            let at_once = state.rooms.entry(group.to_owned()).or_default();
            *at_once += 1;
            state.count.most_at_once_in_a_room = state.count.most_at_once_in_a_room.max(*at_once);
        }
        let named = members.len();
        let record = self.record(seq)?;
        record.group = group.map(str::to_owned);
        record.members = members;
        self.members += named;
        self.shrink();
        self.record(seq)
    }

    /// Notes the end of a call; `group` as it was described.
    pub(super) fn end(&mut self, seq: u64, api: Api, group: Option<&str>, failed: bool) {
        self.moment += 1;
        let moment = self.moment;
        let state = self.apis.entry(api).or_default();
        state.under_way = state.under_way.saturating_sub(1);
        state.count.errors += u64::from(failed);
        if let Some(group) = group
            && let Some(at_once) = state.rooms.get_mut(group)
        {
            *at_once = at_once.saturating_sub(1);
            if *at_once == 0 {
                state.rooms.remove(group);
            }
        }
        if let Some(record) = self.record(seq) {
            record.ended = Some(moment);
            record.finished_at = Some(clock::unix_ms());
        }
    }

    /// The record of a call, unless it is forgotten already.
    pub(super) fn record(&mut self, seq: u64) -> Option<&mut CallRecord> {
        let first = self.ring.front()?.seq;
        let place = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.ring.get_mut(place)
    }

    /// Remembered calls after `seq`, oldest first.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &CallRecord> {
        let first = self.ring.front().map_or(0, |record| record.seq);
        let skipped = (seq + 1).saturating_sub(first);
        self.ring
            .iter()
            .skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// Begins and ends so far.
    pub(super) fn moment(&self) -> u64 {
        self.moment
    }

    pub(super) fn counts(&self) -> BTreeMap<Api, ApiCount> {
        let count = |(api, state): (&Api, &ApiState)| {
            let peak_per_second = state.window.peak();
            (
                *api,
                ApiCount {
                    peak_per_second,
                    ..state.count
                },
            )
        };
        self.apis.iter().map(count).collect()
    }

    /// Forgets calls and figures. Numbers go on, so that nobody who waits is confused.
    pub(super) fn reset(&mut self) {
        let (last_seq, moment) = (self.last_seq, self.moment);
        *self = Self {
            last_seq,
            moment,
            ..Self::default()
        };
    }

    fn shrink(&mut self) {
        while self.ring.len() > 1
            && (self.ring.len() > MAX_CALLS || self.members > MAX_MEMBERS)
            && let Some(oldest) = self.ring.pop_front()
        {
            self.members = self.members.saturating_sub(oldest.members.len());
        }
    }
}
