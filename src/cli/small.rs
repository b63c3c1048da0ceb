//! Small commands: `migrate`, `healthcheck`, `check`, `user-sig`, `openapi`, `completions`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use secrecy::ExposeSecret;

use super::{Usage, output};
use crate::chat::UserSigKey;
use crate::check::{self, Verdict};
use crate::config::{DatabaseSettings, Settings};
use crate::database::{Database, DatabaseError};
use crate::domain::Account;
use crate::{api, telemetry};

/// Between two tries to connect.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Shorter than the timeouts that container runtimes usually set.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// `stickymark migrate`.
pub(super) async fn migrate(settings: &Settings, wait: Duration) -> anyhow::Result<()> {
    telemetry::init(&settings.log)?;
    let database = connect(&settings.database, wait).await?;
    database.migrate().await?;
    database.close().await?;
    Ok(output::line("the database is up to date")?)
}

/// Retries while the database does not answer. A private PostgreSQL or a server that is too old will
/// not change by waiting.
async fn connect(settings: &DatabaseSettings, wait: Duration) -> Result<Database, DatabaseError> {
    let begun = Instant::now();
    loop {
        let connected =
            Database::connect(settings.server(), &settings.path, settings.max_connections);
        match connected.await {
            Err(error @ DatabaseError::Unreachable { .. })
                if begun.elapsed() + RETRY_PAUSE <= wait =>
            {
                tracing::warn!(%error, "the database does not answer; retrying in 1 s");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// `stickymark healthcheck`.
pub(super) async fn healthcheck(settings: &Settings) -> anyhow::Result<()> {
    let client = reqwest::Client::builder()
        .timeout(HEALTHCHECK_TIMEOUT)
        .no_proxy()
        .build()
        .context("cannot create the HTTP client")?;
    let mut failure = String::new();
    for address in own_addresses(settings.admin.listen) {
        match client.get(format!("http://{address}/livez")).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(output::line("ok")?),
            Ok(answer) => failure = format!("http://{address}/livez answered {}", answer.status()),
            Err(_) => failure = format!("http://{address}/livez does not answer"),
        }
    }
    anyhow::bail!("{failure}; is `serve` running with the same admin.listen?")
}

/// Where a listener answers from the same machine. `[::]` may be IPv6 only, or stand for IPv4 where the
/// kernel has no IPv6.
fn own_addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    let ips: &[IpAddr] = match listen.ip() {
        ip if !ip.is_unspecified() => &[ip],
        IpAddr::V4(_) => &[Ipv4Addr::LOCALHOST.into()],
        IpAddr::V6(_) => &[Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
    };
    let with_port = |ip: &IpAddr| SocketAddr::new(*ip, listen.port());
    ips.iter().map(with_port).collect()
}

/// `stickymark check`: a line for each requirement.
pub(super) async fn check(settings: &Settings, passing_ok: bool) -> anyhow::Result<()> {
    let findings = check::check(settings).await;
    for finding in &findings {
        output::line(&finding.to_string())?;
    }
    let any = |verdict| findings.iter().any(|finding| finding.verdict == verdict);
    let misconfigured = findings
        .iter()
        .any(|finding| finding.about == "configuration" && finding.verdict == Verdict::Wrong);
    if misconfigured {
        return Err(Usage("the configuration is incomplete or wrong".to_owned()).into());
    }
    if any(Verdict::Wrong) || (any(Verdict::Passing) && !passing_ok) {
        anyhow::bail!("check failed; see the lines marked FAILED");
    }
    Ok(())
}

/// A validity of at least a second.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ttl) if ttl >= Duration::from_secs(1) => Ok(ttl),
        Ok(_) => Err("must be at least one second".to_owned()),
        Err(error) => Err(format!("{error}; write it like 12h or 1d")),
    }
}

/// `stickymark user-sig`.
pub(super) fn user_sig(
    settings: &Settings,
    account: Option<&Account>,
    ttl: Duration,
) -> anyhow::Result<()> {
    let (app, key) = settings.chat.app()?;
    let account = account.unwrap_or(&settings.chat.admin_account);
    let now = chrono::Utc::now();
    let sig = UserSigKey::new(app, key).sign(account, ttl, now)?;
    Ok(output::line(sig.expose_secret())?)
}

/// `stickymark openapi`.
pub(super) fn openapi() -> anyhow::Result<()> {
    let document = api::openapi()
        .to_pretty_json()
        .context("cannot print the document")?;
    Ok(output::line(&document)?)
}

/// `stickymark completions`.
pub(super) fn completions(
    shell: clap_complete::Shell,
    mut command: clap::Command,
) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "stickymark", &mut script);
    Ok(output::text(&String::from_utf8_lossy(&script))?)
}
