//! The commands that talk to a running service: its management API from the command line, for people
//! (tables, progress on a terminal) and for pipes (`--output`).

mod adopt;
mod changes;
mod look;
mod members;
mod rules;
mod table;
mod transfer;

use std::ops::Deref;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::{Usage, output};
use crate::config::{ConfigError, Settings};
use table::Style;

/// What is asked of a running service.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Import, export, list and change rules of a running service.
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Explain why a member has, or lacks, marks.
    Explain(On<look::Member>),
    /// List members that a rule matches, or retry failed ones.
    Members(members::Members),
    /// List rooms and their last comparison with Chat.
    Rooms(Listing<members::RoomsQuery>),
    /// Show the state of a running service.
    Status(Remote),
    /// Compare a room with Chat now.
    Resync(On<members::Resync>),
    /// Show or change what a running service logs.
    Log(On<look::LogFilter>),
}

/// Runs one of them. Only `rules adopt` reads the settings of the service.
pub(super) async fn run(
    command: Command,
    settings: impl FnOnce() -> Result<Settings, ConfigError>,
) -> anyhow::Result<()> {
    match command {
        Command::Rules(command) => rules::run(command, settings).await,
        Command::Explain(member) => look::explain(member).await,
        Command::Members(members) => members::members(members).await,
        Command::Rooms(rooms) => members::rooms(rooms).await,
        Command::Status(remote) => look::status(remote).await,
        Command::Resync(room) => members::resync(room).await,
        Command::Log(log) => look::log(log).await,
    }
}

/// Longest wait for a connection. Answers may take longer: an import is worked on for a while.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Items of a page that is asked for.
const PAGE: &str = "500";
/// A query without parameters.
const NONE: () = ();

/// A service, and how its answers are printed.
#[derive(Debug, Args)]
pub(super) struct Remote {
    #[command(flatten)]
    service: Service,
    #[command(flatten)]
    shape: Shape,
}

/// What is asked, and of which service.
#[derive(Debug, Args)]
pub(super) struct On<T: Args> {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    ask: T,
}

impl<T: Args> Deref for On<T> {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl Deref for Remote {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// Where the service is, and who asks.
#[derive(Debug, Args)]
pub(super) struct Service {
    /// The management API of the service.
    #[arg(
        long,
        env = "STICKYMARK_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8081"
    )]
    url: Url,
    /// The secret of an entry of admin.tokens, better in STICKYMARK_TOKEN: other users of this machine
    /// can read arguments.
    #[arg(
        long,
        env = "STICKYMARK_TOKEN",
        hide_env = true,
        hide_env_values = true
    )]
    token: Option<SecretString>,
}

/// How a command prints what it was answered.
#[derive(Debug, Args)]
struct Shape {
    /// The form of the output: a table for people, one JSON text, one JSON line for each item, or the
    /// names alone.
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    output: Output,
    /// The same as --output json.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
    Ndjson,
    Name,
}

impl Shape {
    fn is_table(&self) -> bool {
        !self.json && self.output == Output::Table
    }

    /// Prints an answer, or a list, in the other forms; `name` are the fields that name an item.
    fn print(&self, answer: &Value, name: &str) -> anyhow::Result<()> {
        let items = answer.as_array().map(Vec::as_slice);
        let items = items.unwrap_or(std::slice::from_ref(answer)).iter();
        let lines: Vec<String> = match self.output {
            Output::Ndjson => items.map(Value::to_string).collect(),
            Output::Name => {
                let fields: Vec<&str> = name.split(' ').collect();
                let named = |item: &Value| {
                    let parts = fields.iter().map(|field| table::plain(&item[*field]));
                    parts.collect::<Vec<_>>().join(" ")
                };
                items.map(named).collect()
            }
            Output::Table | Output::Json => vec![serde_json::to_string_pretty(answer)?],
        };
        for line in lines {
            output::line(&line)?;
        }
        Ok(())
    }
}

/// Which items of a service are listed, and how many at most.
#[derive(Debug, Args)]
pub(super) struct Listing<T: Args> {
    #[command(flatten)]
    remote: Remote,
    #[command(flatten)]
    ask: T,
    /// List so many at most.
    #[arg(
        long,
        short = 'n',
        alias = "most",
        value_name = "NUMBER",
        default_value_t = 1000
    )]
    limit: usize,
}

/// A list of the service: its path, and, separated by spaces, the columns of its table and the fields that
/// name an item.
struct List<'a> {
    path: &'a [&'a str],
    columns: &'a str,
    name: &'a str,
    /// What people read of an empty one.
    none: &'a str,
}

impl<T: Args> Listing<T> {
    /// Prints the items. `edit` adds what only people read.
    async fn print(
        &self,
        list: List<'_>,
        query: &impl Serialize,
        edit: impl Fn(&mut Value, &Style),
    ) -> anyhow::Result<()> {
        let remote = &self.remote;
        let mut items = remote.items(list.path, query, self.limit).await?;
        if !remote.shape.is_table() {
            return remote.shape.print(&items.into(), list.name);
        }
        let style = remote.style().await;
        items.iter_mut().for_each(|item| edit(item, &style));
        Ok(style.print(&items, list.columns, list.none)?)
    }
}

impl Remote {
    async fn style(&self) -> Style {
        Style::of(&self.service).await
    }

    /// Prints what a write was answered: a line for people, or the answer.
    fn say(&self, answer: &Value, name: &str, line: &str) -> anyhow::Result<()> {
        match self.shape.is_table() {
            true => Ok(output::line(line)?),
            false => self.shape.print(answer, name),
        }
    }
}

impl Service {
    /// A request below `/v1`. The segments are escaped.
    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &impl Serialize,
    ) -> anyhow::Result<RequestBuilder> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push("v1").extend(path);
            }
            Err(()) => anyhow::bail!("--url must be like http://127.0.0.1:8081"),
        }
        let query = serde_urlencoded::to_string(query)?;
        url.set_query(Some(&*query).filter(|query| !query.is_empty()));
        let legible = |secret: &SecretString| HeaderValue::from_str(secret.expose_secret()).is_ok();
        if !self.token.as_ref().is_none_or(legible) {
            let wrong = "the token (--token or STICKYMARK_TOKEN) has a line break or the like in it; \
                         was it copied whole?";
            return Err(Usage(wrong.to_owned()).into());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .build()
            .context("the HTTP client cannot be made")?;
        let request = client.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        })
    }

    async fn get(&self, path: &[&str], query: &impl Serialize) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::GET, path, query)?).await?).await
    }

    async fn write(
        &self,
        method: Method,
        path: &[&str],
        query: &impl Serialize,
        body: &impl Serialize,
    ) -> anyhow::Result<Value> {
        let request = self.request(method, path, query)?.json(body);
        json(self.send(request).await?).await
    }

    /// Sends a request; an answer that is no success becomes an error that says what it says.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let url = without_password(&self.url);
        let response = request
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| {
                format!("{url} does not answer; is this the admin listener (--url)?")
            })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(match self.token {
                Some(_) => anyhow::anyhow!("invalid token: it is not in admin.tokens of {url}"),
                None => anyhow::anyhow!("no token; set STICKYMARK_TOKEN or --token"),
            });
        }
        let text = response.text().await.unwrap_or_default();
        Err(anyhow::anyhow!(problem(&text).unwrap_or_else(|| {
            format!("{url} answered {status}; is this the admin listener?")
        })))
    }

    /// All items of a list, page by page, at most `most`; if there are more, a note on standard error
    /// says so.
    async fn items(
        &self,
        path: &[&str],
        query: &impl Serialize,
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        #[derive(Serialize)]
        struct Page<'a, Q> {
            #[serde(flatten)]
            query: &'a Q,
            limit: &'a str,
            after: Option<String>,
        }
        let mut items = Vec::new();
        let mut after = None;
        loop {
            let limit = PAGE;
            let query = Page {
                query,
                limit,
                after,
            };
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            after = page["next"].as_str().map(str::to_owned);
            if after.is_none() || items.len() >= most {
                break;
            }
        }
        if after.is_some() || items.len() > most {
            eprintln!("only the first {most}; --limit lists more");
        }
        items.truncate(most);
        Ok(items)
    }
}

/// A URL as it may stand in a message.
fn without_password(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails for URLs that cannot have one.
    let _ = url.set_password(None);
    url
}

async fn json(response: Response) -> anyhow::Result<Value> {
    let answer = response.json().await;
    answer.context("the answer is not that of this service; is --url the admin listener?")
}

/// Problem details as lines; `None` if it is something else.
fn problem(text: &str) -> Option<String> {
    let problem: Value = serde_json::from_str(text).ok()?;
    let detail = problem["detail"].as_str()?;
    problem["title"].as_str()?;
    // The API speaks of its parameter, a person here of the option.
    let mut lines = vec![detail.replace("max_removals=", "--max-removals ")];
    let errors = problem["errors"]
        .as_array()
        .filter(|_| !problem["bad_lines"].is_null());
    for error in errors.into_iter().flatten() {
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        let (line, pointer) = (error["line"].as_u64().unwrap_or_default(), text("pointer"));
        let place = format!("line {line}: {pointer}");
        lines.push(format!("{} {}", place.trim_end(), text("detail")));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_the_path() {
        let url = "http://host/behind/".parse().unwrap();
        let service = Service { url, token: None };
        let path = ["rules", "a/../b?c"];
        let request = service.request(Method::GET, &path, &[("label", "x&y")]);
        let request = request.unwrap().build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "http://host/behind/v1/rules/a%2F..%2Fb%3Fc?label=x%26y"
        );
    }
}
