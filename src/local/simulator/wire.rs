//! What the control API takes and gives, for both its ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::api::Api;
use super::callback::{AnswerTimes, CallbackFault, Kind, KindCount};
use super::calls::{ApiCount, CallRecord};
use super::fault::Fault;

/// Opens a room (`POST /control/create`).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRoom {
    /// The room.
    pub group: String,
    /// Its owner's account.
    #[serde(default)]
    pub owner: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Moves members of one room (`POST /control/join` and its kin).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveMembers {
    /// The room.
    pub group: String,
    /// The members, one or many; `destroy` takes none.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Answer only when the callbacks have been delivered or given up.
    #[serde(default)]
    pub wait: bool,
    /// Up to so many members share one callback.
    #[serde(default = "one")]
    pub members_per_callback: usize,
    /// The members were thrown out; only for `leave`.
    #[serde(default)]
    pub kicked: bool,
}

fn one() -> usize {
    1
}

/// What a movement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// Members for whom it changed something.
    pub changed: usize,
    /// Members who were there already, or not at all.
    pub unchanged: usize,
    /// `EventTime` of its callbacks, Unix milliseconds.
    pub at: i64,
    /// Callbacks that were queued for it.
    pub callbacks: usize,
    /// Of these, delivered; 0 without `wait`.
    pub delivered: usize,
    /// Of these, not delivered; 0 without `wait`.
    pub failed: usize,
}

/// Where callbacks go (`PUT /control/callback`). Replaces all three.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// The address; none = no callbacks.
    #[serde(default)]
    pub url: Option<String>,
    /// The token of callback authentication; none = no `Sign`.
    #[serde(default)]
    pub token: Option<Token>,
    /// The kinds that are sent; none = all.
    #[serde(default)]
    pub kinds: Option<BTreeSet<Kind>>,
}

/// One room in the list of rooms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSummary {
    /// The room.
    pub group: String,
    /// Members who joined and did not leave.
    pub members: usize,
    /// Members who are online.
    pub online: usize,
    /// How many members hold each mark.
    pub marks: BTreeMap<u32, usize>,
}

/// One room in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomView {
    /// The room.
    pub group: String,
    /// Its owner's account.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// Its members by account.
    pub members: BTreeMap<String, MemberView>,
}

/// One member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberView {
    /// Whether Chat counts him as online.
    pub online: bool,
    /// Whether his connection is up; with mark 500 he can be online without.
    pub connected: bool,
    /// Unix milliseconds of his last arrival.
    pub arrived_at: i64,
    /// His marks.
    pub marks: BTreeSet<u32>,
}

/// Figures since the start or the last reset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// REST calls.
    pub calls: BTreeMap<Api, ApiCount>,
    /// Callbacks.
    pub callbacks: BTreeMap<Kind, KindCount>,
    /// How fast the receiver answered.
    pub callback_answers: AnswerTimes,
}

/// A part of the call log (`GET /control/calls`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallPage {
    /// The calls, oldest first.
    pub items: Vec<CallRecord>,
    /// `after` for the rest; none at the end.
    pub next: Option<u64>,
}

/// The faults in force (`GET /control/faults`), by number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FaultList {
    /// Faults of REST calls.
    pub calls: BTreeMap<u64, Fault>,
    /// Faults of callbacks.
    pub callbacks: BTreeMap<u64, CallbackFault>,
}

/// The number of a new fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultId {
    /// Clears it later.
    pub id: u64,
}

/// How many calls began or ended so far (`GET /control/moment`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The number.
    pub moment: u64,
}

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What is wrong and what would be right.
    pub error: String,
}

/// A secret that may travel over the control API and shows nowhere else.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Token(pub SecretString);

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([secret])")
    }
}
