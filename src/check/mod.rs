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

use crate::chat::{Budgets, ChatClient, ChatError, ErrorClass, ErrorCode, UserSigKey};
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

impl Finding {
    fn new(about: &'static str, verdict: Verdict, text: impl Into<String>) -> Self {
        Self {
            about,
            verdict,
            text: text.into(),
        }
    }
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

pub async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = configuration(settings);
    findings.extend(listeners(settings).await);
    findings.extend(database(&settings.database).await);
    findings.push(user_sig(settings));
    findings.push(chat(settings).await);
    findings
}

fn configuration(settings: &Settings) -> Vec<Finding> {
    let about = "configuration";
    let complete = settings.validate_for_serve();
    let problems = complete
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    let problems = problems.lines().filter(|problem| !problem.is_empty());
    let mut findings: Vec<Finding> = problems
        .map(|problem| Finding::new(about, Verdict::Wrong, problem))
        .collect();
    if findings.is_empty() {
        findings.push(Finding::new(about, Verdict::Ok, "complete"));
    }
    let warnings = settings.warnings().into_iter();
    findings.extend(warnings.map(|risk| Finding::new(about, Verdict::Warning, risk)));
    findings
}

/// Addresses that cannot be bound. One that is in use may belong to the service, which is running.
async fn listeners(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, address) in [
        ("callback.listen", settings.callback.listen),
        ("admin.listen", settings.admin.listen),
    ] {
        match service::listen(key, address) {
            Err(StartError::Listen { reason, .. }) if reason.kind() == ErrorKind::AddrInUse => {}
            Err(error) => {
                findings.push(Finding::new("listeners", Verdict::Wrong, error.to_string()))
            }
            Ok(_) => {}
        }
    }
    findings
}

async fn database(settings: &DatabaseSettings) -> Vec<Finding> {
    let about = "database";
    if settings.url.is_none() {
        let text = format!(
            "serve starts a private PostgreSQL in {:?}; not tried here",
            settings.path
        );
        return vec![Finding::new(about, Verdict::Ok, text)];
    }
    let connecting =
        Database::connect(settings.server(), &settings.path, settings.max_connections).await;
    let database = match connecting {
        Ok(database) => database,
        Err(error) => return vec![refused(about, &error)],
    };
    let found = match database.schema().await {
        // The rights of the role decide whether `serve` can apply what is pending.
        Ok(SchemaState::Behind(pending)) => match database.require_migrated().await {
            Err(error @ DatabaseError::MayNotCreate { .. }) => refused(about, &error),
            _ => {
                let text =
                    format!("reachable; {pending} migrations are pending: serve applies them");
                Finding::new(about, Verdict::Ok, text)
            }
        },
        Ok(SchemaState::Ahead) => {
            let text = "reachable; migrated by a newer version, which works";
            Finding::new(about, Verdict::Warning, text)
        }
        Ok(SchemaState::Current) => {
            Finding::new(about, Verdict::Ok, "reachable; the schema is up to date")
        }
        Err(error) => refused(about, &error),
    };
    let mut findings = vec![found];
    let warnings = database.warnings().into_iter();
    findings.extend(warnings.map(|risk| Finding::new(about, Verdict::Warning, risk)));
    // A connection that does not end is no finding.
    let _closed = database.close().await;
    findings
}

fn refused(about: &'static str, error: &DatabaseError) -> Finding {
    let verdict = match error {
        DatabaseError::Unreachable { .. } | DatabaseError::ReadOnly => Verdict::Passing,
        _ => Verdict::Wrong,
    };
    Finding::new(about, verdict, error.to_string())
}

fn user_sig(settings: &Settings) -> Finding {
    let (about, chat) = ("UserSig", &settings.chat);
    let (Some(app), Some(key)) = (chat.sdk_app_id, chat.secret_key.clone()) else {
        let text = "needs chat.sdk_app_id and chat.secret_key";
        return Finding::new(about, Verdict::Wrong, text);
    };
    let account = &chat.admin_account;
    let day = Duration::from_secs(24 * 60 * 60);
    match UserSigKey::new(app, key).sign(account, day, chrono::Utc::now()) {
        Ok(_) => {
            let text = format!("valid for account {:?} of app {app}", account.as_str());
            Finding::new(about, Verdict::Ok, text)
        }
        Err(error) => {
            let text = format!("{error}; check chat.secret_key");
            Finding::new(about, Verdict::Wrong, text)
        }
    }
}

async fn chat(settings: &Settings) -> Finding {
    let about = "Chat";
    let client = match service::endpoint(&settings.chat) {
        Ok(endpoint) => {
            ChatClient::new(endpoint, Budgets::none()).map_err(|error| error.to_string())
        }
        Err(error) => Err(format!("not called: {error}")),
    };
    let (client, room) = match (client, GroupId::parse(NO_ROOM)) {
        (Ok(client), Ok(room)) => (client, room),
        (Err(error), _) => return Finding::new(about, Verdict::Wrong, error),
        (_, Err(error)) => return Finding::new(about, Verdict::Wrong, error.to_string()),
    };
    let at = settings.chat.base_url.clone();
    let at = at.unwrap_or_else(|| settings.chat.region.base_url());
    let at = at.origin().ascii_serialization();
    match client.get_online_member_num(&room).await {
        Ok(_) => Finding::new(
            about,
            Verdict::Ok,
            format!("{at} reachable; credentials accepted"),
        ),
        Err(error) if was_let_in(&error) => {
            let text = format!("{at} reachable; credentials accepted");
            Finding::new(about, Verdict::Ok, text)
        }
        Err(error) => {
            let verdict = match error.class() {
                ErrorClass::Retry | ErrorClass::SlowDown => Verdict::Passing,
                // No setting of ours fixes it, and running replicas still accept callbacks.
                _ if error.code().is_some_and(ErrorCode::is_state_of_the_app) => Verdict::Passing,
                _ => Verdict::Wrong,
            };
            Finding::new(about, verdict, format!("{at}: {error}; {}", fix(&error)))
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
