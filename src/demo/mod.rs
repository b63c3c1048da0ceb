//! The demo.

/// Arguments of the demo.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs it.
pub async fn run(_: Arguments) -> anyhow::Result<()> {
    anyhow::bail!("not yet")
}
