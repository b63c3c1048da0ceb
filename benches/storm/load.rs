//! The load generator: keep-alive HTTP/1.1 connections without pipelining, all on one thread.
//!
//! Every answer must be a 200 with the OK body; anything else ends the run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::requests::Requests;

/// Connections, unless the command line says otherwise: Chat keeps many, and what waits at once is
/// what one commit can hold.
pub const CONNECTIONS: usize = 256;
const OK: &[u8] = br#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;

/// What a run brought.
pub struct Load {
    /// Answers per second in the measured time.
    pub per_second: f64,
    /// Answers in all.
    pub answers: usize,
    /// From the send time (in the open loop: the intended one) to the answer, sorted.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// A latency that this share of the answers kept.
    pub fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let place = (share * last as f64).round() as usize;
        self.latencies.get(place).copied().unwrap_or_default()
    }

    fn new(mut latencies: Vec<Duration>, measured: Duration, answers: usize) -> Self {
        latencies.sort_unstable();
        Self {
            answers,
            per_second: latencies.len() as f64 / measured.as_secs_f64(),
            latencies,
        }
    }
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            answer: Vec::with_capacity(1024),
        })
    }

    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                bail!("the server closed a connection");
            }
            if self.answer.ends_with(OK) {
                break;
            }
            // Anything else in one piece is a refusal; answers this short are never cut in two.
            if !self.answer.starts_with(b"HTTP/1.1 200") {
                bail!("the server refused: {}", self.answer.escape_ascii());
            }
        }
        if !self.answer.starts_with(b"HTTP/1.1 200") {
            bail!("the server refused: {}", self.answer.escape_ascii());
        }
        Ok(())
    }
}

/// Sends as fast as answers come, going round the requests, and measures after `warm`.
pub async fn closed(
    address: SocketAddr,
    connections: usize,
    requests: Requests,
    warm: Duration,
    measured: Duration,
) -> anyhow::Result<Load> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let from = Instant::now() + warm;
    let until = from + measured;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (requests, next) = (requests.clone(), next.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut latencies = Vec::new();
            loop {
                let sent = Instant::now();
                if sent >= until {
                    return anyhow::Ok(latencies);
                }
                let place = next.fetch_add(1, Ordering::Relaxed);
                connection.ask(requests.at(place)).await?;
                let now = Instant::now();
                if (from..until).contains(&now) {
                    latencies.push(now - sent);
                }
            }
        });
    }
    let latencies = joined(tasks).await?;
    let answers = next.load(Ordering::Relaxed);
    Ok(Load::new(latencies, measured, answers))
}

/// Sends each request once, over connections to all addresses in turn, as fast as answers come.
pub async fn once(addresses: &[SocketAddr], requests: Requests) -> anyhow::Result<Load> {
    let requests = Arc::new(requests);
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let address = addresses[number % addresses.len()];
        let (requests, next) = (requests.clone(), next.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut latencies = Vec::new();
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                if place >= requests.len() {
                    return anyhow::Ok(latencies);
                }
                let sent = Instant::now();
                connection.ask(requests.at(place)).await?;
                latencies.push(sent.elapsed());
            }
        });
    }
    let latencies = joined(tasks).await?;
    let answers = latencies.len();
    Ok(Load::new(latencies, began.elapsed(), answers))
}

/// Sends at a fixed rate, whatever the answers do. A request whose connection is still busy is late,
/// and its latency counts from when it should have been sent.
pub async fn open(
    address: SocketAddr,
    requests: Requests,
    per_second: u32,
    warm: Duration,
    measured: Duration,
) -> anyhow::Result<Load> {
    let requests = Arc::new(requests);
    let began = Instant::now() + Duration::from_millis(100);
    let (from, until) = (began + warm, began + warm + measured);
    let interval = Duration::from_secs(1) / per_second;
    let mut tasks = JoinSet::new();
    for number in 0..CONNECTIONS {
        let requests = requests.clone();
        tasks.spawn(async move {
            let mut connection = Connection::open(address).await?;
            let mut latencies = Vec::new();
            for place in (number..).step_by(CONNECTIONS) {
                let intended = began + interval * u32::try_from(place)?;
                if intended >= until {
                    break;
                }
                sleep_until(intended).await;
                connection.ask(requests.at(place)).await?;
                if intended >= from {
                    latencies.push(intended.elapsed());
                }
            }
            anyhow::Ok(latencies)
        });
    }
    let latencies = joined(tasks).await?;
    let answers = latencies.len();
    Ok(Load::new(latencies, measured, answers))
}

async fn joined(
    mut tasks: JoinSet<anyhow::Result<Vec<Duration>>>,
) -> anyhow::Result<Vec<Duration>> {
    let mut all = Vec::new();
    while let Some(task) = tasks.join_next().await {
        all.extend(task??);
    }
    Ok(all)
}
