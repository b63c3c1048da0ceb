//! `stickymark rules import`, `diff` and `export`: rules as NDJSON, streamed both ways.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::task::Poll;

use anyhow::Context;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Body, Method, header};
use serde::Serialize;
use serde_json::Value;
use tokio::fs;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use super::{On, Remote, Service, changes, json};
use crate::cli::{Different, Usage};

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct Import {
    #[command(flatten)]
    #[serde(flatten)]
    file: File,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// How many rules a replace may delete; 20 % of them if not given.
    #[arg(long, value_name = "NUMBER")]
    max_removals: Option<u32>,
}

#[derive(Debug, Args, Serialize)]
pub(in crate::cli) struct File {
    /// The file; - is standard input.
    #[serde(skip)]
    file: PathBuf,
    /// Rules that are not in the file are kept by merge, and deleted by replace.
    #[arg(long, value_parser = ["merge", "replace"], default_value = "merge")]
    mode: String,
    /// Only rules of this label.
    #[arg(long, short)]
    label: Option<String>,
}

/// Which rules; the words are those of the API.
#[derive(Debug, Args, Serialize)]
pub(super) struct Filters {
    /// Only rules whose id, room, account or label begins so.
    q: Option<String>,
    /// Rules that cover this room.
    #[arg(long, value_name = "ROOM")]
    matches_group: Option<String>,
    /// Rules that cover this account.
    #[arg(long, value_name = "ACCOUNT")]
    matches_account: Option<String>,
    /// Rules over exactly this pattern of rooms.
    #[arg(long)]
    group: Option<String>,
    /// Rules over exactly this pattern of accounts.
    #[arg(long)]
    account: Option<String>,
    /// Rules with this mark.
    #[arg(long)]
    mark: Option<String>,
    /// Rules of this label.
    #[arg(long, short)]
    label: Option<String>,
    /// Only enabled rules (true) or disabled ones (false).
    #[arg(long)]
    enabled: Option<bool>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArguments {
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    filters: Filters,
}

/// Imports a file.
pub(super) async fn import(import: On<Import>) -> anyhow::Result<()> {
    let answer = send(&import, &import.ask).await?;
    changes::print(&import, &answer, "created").await?;
    match answer["refusal"].is_null() {
        true => Ok(()),
        false => Err(Different.into()),
    }
}

/// Says what an import would do.
pub(super) async fn diff(diff: On<File>) -> anyhow::Result<()> {
    let On { remote, ask: file } = diff;
    let import = Import {
        file,
        dry_run: true,
        max_removals: None,
    };
    let answer = send(&remote, &import).await?;
    let different = changes::are_any(&answer);
    if different || !remote.shape.is_table() {
        changes::print(&remote, &answer, "created").await?;
    }
    match different {
        true => Err(Different.into()),
        false => Ok(()),
    }
}

async fn send(remote: &Remote, import: &Import) -> anyhow::Result<Value> {
    let request = remote
        .service
        .request(Method::POST, &["rules", "import"], import)?
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body(open(&import.file.file).await?));
    json(remote.send(request).await?).await
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
pub(super) async fn open(file: &Path) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
    if file.as_os_str() == "-" {
        return Ok(Box::new(tokio::io::stdin()));
    }
    let opened = fs::File::open(file).await;
    let opened = opened.with_context(|| format!("{} cannot be read", file.display()))?;
    if opened.metadata().await.is_ok_and(|file| file.is_dir()) {
        return Err(Usage(format!("{} is a directory", file.display())).into());
    }
    Ok(Box::new(opened))
}

/// The text piece by piece, with the progress on a terminal.
fn body(from: impl AsyncRead + Send + 'static) -> Body {
    let progress = io::stderr().is_terminal();
    let mut lines = 0usize;
    let pieces = ReaderStream::with_capacity(from, PIECE).inspect_ok(move |piece| {
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
        if progress {
            eprint!("\r{lines} lines sent");
        }
    });
    let end = stream::poll_fn(move |_| {
        if progress {
            eprintln!("; the service checks and saves them");
        }
        Poll::Ready(None)
    });
    Body::wrap_stream(pieces.chain(end))
}
