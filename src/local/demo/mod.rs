//! The demo: the whole product on one machine, in a show of some twelve seconds.
//!
//! Database, simulated Chat and service are the real ones and talk over real sockets. A screenplay
//! moves the members; what they lose and get back is read from the simulated Chat alone, and the
//! verdict is worked out from the screenplay's rules without the service's help. Afterwards members
//! move by other hands, among them those of visitors of the stage in a browser (see `page`).

mod ledger;
mod operator;
mod page;
mod report;
mod script;
mod show;
mod stage;

use anyhow::bail;

use crate::config::{LogFormat, LogSettings};
use crate::local::stop_on_signal;
use crate::telemetry;
use report::Timeline;
use show::Show;
use stage::Stage;

/// The show itself reports the failing calls.
const QUIET: &str = "warn,stickymark::reapply=error";
const VERBOSE: &str = "info";

/// Arguments of the demo.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Play the show, print the summary and exit: 0 only if every mark that a rule requires was
    /// restored.
    #[arg(long)]
    once: bool,
    /// Write the service's logs to standard error.
    #[arg(long, short)]
    verbose: bool,
}

/// Runs it. Ctrl-C and SIGTERM end it in order, and so does a reader that closes the output.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    telemetry::init(&LogSettings {
        format: LogFormat::Text,
        filter: if arguments.verbose { VERBOSE } else { QUIET }.to_owned(),
    })?;
    let stop = stop_on_signal()?;
    let mut timeline = Timeline::new(arguments.once);
    timeline.say("Setting the stage …")?;
    let Some(stage) = stop.run_until_cancelled(Stage::set()).await else {
        return interrupted(arguments.once);
    };
    let stage = stage?;
    let shown = stop.run_until_cancelled(perform(&stage, &mut timeline, arguments.once));
    let shown = shown.await;
    let struck = stage.strike().await;
    match shown {
        Some(shown) => shown.and(struck),
        None => {
            // Who pressed Ctrl-C has often ended the reader with it.
            let _unread = timeline.say("\nStopped.");
            struck.and(interrupted(arguments.once))
        }
    }
}

async fn perform(stage: &Stage, timeline: &mut Timeline, once: bool) -> anyhow::Result<()> {
    timeline.say(&report::places(&stage.places))?;
    let mut show = Show::new(stage, timeline);
    let complaints = show.play().await?;
    if once && !complaints.is_empty() {
        bail!(
            "{}\nnot every mark is as the rules require; --verbose shows the logs",
            complaints.join("\n")
        );
    }
    if once {
        return Ok(());
    }
    show.go_on().await
}

/// To be stopped is the end that the demo waits for, but `--once` promised a verdict.
fn interrupted(once: bool) -> anyhow::Result<()> {
    if once {
        bail!("stopped before the end of the show");
    }
    Ok(())
}
