//! The log of REST calls, their figures, and the rate of each API.
//!
//! The log keeps the latest calls.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use chrono::Utc;
use serde::{Deserialize, Serialize};

const MAX_CALLS: usize = 20_000;
const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// <https://www.tencentcloud.com/document/product/1047/50294>
    ModifyUserInfo,
    /// <https://www.tencentcloud.com/document/product/1047/50293>
    GetMembers,
    /// <https://www.tencentcloud.com/document/product/1047/60523>
    CheckMembers,
    /// <https://www.tencentcloud.com/document/product/1047/38521>
    GetOnlineMemberNum,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRecord {
    /// 1 for the first call, and so on.
    pub seq: u64,
    pub api: Api,
    pub group: Option<String>,
    /// 1 set, 2 delete; only `modify_user_info`.
    pub command_type: Option<i64>,
    /// The members in the request; marks only for `modify_user_info`.
    pub members: Vec<CalledMember>,
    /// The accounts in the answer, also when the answer was lost.
    pub answered: Vec<String>,
    pub error_code: i64,
    pub http_status: u16,
    /// Unix milliseconds.
    pub received_at: i64,
    /// Unix milliseconds when the answer was handed over or the caller went away; `None` while the
    /// call runs.
    pub finished_at: Option<i64>,
}

/// With the names of Chat's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub struct CalledMember {
    #[serde(rename = "Member_Account")]
    pub account: String,
    pub marks: Vec<i64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiCount {
    pub calls: u64,
    /// Calls answered with an error code or an HTTP status other than 200.
    pub errors: u64,
    /// The most calls that arrived in any one second.
    pub peak_per_second: usize,
    /// The most calls that ran for one room at once.
    pub most_at_once_in_a_room: usize,
}

impl Api {
    pub(super) const ALL: [Self; 4] = [
        Self::ModifyUserInfo,
        Self::GetMembers,
        Self::CheckMembers,
        Self::GetOnlineMemberNum,
    ];

    /// The service in the path, `v4/{service}/{command}`.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::GetOnlineMemberNum => "group_open_http_svc",
            _ => "group_open_avchatroom_http_svc",
        }
    }

    /// The command in the path, also the name in the control API.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::ModifyUserInfo => "modify_user_info",
            Self::GetMembers => "get_members",
            Self::CheckMembers => "check_members",
            Self::GetOnlineMemberNum => "get_online_member_num",
        }
    }
}

impl CallRecord {
    /// Whether both calls ran at some time.
    pub fn overlaps(&self, other: &CallRecord) -> bool {
        let before =
            |a: &CallRecord, b: &CallRecord| a.finished_at.is_some_and(|end| end <= b.received_at);
        !before(self, other) && !before(other, self)
    }
}

#[derive(Debug, Default)]
pub(super) struct CallLog {
    ring: VecDeque<CallRecord>,
    last_seq: u64,
    apis: BTreeMap<Api, ApiState>,
}

#[derive(Debug, Default)]
struct ApiState {
    count: ApiCount,
    window: Window,
    /// Calls that run, by room.
    running: HashMap<String, usize>,
}

impl CallLog {
    /// Records the arrival of a call and returns its `seq`.
    pub(super) fn begin(&mut self, api: Api) -> u64 {
        self.last_seq += 1;
        self.apis.entry(api).or_default().count.calls += 1;
        self.ring.push_back(CallRecord {
            seq: self.last_seq,
            api,
            group: None,
            command_type: None,
            members: Vec::new(),
            answered: Vec::new(),
            error_code: 0,
            http_status: 200,
            received_at: Utc::now().timestamp_millis(),
            finished_at: None,
        });
        if self.ring.len() > MAX_CALLS {
            self.ring.pop_front();
        }
        self.last_seq
    }

    /// Counts a call against the limit of its API.
    pub(super) fn admit(&mut self, api: Api, limit: usize) -> Admission {
        let state = self.apis.entry(api).or_default();
        let admission = state.window.admit(Instant::now(), limit);
        state.count.peak_per_second = state.window.peak;
        admission
    }

    /// Records what a call asks for and what comes of it.
    pub(super) fn describe(&mut self, seq: u64, describe: impl FnOnce(&mut CallRecord)) {
        let Some(record) = self.record(seq) else {
            return;
        };
        describe(record);
        let (api, group) = (record.api, record.group.clone().unwrap_or_default());
        let state = self.apis.entry(api).or_default();
        let at_once = state.running.entry(group).or_default();
        *at_once += 1;
        state.count.most_at_once_in_a_room = state.count.most_at_once_in_a_room.max(*at_once);
    }

    pub(super) fn end(&mut self, seq: u64) {
        let Some(record) = self.record(seq) else {
            return;
        };
        record.finished_at = Some(Utc::now().timestamp_millis());
        let failed = record.error_code != 0 || record.http_status != 200;
        let (api, group) = (record.api, record.group.clone());
        let state = self.apis.entry(api).or_default();
        state.count.errors += u64::from(failed);
        if let Some(at_once) = group.and_then(|group| state.running.get_mut(&group)) {
            *at_once -= 1;
        }
        state.running.retain(|_, at_once| *at_once > 0);
    }

    /// The record of a call, unless it left the ring already.
    pub(super) fn record(&mut self, seq: u64) -> Option<&mut CallRecord> {
        let first = self.ring.front()?.seq;
        let place = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.ring.get_mut(place)
    }

    /// Remembered calls after `seq`, oldest first.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &CallRecord> {
        self.ring.iter().skip_while(move |record| record.seq <= seq)
    }

    pub(super) fn counts(&self) -> BTreeMap<Api, ApiCount> {
        let count = |(api, state): (&Api, &ApiState)| (*api, state.count);
        self.apis.iter().map(count).collect()
    }
}

/// The calls of the last second, and the most that ever fell into one second.
#[derive(Debug, Default)]
struct Window {
    attempts: VecDeque<Instant>,
    admitted: VecDeque<Instant>,
    peak: usize,
    alerted: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Within the limit. A refused call does not count against the calls after it.
    pub admitted: bool,
    /// Calls in the last second, when they exceed 80 % of the limit and no alert was raised in this
    /// second.
    pub alert: Option<usize>,
}

impl Window {
    /// Counts a call that arrives `now`, where any second admits `limit` calls.
    fn admit(&mut self, now: Instant, limit: usize) -> Admission {
        for calls in [&mut self.attempts, &mut self.admitted] {
            while calls.front().is_some_and(|first| *first + WINDOW <= now) {
                calls.pop_front();
            }
        }
        self.attempts.push_back(now);
        let count = self.attempts.len();
        self.peak = self.peak.max(count);
        let admitted = self.admitted.len() < limit;
        if admitted {
            self.admitted.push_back(now);
        }
        let silent = self.alerted.is_none_or(|last| now >= last + WINDOW);
        let alert = (count * 5 > limit * 4 && silent).then_some(count);
        if alert.is_some() {
            self.alerted = Some(now);
        }
        Admission { admitted, alert }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_however_it_is_cut_admits_more_than_the_limit() {
        let start = Instant::now();
        let mut window = Window::default();
        let mut admit = |ms| window.admit(start + Duration::from_millis(ms), 3).admitted;
        assert!(admit(0) && admit(900) && admit(950));
        assert!(!admit(999));
        // The first call is a second old, the other two are not.
        assert!(admit(1000));
        assert!(!admit(1899));
        assert!(admit(1900));
        // Refused calls count here: 950, 999, 1000, 1899 and 1900.
        assert_eq!(window.peak, 5);
    }
}
