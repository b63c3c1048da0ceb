//! `stickymark check`: whether the service could do its work with these settings.
//!
//! Configuration, database, UserSig and one call to Chat, in this order; each is tried even if one
//! before it failed, so that one run names everything that is to be mended. Nothing is changed
//! anywhere. The call is `get_online_member_num` for a room that hardly exists: it reads one number,
//! and Chat answers it (with the count, or by "no such group") only after it has accepted address,
//! application, administrator and key. Whether the edition allows marks, only a call that sets
//! some would tell.
//! Source: <https://www.tencentcloud.com/document/product/1047/38521>.

use std::fmt;
use std::time::Duration;

use crate::api::status::{DatabaseState, Readiness};
use crate::chat::{Budgets, ChatClient, ChatError, ErrorClass, ErrorCode, UserSigKey};
use crate::config::{DatabaseSettings, Settings};
use crate::database::{Database, DatabaseError, SchemaState};
use crate::domain::GroupId;
use crate::service;

/// A room of this name would do no harm, but nobody has one.
const NO_ROOM: &str = "stickymark-check";

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// It works, but is risky.
    Warning,
    /// It does not work now and may pass by itself.
    Passing,
    /// Somebody must mend it.
    Wrong,
}

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `configuration`, `database`, `UserSig` or `Chat`.
    pub about: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What is there, or what to mend. One line; no secrets.
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

/// Looks at everything.
pub async fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = configuration(settings);
    findings.push(database(&settings.database).await);
    findings.push(user_sig(settings));
    findings.push(chat(settings).await);
    findings
}

fn configuration(settings: &Settings) -> Vec<Finding> {
    let about = "configuration";
    let mut findings = match settings.validate_for_serve() {
        Ok(()) => vec![Finding::new(about, Verdict::Ok, "complete")],
        Err(error) => {
            let problems = error.to_string();
            let problems = problems.lines().map(str::trim);
            problems
                .filter(|problem| !problem.is_empty())
                .map(|problem| Finding::new(about, Verdict::Wrong, problem))
                .collect()
        }
    };
    let warnings = settings.warnings().into_iter();
    findings.extend(warnings.map(|risk| Finding::new(about, Verdict::Warning, risk)));
    findings
}

async fn database(settings: &DatabaseSettings) -> Finding {
    let about = "database";
    if settings.url.is_none() {
        let text = format!(
            "serve starts a private PostgreSQL in {:?}; not tried here",
            settings.path
        );
        return Finding::new(about, Verdict::Ok, text);
    }
    let database = match Database::connect(
        settings.server(),
        &settings.path,
        settings.max_connections,
    )
    .await
    {
        Ok(database) => database,
        Err(error) => {
            let verdict = match error {
                DatabaseError::Unreachable { .. } => Verdict::Passing,
                _ => Verdict::Wrong,
            };
            return Finding::new(about, verdict, error.to_string());
        }
    };
    let state = Readiness::new(database.pool().clone()).database().await;
    let schema = database.schema().await;
    let (verdict, text) = match (state, schema) {
        (DatabaseState::ReadOnly, _) => (
            Verdict::Passing,
            "takes no writes: a standby, or a failover under way; database.url must lead to the \
             primary"
                .to_owned(),
        ),
        (DatabaseState::Unreachable, _) => (Verdict::Passing, "does not answer".to_owned()),
        (_, Err(error)) => (
            Verdict::Wrong,
            format!("the schema cannot be read: {error}; check the rights of the database user"),
        ),
        (_, Ok(SchemaState::Behind(pending))) => (
            Verdict::Wrong,
            format!("{pending} migrations are pending; run stickymark migrate"),
        ),
        (_, Ok(SchemaState::Ahead)) => (
            Verdict::Warning,
            "was migrated by a newer version; it is left as it is".to_owned(),
        ),
        (_, Ok(SchemaState::Current)) => (
            Verdict::Ok,
            "reachable, takes writes, the schema is up to date".to_owned(),
        ),
    };
    // A connection that does not end is no finding.
    let _closed = database.close().await;
    Finding::new(about, verdict, text)
}

fn user_sig(settings: &Settings) -> Finding {
    let (about, chat) = ("UserSig", &settings.chat);
    let (Some(app), Some(key)) = (chat.sdk_app_id, chat.secret_key.clone()) else {
        let text = "cannot be made without chat.sdk_app_id and chat.secret_key";
        return Finding::new(about, Verdict::Wrong, text);
    };
    let account = &chat.admin_account;
    let day = Duration::from_secs(24 * 60 * 60);
    match UserSigKey::new(app, key).sign(account, day, chrono::Utc::now()) {
        Ok(_) => {
            let text = format!("can be made for {:?} of app {app}", account.as_str());
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
        Ok(_) => Finding::new(about, Verdict::Ok, format!("{at} took a call")),
        Err(error) if was_let_in(&error) => {
            let text = format!("{at} took a call; it knows no room {NO_ROOM:?}, as it should be");
            Finding::new(about, Verdict::Ok, text)
        }
        Err(error) => {
            let verdict = match error.class() {
                ErrorClass::Retry | ErrorClass::SlowDown => Verdict::Passing,
                // No setting of ours mends it, and replicas that run go on taking callbacks.
                _ if error.code().is_some_and(ErrorCode::is_state_of_the_app) => Verdict::Passing,
                _ => Verdict::Wrong,
            };
            Finding::new(about, verdict, format!("{at}: {error}; {}", mend(&error)))
        }
    }
}

/// Whether Chat looked at the room, and so accepted who asked.
fn was_let_in(error: &ChatError) -> bool {
    error.code().is_some()
        && matches!(
            error.class(),
            ErrorClass::RoomGone | ErrorClass::RequestFault | ErrorClass::MemberFault
        )
}

fn mend(error: &ChatError) -> &'static str {
    let advice = error.advice();
    advice.unwrap_or(match error.class() {
        ErrorClass::NewSignature => {
            "check that chat.sdk_app_id, chat.secret_key and chat.admin_account belong together"
        }
        ErrorClass::SlowDown => "others call as this app too; try again later",
        _ => "check chat.region or chat.base_url, and whether this machine may call there",
    })
}
