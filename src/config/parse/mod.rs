//! One function for each kind of value: text in, typed value or complaint out.
//!
//! A complaint says what is wrong and what would be right. Those about secrets never repeat them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use config::Value;
use secrecy::SecretString;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::DatabaseAddress;
use super::reader::{Complaint, text};
use super::settings::{CallbackPath, LogFormat};
use crate::callback::ForwardFailure;
use crate::chat::Region;
use crate::domain::Account;

mod admin_token;
pub(super) use admin_token::admin_token;

pub(super) fn sdk_app_id(text: &str) -> Result<u64, Complaint> {
    match text.trim().parse() {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(format!(
            "{text:?} is no SDKAppID; copy the number that the Chat console shows"
        )),
    }
}

pub(super) fn account(text: &str) -> Result<Account, Complaint> {
    Account::parse(text).map_err(|error| error.to_string())
}

pub(super) fn region(text: &str) -> Result<Region, Complaint> {
    Region::ALL
        .into_iter()
        .find(|region| region.name() == text)
        .ok_or_else(|| {
            let names = Region::ALL.map(Region::name).join(", ");
            format!("{text:?} is no region; give one of {names}")
        })
}

pub(super) fn number(text: &str, least: u32, most: u32) -> Result<u32, Complaint> {
    match text.trim().parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!(
            "{text:?} is out of range; give a whole number from {least} to {most}"
        )),
    }
}

pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, Complaint> {
    let (low, high) = (
        humantime::format_duration(least),
        humantime::format_duration(most),
    );
    match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => Err(format!("{text:?} is out of range; give {low} to {high}")),
        Err(_) => Err(format!(
            "{text:?} is no duration; give {low} to {high}, such as 30ms or 5m"
        )),
    }
}

/// `None` for zero, which turns the matter off.
pub(super) fn interval(text: &str) -> Result<Option<Duration>, Complaint> {
    if humantime::parse_duration(text).is_ok_and(|duration| duration.is_zero()) {
        return Ok(None);
    }
    duration(
        text,
        Duration::from_secs(1),
        Duration::from_secs(24 * 60 * 60),
    )
    .map(Some)
    .map_err(|complaint| format!("{complaint}, or 0s for off"))
}

pub(super) fn address(text: &str) -> Result<SocketAddr, Complaint> {
    text.trim().parse().map_err(|_| {
        format!("{text:?} is no address to listen on; give IP and port, such as 127.0.0.1:8081 or [::]:8081")
    })
}

pub(super) fn path(text: &str) -> Result<PathBuf, Complaint> {
    if text.is_empty() || text.contains('\0') {
        return Err("must name a directory".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// An address to call. It is not repeated in complaints: it may hold a password or a secret path.
pub(super) fn http_url(text: &str) -> Result<Url, Complaint> {
    let url = Url::parse(text.trim())
        .map_err(|error| format!("no URL ({error}); give one such as http://127.0.0.1:9100"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the scheme {:?} cannot be called; give http or https",
            url.scheme()
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "must have no query (?) and no fragment (#); a query is added to each call".into(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user and no password".to_owned());
    }
    Ok(url)
}

/// The console refuses spaces and `! $ & ?` and names letters, digits and hyphens as allowed; what
/// would need escaping in a URL is refused too.
/// Source: <https://www.tencentcloud.com/document/product/1047/34520>.
pub(super) fn callback_path(text: &str) -> Result<CallbackPath, Complaint> {
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
        return Err("a segment is empty or made of dots; give a path such as /callback".to_owned());
    }
    if text.len() > 255 {
        return Err(format!("has {} bytes; give at most 255", text.len()));
    }
    Ok(CallbackPath(text.to_owned()))
}

pub(super) fn forward_failure(text: &str) -> Result<ForwardFailure, Complaint> {
    ForwardFailure::ALL
        .into_iter()
        .find(|answer| answer.name() == text)
        .ok_or_else(|| {
            let names = ForwardFailure::ALL.map(ForwardFailure::name).join(" or ");
            format!("{text:?} is no answer; give {names}")
        })
}

pub(super) fn secret(text: &str) -> Result<SecretString, Complaint> {
    if text.is_empty() {
        return Err("is empty; set it or leave it away".to_owned());
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has a space or a line break in it; was it copied whole?".to_owned());
    }
    Ok(SecretString::from(text))
}

pub(super) fn callback_token(value: Value) -> Result<SecretString, Complaint> {
    secret(&text(value)?)
}

pub(super) fn database_url(text: &str) -> Result<SecretString, Complaint> {
    const RIGHT: &str = "give postgres://user:password@host:5432/database, with special \
        characters of the password percent-encoded";
    let secret = secret(text)?;
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(format!("does not begin with postgres://; {RIGHT}"));
    }
    match DatabaseAddress::read(text) {
        Some(_) => Ok(secret),
        None => Err(format!("is no PostgreSQL URL; {RIGHT}")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Complaint> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is no format; give text or json")),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, Complaint> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is no filter; give a level such as info, or stickymark=debug,info"
        )),
    }
}
