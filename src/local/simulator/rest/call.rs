//! One REST call from its arrival to its end, as the log sees it.

use std::sync::Arc;
use std::time::Duration;

use super::Reply;
use super::answer::{Done, Refusal, code};
use super::request::Request;
use super::{lists, modify, query};
use crate::local::simulator::api::Api;
use crate::local::simulator::clock;
use crate::local::simulator::fault::Struck;
use crate::local::simulator::shared::{Shared, World};

/// A call under way. Dropped, it has ended, also when the caller went away.
pub(super) struct Call {
    shared: Arc<Shared>,
    api: Api,
    seq: u64,
    group: Option<String>,
    failed: bool,
}

impl Call {
    pub(super) fn begin(shared: Arc<Shared>, api: Api) -> Self {
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

    /// Checks the call and carries it out.
    pub(super) fn answer(&mut self, query: &str, body: &[u8]) -> Reply {
        let checked = query::check(&self.shared, query, clock::unix_ms() / 1000)
            .and_then(|()| self.admit())
            .and_then(|()| Request::parse(self.api, body));
        match checked {
            Ok(request) => self.carry_out(&request),
            Err(refusal) => self.refuse(refusal),
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) -> Reply {
        self.failed = true;
        if let Some(record) = self.shared.world().log.record(self.seq) {
            record.error_code = refusal.code;
        }
        Reply::now(refusal.body())
    }

    fn admit(&self) -> Result<(), Refusal> {
        let mut world = self.shared.world();
        let limit = world.settings.calls_per_second;
        let admission = world.log.admit(self.api, limit);
        if let Some(request) = admission.alert {
            self.shared.alert(&mut world, self.api, request);
        }
        if admission.admitted {
            return Ok(());
        }
        let info = format!("more than {limit} calls in a second");
        Err(Refusal::new(code::TOO_FREQUENT, info))
    }

    fn carry_out(&mut self, request: &Request) -> Reply {
        let members = request.members();
        let accounts: Vec<&str> = members.iter().map(|m| m.account.as_str()).collect();
        let shared = self.shared.clone();
        let mut world = shared.world();
        let struck = world
            .faults
            .strike_call(self.api, request.group(), &accounts);
        self.group = request.group().map(str::to_owned);
        let record = world
            .log
            .describe(self.seq, self.api, request.group(), members);
        if let Some(record) = record {
            (record.command_type, record.mark) = request.command_type_and_mark();
            record.faults = struck.ids.clone();
            record.answer_lost = struck.lost_answer.is_some();
        }
        let result = match (struck.http_status, struck.error_code) {
            (Some(_), _) => Ok(Done::default()),
            (None, Some(code)) => Err(Refusal::injected(code)),
            (None, None) => self.apply(&mut world, request, &struck),
        };
        self.reply(&mut world, result, struck)
    }

    fn apply(
        &self,
        world: &mut World,
        request: &Request,
        struck: &Struck,
    ) -> Result<Done, Refusal> {
        match request {
            Request::Modify(request) => modify::apply(&self.shared, world, request, struck),
            Request::List(request) => lists::get_members(world, request),
            Request::Check(request) => lists::check_members(world, request),
            Request::Count(request) => lists::online_number(world, request),
            Request::Info(request) => lists::group_info(world, request),
        }
    }

    fn reply(&mut self, world: &mut World, result: Result<Done, Refusal>, struck: Struck) -> Reply {
        let (answered, result) = match result {
            Ok(done) => (done.answered, Ok(done.body)),
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
        Reply {
            body: result.unwrap_or_else(|refusal| refusal.body()),
            http_status,
            delay: Duration::from_millis(struck.delay_ms),
            lost: struck.lost_answer,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut world = self.shared.world();
        world
            .log
            .end(self.seq, self.api, self.group.as_deref(), self.failed);
        self.shared.announce(&world);
    }
}
