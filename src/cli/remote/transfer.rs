//! `stickymark rules import`, `diff` and `export`: rules as NDJSON, streamed both ways.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use futures::stream;
use reqwest::{Body, Method, header};
use serde_json::Value;
use tokio::sync::mpsc;

use super::names::Names;
use super::rules::Filters;
use super::table::Style;
use super::{Remote, Shape, changes, given, json};
use crate::cli::{Different, Usage};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    #[command(flatten)]
    remote: Remote,
    /// The file; - is standard input.
    file: PathBuf,
    /// What happens to rules that are not in the file.
    #[arg(long, value_enum, default_value_t = Mode::Merge)]
    mode: Mode,
    /// Only rules of this label.
    #[arg(long, short)]
    label: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How many rules a replace may delete; 20 % of them if not given.
    #[arg(long, value_name = "NUMBER")]
    max_removals: Option<u32>,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// They are kept.
    Merge,
    /// They are deleted.
    Replace,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Replace => "replace",
        }
    }
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArguments {
    #[command(flatten)]
    remote: Remote,
    /// The file; - is standard input.
    file: PathBuf,
    /// What an import would do with rules that are not in the file.
    #[arg(long, value_enum, default_value_t = Mode::Merge)]
    mode: Mode,
    /// Compare only rules of this label.
    #[arg(long, short)]
    label: Option<String>,
    #[command(flatten)]
    shape: Shape,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    filters: Filters,
}

/// Imports a file.
pub(super) async fn import(arguments: ImportArguments) -> anyhow::Result<()> {
    let most = arguments.max_removals.map(|most| most.to_string());
    let query = [
        Some(("dry_run", arguments.dry_run.to_string())),
        Some(("mode", arguments.mode.as_str().to_owned())),
        given("label", arguments.label.as_ref()),
        given("max_removals", most.as_ref()),
    ];
    let answer = send(&arguments.remote, &arguments.file, query).await?;
    match arguments.shape.is_table() {
        true => changes::print(&answer, &Style::new(Names::of(&arguments.remote).await))?,
        false => arguments.shape.print_one(&answer, &["created"])?,
    }
    match answer["refusal"].is_null() {
        true => Ok(()),
        false => Err(Different.into()),
    }
}

/// Says what an import would do.
pub(super) async fn diff(arguments: DiffArguments) -> anyhow::Result<()> {
    let query = [
        Some(("dry_run", true.to_string())),
        Some(("mode", arguments.mode.as_str().to_owned())),
        given("label", arguments.label.as_ref()),
        None,
    ];
    let answer = send(&arguments.remote, &arguments.file, query).await?;
    if !arguments.shape.is_table() {
        arguments.shape.print_one(&answer, &["created"])?;
    } else if changes::are_any(&answer) {
        changes::print(&answer, &Style::new(Names::of(&arguments.remote).await))?;
    }
    if changes::are_any(&answer) {
        return Err(Different.into());
    }
    Ok(())
}

async fn send(
    remote: &Remote,
    file: &Path,
    query: [Option<(&str, String)>; 4],
) -> anyhow::Result<Value> {
    let query: Vec<_> = query.into_iter().flatten().collect();
    let request = remote
        .request(Method::POST, &["rules", "import"], &query)?
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body(open(file)?));
    json(remote.send(request).await?).await
}

/// Writes all rules, or those that the filters let through.
pub(super) async fn export(arguments: ExportArguments) -> anyhow::Result<()> {
    let query = arguments.filters.query();
    let request = arguments
        .remote
        .request(Method::GET, &["rules", "export"], &query)?;
    let mut response = arguments.remote.send(request).await?;
    let mut out = io::stdout().lock();
    while let Some(piece) = response.chunk().await.context("the export was cut short")? {
        out.write_all(&piece)?;
    }
    Ok(out.flush()?)
}

/// A file, or standard input.
pub(super) fn open(file: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(io::stdin()));
    }
    let opened = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    if opened.metadata().is_ok_and(|file| file.is_dir()) {
        return Err(Usage(format!("{} is a directory", file.display())).into());
    }
    Ok(Box::new(opened))
}

/// The text piece by piece, read on a thread of its own, with the progress on a terminal.
fn body(mut from: Box<dyn Read + Send>) -> Body {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let progress = io::stderr().is_terminal();
        let mut lines = 0usize;
        loop {
            let mut piece = vec![0; PIECE];
            let read = from.read(&mut piece).map(|length| {
                piece.truncate(length);
                piece
            });
            let last = !matches!(&read, Ok(piece) if !piece.is_empty());
            if let Ok(piece) = &read {
                lines += piece.iter().filter(|byte| **byte == b'\n').count();
            }
            if progress {
                let end = match last {
                    true => "; the service checks and saves them\n",
                    false => "",
                };
                eprint!("\r{lines} lines sent{end}");
            }
            let ended = matches!(&read, Ok(piece) if piece.is_empty());
            if ended || sender.blocking_send(read).is_err() || last {
                return;
            }
        }
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    Body::wrap_stream(pieces)
}
