//! How each kind of value is read from text.
//!
//! An error says what is wrong and how to fix it. Errors about secrets never repeat them, so every
//! value is read as text first: serde's own errors quote what they find.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::Role;
use crate::domain::{Account, Mark};

/// Longest name of a mark, in characters.
const LONGEST_NAME: usize = 32;

/// A value that is written as text.
pub(super) trait Parse: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// A scalar as text, since the environment knows nothing else.
fn text<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(value)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Table(_) | toml::Value::Array(_) => Err(D::Error::custom("give one value")),
        _ => Err(D::Error::custom("give text in quotes or a whole number")),
    }
}

pub(super) fn value<'de, D: Deserializer<'de>, T: Parse>(value: D) -> Result<T, D::Error> {
    T::parse(&text(value)?).map_err(D::Error::custom)
}

/// `None` for empty text, so that a variable can remove what a file gives.
pub(super) fn optional<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Parse,
{
    match text(value)?.trim() {
        "" => Ok(None),
        text => T::parse(text).map(Some).map_err(D::Error::custom),
    }
}

/// Unlike an [`optional`] value, a secret must not be empty when it is given.
pub(super) fn read_secret<'de, D, T>(given: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Parse,
{
    value(given).map(Some)
}

pub(super) fn read_tokens<'de, D: Deserializer<'de>>(
    list: D,
) -> Result<Vec<SecretString>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Token(#[serde(deserialize_with = "value")] SecretString);
    let tokens = Vec::<Token>::deserialize(list)?;
    Ok(tokens.into_iter().map(|Token(secret)| secret).collect())
}

/// A table of numbers and names, or text such as `1000=teacher,1001=VIP`.
pub(super) fn read_mark_names<'de, D>(given: D) -> Result<BTreeMap<Mark, String>, D::Error>
where
    D: Deserializer<'de>,
{
    let named = |number: &str, name: Option<&str>| {
        let name = name.ok_or(format!(
            "{number:?} has no name as text; give one like 1000=teacher"
        ))?;
        let parsed = number.trim().parse::<i64>();
        let parsed = parsed.map_err(|_| format!("{number:?} is not a mark"))?;
        let mark = Mark::parse(parsed).map_err(|error| error.to_string())?;
        match name.trim() {
            "" => Err(format!("the name of {mark} is empty")),
            name if name.chars().count() > LONGEST_NAME || name.contains(char::is_control) => {
                Err(format!(
                    "the name of {mark} is longer than {LONGEST_NAME} characters or has control \
                     characters"
                ))
            }
            name => Ok((mark, name.to_owned())),
        }
    };
    let names: Result<_, String> = match toml::Value::deserialize(given)? {
        toml::Value::Table(table) => table
            .iter()
            .map(|(number, name)| named(number, name.as_str()))
            .collect(),
        toml::Value::String(text) => text
            .split(',')
            .filter(|pair| !pair.trim().is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((number, name)) => named(number, Some(name)),
                None => named(pair, None),
            })
            .collect(),
        _ => Err("give a table of marks and names".to_owned()),
    };
    names.map_err(D::Error::custom)
}

/// A duration between two limits in milliseconds.
pub(super) fn within<'de, D, const LOW: u64, const HIGH: u64>(
    given: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    in_range(value(given)?, LOW, HIGH, "").map_err(D::Error::custom)
}

/// The same; `None` for zero.
pub(super) fn within_or_off<'de, D, const LOW: u64, const HIGH: u64>(
    given: D,
) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let given: Duration = value(given)?;
    if given.is_zero() {
        return Ok(None);
    }
    let given = in_range(given, LOW, HIGH, ", or 0s to turn it off");
    given.map(Some).map_err(D::Error::custom)
}

fn in_range(given: Duration, low: u64, high: u64, or: &str) -> Result<Duration, String> {
    let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
    if (low..=high).contains(&given) {
        return Ok(given);
    }
    let [given, low, high] = [given, low, high].map(humantime::format_duration);
    Err(format!("{given} is out of range; give {low} to {high}{or}"))
}

pub(super) fn count<'de, D, const LOW: u32, const HIGH: u32>(given: D) -> Result<u32, D::Error>
where
    D: Deserializer<'de>,
{
    let count: u32 = value(given)?;
    if (LOW..=HIGH).contains(&count) {
        return Ok(count);
    }
    let problem = format!("{count} is out of range; give {LOW} to {HIGH}");
    Err(D::Error::custom(problem))
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    let text = text(value)?;
    match EnvFilter::try_new(&text) {
        Ok(_) if !text.trim().is_empty() => Ok(text),
        _ => Err(D::Error::custom(format!(
            "{text:?} is not a filter; give a level such as info, or stickymark=debug,info"
        ))),
    }
}

impl Parse for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().parse();
        number.map_err(|_| format!("{text:?} is not a whole number, or too large"))
    }
}

/// The SDKAppID.
impl Parse for u64 {
    fn parse(text: &str) -> Result<Self, String> {
        let id = text.parse().ok().filter(|&id| id > 0);
        id.ok_or_else(|| {
            format!("{text:?} is not an SDKAppID; copy the number from the Chat console")
        })
    }
}

impl Parse for Account {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

impl Parse for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map_err(|_| format!("{text:?} is not a duration; give one such as 30ms, 5m or 1d"))
    }
}

impl Parse for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| {
            format!(
                "{text:?} is not an address to listen on; give IP and port, such as 127.0.0.1:8081 \
                 or [::]:8081"
            )
        })
    }
}

impl Parse for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        match text.is_empty() || text.contains('\0') {
            true => Err("must name a directory".to_owned()),
            false => Ok(Self::from(text)),
        }
    }
}

impl Parse for SecretString {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty; give a value or remove the key".to_owned());
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("has a space or a line break in it; was it copied completely?".to_owned());
        }
        Ok(Self::from(text))
    }
}

/// An address to call. Errors do not repeat it: it may hold a password or a secret path.
impl Parse for Url {
    fn parse(text: &str) -> Result<Self, String> {
        let ForwardUrl(url) = ForwardUrl::parse(text)?;
        match url.query() {
            Some(_) => Err("must have no query (?)".to_owned()),
            None => Ok(url),
        }
    }
}

/// An address to call that may have a query.
struct ForwardUrl(Url);

pub(super) fn read_forward_url<'de, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Url>, D::Error> {
    Ok(optional(value)?.map(|ForwardUrl(url)| url))
}

impl Parse for ForwardUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| {
            format!("not a URL ({error}); give one such as http://127.0.0.1:9100")
        })?;
        let wrong = if !matches!(url.scheme(), "http" | "https") {
            "must begin with http:// or https://"
        } else if url.fragment().is_some() {
            "must have no fragment (#)"
        } else if !url.username().is_empty() || url.password().is_some() {
            "must have no user and no password"
        } else {
            return Ok(Self(url));
        };
        Err(wrong.to_owned())
    }
}

/// Path of the callback URL: begins with `/`, made of unreserved characters, so that it needs no
/// escaping in a router or a URL. It may hold a secret segment, hence neither `Display` nor `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackPath(String);

impl CallbackPath {
    /// The path. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Parse for CallbackPath {
    /// The console refuses spaces and `! $ & ?` and names letters, digits and hyphens as allowed;
    /// what would need escaping in a URL is refused too.
    /// Source: <https://www.tencentcloud.com/document/product/1047/34520>.
    fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err("must begin with /, such as /callback".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
        if let Some(refused) = text.chars().find(|&c| !plain(c)) {
            return Err(format!(
                "{refused:?} must not be in it; give letters, digits and - . _ ~ between slashes"
            ));
        }
        let mut segments = path.split('/');
        if segments.any(|segment| matches!(segment, "" | "." | "..")) {
            return Err("a segment is empty or dots; give a path such as /callback".to_owned());
        }
        if text.len() > 255 {
            return Err(format!("has {} bytes; give at most 255", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Who may use the management API: `name:role:secret`, or a table in TOML.
#[derive(Debug, Clone)]
pub struct AdminToken {
    /// Appears in histories: `[A-Za-z0-9._-]{1,64}`.
    pub name: String,
    pub role: Role,
    /// What `Authorization: Bearer` carries.
    pub secret: SecretString,
}

impl AdminToken {
    /// The name is repeated in errors only after a valid role: before that, text with colons could
    /// be a bare secret.
    fn new(name: &str, role: &str, secret: &str) -> Result<Self, String> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(
                "the name must be 1 to 64 letters, digits, dots, underscores or hyphens".into(),
            );
        }
        let role = match role {
            "viewer" => Role::Viewer,
            "editor" => Role::Editor,
            _ => return Err("the role must be viewer or editor".to_owned()),
        };
        if secret.is_empty() || !secret.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "the secret of {name:?} must be printable ASCII without spaces and not empty, \
                 since it travels in a header"
            ));
        }
        let (name, secret) = (name.to_owned(), SecretString::from(secret));
        Ok(Self { name, role, secret })
    }
}

impl<'de> Deserialize<'de> for AdminToken {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        const FORMS: &str = "give name:role:secret, or { name = …, role = …, secret = … } in TOML";
        let text = match toml::Value::deserialize(value)? {
            toml::Value::String(text) => text,
            toml::Value::Table(mut parts) => {
                let part = |key| match parts.remove(key) {
                    Some(toml::Value::String(text)) => text,
                    Some(toml::Value::Integer(number)) => number.to_string(),
                    _ => String::new(),
                };
                let text = ["name", "role", "secret"].map(part).join(":");
                if !parts.is_empty() {
                    return Err(D::Error::custom(FORMS));
                }
                text
            }
            _ => return Err(D::Error::custom(FORMS)),
        };
        let token = match *text.splitn(3, ':').collect::<Vec<_>>() {
            [name, role, secret] => Self::new(name, role, secret),
            _ => Err(format!("does not have three parts; {FORMS}")),
        };
        token.map_err(D::Error::custom)
    }
}
