//! `stickymark check`: a line for each thing that must be right.

use std::io::Write;

use clap::Args;

use super::Usage;
use crate::check::{Verdict, check};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not fail for what may pass by itself, such as a Chat that does not answer: for an init
    /// container, which would keep new replicas from starting.
    #[arg(long)]
    passing_ok: bool,
}

/// The program's own error: the lines have said what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("not all is well; see the lines marked FAILED")]
struct NotWell;

pub(super) async fn run(settings: &Settings, arguments: &Arguments) -> anyhow::Result<()> {
    let findings = check(settings).await;
    let mut out = std::io::stdout();
    for finding in &findings {
        writeln!(out, "{finding}")?;
    }
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let misconfigured = findings
        .iter()
        .any(|finding| finding.about == "configuration" && finding.verdict == Verdict::Wrong);
    if misconfigured {
        return Err(Usage("the configuration is not complete".to_owned()).into());
    }
    if any(Verdict::Wrong) || (any(Verdict::Passing) && !arguments.passing_ok) {
        return Err(NotWell.into());
    }
    Ok(())
}
