//! Single fields of a callback: text, numbers, times and lists of members, read in place.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::Unreadable;
use crate::domain::{Account, EventTime, GroupId};
use crate::telemetry::warn_seldom;

/// How far ahead of this machine's clock an event may lie. One from further ahead would outrank
/// every later event of its member, so its time is not believed.
const FUTURE_BELIEVED: TimeDelta = TimeDelta::minutes(5);

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Member<'a> {
    #[serde(borrow, rename = "Member_Account")]
    account: Option<&'a RawValue>,
}

/// A string; copied only if it is written with escapes.
pub(super) fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str(raw.get()).ok().map(|Text(text)| text)
}

/// The same where an event cannot do without it.
pub(super) fn required_text<'a>(
    field: &'static str,
    raw: Option<&'a RawValue>,
    expected: &'static str,
) -> Result<Cow<'a, str>, Unreadable> {
    raw.and_then(text)
        .ok_or_else(|| wrong_type(field, raw, expected))
}

/// A whole number, or one in quotes.
pub(super) fn integer(raw: &RawValue) -> Option<i64> {
    match raw.get().parse() {
        Ok(number) => Some(number),
        Err(_) => text(raw)?.trim().parse().ok(),
    }
}

/// The event time, if it is one that can be believed. The table of
/// <https://www.tencentcloud.com/document/product/1047/48734> does not have it, samples show it
/// with and without quotes.
pub(super) fn event_time(raw: Option<&RawValue>, now: DateTime<Utc>) -> Option<EventTime> {
    let at = EventTime::from_number(integer(raw?).filter(|number| *number > 0)?);
    let latest = now.checked_add_signed(FUTURE_BELIEVED)?.timestamp_millis();
    if at.millis() > latest {
        warn_seldom!(
            event_time = at.millis(),
            "an EventTime in the future is not believed"
        );
        return None;
    }
    Some(at)
}

/// The accounts of a list of `{"Member_Account": …}`, without those who can carry no mark.
///
/// What cannot be an account is skipped, and told in one line for the whole list. A list in which
/// nothing is an entry is wrong as a whole.
pub(super) fn members(
    field: &'static str,
    raw: Option<&RawValue>,
    group: &GroupId,
) -> Result<Vec<Account>, Unreadable> {
    const EXPECTED: &str = "a list of objects with a text Member_Account";
    let entries: Option<Vec<&RawValue>> = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
    let entries = entries.ok_or_else(|| wrong_type(field, raw, EXPECTED))?;
    let mut accounts = Vec::with_capacity(entries.len());
    let mut unread = 0;
    let mut skipped = Skipped::default();
    for entry in &entries {
        let Some(written) = member_account(entry) else {
            unread += 1;
            continue;
        };
        match Account::parse(&written) {
            Ok(account) if account.is_anonymous() => {}
            Ok(account) => accounts.push(account),
            Err(error) => skipped.note(&written, &error),
        }
    }
    if unread > 0 && unread == entries.len() {
        let found = "has no entry with an account".into();
        return Err(Unreadable::Field {
            field,
            found,
            expected: EXPECTED,
        });
    }
    skipped.log(field, group, unread);
    Ok(accounts)
}

fn member_account<'a>(entry: &'a RawValue) -> Option<Cow<'a, str>> {
    let member: Member<'a> = serde_json::from_str(entry.get()).ok()?;
    text(member.account?)
}

/// Texts that are no accounts, told in one line however many a list holds.
#[derive(Default)]
struct Skipped {
    count: usize,
    first: Option<(String, String)>,
}

impl Skipped {
    fn note(&mut self, written: &str, error: &impl ToString) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((written.chars().take(48).collect(), error.to_string()));
        }
    }

    fn log(&self, list: &'static str, group: &GroupId, unread: usize) {
        if let Some((account, error)) = &self.first {
            let count = self.count;
            warn_seldom!(
                ?group,
                list,
                count,
                ?account,
                error,
                "skipped what is no account"
            );
        }
        if unread > 0 {
            warn_seldom!(
                ?group,
                list,
                count = unread,
                "skipped entries without Member_Account"
            );
        }
    }
}

fn wrong_type(field: &'static str, raw: Option<&RawValue>, expected: &'static str) -> Unreadable {
    let found = match raw.and_then(|raw| raw.get().bytes().next()) {
        None => "is missing",
        Some(b'"') => "is a text",
        Some(b'{') => "is an object",
        Some(b'[') => "is a list",
        Some(b't' | b'f') => "is true or false",
        Some(_) => "is a number",
    };
    Unreadable::Field {
        field,
        found: found.into(),
        expected,
    }
}

/// What the parser says, which is its own words and a place; shortened all the same.
pub(super) fn place_of(error: &serde_json::Error) -> String {
    error
        .to_string()
        .chars()
        .filter(|letter| !letter.is_control())
        .take(160)
        .collect()
}
