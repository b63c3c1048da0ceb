//! A code with parameters for each text that the service shows, so that a client can translate it.
//!
//! A text is written where it arises: by an error of the domain, from Chat's answer, into a row of the
//! database. This list has each of them as a template and reads the parameters back. So a text has one
//! place, also one that was stored long ago. A test of the console requires a Chinese text for each code.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use utoipa::openapi::schema::{self, ObjectBuilder};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The code of a text that no template describes.
pub(crate) const OTHER: &str = "other";

/// The parameter that is a message itself.
const CAUSE: &str = "cause";

macro_rules! templates {
    ($($code:literal = $template:literal)+) => { &[$(($code, $template),)+] };
}

/// Codes and their templates. Of two that fit, the first counts.
const TEMPLATES: &[(&str, &str)] = templates! {
    // Fields and parameters.
    "required-in-import" = "is required, so that a second import creates no second rule"
    "required" = "is required"
    "required" = "missing field `{field}`"
    "repeated" = "must be given only once"
    "repeated" = "duplicate field `{field}`"
    "unknown-parameter" = "is not a parameter of this request"
    "unknown-field" = "unknown field `{field}`, expected {expected}"
    "unknown-field" = "unknown field `{field}`, there are no fields"
    "wrong-type" = "invalid type: {found}, expected {expected}"
    "wrong-value" = "invalid value: {found}, expected {expected}"
    "wrong-length" = "invalid length {found}, expected {expected}"
    "unknown-variant" = "unknown variant `{found}`, expected {expected}"
    "not-a-boolean" = "provided string was not `true` or `false`"
    "not-a-number" = "invalid digit found in string"
    "number-too-large" = "number too large to fit in target type"
    "not-an-object" = "must be a JSON object, not a list"
    "invalid-limit" = "must be a number from {min} to {max}"
    "invalid-cursor" = "must be the `next` cursor of a previous page of this list"
    "invalid-etag" = "must be * or a list of ETags in double quotes, like \"3\""
    "only-with-replace" = "works only with mode=replace"
    "invalid-log-filter" = "is not a filter: {reason}; write a level such as info, or \
     target=level, separated by commas"
    "invalid-id" = "a rule id has 1 to 64 characters of A-Z a-z 0-9 . _ - and is not \".\", \
     \"..\", \"import\" or \"export\""
    "id-of-the-path" = "must be {id}, as in the path; an id cannot be changed"
    "empty-pattern" = "a pattern must not be empty; write * for all"
    "star-inside" = "a * is allowed only at the end; write \\* for a literal star"
    "empty-group" = "a group id must not be empty"
    "group-too-long" = "a group id has at most {max} bytes, this one has {actual}"
    "group-not-ascii" = "a group id is printable ASCII; the character at byte {at} is not"
    "empty-account" = "an account must not be empty"
    "account-too-long" = "an account has at most {max} bytes, this one has {actual}"
    "account-control-character" = "an account has no control characters; there is one at byte {at}"
    "invalid-mark" = "a mark is 500, 600, or from 1000 to 4294967295, not {given}"
    "no-marks" = "a rule has at least one mark"
    "too-many-marks" = "a rule has at most {max} marks, this one has {actual}"
    "duplicate-mark" = "duplicate mark {mark}; the marks of a rule are distinct"
    "invalid-time" = "must be a time like 2026-01-31T20:00:00Z (RFC 3339): {reason}"
    "time-out-of-range" = "must be in the years 0001 to 9999, in UTC"
    "ends-before-start" = "must be later than starts_at"
    "text-too-long" = "has at most {max} characters, this one has {actual}"
    "control-character" = "must not contain control characters; {character} at byte {at}"
    "too-many-ids" = "has at most {max} ids, this one has {actual}"
    // Lines of an import.
    "line-too-long" = "is longer than {max} bytes"
    "line-not-json" = "is not a JSON object: {reason}"
    "label-of-the-import" = "must be {label}, as the import says, or absent"
    "duplicate-line" = "duplicate of line {line}"
    "other-label" = "rule {id} has the label {label}; choose another id, or import without a label"
    // Problems as a whole.
    "no-such-path" = "no such path; /openapi.json lists all"
    "no-such-method" = "the header Allow names the methods of this path"
    "not-declared-json" = "send the body uncompressed with Content-Type: application/json (or \
     application/merge-patch+json)"
    "not-declared-ndjson" = "send the rules uncompressed, one a line, with Content-Type: \
     application/x-ndjson or application/octet-stream"
    "body-cut-short" = "the body ended before its announced length"
    "not-json" = "the body is not JSON: {reason}"
    "body-too-long" = "a body has at most {max} bytes"
    "import-too-long" = "an import has at most {bytes} bytes and {rules} rules"
    "no-token" = "send the header Authorization: Bearer <secret of an entry of admin.tokens>"
    "unknown-token" = "unknown token"
    "too-many-wrong-tokens" = "too many unknown tokens came from your address; try again in some seconds"
    "viewer" = "{name} is a viewer; writes require a token of the role editor"
    "not-from-the-console" = "a session of the console writes only from its own pages, with the \
     header X-Stickymark-Console: 1; elsewhere send Authorization: Bearer"
    "only-this-machine" = "the header Host: {host} does not name this machine; without \
     admin.tokens, call as localhost or 127.0.0.1, or set admin.tokens to allow others"
    "other-origin" = "the header Origin: {origin} is not of this service, which the request calls {host}"
    "other-site" = "the header Sec-Fetch-Site: {site} shows that a page of another origin sent this request"
    "too-many-pages" = "{max} pages watch this replica already"
    "no-log" = "this process writes no logs of its own"
    "rule-not-found" = "rule {id} not found"
    "rule-exists" = "rule {id} already exists; PUT /v1/rules/{id} replaces it"
    "version-conflict" = "version conflict: rule {id} is at version {version}"
    "version-conflict-none" = "version conflict: rule {id} does not exist"
    "mark-limit-exceeded" = "rooms {group} would need {count} marks from {from}, and a room holds \
     {max}: marks {marks} of rules {rules}"
    "mark-limit-exceeded" = "rooms {group} would need {count} marks, and a room holds {max}: \
     marks {marks} of rules {rules}"
    "too-many-removals" = "this would remove {removed} of {all} rules, and at most {allowed} may \
     go; max_removals={removed} allows it"
    "invalid-lines" = "nothing was imported: {lines} invalid lines; `errors` lists the first {listed}"
    "invalid-lines" = "nothing was imported: {lines} invalid lines"
    "other-writes" = "other writes of rules take long; nothing was written, try again in a moment"
    "database-unavailable" = "the database did not answer in time; try again in a moment"
    "internal" = "the log of the service says more, under the request id"
    // Why a call failed, a member waits, or calls are paused.
    "member-refused" = "Chat accepts the other members of a call, but not this one: {cause}"
    "chat-refused" = "Chat refused the call with {chat_code} ({meaning}): {info}"
    "chat-http-status" = "a server on the way to Chat answered with HTTP status {status}"
    "chat-timeout" = "Chat did not answer in time"
    "chat-unreachable" = "Chat cannot be reached: {reason}"
    "chat-interrupted" = "the connection to Chat broke: {reason}"
    "chat-bad-answer" = "Chat's answer cannot be used: {reason}"
    "not-signed" = "cannot create a UserSig: {reason}"
    "no-slot" = "no slot for a call: the database failed: {reason}"
    "invalid-call" = "a call names {reason}"
    "invalid-call" = "each member of a call has marks; {reason}"
    "no-place" = "no place: {max} members of the room carry the mark {marks}, as many as Chat \
     allows; set when one of them leaves"
    "partly-confirmed" = "Chat confirms only some of the marks; perhaps 1000 members carry the others"
    "left-out-in-room" = "Chat leaves the member out although they are in the room; perhaps 1000 \
     members carry the mark already"
    "left-out" = "Chat left the member out of its answer, as it does for members who are not online"
    "sweep-database" = "the database failed: {reason}"
    "sweep-lease-lost" = "the lease was lost to another replica"
    "sweep-endless" = "Chat's list has no end"
};

/// A text as a code with parameters.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// What the text says; `other` if it has no code.
    #[schema(value_type = MessageCode)]
    pub code: &'static str,
    /// The values in it: text or numbers, and in `cause` another message.
    #[schema(value_type = Object)]
    pub params: BTreeMap<&'static str, Value>,
    /// The text, in English.
    pub detail: String,
}

impl Eq for Message {}

/// The message of a text in the database.
impl Type<Postgres> for Message {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for Message {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        <&str as Decode<Postgres>>::decode(value).map(Self::of)
    }
}

impl Message {
    /// Reads a text of the service.
    pub fn of(text: impl Into<String>) -> Self {
        let detail = text.into();
        let found = TEMPLATES.iter().find_map(|(code, template)| {
            let params = read(template, &detail)?;
            Some((*code, params))
        });
        let (code, params) = found.unwrap_or((OTHER, BTreeMap::new()));
        Self {
            code,
            params,
            detail,
        }
    }
}

/// Every code, each once.
pub(crate) fn codes() -> Vec<&'static str> {
    let mut codes: Vec<&str> = TEMPLATES.iter().map(|(code, _)| *code).collect();
    codes.push(OTHER);
    codes.dedup();
    codes
}

/// Whether every template of a code has this parameter.
#[cfg(test)]
pub(crate) fn has_param(code: &str, name: &str) -> bool {
    let name = format!("{{{name}}}");
    let mut templates = TEMPLATES.iter().filter(|(one, _)| *one == code);
    templates.all(|(_, template)| template.contains(&name))
}

/// The parameters of a text; `None` if the template does not fit.
fn read(template: &'static str, text: &str) -> Option<BTreeMap<&'static str, Value>> {
    let mut params = BTreeMap::new();
    let (start, mut template) = template.split_once('{').unwrap_or((template, ""));
    let mut rest = text.strip_prefix(start)?;
    while let Some((name, after)) = template.split_once('}') {
        let (literal, next) = after.split_once('{').unwrap_or((after, ""));
        let is_last = next.is_empty();
        let value = match is_last {
            true => rest.strip_suffix(literal)?,
            false => rest.split_once(literal)?.0,
        };
        rest = match is_last {
            true => "",
            false => &rest[value.len() + literal.len()..],
        };
        params.insert(name, param(name, value));
        template = next;
    }
    rest.is_empty().then_some(params)
}

fn param(name: &str, value: &str) -> Value {
    if name == CAUSE {
        return serde_json::to_value(Message::of(value)).unwrap_or_default();
    }
    match value.parse::<i64>() {
        Ok(number) if number.to_string() == value => number.into(),
        _ => value.into(),
    }
}

/// The closed list of codes, for the document.
pub struct MessageCode;

impl PartialSchema for MessageCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(schema::Type::String)
            .enum_values(Some(codes()))
            .description(Some("What a text says; `other` if it has no code."))
            .into()
    }
}

impl ToSchema for MessageCode {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use serde_json::json;

    #[test]
    fn the_parameters_of_a_text_are_read_back() {
        let message = Message::of("a group id has at most 48 bytes, this one has 49");
        assert_eq!(message.code, "group-too-long");
        assert_eq!(json!(message.params), json!({"max": 48, "actual": 49}));
        let message = Message::of("rule 007 already exists; PUT /v1/rules/007 replaces it");
        assert_eq!(message.code, "rule-exists");
        assert_eq!(json!(message.params), json!({"id": "007"}));
        assert_eq!(Message::of("is required").code, "required");
        assert_eq!(Message::of("is required, they say").code, OTHER);
    }

    #[test]
    fn a_message_within_a_message_is_read_too() {
        let error = "Chat refused the call with 10019 (an account does not exist): no {such} one";
        let text = format!("Chat accepts the other members of a call, but not this one: {error}");
        let message = Message::of(text);
        assert_eq!(message.code, "member-refused");
        let cause = &message.params["cause"];
        assert_eq!(cause["code"], "chat-refused");
        assert_eq!(cause["params"]["chat_code"], 10019);
        assert_eq!(cause["params"]["info"], "no {such} one");
    }

    #[test]
    fn codes_are_words_and_templates_of_one_code_stand_together() {
        let codes = codes();
        let distinct: BTreeSet<&str> = codes.iter().copied().collect();
        assert_eq!(codes.len(), distinct.len());
        let is_word = |code: &str| {
            code.bytes()
                .all(|one| one == b'-' || one.is_ascii_lowercase())
        };
        assert!(codes.iter().all(|code| is_word(code)));
    }
}
