//! Callbacks as bytes, rendered before they are sent, so that the generator costs little.

use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::population::Member;

/// Token that signs the callbacks.
pub const TOKEN: &str = "benchmark-token";
/// Where all servers take them.
pub const PATH: &str = "/callback";
/// The application's number.
pub const APP: u32 = stickymark::testing::local::simulator::SAMPLE_SDK_APP_ID;

/// Requests, ready to be written to a socket.
#[derive(Default)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// In which order the two callbacks of an arrival are sent.
#[derive(Clone, Copy)]
pub enum Order {
    /// Both of one member, then both of the next: what Chat does.
    Together,
    /// First the joins of all, then all come online, so that no statement can fold two into one.
    Apart,
}

/// Unix milliseconds now.
pub fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// `Sign` for a time in Unix seconds.
pub fn sign(seconds: i64) -> String {
    hex::encode(Sha256::digest(format!("{TOKEN}{seconds}")))
}

impl Requests {
    /// Two callbacks for each member: joined, and online.
    pub fn arrivals(members: &[Member], order: Order) -> Self {
        let mut requests = Self::default();
        let now = unix_ms();
        let (second, sign) = (now / 1000, sign(now / 1000));
        let mut push = |member: &Member, joined: bool| {
            let (command, query, body) = match joined {
                true => join(member, now),
                false => online(member, now),
            };
            let head = format!(
                "POST {PATH}?SdkAppid={APP}&CallbackCommand={command}&contenttype=json{query}\
                 &Sign={sign}&RequestTime={second} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            requests.bytes.extend_from_slice(head.as_bytes());
            requests.bytes.extend_from_slice(body.as_bytes());
            requests.ends.push(requests.bytes.len());
        };
        match order {
            Order::Together => members.iter().for_each(|member| {
                push(member, true);
                push(member, false);
            }),
            Order::Apart => {
                members.iter().for_each(|member| push(member, true));
                members.iter().for_each(|member| push(member, false));
            }
        }
        requests
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The request at a place; places go round.
    pub fn at(&self, place: usize) -> &[u8] {
        let place = place % self.ends.len();
        let begin = match place {
            0 => 0,
            _ => self.ends[place - 1],
        };
        &self.bytes[begin..self.ends[place]]
    }
}

fn join(member: &Member, now: i64) -> (&'static str, &'static str, String) {
    let Member { group, account } = member;
    let body = format!(
        r#"{{"CallbackCommand":"Group.CallbackAfterNewMemberJoin","EventTime":{now},"GroupId":"{group}","JoinType":"Apply","NewMemberList":[{{"Member_Account":"{account}"}}],"Operator_Account":"{account}","Type":"AVChatRoom"}}"#
    );
    let query = "&ClientIP=203.0.113.7&OptPlatform=Android";
    ("Group.CallbackAfterNewMemberJoin", query, body)
}

fn online(member: &Member, now: i64) -> (&'static str, &'static str, String) {
    let Member { group, account } = member;
    let body = format!(
        r#"{{"CallbackCommand":"Group.CallbackOnMemberStateChange","EventCause":"Join","EventTime":{now},"EventType":"Online","GroupId":"{group}","MemberList":[{{"Member_Account":"{account}"}}],"Type":"AVChatRoom"}}"#
    );
    ("Group.CallbackOnMemberStateChange", "", body)
}
