//! An admin token: a table in a file, or `name:role:secret` as text.

use config::{Value, ValueKind};
use secrecy::SecretString;

use crate::config::reader::{Complaint, text};
use crate::config::settings::{AdminToken, Role};

const MIN_SECRET: usize = 8;
const RIGHT: &str = "give name:role:secret, or { name = …, role = …, secret = … } in TOML";

/// Parses one entry. The name is repeated in complaints only after a role that is right: before
/// that, text with colons could be a bare secret.
pub(in crate::config) fn admin_token(value: Value) -> Result<AdminToken, Complaint> {
    let ValueKind::Table(mut table) = value.kind else {
        let entry = text(value)?;
        let mut parts = entry.splitn(3, ':');
        return match (parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(role), Some(secret)) => checked(name, role, secret),
            _ => Err(format!("is not made of three parts; {RIGHT}")),
        };
    };
    let mut part = |key: &str| {
        let value = table
            .remove(key)
            .ok_or_else(|| format!("has no {key}; {RIGHT}"))?;
        text(value).map_err(|complaint| format!("{key}: {complaint}"))
    };
    let (name, role, secret) = (part("name")?, part("role")?, part("secret")?);
    if let Some(unknown) = table.keys().min() {
        return Err(format!("unknown key {unknown:?}; {RIGHT}"));
    }
    checked(&name, &role, &secret)
}

fn checked(name: &str, role: &str, secret: &str) -> Result<AdminToken, Complaint> {
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
    if secret.len() < MIN_SECRET {
        return Err(format!(
            "the secret of {name:?} must have at least {MIN_SECRET} characters"
        ));
    }
    if !secret.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(format!(
            "the secret of {name:?} must be printable ASCII without spaces, since it travels in a header"
        ));
    }
    Ok(AdminToken {
        name: name.to_owned(),
        role,
        secret: SecretString::from(secret),
    })
}
