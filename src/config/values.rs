//! One function or type for each kind of value: text in, typed value or error out.
//!
//! An error says what is wrong and how to fix it. Errors about secrets never repeat them, so all
//! values are read as text first: serde's own errors quote what they find.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use secrecy::SecretString;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use tracing_subscriber::EnvFilter;
use url::Url;

use super::{DatabaseUrl, Role};
use crate::domain::Account;

const SET: &str = "(set)";

/// A scalar as text, since the environment knows nothing else.
fn text<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(value)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Table(_) | toml::Value::Array(_) => Err(D::Error::custom("give one value")),
        _ => Err(D::Error::custom("give text in quotes or a whole number")),
    }
}

fn read<'de, D: Deserializer<'de>, T>(
    value: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    parse(&text(value)?).map_err(D::Error::custom)
}

pub(super) fn parsed<'de, D, T>(value: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    read(value, |text| {
        text.parse().map_err(|error: T::Err| error.to_string())
    })
}

pub(super) fn account<'de, D: Deserializer<'de>>(value: D) -> Result<Account, D::Error> {
    read(value, |text| {
        Account::parse(text).map_err(|error| error.to_string())
    })
}

pub(super) fn shown<S: Serializer>(value: &impl Display, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(value)
}

pub(super) fn sdk_app_id<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    read(value, |text| match text.trim().parse() {
        _ if text.is_empty() => Ok(None),
        Ok(id) if id > 0 => Ok(Some(id)),
        _ => Err(format!(
            "{text:?} is not an SDKAppID; copy the number from the Chat console"
        )),
    })
}

pub(super) fn number<'de, D: Deserializer<'de>>(value: D) -> Result<u32, D::Error> {
    read(value, |text| {
        let number = text.trim().parse();
        number.map_err(|_| format!("{text:?} is not a whole number, or too large"))
    })
}

pub(super) fn address<'de, D: Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    read(value, |text| {
        text.trim().parse().map_err(|_| {
            format!("{text:?} is not an address to listen on; give IP and port, such as 127.0.0.1:8081 or [::]:8081")
        })
    })
}

pub(super) fn directory<'de, D: Deserializer<'de>>(value: D) -> Result<PathBuf, D::Error> {
    read(value, |text| match text {
        "" => Err("must name a directory".to_owned()),
        text if text.contains('\0') => Err("must name a directory".to_owned()),
        text => Ok(PathBuf::from(text)),
    })
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(value: D) -> Result<String, D::Error> {
    read(value, |text| match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is not a filter; give a level such as info, or stickymark=debug,info"
        )),
    })
}

/// An address to call; empty text = none. Errors do not repeat it: it may hold a password or a secret
/// path.
pub(super) fn http_url<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Url>, D::Error> {
    read(value, |text| match text.trim() {
        "" => Ok(None),
        text => parse_http_url(text).map(Some),
    })
}

fn parse_http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("not a URL ({error}); give one such as http://127.0.0.1:9100"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have no query (?) and no fragment (#)".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user and no password".to_owned());
    }
    Ok(url)
}

pub(super) fn database_url<'de, D>(value: D) -> Result<Option<DatabaseUrl>, D::Error>
where
    D: Deserializer<'de>,
{
    parsed(value).map(Some)
}

/// A value that is not empty and has no space. Also what `database.url` must be.
pub(super) fn check_secret(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty; give a value or remove the key".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has a space or a line break in it; was it copied completely?".to_owned());
    }
    Ok(())
}

pub(super) mod duration {
    use std::time::Duration;

    use super::{Deserializer, Serializer, read};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(value: D) -> Result<Duration, D::Error> {
        read(value, |text| {
            humantime::parse_duration(text)
                .map_err(|_| format!("{text:?} is not a duration; give one such as 30ms, 5m or 1d"))
        })
    }

    pub(crate) fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&humantime::format_duration(*value))
    }
}

/// A duration of which zero means off.
pub(super) mod interval {
    use std::time::Duration;

    use super::{Deserializer, Serializer, duration};

    pub(crate) fn deserialize<'de, D>(value: D) -> Result<Option<Duration>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let interval = duration::deserialize(value)?;
        Ok((!interval.is_zero()).then_some(interval))
    }

    pub(crate) fn serialize<S>(value: &Option<Duration>, s: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        duration::serialize(&value.unwrap_or_default(), s)
    }
}

pub(super) mod secret {
    use secrecy::SecretString;

    use super::{Deserializer, SET, Serialize, Serializer, Token};

    pub(crate) fn deserialize<'de, D>(value: D) -> Result<Option<SecretString>, D::Error>
    where
        D: Deserializer<'de>,
    {
        super::parsed(value).map(|Token(secret)| Some(secret))
    }

    pub(crate) fn serialize<S>(value: &Option<SecretString>, s: S) -> Result<S::Ok, S::Error>
    where
        S: Serializer,
    {
        value.as_ref().map(|_| SET).serialize(s)
    }
}

pub(super) mod secrets {
    use secrecy::SecretString;

    use super::{Deserialize, Deserializer, Serializer, Token};

    pub(crate) fn deserialize<'de, D>(value: D) -> Result<Vec<SecretString>, D::Error>
    where
        D: Deserializer<'de>,
    {
        let tokens = Vec::<Token>::deserialize(value)?;
        Ok(tokens.into_iter().map(|Token(secret)| secret).collect())
    }

    pub(crate) fn serialize<S: Serializer>(all: &[SecretString], s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("({} set)", all.len()))
    }
}

/// A URL whose path may be secret: shown without it.
pub(super) mod private_url {
    use url::Url;

    use super::{Deserializer, Serialize, Serializer};

    pub(crate) fn deserialize<'de, D>(value: D) -> Result<Option<Url>, D::Error>
    where
        D: Deserializer<'de>,
    {
        super::http_url(value)
    }

    pub(crate) fn serialize<S: Serializer>(value: &Option<Url>, s: S) -> Result<S::Ok, S::Error> {
        let shown = value
            .as_ref()
            .map(|url| format!("{}/…", url.origin().ascii_serialization()));
        shown.serialize(s)
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Token(#[serde(deserialize_with = "parsed_token")] SecretString);

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        check_secret(text).map(|()| Self(SecretString::from(text)))
    }
}

fn parsed_token<'de, D: Deserializer<'de>>(value: D) -> Result<SecretString, D::Error> {
    parsed(value).map(|Token(secret)| secret)
}

/// Path of the callback URL: begins with `/`, made of unreserved characters, so that it needs no
/// escaping in a router or a URL. It may hold a secret segment, hence no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackPath(String);

impl CallbackPath {
    /// The path. Not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CallbackPath {
    type Err = String;

    /// The console refuses spaces and `! $ & ?` and names letters, digits and hyphens as allowed;
    /// what would need escaping in a URL is refused too.
    /// Source: <https://www.tencentcloud.com/document/product/1047/34520>.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some(segments) = text.strip_prefix('/') else {
            return Err("must begin with /, such as /callback".to_owned());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '/');
        if let Some(refused) = text.chars().find(|&c| !plain(c)) {
            return Err(format!(
                "{refused:?} must not be in it; give letters, digits and - . _ ~ between slashes"
            ));
        }
        if segments
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(
                "a segment is empty or made of dots; give a path such as /callback".to_owned(),
            );
        }
        if text.len() > 255 {
            return Err(format!("has {} bytes; give at most 255", text.len()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for CallbackPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackPath([REDACTED])")
    }
}

impl Serialize for CallbackPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(SET)
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
        Ok(Self {
            name: name.to_owned(),
            role,
            secret: SecretString::from(secret),
        })
    }
}

impl<'de> Deserialize<'de> for AdminToken {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        const FORMS: &str = "give name:role:secret, or { name = …, role = …, secret = … } in TOML";
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Parts {
            #[serde(deserialize_with = "text")]
            name: String,
            #[serde(deserialize_with = "text")]
            role: String,
            #[serde(deserialize_with = "text")]
            secret: String,
        }
        let token = match toml::Value::deserialize(value)? {
            toml::Value::Table(parts) => {
                let parts = Parts::deserialize(parts);
                let Parts { name, role, secret } = parts
                    .map_err(|error| D::Error::custom(format!("{}; {FORMS}", error.message())))?;
                Self::new(&name, &role, &secret)
            }
            toml::Value::String(entry) => match *entry.splitn(3, ':').collect::<Vec<_>>() {
                [name, role, secret] => Self::new(name, role, secret),
                _ => Err(format!("does not have three parts; {FORMS}")),
            },
            _ => Err(FORMS.to_owned()),
        };
        token.map_err(D::Error::custom)
    }
}

impl Serialize for AdminToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{} ({})", self.name, self.role.name()))
    }
}
