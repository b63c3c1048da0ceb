//! Chat's side: `v4/{service}/{command}`, as the service calls it.
//!
//! Where Chat's documents are silent the strict reading applies: a member twice in a call, a mark
//! twice on a member, a call without members and an unknown key are refused.
//! Sources: <https://www.tencentcloud.com/document/product/1047/50294> (`modify_user_info`),
//! <https://www.tencentcloud.com/document/product/1047/50293> (`get_members`),
//! <https://www.tencentcloud.com/document/product/1047/60523> (`check_members`),
//! <https://www.tencentcloud.com/document/product/1047/38521> (`get_online_member_num`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::Utc;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::callbacks::Event;
use super::connection::Cut;
use super::faults::{LostAnswer, Struck};
use super::log::{Api, CalledMember};
use super::rooms::RoomError;
use super::server::{Shared, World, json as body};
use super::user_sig;
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark};

/// Far more than 500 members with 10 marks each need.
const LARGEST_BODY: usize = 1024 * 1024;
/// Accounts in one call. For `check_members` Chat documents no limit.
const MAX_ACCOUNTS: usize = 500;

/// Source: <https://www.tencentcloud.com/document/product/1047/34348>.
mod code {
    pub(super) const PARAMETER: i64 = 10004;
    pub(super) const TOO_MANY_ACCOUNTS: i64 = 10005;
    pub(super) const GROUP_GONE: i64 = 10010;
    pub(super) const JSON_WRONG: i64 = 10011;
    pub(super) const GROUP_ID: i64 = 10015;
    pub(super) const JSON_UNREADABLE: i64 = 60003;
    pub(super) const SDK_APP_ID: i64 = 60006;
    pub(super) const TOO_FREQUENT: i64 = 60007;
    pub(super) const HTTP_FORMAT: i64 = 60008;
    pub(super) const NO_SUCH_COMMAND: i64 = 60009;
    pub(super) const NEEDS_ADMIN: i64 = 60010;
    pub(super) const SDK_APP_ID_MISSING: i64 = 60012;
    pub(super) const URL_PARAMETER: i64 = 60025;
    pub(super) const SIG_EXPIRED: i64 = 70001;
    pub(super) const SIG_EMPTY: i64 = 70002;
    pub(super) const SIG_MALFORMED: i64 = 70003;
    pub(super) const SIG_WRONG_KEY: i64 = 70009;
    pub(super) const SIG_OTHER_ACCOUNT: i64 = 70013;
    pub(super) const SIG_OTHER_APPLICATION: i64 = 70014;
    pub(super) const SDK_APP_ID_UNKNOWN: i64 = 70020;
}

/// A call that fails.
struct Refusal {
    code: i64,
    info: String,
}

/// A call that succeeds.
#[derive(Default)]
struct Done {
    fields: Value,
    /// The accounts in the answer.
    answered: Vec<String>,
}

/// What a call is answered with, and how.
struct Reply {
    body: Value,
    http_status: Option<u16>,
    delay: Duration,
    lost: Option<LostAnswer>,
}

impl Refusal {
    fn new(code: i64, info: impl ToString) -> Self {
        let info = info.to_string();
        Self { code, info }
    }

    fn parameter(info: impl ToString) -> Self {
        Self::new(code::PARAMETER, info)
    }

    fn injected(code: i64) -> Self {
        Self::new(code, "injected fault")
    }

    fn body(&self) -> Value {
        json!({ "ActionStatus": "FAIL", "ErrorCode": self.code, "ErrorInfo": self.info })
    }
}

impl From<RoomError> for Refusal {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Destroyed(_) => Self::new(code::GROUP_GONE, "the group is gone"),
            _ => Self::new(code::GROUP_ID, "the group does not exist"),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v4/{service}/{command}", any(serve))
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path((service, command)): Path<(String, String)>,
    method: Method,
    RawQuery(query): RawQuery,
    request: Body,
) -> Response {
    let is_it = |api: &Api| api.service() == service && api.command() == command;
    let Some(api) = Api::ALL.into_iter().find(is_it) else {
        let refusal = Refusal::new(code::NO_SUCH_COMMAND, "no such service or command");
        return body(StatusCode::OK, &refusal.body());
    };
    if method != Method::POST {
        let refusal = Refusal::new(code::HTTP_FORMAT, "the method must be POST");
        return body(StatusCode::OK, &refusal.body());
    }
    let mut call = Call::begin(shared.clone(), api);
    let reply = match axum::body::to_bytes(request, LARGEST_BODY).await {
        Ok(request) => call.answer(query.as_deref().unwrap_or_default(), &request),
        Err(_) => {
            let info = "the body is incomplete or too large";
            call.refuse(&Refusal::new(code::JSON_UNREADABLE, info))
        }
    };
    let latency = Duration::from_millis(shared.world().settings.latency_ms);
    let wait = latency + reply.delay;
    if !wait.is_zero() {
        let wait = tokio::time::sleep(wait);
        shared.stop.run_until_cancelled(wait).await;
    }
    match reply.lost {
        Some(LostAnswer::Close) => cut.pull(),
        // Ends with the simulator, or when the caller closes the connection.
        Some(LostAnswer::Hang) => {
            shared.stop.cancelled().await;
            cut.pull();
        }
        None => {}
    }
    drop(call);
    match reply.http_status.map(StatusCode::from_u16) {
        Some(status) => status
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response(),
        None => body(StatusCode::OK, &reply.body),
    }
}

/// A call that runs. It ends when dropped, also when the caller went away.
struct Call {
    shared: Arc<Shared>,
    api: Api,
    seq: u64,
    group: Option<String>,
    failed: bool,
}

impl Call {
    fn begin(shared: Arc<Shared>, api: Api) -> Self {
        let mut world = shared.world();
        let seq = world.log.begin(api);
        shared.announce(&world);
        drop(world);
        Self {
            shared,
            api,
            seq,
            group: None,
            failed: false,
        }
    }

    fn answer(&mut self, query: &str, request: &[u8]) -> Reply {
        let checked = check_query(&self.shared, query, Utc::now().timestamp())
            .and_then(|()| self.admit())
            .and_then(|()| Request::parse(self.api, request));
        match checked {
            Ok(request) => self.carry_out(&request),
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> Reply {
        self.failed = true;
        if let Some(record) = self.shared.world().log.record(self.seq) {
            record.error_code = refusal.code;
        }
        Reply {
            body: refusal.body(),
            http_status: None,
            delay: Duration::ZERO,
            lost: None,
        }
    }

    fn admit(&self) -> Result<(), Refusal> {
        let mut world = self.shared.world();
        let limit = world.settings.calls_per_second;
        let admission = world.log.admit(self.api, limit);
        if let Some(calls) = admission.alert {
            let alert = Event::over_limit(self.api, calls, limit);
            self.shared.emit(&mut world, vec![alert], &None);
        }
        if admission.admitted {
            return Ok(());
        }
        let info = format!("more than {limit} calls in a second");
        Err(Refusal::new(code::TOO_FREQUENT, info))
    }

    fn carry_out(&mut self, request: &Request) -> Reply {
        let (group, members) = (request.group(), request.members());
        let accounts: Vec<&str> = members.iter().map(|m| m.account.as_str()).collect();
        let shared = self.shared.clone();
        let mut world = shared.world();
        let struck = world.faults.strike_call(self.api, group, &accounts);
        self.group = Some(group.to_owned());
        world
            .log
            .describe(self.seq, self.api, group, request.command_type(), members);
        let result = match (struck.http_status, struck.error_code) {
            (Some(_), _) => Ok(Done::default()),
            (None, Some(code)) => Err(Refusal::injected(code)),
            (None, None) => request.apply(&shared, &mut world, &struck),
        };
        let (answered, result) = match result {
            Ok(done) => (done.answered, Ok(done.fields)),
            Err(refusal) => (Vec::new(), Err(refusal)),
        };
        let result = match struck.late_error_code {
            Some(code) => Err(Refusal::injected(code)),
            None => result,
        };
        let error_code = result.as_ref().err().map_or(0, |refusal| refusal.code);
        let http_status = struck.http_status.unwrap_or(200);
        self.failed = error_code != 0 || http_status != 200;
        if let Some(record) = world.log.record(self.seq) {
            record.error_code = error_code;
            record.http_status = http_status;
            record.answered = answered;
        }
        let body = result.map_or_else(
            |refusal| refusal.body(),
            |mut fields| {
                fields["ActionStatus"] = "OK".into();
                fields["ErrorCode"] = 0.into();
                fields["ErrorInfo"] = "".into();
                fields
            },
        );
        Reply {
            body,
            http_status: struck.http_status,
            delay: Duration::from_millis(struck.delay_ms),
            lost: struck.lost_answer,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        let group = self.group.as_deref();
        world.log.end(self.seq, self.api, group, self.failed);
        self.shared.announce(&world);
    }
}

/// Admits a call of the application's administrator. The query is never logged: it contains the
/// UserSig.
fn check_query(shared: &Shared, query: &str, now: i64) -> Result<(), Refusal> {
    const KEYS: [&str; 5] = ["sdkappid", "identifier", "usersig", "random", "contenttype"];
    let mut seen: [Option<String>; 5] = Default::default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if let Some(place) = KEYS.iter().position(|known| *known == key)
            && seen[place].replace(value.into_owned()).is_some()
        {
            let info = format!("`{key}` is twice in the URL");
            return Err(Refusal::new(code::URL_PARAMETER, info));
        }
    }
    let [app, identifier, sig, random, content_type] = seen.map(Option::unwrap_or_default);
    let own_app = shared.sdk_app_id;
    let (code, info) = match app.parse::<u32>() {
        _ if app.is_empty() => (code::SDK_APP_ID_MISSING, "`sdkappid` is missing"),
        Err(_) => (code::SDK_APP_ID, "`sdkappid` is not a number"),
        Ok(app) if app != own_app => (code::SDK_APP_ID_UNKNOWN, "no such SDKAppID"),
        Ok(_) if identifier.is_empty() => (code::URL_PARAMETER, "`identifier` is missing"),
        Ok(_) if sig.is_empty() => (code::SIG_EMPTY, "`usersig` is empty"),
        Ok(_) if random.parse::<u32>().is_err() => (
            code::URL_PARAMETER,
            "`random` must be an integer from 0 to 4294967295",
        ),
        Ok(_) if content_type != "json" => (code::URL_PARAMETER, "`contenttype` must be json"),
        Ok(_) => match user_sig::verify(&sig, own_app, &identifier, &shared.secret_key, now) {
            Err(user_sig::Refused::Malformed) => (code::SIG_MALFORMED, "the UserSig is malformed"),
            Err(user_sig::Refused::OtherApplication) => (
                code::SIG_OTHER_APPLICATION,
                "the UserSig is for another SDKAppID",
            ),
            Err(user_sig::Refused::OtherAccount) => (
                code::SIG_OTHER_ACCOUNT,
                "the UserSig is for another identifier",
            ),
            Err(user_sig::Refused::WrongKey) => (
                code::SIG_WRONG_KEY,
                "the UserSig was signed with another key",
            ),
            Err(user_sig::Refused::Expired) => (code::SIG_EXPIRED, "the UserSig has expired"),
            Ok(()) if identifier != shared.admin_account => {
                (code::NEEDS_ADMIN, "`identifier` is not an administrator")
            }
            Ok(()) => return Ok(()),
        },
    };
    Err(Refusal::new(code, info))
}

enum Request {
    Modify(Modify),
    List(List),
    Check(Check),
    Count(Count),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Modify {
    group_id: String,
    command_type: i64,
    member_list: Vec<ModifyMember>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct ModifyMember {
    #[serde(rename = "Member_Account")]
    account: String,
    marks: Vec<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct List {
    group_id: String,
    timestamp: i64,
    mark: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Check {
    group_id: String,
    #[serde(rename = "Member_Account")]
    accounts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Count {
    group_id: String,
}

impl Request {
    fn parse(api: Api, body: &[u8]) -> Result<Self, Refusal> {
        Ok(match api {
            Api::ModifyUserInfo => Self::Modify(read(body)?),
            Api::GetMembers => Self::List(read(body)?),
            Api::CheckMembers => Self::Check(read(body)?),
            Api::GetOnlineMemberNum => Self::Count(read(body)?),
        })
    }

    fn group(&self) -> &str {
        match self {
            Self::Modify(request) => &request.group_id,
            Self::List(request) => &request.group_id,
            Self::Check(request) => &request.group_id,
            Self::Count(request) => &request.group_id,
        }
    }

    /// The members it names, for the log.
    fn members(&self) -> Vec<CalledMember> {
        let called = |account: &String, marks: &[i64]| CalledMember {
            account: account.clone(),
            marks: marks.to_vec(),
        };
        match self {
            Self::Modify(request) => {
                let members = request.member_list.iter();
                members.map(|m| called(&m.account, &m.marks)).collect()
            }
            Self::Check(request) => request.accounts.iter().map(|a| called(a, &[])).collect(),
            Self::List(_) | Self::Count(_) => Vec::new(),
        }
    }

    fn command_type(&self) -> Option<i64> {
        match self {
            Self::Modify(request) => Some(request.command_type),
            _ => None,
        }
    }

    fn apply(&self, shared: &Shared, world: &mut World, struck: &Struck) -> Result<Done, Refusal> {
        let group = GroupId::parse(self.group());
        let group = group.map_err(|error| Refusal::new(code::GROUP_ID, error))?;
        match self {
            Self::Modify(request) => modify_user_info(shared, world, &group, request, struck),
            Self::List(request) => get_members(world, &group, request),
            Self::Check(request) => check_members(world, &group, request),
            Self::Count(_) => {
                let online = world.rooms.find(&group)?.online();
                Ok(Done {
                    fields: json!({ "OnlineMemberNum": online }),
                    answered: Vec::new(),
                })
            }
        }
    }
}

/// A body that is not JSON has another code than JSON of another shape.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let code = match error.classify() {
            serde_json::error::Category::Data => code::JSON_WRONG,
            _ => code::JSON_UNREADABLE,
        };
        Refusal::new(code, error)
    })
}

fn modify_user_info(
    shared: &Shared,
    world: &mut World,
    group: &GroupId,
    request: &Modify,
    struck: &Struck,
) -> Result<Done, Refusal> {
    let set = match request.command_type {
        1 => true,
        2 => false,
        _ => {
            let info = "`CommandType` must be 1 to set or 2 to delete";
            return Err(Refusal::parameter(info));
        }
    };
    let wanted = wanted(&request.member_list)?;
    let room = world.rooms.find(group)?;
    let visible =
        |account: &Account| !struck.omit_all && !struck.omitted.contains(account.as_str());
    let now = Utc::now().timestamp_millis();
    let marked = room
        .mark(&wanted, set, now, visible)
        .map_err(|_| Refusal::parameter("a group has at most 10 different marks"))?;
    let fallen = marked.fallen.into_iter().map(|(account, at)| {
        Event::presence(group, vec![account], "Offline", "HeartbeatInterrupt", at)
    });
    shared.emit(world, fallen.collect(), &None);
    if marked.served.is_empty() {
        let info = "none of the members could be served";
        return Err(Refusal::new(world.settings.all_offline_code, info));
    }
    let served = || {
        marked
            .served
            .iter()
            .map(|place| &request.member_list[*place])
    };
    let member =
        |member: &ModifyMember| json!({ "Member_Account": member.account, "Marks": member.marks });
    let members: Vec<Value> = served().map(member).collect();
    Ok(Done {
        fields: json!({ "CommandType": request.command_type, "MemberList": members }),
        answered: served().map(|member| member.account.clone()).collect(),
    })
}

fn wanted(members: &[ModifyMember]) -> Result<Vec<(Account, Vec<Mark>)>, Refusal> {
    check_number("MemberList", members.len())?;
    let mut seen = HashSet::with_capacity(members.len());
    let mut wanted = Vec::with_capacity(members.len());
    for member in members {
        let account = Account::parse(&member.account).map_err(Refusal::parameter)?;
        if !seen.insert(&member.account) {
            let info = format!("{:?} is twice in `MemberList`", member.account);
            return Err(Refusal::parameter(info));
        }
        wanted.push((account, marks(&member.marks)?));
    }
    Ok(wanted)
}

fn marks(numbers: &[i64]) -> Result<Vec<Mark>, Refusal> {
    if !(1..=MAX_MARKS_PER_ROOM).contains(&numbers.len()) {
        return Err(Refusal::parameter("`Marks` must have 1 to 10 marks"));
    }
    let mut marks = Vec::with_capacity(numbers.len());
    for number in numbers {
        let mark = Mark::parse(*number).map_err(Refusal::parameter)?;
        if marks.contains(&mark) {
            let info = format!("the mark {mark} is twice in `Marks`");
            return Err(Refusal::parameter(info));
        }
        marks.push(mark);
    }
    Ok(marks)
}

fn check_number(key: &str, accounts: usize) -> Result<(), Refusal> {
    match accounts {
        0 => Err(Refusal::parameter(format!("`{key}` is empty"))),
        1..=MAX_ACCOUNTS => Ok(()),
        _ => {
            let info = format!("a call has at most {MAX_ACCOUNTS} accounts");
            Err(Refusal::new(code::TOO_MANY_ACCOUNTS, info))
        }
    }
}

/// A page of the online list, newest first. `NextTimestamp` is the arrival of the last member on the
/// page in microseconds; callers must pass it on unchanged.
fn get_members(world: &mut World, group: &GroupId, request: &List) -> Result<Done, Refusal> {
    if request.timestamp < 0 {
        let info = "`Timestamp` must be 0 or the last `NextTimestamp`";
        return Err(Refusal::parameter(info));
    }
    let mark = request.mark.map(Mark::parse).transpose();
    let mark = mark.map_err(Refusal::parameter)?;
    let page_size = world.settings.page_size;
    let before = (request.timestamp > 0).then_some(request.timestamp);
    let mut page = world.rooms.find(group)?.listed(mark, before);
    let more = page.len() > page_size;
    page.truncate(page_size);
    let last = page.last().filter(|_| more);
    let next = last.map_or(0, |(arrived, _)| *arrived);
    let member = |(arrived, account): &(i64, Account)| {
        json!({
            "Member_Account": account.as_str(), "JoinTime": arrived / 1_000_000,
            "NickName": "", "Avatar": "",
        })
    };
    let members: Vec<Value> = page.iter().map(member).collect();
    let answered = page.iter().map(|(_, account)| account.as_str().to_owned());
    Ok(Done {
        fields: json!({ "NextTimestamp": next, "MemberList": members }),
        answered: answered.collect(),
    })
}

fn check_members(world: &mut World, group: &GroupId, request: &Check) -> Result<Done, Refusal> {
    check_number("Member_Account", request.accounts.len())?;
    let room = world.rooms.find(group)?;
    let mut answered = Vec::new();
    for text in &request.accounts {
        let account = Account::parse(text).map_err(Refusal::parameter)?;
        if room.member(&account).is_some_and(|member| member.online) {
            answered.push(text.clone());
        }
    }
    Ok(Done {
        fields: json!({ "Member_Account": answered }),
        answered,
    })
}
