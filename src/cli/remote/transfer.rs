//! `stickymark rules import`, `diff` and `export`: rules as NDJSON, streamed both ways.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use futures::stream;
use reqwest::{Body, Method, header};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;

use super::rules::Filters;
use super::{Remote, Service, changes, json};
use crate::cli::{Different, Usage};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArguments {
    #[command(flatten)]
    diff: DiffArguments,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How many rules a replace may delete; 20 % of them if not given.
    #[arg(long, value_name = "NUMBER")]
    max_removals: Option<u32>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffArguments {
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
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// They are kept.
    Merge,
    /// They are deleted.
    Replace,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    filters: Filters,
}

/// Imports a file.
pub(super) async fn import(arguments: ImportArguments) -> anyhow::Result<()> {
    let ImportArguments {
        diff,
        dry_run,
        max_removals,
    } = arguments;
    let answer = send(&diff, dry_run, max_removals).await?;
    match diff.remote.shape.is_table() {
        true => changes::print(&answer, &diff.remote.style().await)?,
        false => diff.remote.shape.print_one(&answer, &["created"])?,
    }
    match answer["refusal"].is_null() {
        true => Ok(()),
        false => Err(Different.into()),
    }
}

/// Says what an import would do.
pub(super) async fn diff(arguments: DiffArguments) -> anyhow::Result<()> {
    let answer = send(&arguments, true, None).await?;
    let remote = arguments.remote;
    if !remote.shape.is_table() {
        remote.shape.print_one(&answer, &["created"])?;
    } else if changes::are_any(&answer) {
        changes::print(&answer, &remote.style().await)?;
    }
    match changes::are_any(&answer) {
        true => Err(Different.into()),
        false => Ok(()),
    }
}

async fn send(
    arguments: &DiffArguments,
    dry_run: bool,
    max_removals: Option<u32>,
) -> anyhow::Result<Value> {
    #[derive(Serialize)]
    struct Query<'a> {
        dry_run: bool,
        mode: Mode,
        label: Option<&'a str>,
        max_removals: Option<u32>,
    }
    let query = Query {
        dry_run,
        mode: arguments.mode,
        label: arguments.label.as_deref(),
        max_removals,
    };
    let service = &arguments.remote.service;
    let request = service
        .request(Method::POST, &["rules", "import"], &query)?
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body(open(&arguments.file)?));
    json(service.send(request).await?).await
}

/// Writes all rules, or those that the filters let through.
pub(super) async fn export(arguments: ExportArguments) -> anyhow::Result<()> {
    let ExportArguments { service, filters } = arguments;
    let request = service.request(Method::GET, &["rules", "export"], &filters)?;
    let mut response = service.send(request).await?;
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
