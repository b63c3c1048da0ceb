//! `stickymark check`: whether the service could do its work with these settings.
//!
//! Checks configuration, addresses, database, UserSig and one call to Chat, in this order. A failure
//! does not end the run, so that one run names everything that needs a fix. Nothing is changed. The
//! call is `get_online_member_num` for a room that does not exist: Chat answers it (with the count, or
//! by "no such group") only after it has accepted address, application, administrator and key. Only a
//! call that sets marks would show whether the edition allows them.
//! Source: <https://www.tencentcloud.com/document/product/1047/38521>.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use crate::chat::{Budgets, ChatClient, ChatError, ClientError, ErrorClass, ErrorCode, UserSigKey};
use crate::config::{DatabaseSettings, Settings};
use crate::database::{Database, DatabaseError, SchemaState};
use crate::domain::GroupId;
use crate::service::{self, StartError};

/// A room of this name would do no harm, but there should be none.
const NO_ROOM: &str = "stickymark-check";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// It works, but is risky.
    Warning,
    /// It does not work now, and may without a change.
    Passing,
    /// It needs a fix.
    Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `configuration`, `listeners`, `database`, `UserSig` or `Chat`.
    pub about: &'static str,
    pub verdict: Verdict,
    /// What is there, or what to fix. One line; no secrets.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Passing | Verdict::Wrong => "FAILED",
        };
        write!(f, "{verdict:<8} {:<14} {}", self.about, self.text)
    }
}

/// What one check found, in order.
type Found = Vec<(Verdict, String)>;

pub async fn check(settings: &Settings) -> Vec<Finding> {
    let found = [
        ("configuration", configuration(settings)),
        ("listeners", listeners(settings)),
        ("database", database(&settings.database).await),
        ("UserSig", vec![user_sig(settings)]),
        ("Chat", vec![chat(settings).await]),
    ];
    let findings = found.into_iter().flat_map(|(about, found)| {
        let finding = move |(verdict, text)| Finding {
            about,
            verdict,
            text,
        };
        found.into_iter().map(finding)
    });
    findings.collect()
}

fn configuration(settings: &Settings) -> Found {
    let mut found: Found = match settings.validate_for_serve() {
        Ok(()) => vec![(Verdict::Ok, "complete".to_owned())],
        Err(problems) => {
            let problems = problems.to_string();
            let problems = problems.lines().filter(|problem| !problem.is_empty());
            problems.map(wrong).collect()
        }
    };
    found.extend(settings.warnings().into_iter().map(risk));
    found
}

/// Addresses that cannot be bound. One that is in use may belong to the service, which is running.
fn listeners(settings: &Settings) -> Found {
    let addresses = [
        ("callback.listen", settings.callback.listen),
        ("admin.listen", settings.admin.listen),
    ];
    let errors = addresses.map(|(key, address)| service::listen(key, address).err());
    let errors = errors.into_iter().flatten().filter(|error| {
        !matches!(error, StartError::Listen { reason, .. } if reason.kind() == ErrorKind::AddrInUse)
    });
    errors.map(wrong).collect()
}

async fn database(settings: &DatabaseSettings) -> Found {
    let path = &settings.path;
    if settings.url.is_none() {
        let text = format!("serve starts a private PostgreSQL in {path:?}; not tried here");
        return vec![(Verdict::Ok, text)];
    }
    let database = Database::connect(settings.server(), path, settings.max_connections).await;
    let database = match database {
        Ok(database) => database,
        Err(error) => return vec![refused(&error)],
    };
    let schema = match database.schema().await {
        // The rights of the role decide whether `serve` can apply what is pending.
        Ok(SchemaState::Behind(pending)) => match database.require_migrated().await {
            Err(error @ DatabaseError::MayNotCreate { .. }) => refused(&error),
            _ => {
                let text =
                    format!("reachable; {pending} migrations are pending: serve applies them");
                (Verdict::Ok, text)
            }
        },
        Ok(SchemaState::Ahead) => {
            risk("reachable; migrated by a newer version, which works".to_owned())
        }
        Ok(SchemaState::Current) => (
            Verdict::Ok,
            "reachable; the schema is up to date".to_owned(),
        ),
        Err(error) => refused(&error),
    };
    let mut found = vec![schema];
    found.extend(database.warnings().into_iter().map(risk));
    // A connection that does not end is no finding.
    let _closed = database.close().await;
    found
}

fn wrong(error: impl ToString) -> (Verdict, String) {
    (Verdict::Wrong, error.to_string())
}

fn risk(text: String) -> (Verdict, String) {
    (Verdict::Warning, text)
}

fn refused(error: &DatabaseError) -> (Verdict, String) {
    let verdict = match error {
        DatabaseError::Unreachable { .. } | DatabaseError::ReadOnly => Verdict::Passing,
        _ => Verdict::Wrong,
    };
    (verdict, error.to_string())
}

fn user_sig(settings: &Settings) -> (Verdict, String) {
    let chat = &settings.chat;
    let Ok((app, key)) = chat.app() else {
        return wrong("needs chat.sdk_app_id and chat.secret_key");
    };
    let account = &chat.admin_account;
    let day = Duration::from_secs(24 * 60 * 60);
    match UserSigKey::new(app, key).sign(account, day, chrono::Utc::now()) {
        Ok(_) => {
            let text = format!("valid for account {:?} of app {app}", account.as_str());
            (Verdict::Ok, text)
        }
        Err(error) => wrong(format_args!("{error}; check chat.secret_key")),
    }
}

async fn chat(settings: &Settings) -> (Verdict, String) {
    let at = settings.chat.url().origin().ascii_serialization();
    let client = match ChatClient::new(&settings.chat, Budgets::none()) {
        Ok(client) => client,
        Err(ClientError::Config(_)) => return wrong("not called: settings are missing"),
        Err(error) => return wrong(error),
    };
    let room = match GroupId::parse(NO_ROOM) {
        Ok(room) => room,
        Err(error) => return wrong(error),
    };
    match client.get_online_member_num(&room).await {
        Err(error) if !was_let_in(&error) => {
            let verdict = match error.class() {
                ErrorClass::Retry | ErrorClass::SlowDown => Verdict::Passing,
                // No setting of ours fixes it, and running replicas still accept callbacks.
                _ if error.code().is_some_and(ErrorCode::is_state_of_the_app) => Verdict::Passing,
                _ => Verdict::Wrong,
            };
            (verdict, format!("{at}: {error}; {}", fix(&error)))
        }
        _ => {
            let text = format!("{at} reachable; credentials accepted");
            (Verdict::Ok, text)
        }
    }
}

/// Whether Chat looked at the room, and so accepted the caller.
fn was_let_in(error: &ChatError) -> bool {
    error.code().is_some()
        && matches!(
            error.class(),
            ErrorClass::RoomGone | ErrorClass::RequestFault | ErrorClass::MemberFault
        )
}

fn fix(error: &ChatError) -> &'static str {
    let advice = error.advice();
    advice.unwrap_or(match error.class() {
        ErrorClass::NewSignature => {
            "check that chat.sdk_app_id, chat.secret_key and chat.admin_account belong together"
        }
        ErrorClass::SlowDown => "other callers use this app too; try again later",
        _ => "check chat.region or chat.base_url, and whether this machine can reach it",
    })
}
