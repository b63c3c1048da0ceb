//! What a callback says, in its query and in its body.
//!
//! Both are read tolerantly: pages, samples and logged requests disagree, and keys appear without
//! notice. Unknown keys are skipped, and of a command that is not used here only the name is read.
//! An entry that is not a valid account does not cost the others of its list.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use url::form_urlencoded;

use super::answer::Refusal;
use crate::domain::{Account, EventSource, EventTime, GroupId, MemberEvent, RequestId, RoomEnd};
use crate::metrics::CallbackCommand;
use crate::telemetry::warn_seldom;

/// How far ahead of this machine's clock an event may lie. A later one would outrank every other
/// event of its member, so its time is not believed.
const FUTURE_BELIEVED: TimeDelta = TimeDelta::minutes(5);

/// The keys of the URL that are read; of a key that appears twice, the first. `RequestID` and
/// `RequestId` are in no page; real requests have either.
#[derive(Default)]
pub(super) struct Query<'a> {
    pub sdk_app_id: Cow<'a, str>,
    pub command: Cow<'a, str>,
    pub sign: Option<Cow<'a, str>>,
    pub request_time: Option<Cow<'a, str>>,
    pub request_id: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    pub fn parse(query: &'a str) -> Self {
        let (mut app, mut command) = (None, None);
        let mut found = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*key {
                "SdkAppid" => &mut app,
                "CallbackCommand" => &mut command,
                "Sign" => &mut found.sign,
                "RequestTime" => &mut found.request_time,
                "RequestID" | "RequestId" => &mut found.request_id,
                _ => continue,
            };
            field.get_or_insert(value);
        }
        Self {
            sdk_app_id: app.unwrap_or_default(),
            command: command.unwrap_or_default(),
            ..found
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Callback {
    /// Members came or went. Empty when no entry of the list can carry a mark.
    Members(Vec<MemberEvent>),
    RoomDestroyed(RoomEnd),
    OverLimit(OverLimit),
    /// Not used here: another command, another type of group, an unknown kind of event.
    Other,
}

impl Callback {
    pub fn event_time(&self) -> Option<EventTime> {
        match self {
            Self::Members(events) => events.first()?.at,
            Self::RoomDestroyed(end) => end.at,
            Self::OverLimit(_) | Self::Other => None,
        }
    }
}

/// `Alert.RequestOverLimit`: more than four fifths of an API's calls per second are used.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/60256>.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OverLimit {
    /// For the marks `group_open_avchatroom_http_svc`.
    pub service_name: String,
    /// For the marks `modify_user_info`.
    pub command: String,
    #[serde(default, deserialize_with = "any_number")]
    pub request: Option<i64>,
    #[serde(default, deserialize_with = "any_number")]
    pub limit: Option<i64>,
}

/// What every callback is judged by.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default, rename = "CallbackCommand")]
    command: Cow<'a, str>,
    #[serde(borrow, rename = "Type")]
    group_type: Option<&'a RawValue>,
}

impl Head<'_> {
    /// Other groups are ignored. The state-change page and old samples have no `Type`, so a missing
    /// one is no reason to lose an event: outside live rooms no member can be marked anyway.
    fn is_live_room(&self) -> bool {
        self.group_type
            .is_none_or(|group_type| group_type.get().eq_ignore_ascii_case("\"AVChatRoom\""))
    }
}

/// What an event says. Lists and kinds are read when it is clear which of them the command needs.
///
/// Sources: <https://www.tencentcloud.com/document/product/1047/34372> (join),
/// <https://www.tencentcloud.com/document/product/1047/34373> (exit),
/// <https://www.tencentcloud.com/document/product/1047/48734> (state change),
/// <https://www.tencentcloud.com/document/product/1047/34377> (destroyed).
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fields<'a> {
    group_id: GroupId,
    #[serde(default, deserialize_with = "any_number")]
    event_time: Option<i64>,
    #[serde(borrow)]
    event_type: Option<&'a RawValue>,
    new_member_list: Option<&'a RawValue>,
    exit_member_list: Option<&'a RawValue>,
    member_list: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Member {
    #[serde(rename = "Member_Account")]
    account: Account,
}

/// A number, or one in quotes: field tables and samples disagree. Anything else counts as absent.
fn any_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(raw.get().trim_matches('"').trim().parse().ok())
}

/// Reads a body, for events with this id that came now. A command that is used here must be the same in
/// the URL.
pub(super) fn parse(
    body: &[u8],
    url_command: &str,
    request: &RequestId,
    now: DateTime<Utc>,
) -> Result<Callback, Refusal> {
    if body.starts_with(&[0x1f, 0x8b]) {
        return Err(Refusal::NotJson("it is compressed with gzip".to_owned()));
    }
    // A struct would be read from an array too, key by key in its order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Refusal::NotJson("it does not begin with {".to_owned()));
    }
    let head: Head<'_> =
        serde_json::from_slice(body).map_err(|error| Refusal::NotJson(printable(&error)))?;
    let command = CallbackCommand::named(url_command);
    if command != CallbackCommand::named(&head.command) {
        return Err(Refusal::CommandsDiffer);
    }
    if command == CallbackCommand::Other || !head.is_live_room() {
        return Ok(Callback::Other);
    }
    if command == CallbackCommand::OverLimit {
        // An alert that does not name an API says nothing to act upon.
        return Ok(serde_json::from_slice(body).map_or(Callback::Other, Callback::OverLimit));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let fields: Fields<'_> = serde_path_to_error::deserialize(&mut json)
        .map_err(|error| Refusal::Field(printable(&error)))?;
    let (group, at) = (fields.group_id, event_time(fields.event_time, now));
    let (source, name, list) = match command {
        CallbackCommand::Join => (EventSource::Join, "NewMemberList", fields.new_member_list),
        CallbackCommand::Exit => (EventSource::Exit, "ExitMemberList", fields.exit_member_list),
        CallbackCommand::StateChange => {
            let source = match &*required::<String>("EventType", fields.event_type)? {
                "Online" => EventSource::Online,
                "Offline" => EventSource::Offline,
                _ => return Ok(Callback::Other),
            };
            (source, "MemberList", fields.member_list)
        }
        _ => {
            let request = request.clone();
            return Ok(Callback::RoomDestroyed(RoomEnd { group, at, request }));
        }
    };
    let accounts = accounts(name, &required::<Vec<&RawValue>>(name, list)?, &group)?;
    let event = |account| MemberEvent {
        group: group.clone(),
        account,
        source,
        at,
        request: request.clone(),
    };
    Ok(Callback::Members(accounts.into_iter().map(event).collect()))
}

/// Reads what the event cannot do without.
fn required<'a, T: Deserialize<'a>>(
    name: &'static str,
    value: Option<&'a RawValue>,
) -> Result<T, Refusal> {
    let value = value.ok_or_else(|| Refusal::Field(format!("missing field `{name}`")))?;
    let read = serde_json::from_str(value.get());
    read.map_err(|error| Refusal::Field(printable(&format!("{name}: {error}"))))
}

/// The event time, if it can be believed. The table of
/// <https://www.tencentcloud.com/document/product/1047/48734> does not have it.
fn event_time(number: Option<i64>, now: DateTime<Utc>) -> Option<EventTime> {
    let at = EventTime::from_number(number.filter(|number| *number > 0)?);
    let latest = now.checked_add_signed(FUTURE_BELIEVED)?.timestamp_millis();
    if at.millis() > latest {
        let event_time = at.millis();
        warn_seldom!(event_time, "ignoring an EventTime in the future");
        return None;
    }
    Some(at)
}

/// The accounts of a list of `{"Member_Account": …}` that can carry a mark. A list without a single
/// valid entry is an error.
fn accounts(
    key: &'static str,
    entries: &[&RawValue],
    group: &GroupId,
) -> Result<Vec<Account>, Refusal> {
    let mut accounts = Vec::with_capacity(entries.len());
    let (mut invalid, mut reason) = (0, None);
    for entry in entries {
        match serde_json::from_str(entry.get()) {
            Ok(Member { account }) if account.is_anonymous() => {}
            Ok(Member { account }) => accounts.push(account),
            Err(error) => {
                invalid += 1;
                reason.get_or_insert(printable(&error));
            }
        }
    }
    if let Some(reason) = reason {
        if invalid == entries.len() {
            return Err(Refusal::Field(format!("{key}: {reason}")));
        }
        warn_seldom!(%group, list = key, invalid, reason, "skipping entries that are not valid accounts");
    }
    Ok(accounts)
}

/// An error's own words, which may repeat what came from outside.
fn printable(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let printable = text.chars().filter(|letter| !letter.is_control());
    printable.take(160).collect()
}
