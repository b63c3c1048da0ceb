//! The commands that talk to a running service: its management API from the command line, for people
//! (tables, progress on a terminal) and for pipes (`--output`).

mod adopt;
mod changes;
mod log;
mod look;
mod members;
mod names;
mod rooms;
mod rules;
mod table;
mod transfer;

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use reqwest::header::HeaderValue;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{Usage, output};

pub(super) use log::{LogArguments, run as log};
pub(super) use look::{ExplainArguments, StatusArguments, explain, status};
pub(super) use members::{MembersArguments, run as members};
pub(super) use rooms::{ResyncArguments, RoomsArguments, list as rooms, resync};
pub(super) use rules::{RulesCommand, run as rules};

/// Longest wait for a connection. Answers may take longer: an import is worked on for a while.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Items of a page that is asked for.
const PAGE: &str = "500";

/// Where the service is, and who asks.
#[derive(Debug, Args)]
pub(super) struct Remote {
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
    #[arg(long, env = "STICKYMARK_TOKEN", hide_env = true, hide_env_values = true, value_parser = secret)]
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

    /// Prints items in the other forms; `name` are the fields that name an item.
    fn print_items(&self, items: &[Value], name: &[&str]) -> anyhow::Result<()> {
        match self.output {
            Output::Ndjson => {
                for item in items {
                    output::line(&item.to_string())?;
                }
            }
            Output::Name => {
                for item in items {
                    let parts = name.iter().map(|field| table::plain(&item[*field]));
                    output::line(&parts.collect::<Vec<_>>().join(" "))?;
                }
            }
            Output::Table | Output::Json => print_json(&Value::from(items))?,
        }
        Ok(())
    }

    /// Prints one answer in the other forms.
    fn print_one(&self, answer: &Value, name: &[&str]) -> anyhow::Result<()> {
        match self.output {
            Output::Table | Output::Json => print_json(answer),
            _ => self.print_items(std::slice::from_ref(answer), name),
        }
    }
}

/// How many items a list has at most.
#[derive(Debug, Args)]
struct Most {
    /// List so many at most.
    #[arg(
        long = "limit",
        short = 'n',
        alias = "most",
        value_name = "NUMBER",
        default_value_t = 1000
    )]
    most: usize,
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

impl Remote {
    /// A request below `/v1`. The segments are escaped.
    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<RequestBuilder> {
        let mut url = self.url.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push("v1").extend(path);
            }
            Err(()) => anyhow::bail!("--url must be like http://127.0.0.1:8081"),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
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

    /// A GET, read as JSON.
    async fn get(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Value> {
        let request = self.request(Method::GET, path, query)?;
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
        query: &[(&str, String)],
        most: usize,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut query = query.to_vec();
        query.push(("limit", PAGE.to_owned()));
        loop {
            let mut page = self.get(path, &query).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            match page["next"].as_str() {
                Some(next) if items.len() < most => {
                    query.retain(|(name, _)| *name != "after");
                    query.push(("after", next.to_owned()));
                }
                next => {
                    if next.is_some() || items.len() > most {
                        eprintln!("only the first {most}; --limit lists more");
                    }
                    break;
                }
            }
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

/// Prints JSON for a pipe.
fn print_json(value: &Value) -> anyhow::Result<()> {
    Ok(output::line(&serde_json::to_string_pretty(value)?)?)
}

/// A parameter, if it is given.
fn given(name: &'static str, value: Option<&String>) -> Option<(&'static str, String)> {
    value.map(|value| (name, value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_its_lines_and_other_text_is_none() {
        let text = r#"{"title":"Wrong","detail":"no","bad_lines":1,
                       "errors":[{"line":3,"pointer":"/id","detail":"must be given"}]}"#;
        assert_eq!(problem(text).unwrap(), "no\nline 3: /id must be given");
        assert_eq!(problem("<html>"), None);
        assert_eq!(problem("{}"), None);
    }

    #[test]
    fn ids_cannot_leave_their_place_in_the_path() {
        let url = "http://host/behind/".parse().unwrap();
        let remote = Remote { url, token: None };
        let request = remote
            .request(
                Method::GET,
                &["rules", "a/../b?c"],
                &[("label", "x&y".to_owned())],
            )
            .unwrap();
        let request = request.build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "http://host/behind/v1/rules/a%2F..%2Fb%3Fc?label=x%26y"
        );
    }
}
