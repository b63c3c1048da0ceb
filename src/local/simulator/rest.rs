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
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chrono::Utc;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};

use super::callbacks::Event;
use super::faults::{LostAnswer, Struck};
use super::log::{Api, CalledMember};
use super::rooms::{Member, RoomError};
use super::{Shared, World, json as body, user_sig};
use crate::domain::{Account, GroupId, MAX_MARKS_PER_ROOM, Mark};

/// Far more than 500 members with 10 marks each need.
const LARGEST_BODY: usize = 1024 * 1024;
/// Accounts in one call. For `check_members` Chat documents no limit.
const MAX_ACCOUNTS: usize = 500;

/// A call that fails, with one of <https://www.tencentcloud.com/document/product/1047/34348>.
#[derive(Debug)]
pub(super) struct Refusal {
    pub code: i64,
    info: String,
}

impl Refusal {
    pub(super) fn new(code: i64, info: impl ToString) -> Self {
        let info = info.to_string();
        Self { code, info }
    }

    fn parameter(info: impl ToString) -> Self {
        Self::new(10004, info)
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
            RoomError::Destroyed(_) => Self::new(10010, "the group is gone"),
            _ => Self::new(10015, "the group does not exist"),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v4/{service}/{command}", any(serve))
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    Path((service, command)): Path<(String, String)>,
    method: Method,
    RawQuery(query): RawQuery,
    request: Body,
) -> Response {
    let is_it = |api: &Api| api.service() == service && api.command() == command;
    let Some(api) = Api::ALL.into_iter().find(is_it) else {
        let refusal = Refusal::new(60009, "no such service or command");
        return body(StatusCode::OK, &refusal.body());
    };
    if method != Method::POST {
        let refusal = Refusal::new(60008, "the method must be POST");
        return body(StatusCode::OK, &refusal.body());
    }
    let call = Call::begin(shared.clone(), api);
    let request = axum::body::to_bytes(request, LARGEST_BODY).await;
    let (answer, struck) = call.answer(query.as_deref().unwrap_or_default(), request.ok());
    let wait = shared.world.lock().settings.latency_ms + struck.delay_ms;
    if wait > 0 {
        let wait = tokio::time::sleep(Duration::from_millis(wait));
        shared.stop.run_until_cancelled(wait).await;
    }
    if struck.lost_answer == Some(LostAnswer::Hang) {
        // Ends with the simulator, or when the caller closes the connection.
        shared.stop.cancelled().await;
    }
    drop(call);
    if struck.lost_answer.is_some() {
        // A lost answer must look like one: unwinding ends the task of the connection, which closes
        // without a byte.
        std::panic::resume_unwind(Box::new("lost answer"));
    }
    match struck.http_status {
        Some(status) => StatusCode::from_u16(status)
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            .into_response(),
        None => body(StatusCode::OK, &answer),
    }
}

/// A call that runs. It ends when dropped, also when the caller went away.
struct Call {
    shared: Arc<Shared>,
    api: Api,
    seq: u64,
}

impl Call {
    fn begin(shared: Arc<Shared>, api: Api) -> Self {
        let seq = shared.world.lock().log.begin(api);
        Self { shared, api, seq }
    }

    /// The answer, and what goes wrong with it.
    fn answer(&self, query: &str, request: Option<Bytes>) -> (Value, Struck) {
        let mut struck = Struck::default();
        let done = check_query(&self.shared, query, Utc::now().timestamp())
            .and_then(|()| self.admit())
            .and_then(|()| Request::read(self.api, request))
            .and_then(|request| self.carry_out(request, &mut struck));
        if let (Err(refusal), Some(record)) = (&done, self.shared.world.lock().log.record(self.seq))
        {
            record.error_code = refusal.code;
        }
        let answer = match done {
            Ok(mut fields) => {
                fields["ActionStatus"] = "OK".into();
                fields["ErrorCode"] = 0.into();
                fields["ErrorInfo"] = "".into();
                fields
            }
            Err(refusal) => refusal.body(),
        };
        (answer, struck)
    }

    fn admit(&self) -> Result<(), Refusal> {
        let mut world = self.shared.world.lock();
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
        Err(Refusal::new(60007, info))
    }

    fn carry_out(&self, request: Request, struck: &mut Struck) -> Result<Value, Refusal> {
        let mut world = self.shared.world.lock();
        let (group, faults) = (request.group_id.to_string(), &mut world.faults);
        *struck = faults.strike_call(self.api, &group, &request.named());
        let mut done = match (struck.http_status, struck.error_code) {
            (Some(_), _) => Ok(json!({})),
            (None, Some(code)) => Err(Refusal::injected(code)),
            (None, None) => request.apply(self.api, &mut world, struck),
        };
        let answered = done.as_ref().map(answered).unwrap_or_default();
        if let Some(code) = struck.late_error_code {
            done = Err(Refusal::injected(code));
        }
        world.log.describe(self.seq, |record| {
            record.group = Some(group);
            record.command_type = request.command_type;
            record.members = request.members();
            record.error_code = done.as_ref().err().map_or(0, |refusal| refusal.code);
            record.http_status = struck.http_status.unwrap_or(200);
            record.answered = answered;
        });
        done
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.world.lock().log.end(self.seq);
    }
}

#[derive(Deserialize)]
struct Query {
    sdkappid: u32,
    identifier: String,
    usersig: String,
    #[serde(rename = "random")]
    _random: u32,
    contenttype: String,
}

/// Admits a call of the application's administrator. The query is never logged: it contains the
/// UserSig.
fn check_query(shared: &Shared, query: &str, now: i64) -> Result<(), Refusal> {
    // A key that is missing or there twice is an error.
    let query: Query =
        serde_urlencoded::from_str(query).map_err(|error| Refusal::new(60025, error))?;
    if query.contenttype != "json" {
        return Err(Refusal::new(60025, "`contenttype` must be json"));
    }
    if query.sdkappid != shared.options.sdk_app_id {
        return Err(Refusal::new(70020, "no such SDKAppID"));
    }
    let key = shared.options.secret_key.expose_secret();
    user_sig::verify(&query.usersig, query.sdkappid, &query.identifier, key, now)
        .map_err(|(code, info)| Refusal::new(code, info))?;
    if query.identifier != shared.options.admin_account {
        return Err(Refusal::new(60010, "`identifier` is not an administrator"));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Request {
    group_id: GroupId,
    command_type: Option<i64>,
    member_list: Option<Vec<CalledMember>>,
    timestamp: Option<i64>,
    mark: Option<i64>,
    #[serde(rename = "Member_Account")]
    accounts: Option<Vec<String>>,
}

impl Request {
    /// A body that is not JSON has another code than JSON of another shape.
    fn read(api: Api, body: Option<Bytes>) -> Result<Self, Refusal> {
        let incomplete = || Refusal::new(60003, "the body is incomplete or too large");
        let request: Self = serde_json::from_slice(&body.ok_or_else(incomplete)?)
            .map_err(|error| Refusal::new(if error.is_data() { 10011 } else { 60003 }, error))?;
        let keys = [
            request.command_type.is_some(),
            request.member_list.is_some(),
            request.timestamp.is_some(),
            request.accounts.is_some(),
        ];
        let right = match api {
            Api::ModifyUserInfo => [true, true, false, false],
            Api::GetMembers => [false, false, true, false],
            Api::CheckMembers => [false, false, false, true],
            Api::GetOnlineMemberNum => [false; 4],
        };
        if keys != right || request.mark.is_some() && api != Api::GetMembers {
            let info = "the keys of the body are not those of this command";
            return Err(Refusal::new(10011, info));
        }
        Ok(request)
    }

    fn named(&self) -> Vec<&str> {
        let marked = self.member_list.iter().flatten();
        let asked = self.accounts.iter().flatten().map(String::as_str);
        marked
            .map(|member| member.account.as_str())
            .chain(asked)
            .collect()
    }

    /// With marks in `modify_user_info` alone.
    fn members(self) -> Vec<CalledMember> {
        let asked = self.accounts.into_iter().flatten();
        let asked = asked.map(|account| CalledMember {
            account,
            marks: Vec::new(),
        });
        self.member_list
            .into_iter()
            .flatten()
            .chain(asked)
            .collect()
    }

    fn apply(&self, api: Api, world: &mut World, struck: &Struck) -> Result<Value, Refusal> {
        match api {
            Api::ModifyUserInfo => modify_user_info(world, self, struck),
            Api::GetMembers => get_members(world, self),
            Api::CheckMembers => check_members(world, self),
            Api::GetOnlineMemberNum => {
                let online = world.rooms.find(&self.group_id)?.online();
                Ok(json!({ "OnlineMemberNum": online }))
            }
        }
    }
}

fn modify_user_info(
    world: &mut World,
    request: &Request,
    struck: &Struck,
) -> Result<Value, Refusal> {
    let set = match request.command_type {
        Some(1) => true,
        Some(2) => false,
        _ => {
            let info = "`CommandType` must be 1 to set or 2 to delete";
            return Err(Refusal::parameter(info));
        }
    };
    let members = request.member_list.as_deref().unwrap_or_default();
    let wanted = wanted(members)?;
    let room = world.rooms.find(&request.group_id)?;
    let visible = |account: &Account| {
        let omits = |one: &Option<String>| one.as_ref().is_none_or(|one| one == account.as_str());
        !struck.omitted.iter().any(omits)
    };
    let served = room
        .mark(&wanted, set, visible)
        .ok_or_else(|| Refusal::parameter("a group has at most 10 different marks"))?;
    if served.is_empty() {
        let info = "none of the members could be served";
        return Err(Refusal::new(world.settings.all_offline_code, info));
    }
    let members: Value = served.iter().map(|place| json!(members[*place])).collect();
    Ok(json!({ "CommandType": request.command_type, "MemberList": members }))
}

fn wanted(members: &[CalledMember]) -> Result<Vec<(Account, Vec<Mark>)>, Refusal> {
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
            Err(Refusal::new(10005, info))
        }
    }
}

/// A page of the online list, newest first. `NextTimestamp` is the arrival of the last member on the
/// page in microseconds; callers must pass it on unchanged.
fn get_members(world: &mut World, request: &Request) -> Result<Value, Refusal> {
    let timestamp = request.timestamp.unwrap_or_default();
    if timestamp < 0 {
        let info = "`Timestamp` must be 0 or the last `NextTimestamp`";
        return Err(Refusal::parameter(info));
    }
    let mark = request.mark.map(Mark::parse).transpose();
    let mark = mark.map_err(Refusal::parameter)?;
    let page_size = world.settings.page_size;
    let before = (timestamp > 0).then_some(timestamp);
    let mut page = world.rooms.find(&request.group_id)?.listed(mark, before);
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
    let members: Value = page.iter().map(member).collect();
    Ok(json!({ "NextTimestamp": next, "MemberList": members }))
}

fn check_members(world: &mut World, request: &Request) -> Result<Value, Refusal> {
    let accounts = request.accounts.as_deref().unwrap_or_default();
    check_number("Member_Account", accounts.len())?;
    let room = world.rooms.find(&request.group_id)?;
    let mut online = Vec::new();
    for account in accounts {
        let parsed = Account::parse(account).map_err(Refusal::parameter)?;
        if room.members.get(&parsed).is_some_and(Member::online) {
            online.push(account.as_str());
        }
    }
    Ok(json!({ "Member_Account": online }))
}

/// The accounts that an answer names.
fn answered(fields: &Value) -> Vec<String> {
    let lists = [&fields["MemberList"], &fields["Member_Account"]];
    let entries = lists.into_iter().filter_map(Value::as_array).flatten();
    let account = |entry: &Value| {
        entry["Member_Account"]
            .as_str()
            .or(entry.as_str())
            .map(str::to_owned)
    };
    entries.filter_map(account).collect()
}
