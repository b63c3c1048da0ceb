//! What the client is told of a write that was not carried out.

use chrono::SecondsFormat;

use crate::api::{Problem, ProblemType};
use crate::domain::{MAX_MARKS_PER_ROOM, RuleId};
use crate::rules::WriteError;
use crate::rules::limits::Conflict;

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::NotFound(_) => Self::new(ProblemType::NotFound, detail),
            WriteError::Exists(_) => Self::new(ProblemType::RuleExists, detail),
            WriteError::Stale(..) | WriteError::Gone(_) => {
                Self::new(ProblemType::PreconditionFailed, detail)
            }
            WriteError::Invalid(fields) => Self::fields(ProblemType::InvalidInput, fields),
            WriteError::MarkLimit { conflict, rules } => clash(&conflict, &rules),
            WriteError::Lines(bad) => {
                let listed = bad.listed.into_iter();
                let listed = listed.map(|(line, one)| (line, one.pointer, one.detail));
                Self::lines(listed, bad.total)
            }
            WriteError::Removals { .. } => Self::new(ProblemType::TooManyRemovals, detail),
            WriteError::Busy => Self::new(ProblemType::DatabaseUnavailable, detail),
            WriteError::Database(error) => error.into(),
        }
    }
}

fn clash(conflict: &Conflict, rules: &[RuleId]) -> Problem {
    let marks: Vec<u32> = conflict.marks.iter().map(|mark| mark.get()).collect();
    let rules: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let listed: Vec<String> = marks.iter().map(ToString::to_string).collect();
    let from = conflict.from.map_or(String::new(), |from| {
        format!(
            " from {}",
            from.to_rfc3339_opts(SecondsFormat::AutoSi, true)
        )
    });
    let detail = format!(
        "rooms {} would need {} marks{from}, and a room holds {}: marks {} of rules {}",
        conflict.group,
        marks.len(),
        MAX_MARKS_PER_ROOM,
        listed.join(", "),
        rules.join(", "),
    );
    let mut problem = Problem::new(ProblemType::MarkLimitExceeded, detail);
    problem.0.group = Some(conflict.group.to_string());
    problem.0.marks = Some(marks);
    problem.0.rules = Some(rules);
    problem
}
