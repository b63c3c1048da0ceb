//! Whether callbacks arrive, and if not, what to look at.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::callback::{MINUTES, OtherPath, Report};
use crate::metrics::{CallbackCommand, Label};

/// The callbacks that all replicas received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Callbacks)]
pub(super) struct CallbacksView {
    state: Arriving,
    /// The state in words, with what to look at.
    summary: String,
    /// The latest callback that proved its origin; null: none is known.
    last_at: Option<DateTime<Utc>>,
    /// Nothing older is known: the start of the replica that has run longest in the last day.
    since: DateTime<Utc>,
    /// The events that are used, and `other` for all other commands.
    kinds: Vec<CallbackKind>,
    /// Accepted in the last minutes.
    accepted: u64,
    /// Refused in the last minutes.
    refused: u64,
    /// The minutes that `accepted`, `refused` and `refusals` cover.
    minutes: usize,
    /// Why callbacks were refused in the last minutes, the most frequent reason first.
    refusals: Vec<CallbackRefusal>,
    /// POSTs with the SDKAppID of this service to other paths, the latest last, at most five for each
    /// replica.
    other_paths: Vec<OtherPath>,
}

/// Whether callbacks arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Arriving {
    /// Callbacks arrived, and most of the last minutes were accepted.
    Ok,
    /// No callback is known.
    None,
    /// Most callbacks of the last minutes were refused.
    Refused,
    /// In the last minutes callbacks came to other paths only.
    OtherPath,
}

#[derive(Debug, Serialize, ToSchema)]
struct CallbackKind {
    /// The command, or `other`.
    command: &'static str,
    last_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct CallbackRefusal {
    /// For translations: `not_signed`, `wrong_sign`, `no_time`, `stale`, `other_app`, `not_json`,
    /// `commands_differ`, `wrong_field`, `too_long`, `too_slow`, `broken_off`, `not_stored`, `loop`.
    code: String,
    /// What the latest was answered.
    reason: String,
    requests: u64,
    last_at: DateTime<Utc>,
}

impl CallbacksView {
    pub fn of(report: Report, now: DateTime<Utc>) -> Self {
        let recent = report.recent(now);
        let mut refusals: Vec<CallbackRefusal> = recent
            .refused
            .into_iter()
            .map(|(code, refused)| CallbackRefusal {
                code: code.into_owned(),
                reason: refused.reason,
                requests: refused.requests,
                last_at: refused.last_at,
            })
            .collect();
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.requests));
        let kinds = CallbackCommand::ALL.iter().map(|command| CallbackKind {
            command: command.text(),
            last_at: report.latest.get(command.text()).copied(),
        });
        let mut other_paths: Vec<OtherPath> = report.other_paths.into();
        other_paths.sort_by_key(|other| other.last_at);
        let mut view = Self {
            state: Arriving::Ok,
            summary: String::new(),
            last_at: report.latest.values().max().copied(),
            since: report.since,
            kinds: kinds.collect(),
            accepted: recent.accepted,
            refused: refusals.iter().map(|refusal| refusal.requests).sum(),
            minutes: MINUTES,
            refusals,
            other_paths,
        };
        (view.state, view.summary) = view.judge(now);
        view
    }

    /// The state, and the same in words.
    fn judge(&self, now: DateTime<Utc>) -> (Arriving, String) {
        let window = chrono::TimeDelta::minutes(MINUTES as i64);
        let elsewhere = self.other_paths.last();
        let elsewhere = elsewhere.filter(|other| now.signed_duration_since(other.last_at) < window);
        let (state, words) = match elsewhere {
            _ if self.refused > self.accepted => (Arriving::Refused, None),
            Some(OtherPath { path, .. }) if self.accepted == 0 => (
                Arriving::OtherPath,
                Some(format!(
                    "callbacks come to {path}, which is not callback.path; correct the URL in the \
                     Chat console"
                )),
            ),
            _ if self.last_at.is_none() => (
                Arriving::None,
                Some(format!(
                    "no callback since {}; is the URL registered in the Chat console, and are the \
                     four callbacks switched on?",
                    self.since.format("%Y-%m-%d %H:%M:%S UTC")
                )),
            ),
            _ => (Arriving::Ok, Some("callbacks arrive".to_owned())),
        };
        let refusal = self.refusals.first().map(|most| {
            let (refused, all) = (self.refused, self.refused + self.accepted);
            let (minutes, reason) = (self.minutes, &most.reason);
            format!("{refused} of {all} refused in the last {minutes} minutes: {reason}")
        });
        let advice = self.refusals.first().and_then(|most| advice(&most.code));
        let parts = [words, refusal, advice.map(str::to_owned)];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (state, parts.join("; "))
    }
}

fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "wrong_sign" => "compare callback.tokens with the token in the Chat console",
        "stale" => "check the clock of this machine",
        "other_app" => "compare chat.sdk_app_id with the application in the Chat console",
        _ => return None,
    })
}
