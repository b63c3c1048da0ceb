//! The calls themselves: paced, signed, sent over kept-alive connections, bounded in time and size.
//!
//! Each request takes a slot of its API's budget right before it goes out, and an answer that asks for
//! fewer calls slows that budget down. Each call has its own signature; if Chat does not accept it, the
//! call is made once more. Nothing else is repeated here, since only a caller knows what a call is worth.
//! Source: <https://www.tencentcloud.com/document/product/1047/34620>.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tracing::Instrument;
use url::Url;

use super::answers::{Answer, MembersPage, ModifyAnswer};
use super::budget::Budgets;
use super::calls::{self, CommandType, MemberMarks};
use super::error::ChatError;
use super::user_sig::UserSigKey;
use crate::config::{ChatSettings, ConfigError, is_loopback};
use crate::domain::{Account, GroupId, Mark};
use crate::metrics::{Api, CallOutcome, ErrorClass, Label};
use crate::telemetry::{attribute, failed};

const LIVE_ROOMS: &str = "group_open_avchatroom_http_svc";
const GROUPS: &str = "group_open_http_svc";
/// Chat's answers end at 1 MB; this leaves room for either meaning of MB.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;
/// Chat's own backend times out after this time, so waiting less loses answers.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);
/// At least a day is advised: <https://www.tencentcloud.com/document/product/1047/34385>.
const USER_SIG_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Why no call can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS or the resolver.
    #[error("cannot set up the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// A client of one application; clones share connections and budgets.
#[derive(Debug, Clone)]
pub struct ChatClient {
    shared: Arc<Shared>,
    budgets: Budgets,
}

#[derive(Debug)]
struct Shared {
    http: reqwest::Client,
    base_url: Url,
    sdk_app_id: String,
    admin_account: Account,
    key: UserSigKey,
}

impl ChatClient {
    /// A client that pays for its calls from these budgets; no connection is opened yet.
    pub fn new(settings: &ChatSettings, budgets: Budgets) -> Result<Self, ClientError> {
        let (app, key) = settings.app()?;
        let timeout = settings.request_timeout;
        if timeout <= BACKEND_TIMEOUT {
            tracing::warn!(
                request_timeout = %humantime::format_duration(timeout),
                "chat.request_timeout should exceed the 3 s that Chat itself may take"
            );
        }
        let base_url = settings.url();
        let shared = Shared {
            http: http_client(&base_url, timeout)?,
            base_url,
            sdk_app_id: app.to_string(),
            admin_account: settings.admin_account.clone(),
            key: UserSigKey::new(app, key),
        };
        Ok(Self {
            shared: Arc::new(shared),
            budgets,
        })
    }

    /// Waits until a call that is prepared now would go out soon.
    pub async fn soon(&self, api: Api) {
        if let Some(budget) = self.budgets.of(api) {
            budget.soon().await;
        }
    }

    /// Sets or deletes at most 10 distinct marks of 1 to 500 distinct members of one room; entries may
    /// differ.
    ///
    /// Members who are not online are missing from the answer; when that holds for all, the call
    /// fails (see [`super::ErrorCode::may_mean_all_offline`]).
    /// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
    pub async fn modify_user_info(
        &self,
        group: &GroupId,
        command: CommandType,
        members: &[MemberMarks],
    ) -> Result<ModifyAnswer, ChatError> {
        let call = calls::modify_user_info(group, command, members)?;
        let read = |answer: Answer| Ok(answer.modified(command, members));
        let count = Some(members.len());
        self.call(Api::ModifyUserInfo, call, count, read).await
    }

    /// One page of the members online, of those with `mark` if given. The first page has timestamp
    /// 0, the next one the `next` of the page before.
    ///
    /// Without a mark Chat lists the newest 1000 only; with one, all who carry it.
    /// Source: <https://www.tencentcloud.com/document/product/1047/50293>.
    pub async fn get_members(
        &self,
        group: &GroupId,
        timestamp: u64,
        mark: Option<Mark>,
    ) -> Result<MembersPage, ChatError> {
        let call = calls::get_members(group, timestamp, mark);
        let read = |answer: Answer| answer.members_page(timestamp);
        self.call(Api::GetMembers, call, None, read).await
    }

    /// Which of 1 to 500 distinct accounts are in the room; correct to about 40 s.
    ///
    /// Source: <https://www.tencentcloud.com/document/product/1047/60523>. The page names no limit
    /// for one call; that of the mark call is kept.
    pub async fn check_members(
        &self,
        group: &GroupId,
        accounts: &[Account],
    ) -> Result<Vec<Account>, ChatError> {
        let call = calls::check_members(group, accounts)?;
        let read = |answer: Answer| Ok(answer.present(accounts));
        let count = Some(accounts.len());
        self.call(Api::CheckMembers, call, count, read).await
    }

    /// How many members are online in the room; correct to 10 or 20 s.
    ///
    /// Source: <https://www.tencentcloud.com/document/product/1047/38521>.
    pub async fn get_online_member_num(&self, group: &GroupId) -> Result<u64, ChatError> {
        let call = calls::get_online_member_num(group);
        let read = |answer: Answer| answer.online_member_num();
        self.call(Api::GetOnlineMemberNum, call, None, read).await
    }

    /// One call, and a second one with a new signature if Chat did not accept the first.
    async fn call<T>(
        &self,
        api: Api,
        call: Value,
        members: Option<usize>,
        read: impl Fn(Answer) -> Result<T, ChatError>,
    ) -> Result<T, ChatError> {
        let body = call.to_string().into_bytes();
        let answer = self.try_once(api, body.clone(), members, &read).await;
        match answer {
            Err(error) if error.class() == ErrorClass::NewSignature => {
                self.try_once(api, body, members, &read).await
            }
            answer => answer,
        }
    }

    async fn try_once<T>(
        &self,
        api: Api,
        body: Vec<u8>,
        members: Option<usize>,
        read: impl Fn(Answer) -> Result<T, ChatError>,
    ) -> Result<T, ChatError> {
        let budget = self.budgets.of(api);
        if let Some(budget) = budget {
            let slot = budget.take().await;
            slot.map_err(|error| ChatError::NoSlot(error.to_string()))?;
        }
        let began = Instant::now();
        let count = members.map(|members| members as i64);
        let span = tracing::debug_span!("call", api = api.text(), members = count);
        let answer = async {
            let answer = self.send(api, body).await.and_then(read);
            if let Err(error) = &answer {
                tracing::debug!(api = api.text(), %error, "a call to Chat failed");
                failed(error.class().text());
            }
            answer
        };
        let answer = answer.instrument(span).await;
        let error = answer.as_ref().err();
        let ended = error.map_or((CallOutcome::Ok, None), |error| {
            (error.outcome(), Some(error.class()))
        });
        let metrics = &self.budgets.metrics;
        metrics.called(api, members, ended, began.elapsed());
        self.budgets.recent.ended(error, Instant::now(), Utc::now());
        if let (Err(error), Some(budget)) = (&answer, budget) {
            budget.react_to(error).await;
        }
        answer
    }

    async fn send(&self, api: Api, body: Vec<u8>) -> Result<Answer, ChatError> {
        let Shared {
            http,
            key,
            admin_account,
            ..
        } = &*self.shared;
        let user_sig = key.sign(admin_account, USER_SIG_TTL, Utc::now())?;
        let url = self.url(api, &user_sig);
        if let Some(host) = url.host_str() {
            attribute("server.address", host.to_owned());
        }
        if let Some(port) = url.port_or_known_default() {
            attribute("server.port", i64::from(port));
        }
        let request = http.post(url).header(CONTENT_TYPE, "application/json");
        let mut response = request.body(body).send().await?;
        attribute(
            "http.response.status_code",
            i64::from(response.status().as_u16()),
        );
        if !response.status().is_success() {
            return Err(ChatError::HttpStatus(response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > LONGEST_ANSWER {
                return Err(ChatError::BadAnswer("it is longer than 2 MiB"));
            }
            answer.extend_from_slice(&chunk);
        }
        Answer::parse(&answer)
    }

    fn url(&self, api: Api, user_sig: &SecretString) -> Url {
        let service = match api {
            Api::GetOnlineMemberNum => GROUPS,
            _ => LIVE_ROOMS,
        };
        let mut url = self.shared.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v4", service, api.text()]);
        }
        url.query_pairs_mut()
            .append_pair("sdkappid", &self.shared.sdk_app_id)
            .append_pair("identifier", self.shared.admin_account.as_str())
            .append_pair("usersig", user_sig.expose_secret())
            .append_pair("random", &rand::random::<u32>().to_string())
            .append_pair("contenttype", "json");
        url
    }
}

fn http_client(base_url: &Url, timeout: Duration) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("stickymark/", env!("CARGO_PKG_VERSION")))
        // Many connections rather than one: when it breaks, few calls break with it.
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(2)))
        .pool_idle_timeout(Duration::from_secs(30));
    if is_loopback(base_url) {
        // A proxy from the environment cannot reach a simulated Chat on this machine.
        builder = builder.no_proxy();
    }
    builder.build()
}
