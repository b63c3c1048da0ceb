//! What the body of a callback says.
//!
//! Read tolerantly, for pages, samples and logged requests disagree and keys appear without
//! notice: unknown keys are skipped and optional ones may be missing or of any type. Only what an
//! event cannot do without is demanded. One account that cannot be one does not cost the others of
//! its list. The body is read in place; nothing is copied but what stays.
//! Source: <https://www.tencentcloud.com/document/product/1047/34354>.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fields::{self, event_time, integer, members, required_text, text};
use crate::domain::{EventSource, GroupId, MemberEvent, RequestId, RoomEnd};

/// A callback that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// Members came or went. Empty when the group is no live room, or nobody in the list can carry
    /// a mark.
    Members(Vec<MemberEvent>),
    /// A live room is gone.
    RoomDestroyed(RoomEnd),
    /// An API nears its limit.
    RequestOverLimit(RequestOverLimit),
    /// Any other command; answered and ignored.
    Other(String),
}

/// `Alert.RequestOverLimit`: more than four fifths of an API's calls per second are used.
///
/// Source: <https://www.tencentcloud.com/document/product/1047/60256>.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOverLimit {
    /// `ServiceName`, for the marks `group_open_avchatroom_http_svc`.
    pub service: String,
    /// `Command`, for the marks `modify_user_info`.
    pub command: String,
    /// Calls per second now.
    pub request: u64,
    /// Calls per second allowed.
    pub limit: u64,
}

/// Why a body cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not a JSON object.
    #[error("the body must be a JSON object: {0}")]
    NotJson(String),
    /// The URL names another command than the body: somebody reuses a URL that he saw.
    #[error("CallbackCommand must be the same in URL and body")]
    CommandsDiffer,
    /// A field that the event cannot do without.
    #[error("{field} {found}; it must be {expected}")]
    Field {
        /// Its key.
        field: &'static str,
        /// What is wrong with it.
        found: Cow<'static, str>,
        /// What would be right.
        expected: &'static str,
    },
}

/// The fields of all the callbacks used here, unread.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "CallbackCommand")]
    command: Option<&'a RawValue>,
    #[serde(borrow, rename = "GroupId")]
    group: Option<&'a RawValue>,
    #[serde(borrow, rename = "Type")]
    group_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "EventType")]
    event_type: Option<&'a RawValue>,
    #[serde(borrow, rename = "EventTime")]
    event_time: Option<&'a RawValue>,
    #[serde(borrow, rename = "NewMemberList")]
    new_members: Option<&'a RawValue>,
    #[serde(borrow, rename = "ExitMemberList")]
    exit_members: Option<&'a RawValue>,
    #[serde(borrow, rename = "MemberList")]
    members: Option<&'a RawValue>,
    #[serde(borrow, rename = "ServiceName")]
    service: Option<&'a RawValue>,
    #[serde(borrow, rename = "Command")]
    api: Option<&'a RawValue>,
    #[serde(borrow, rename = "Request")]
    request: Option<&'a RawValue>,
    #[serde(borrow, rename = "Limit")]
    limit: Option<&'a RawValue>,
}

/// How a callback came.
#[derive(Debug, Clone, Copy)]
pub struct Receipt<'a> {
    /// What its events are said to come from.
    pub request: &'a RequestId,
    /// When; decides which event times are believed.
    pub now: DateTime<Utc>,
}

/// Reads a body, which must name the same command as the URL.
pub fn parse(body: &[u8], url_command: &str, receipt: Receipt<'_>) -> Result<Callback, Unreadable> {
    // A struct would be read from an array too, key by key in the order above.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Unreadable::NotJson("it does not begin with {".to_owned()));
    }
    let body: Body<'_> = serde_json::from_slice(body)
        .map_err(|error| Unreadable::NotJson(fields::place_of(&error)))?;
    let command = body.command.and_then(text).unwrap_or_default();
    if command.is_empty() || command != url_command {
        return Err(Unreadable::CommandsDiffer);
    }
    match &*command {
        "Group.CallbackAfterNewMemberJoin" => body.join_or_exit(
            "NewMemberList",
            body.new_members,
            EventSource::Join,
            receipt,
        ),
        "Group.CallbackAfterMemberExit" => body.join_or_exit(
            "ExitMemberList",
            body.exit_members,
            EventSource::Exit,
            receipt,
        ),
        "Group.CallbackOnMemberStateChange" => body.state_change(receipt),
        "Group.CallbackAfterGroupDestroyed" if body.is_live_room() => {
            Ok(Callback::RoomDestroyed(RoomEnd {
                group: body.group_id()?,
                at: event_time(body.event_time, receipt.now),
                request: receipt.request.clone(),
            }))
        }
        "Alert.RequestOverLimit" => Ok(body.over_limit(command)),
        _ => Ok(Callback::Other(command.into_owned())),
    }
}

impl Body<'_> {
    /// <https://www.tencentcloud.com/document/product/1047/34372>,
    /// <https://www.tencentcloud.com/document/product/1047/34373>.
    fn join_or_exit(
        &self,
        list_key: &'static str,
        list: Option<&RawValue>,
        source: EventSource,
        receipt: Receipt<'_>,
    ) -> Result<Callback, Unreadable> {
        if !self.is_live_room() {
            return Ok(Callback::Members(Vec::new()));
        }
        self.events(list_key, list, source, receipt)
    }

    /// Only live rooms have this one: <https://www.tencentcloud.com/document/product/1047/48734>.
    fn state_change(&self, receipt: Receipt<'_>) -> Result<Callback, Unreadable> {
        const EXPECTED: &str = "\"Online\" or \"Offline\"";
        let source = match &*required_text("EventType", self.event_type, EXPECTED)? {
            "Online" => EventSource::Online,
            "Offline" => EventSource::Offline,
            _ => {
                let found = "is another text".into();
                return Err(Unreadable::Field {
                    field: "EventType",
                    found,
                    expected: EXPECTED,
                });
            }
        };
        self.events("MemberList", self.members, source, receipt)
    }

    fn events(
        &self,
        list_key: &'static str,
        list: Option<&RawValue>,
        source: EventSource,
        receipt: Receipt<'_>,
    ) -> Result<Callback, Unreadable> {
        let group = self.group_id()?;
        let at = event_time(self.event_time, receipt.now);
        let accounts = members(list_key, list, &group)?;
        let event = |account| MemberEvent {
            group: group.clone(),
            account,
            source,
            at,
            request: receipt.request.clone(),
        };
        Ok(Callback::Members(accounts.into_iter().map(event).collect()))
    }

    /// The state-change page and old samples have no `Type`, so a missing one is no reason to lose
    /// an event: in a group that is no live room no rule's member can be marked anyway.
    fn is_live_room(&self) -> bool {
        let group_type = self.group_type.and_then(text);
        group_type.is_none_or(|group_type| group_type == "AVChatRoom")
    }

    fn group_id(&self) -> Result<GroupId, Unreadable> {
        const EXPECTED: &str = "a group id, 1 to 48 bytes of printable ASCII";
        let written = required_text("GroupId", self.group, EXPECTED)?;
        GroupId::parse(&written).map_err(|error| Unreadable::Field {
            field: "GroupId",
            found: format!("is wrong ({error})").into(),
            expected: EXPECTED,
        })
    }

    /// An alert without its numbers says nothing to act upon.
    fn over_limit(&self, command: Cow<'_, str>) -> Callback {
        match (
            word(self.service),
            word(self.api),
            number(self.request),
            number(self.limit),
        ) {
            (Some(service), Some(api), Some(request), Some(limit)) => {
                Callback::RequestOverLimit(RequestOverLimit {
                    service: service.into_owned(),
                    command: api.into_owned(),
                    request,
                    limit,
                })
            }
            _ => Callback::Other(command.into_owned()),
        }
    }
}

fn number(raw: Option<&RawValue>) -> Option<u64> {
    u64::try_from(integer(raw?)?).ok()
}

/// A name, bounded because it is kept.
fn word(raw: Option<&RawValue>) -> Option<Cow<'_, str>> {
    text(raw?).filter(|word| word.len() <= 128)
}
