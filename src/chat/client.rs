//! The calls themselves: signed, sent over kept-alive connections, bounded in time and size.
//!
//! One method call is one HTTP request. Nothing is repeated here and no budget is kept: both are
//! the caller's, who alone knows what a call is worth. A signature that Chat refuses is dropped,
//! so the next call brings a new one.
//! Source: <https://www.tencentcloud.com/document/product/1047/34620>.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use url::{Host, Url};

use super::answers::{Answer, MembersPage, ModifyAnswer};
use super::calls::{
    CheckMembers, CommandType, GetMembers, GetOnlineMemberNum, MemberMarks, ModifyUserInfo,
};
use super::error::{ChatError, InvalidCall};
use super::error_codes::ErrorClass;
use super::user_sig::{CurrentUserSig, UserSigKey};
use crate::clock::{self, Clock};
use crate::domain::{Account, GroupId, Mark};
use crate::metrics::{Api, CallClass, CallOutcome, Calling, Metrics};

const LIVE_ROOMS: &str = "group_open_avchatroom_http_svc";
const GROUPS: &str = "group_open_http_svc";
/// Chat's answers end at 1 MB; this leaves room for doubt about the unit.
const LONGEST_ANSWER: usize = 2 * 1024 * 1024;
/// Chat's own backend gives up after this time, so waiting less loses answers.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(3);
/// At least a day is advised: <https://www.tencentcloud.com/document/product/1047/34385>.
const USER_SIG_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// Where and as whom to call.
#[derive(Debug, Clone)]
pub struct ChatEndpoint {
    /// Scheme and host, from [`crate::config::Region::base_url`] or the configuration.
    pub base_url: Url,
    /// The application.
    pub sdk_app_id: u64,
    /// The administrator in whose name calls are made.
    pub admin_account: Account,
    /// The application's key for UserSig.
    pub secret_key: SecretString,
    /// From the first byte sent to the last one read; should exceed the 3 s of Chat's backend.
    pub request_timeout: Duration,
}

/// Why no client can be made of an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not a URL to make calls to.
    #[error(
        "chat.base_url must be http:// or https:// and a host, without user, query and fragment"
    )]
    BaseUrl,
    /// TLS or the resolver could not be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(String),
}

/// A client of one application; clones share connections and signature.
#[derive(Debug, Clone)]
pub struct ChatClient {
    shared: Arc<Shared>,
    metrics: Metrics,
}

struct Shared {
    http: reqwest::Client,
    base_url: Url,
    sdk_app_id: String,
    admin_account: Account,
    user_sig: CurrentUserSig,
    clock: Clock,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Shared");
        out.field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

impl ChatClient {
    /// Makes a client; no connection is opened yet.
    pub fn new(endpoint: ChatEndpoint) -> Result<Self, InvalidEndpoint> {
        Self::with_clock(endpoint, clock::system())
    }

    /// The same with a clock of the caller's, which decides about the age of signatures.
    pub fn with_clock(endpoint: ChatEndpoint, clock: Clock) -> Result<Self, InvalidEndpoint> {
        check_base_url(&endpoint.base_url)?;
        if endpoint.request_timeout <= BACKEND_TIMEOUT {
            tracing::warn!(
                request_timeout = ?endpoint.request_timeout,
                "chat.request_timeout should exceed the 3 s that Chat itself may take"
            );
        }
        let http = http_client(&endpoint.base_url, endpoint.request_timeout);
        let http = http.map_err(|error| InvalidEndpoint::Setup(error.to_string()))?;
        let key = UserSigKey::new(endpoint.sdk_app_id, endpoint.secret_key);
        let user_sig = CurrentUserSig::new(key, endpoint.admin_account.clone(), USER_SIG_TTL);
        let shared = Shared {
            http,
            base_url: endpoint.base_url,
            sdk_app_id: endpoint.sdk_app_id.to_string(),
            admin_account: endpoint.admin_account,
            user_sig,
            clock,
        };
        Ok(Self {
            shared: Arc::new(shared),
            metrics: Metrics::default(),
        })
    }

    /// The same, telling these metrics of every call.
    #[must_use]
    pub fn measured_by(self, metrics: &Metrics) -> Self {
        let metrics = metrics.clone();
        Self { metrics, ..self }
    }

    /// Sets or deletes marks of 1 to 500 distinct members of one room; entries may differ. Setting
    /// takes at most 10 distinct marks.
    ///
    /// Members who are not online are missing from the answer; when that holds for all, the call
    /// fails (see [`super::ErrorCode::may_mean_nobody_online`]).
    /// Source: <https://www.tencentcloud.com/document/product/1047/50294>.
    pub async fn modify_user_info(
        &self,
        group: &GroupId,
        command: CommandType,
        members: &[MemberMarks],
    ) -> Result<ModifyAnswer, ChatError> {
        let calling = self.metrics.call(Api::ModifyUserInfo, Some(members.len()));
        let answer = async {
            let call = ModifyUserInfo::new(group, command, members)?;
            let answer = self.call(LIVE_ROOMS, "modify_user_info", &call).await?;
            Ok(answer.modified(members))
        };
        let answer = answer.await;
        ended(calling, &answer);
        answer
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
        let call = GetMembers {
            group_id: group,
            timestamp,
            mark: mark.map(Mark::get),
        };
        let calling = self.metrics.call(Api::GetMembers, None);
        let answer = self.call(LIVE_ROOMS, "get_members", &call).await;
        let page = answer.and_then(|answer| answer.members_page(timestamp));
        ended(calling, &page);
        page
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
        let calling = self.metrics.call(Api::CheckMembers, Some(accounts.len()));
        let present = async {
            let call = CheckMembers::new(group, accounts)?;
            let answer = self.call(LIVE_ROOMS, "check_members", &call).await?;
            Ok(answer.present(accounts))
        };
        let present = present.await;
        ended(calling, &present);
        present
    }

    /// How many members are online in the room; correct to 10 or 20 s.
    ///
    /// Source: <https://www.tencentcloud.com/document/product/1047/38521>.
    pub async fn get_online_member_num(&self, group: &GroupId) -> Result<u64, ChatError> {
        let call = GetOnlineMemberNum { group_id: group };
        let calling = self.metrics.call(Api::GetOnlineMemberNum, None);
        let answer = self.call(GROUPS, "get_online_member_num", &call).await;
        let online = answer.and_then(|answer| answer.online_member_num());
        ended(calling, &online);
        online
    }

    async fn call<C: Serialize>(
        &self,
        service: &str,
        command: &str,
        call: &C,
    ) -> Result<Answer, ChatError> {
        let user_sig = self.shared.user_sig.get((self.shared.clock)())?;
        let url = self.url(service, command, &user_sig);
        let body = serde_json::to_vec(call);
        let body = body.map_err(|error| InvalidCall::NotJson(error.to_string()))?;
        let outcome = self.send(url, body).await;
        match &outcome {
            Ok(_) => tracing::debug!(command, "Chat took a call"),
            Err(error) => tracing::debug!(command, %error, "a call to Chat failed"),
        }
        if outcome
            .as_ref()
            .is_err_and(|error| error.class() == ErrorClass::NewSignature)
        {
            self.shared.user_sig.forget(&user_sig);
        }
        outcome
    }

    async fn send(&self, url: Url, body: Vec<u8>) -> Result<Answer, ChatError> {
        let request = self
            .shared
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json");
        let mut response = request.body(body).send().await?;
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

    fn url(&self, service: &str, command: &str, user_sig: &SecretString) -> Url {
        let mut url = self.shared.base_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["v4", service, command]);
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

fn check_base_url(url: &Url) -> Result<(), InvalidEndpoint> {
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let bare = url.query().is_none() && url.fragment().is_none();
    let anonymous = url.username().is_empty() && url.password().is_none();
    if web && bare && anonymous {
        Ok(())
    } else {
        Err(InvalidEndpoint::BaseUrl)
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
        // A proxy of the environment cannot reach a Chat that is simulated on this machine.
        builder = builder.no_proxy();
    }
    builder.build()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn ended<T>(calling: Calling<'_>, answer: &Result<T, ChatError>) {
    match answer {
        Ok(_) => calling.ended(CallOutcome::Ok, CallClass::None),
        Err(error) => calling.ended(error.outcome(), error.class().label()),
    }
}
