//! `stickymark log`: what a running replica logs.

use clap::Args;
use reqwest::Method;
use serde_json::json;

use super::{Remote, Shape, json as read, table};
use crate::cli::output;

#[derive(Debug, Args)]
pub(in crate::cli) struct LogArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    shape: Shape,
    /// The filter to use from now on, such as info,stickymark::reapply=debug; without it, the present
    /// one is printed. Only the replica that answers changes, until it restarts.
    filter: Option<String>,
}

pub(in crate::cli) async fn run(arguments: LogArguments) -> anyhow::Result<()> {
    let LogArguments {
        remote,
        shape,
        filter,
    } = arguments;
    let answer = match filter {
        Some(filter) => {
            let request = remote.request(Method::PUT, &["log"], &[])?;
            read(
                remote
                    .send(request.json(&json!({"filter": filter})))
                    .await?,
            )
            .await?
        }
        None => remote.get(&["log"], &[]).await?,
    };
    match shape.is_table() {
        true => Ok(output::line(&table::plain(&answer["filter"]))?),
        false => shape.print_one(&answer, &["filter"]),
    }
}
