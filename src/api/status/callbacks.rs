//! Whether callbacks arrive, and if not, what to look at.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::callback::{MINUTES, Report};
use crate::metrics::{CallbackCommand, Label};

/// The callbacks that all replicas received.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Callbacks)]
pub(super) struct CallbacksView {
    state: Arriving,
    /// The state in words, with what to look at.
    summary: String,
    /// The latest callback that proved its origin; null: none is known.
    #[schema(required = true)]
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
    other_paths: Vec<CallbackPath>,
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
    #[schema(required = true)]
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

#[derive(Debug, Serialize, ToSchema)]
struct CallbackPath {
    /// At most 100 characters; `{callback.path}` stands for the right path where it contains that.
    path: String,
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
        let mut other_paths: Vec<CallbackPath> = report
            .other_paths
            .into_iter()
            .map(|other| CallbackPath {
                path: other.path,
                requests: other.requests,
                last_at: other.last_at,
            })
            .collect();
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
        view.state = view.judge(now);
        view.summary = view.words();
        view
    }

    fn judge(&self, now: DateTime<Utc>) -> Arriving {
        let window = chrono::TimeDelta::minutes(MINUTES as i64);
        let lately = |at: DateTime<Utc>| now.signed_duration_since(at) < window;
        if self.refused > self.accepted {
            Arriving::Refused
        } else if self.accepted == 0
            && self
                .other_paths
                .last()
                .is_some_and(|other| lately(other.last_at))
        {
            Arriving::OtherPath
        } else if self.last_at.is_none() {
            Arriving::None
        } else {
            Arriving::Ok
        }
    }

    fn words(&self) -> String {
        let mut words = match (self.state, self.other_paths.last()) {
            (Arriving::OtherPath, Some(other)) => format!(
                "callbacks come to {}, which is not callback.path; correct the URL in the Chat console",
                other.path
            ),
            (Arriving::None, _) => format!(
                "no callback since {}; is the URL registered in the Chat console, and are the four \
                 callbacks switched on?",
                self.since.format("%Y-%m-%d %H:%M:%S UTC")
            ),
            (Arriving::Ok, _) => "callbacks arrive".to_owned(),
            _ => String::new(),
        };
        if let Some(most) = self.refusals.first() {
            let separator = if words.is_empty() { "" } else { "; " };
            let (refused, all) = (self.refused, self.refused + self.accepted);
            let (minutes, reason) = (self.minutes, &most.reason);
            // Writing to a String cannot fail.
            let _ = write!(
                words,
                "{separator}{refused} of {all} refused in the last {minutes} minutes: {reason}"
            );
            if let Some(advice) = advice(&most.code) {
                let _ = write!(words, "; {advice}");
            }
        }
        words
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
