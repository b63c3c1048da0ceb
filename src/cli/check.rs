//! `stickymark check`: a line for each requirement.

use std::io::Write;

use clap::Args;

use super::Usage;
use crate::check::{Verdict, check};
use crate::config::Settings;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Do not fail for what may pass without a change, such as a Chat that does not answer: for an
    /// init container, which would keep new replicas from starting.
    #[arg(long)]
    passing_ok: bool,
}

/// The lines have said what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("check failed; see the lines marked FAILED")]
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
        return Err(Usage("the configuration is incomplete or wrong".to_owned()).into());
    }
    if any(Verdict::Wrong) || (any(Verdict::Passing) && !arguments.passing_ok) {
        return Err(NotWell.into());
    }
    Ok(())
}
