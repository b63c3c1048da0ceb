//! One call to Chat, from its beginning to its end.

use std::time::Instant;

use super::family::Label;
use super::labels::{Api, CallOutcome};
use super::made::{Made, NO_CLASS};
use crate::chat::ChatError;

/// A call that has begun. Dropped without an end it counts for nothing: its caller was stopped.
#[derive(Debug)]
pub struct Calling<'a> {
    made: &'a Made,
    api: Api,
    members: Option<usize>,
    began: Instant,
}

impl<'a> Calling<'a> {
    pub(super) fn begin(made: &'a Made, api: Api, members: Option<usize>) -> Self {
        Self {
            made,
            api,
            members,
            began: Instant::now(),
        }
    }

    /// It ended so.
    #[expect(clippy::cast_precision_loss, reason = "a call names at most 500")]
    pub fn ended<T>(self, answer: &Result<T, ChatError>) {
        let (outcome, class) = match answer {
            Ok(_) => (CallOutcome::Ok, NO_CLASS),
            Err(error) => (CallOutcome::of(error), error.class().as_str()),
        };
        let Self { made, api, .. } = self;
        let series = [api.text(), outcome.text(), class];
        made.calls.with_label_values(&series).inc();
        if outcome == CallOutcome::NotSent {
            return;
        }
        let took = self.began.elapsed().as_secs_f64();
        made.call_duration.observe(api, took);
        if let Some(members) = self.members {
            made.call_members.observe(api, members as f64);
        }
    }
}
