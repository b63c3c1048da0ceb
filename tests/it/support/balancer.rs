//! What stands between Chat and the replicas: passes each callback to one replica and repeats none,
//! and writes down what the replica answered. It routes to those whose `/readyz` says so; if none
//! does, to all that live.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::Value;
use tokio::net::TcpListener;

/// The balancer. Clones are the same one.
#[derive(Clone)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    http: reqwest::Client,
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    backends: Vec<Backend>,
    turn: usize,
    ledger: Ledger,
}

struct Backend {
    callbacks: SocketAddr,
    admin: SocketAddr,
    ready: bool,
}

/// What became of all callbacks.
#[derive(Debug, Default, Clone)]
pub struct Ledger {
    /// How many were answered with each status; 502 for those without an answer.
    pub statuses: BTreeMap<u16, usize>,
    /// The slowest answer of a replica.
    pub slowest: Duration,
    /// How the arrivals of each account were answered.
    arrivals: BTreeMap<String, Vec<u16>>,
    /// The latest arrival of each member (by `EventTime`) that was answered 200.
    answered: BTreeMap<(String, String), i64>,
    /// The same for those that were answered 200 or 503: a replica holds them.
    heard: BTreeMap<(String, String), i64>,
}

/// Which callbacks bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Those that were answered 200.
    Answered,
    /// Those answered 503 too: no replica was killed, so they are stored in the end.
    Heard,
}

impl Ledger {
    /// Whether an arrival of this moment or a later one binds.
    pub fn binds(&self, promise: Promise, group: &str, account: &str, arrived_at: i64) -> bool {
        let arrivals = match promise {
            Promise::Answered => &self.answered,
            Promise::Heard => &self.heard,
        };
        let key = (group.to_owned(), account.to_owned());
        arrivals.get(&key).is_some_and(|at| *at >= arrived_at)
    }

    /// How many callbacks were answered with this status.
    pub fn with(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    /// How the arrivals of an account, in whichever room, were answered.
    pub fn arrivals_of(&self, account: &str) -> &[u16] {
        self.arrivals.get(account).map_or(&[], Vec::as_slice)
    }

    /// How many callbacks there were.
    pub fn all(&self) -> usize {
        self.statuses.values().sum()
    }

    fn note(&mut self, body: &Value, status: u16, took: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        if status != 502 {
            self.slowest = self.slowest.max(took);
        }
        let arrival = body["EventType"] == "Online"
            || body["CallbackCommand"] == "Group.CallbackAfterNewMemberJoin";
        let (Some(group), Some(at)) = (body["GroupId"].as_str(), body["EventTime"].as_i64()) else {
            return;
        };
        let lists = [&body["NewMemberList"], &body["MemberList"]];
        let members = lists.into_iter().filter_map(Value::as_array).flatten();
        for account in members.filter_map(|member| member["Member_Account"].as_str()) {
            if !arrival {
                continue;
            }
            let accounts = self.arrivals.entry(account.to_owned());
            accounts.or_default().push(status);
            let key = (group.to_owned(), account.to_owned());
            let later = |known: &mut i64| *known = (*known).max(at);
            if status == 200 {
                self.answered
                    .entry(key.clone())
                    .and_modify(later)
                    .or_insert(at);
            }
            if matches!(status, 200 | 503) {
                self.heard.entry(key).and_modify(later).or_insert(at);
            }
        }
    }
}

impl Balancer {
    /// A balancer without replicas.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            http,
            state: Mutex::default(),
        });
        let app = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        tokio::spawn(watch(shared.clone()));
        Self { address, shared }
    }

    /// Where Chat sends its callbacks.
    pub fn url(&self) -> String {
        format!("http://{}/callback", self.address)
    }

    /// A replica is there.
    pub fn add(&self, callbacks: SocketAddr, admin: SocketAddr) {
        let mut state = self.shared.state.lock().unwrap();
        state.backends.push(Backend {
            callbacks,
            admin,
            ready: true,
        });
    }

    /// A replica is known to be dead.
    pub fn remove(&self, callbacks: SocketAddr) {
        let mut state = self.shared.state.lock().unwrap();
        state
            .backends
            .retain(|backend| backend.callbacks != callbacks);
    }

    /// How many replicas say that they are ready.
    pub fn ready(&self) -> usize {
        let state = self.shared.state.lock().unwrap();
        state
            .backends
            .iter()
            .filter(|backend| backend.ready)
            .count()
    }

    /// What became of the callbacks so far.
    pub fn ledger(&self) -> Ledger {
        self.shared.state.lock().unwrap().ledger.clone()
    }
}

impl Shared {
    fn next(&self) -> Option<SocketAddr> {
        let mut state = self.state.lock().unwrap();
        state.turn += 1;
        let ready: Vec<_> = state
            .backends
            .iter()
            .filter(|backend| backend.ready)
            .collect();
        let all: Vec<_> = state.backends.iter().collect();
        let among = if ready.is_empty() { all } else { ready };
        let turn = state.turn;
        (!among.is_empty()).then(|| among[turn % among.len()].callbacks)
    }
}

async fn pass(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> Response {
    let said: Value = serde_json::from_slice(&body).unwrap_or_default();
    let began = Instant::now();
    let (status, answer) = match shared.next() {
        None => (502, Bytes::new()),
        Some(replica) => forward(&shared.http, replica, &uri, body).await,
    };
    let mut state = shared.state.lock().unwrap();
    state.ledger.note(&said, status, began.elapsed());
    drop(state);
    let mut response = Response::new(Body::from(answer));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

async fn forward(
    http: &reqwest::Client,
    replica: SocketAddr,
    uri: &Uri,
    body: Bytes,
) -> (u16, Bytes) {
    let Ok(answer) = http
        .post(format!("http://{replica}{uri}"))
        .body(body)
        .send()
        .await
    else {
        return (502, Bytes::new());
    };
    let status = answer.status().as_u16();
    match answer.bytes().await {
        Ok(body) => (status, body),
        Err(_) => (502, Bytes::new()),
    }
}

/// Asks every replica ten times a second whether it is ready.
async fn watch(shared: Arc<Shared>) {
    let patience = Duration::from_secs(1);
    loop {
        let admins: Vec<SocketAddr> = {
            let state = shared.state.lock().unwrap();
            state.backends.iter().map(|backend| backend.admin).collect()
        };
        let asked = admins.into_iter().map(|admin| {
            let probe = shared
                .http
                .get(format!("http://{admin}/readyz"))
                .timeout(patience);
            async move {
                (
                    admin,
                    probe
                        .send()
                        .await
                        .is_ok_and(|answer| answer.status() == 200),
                )
            }
        });
        for (admin, ready) in futures::future::join_all(asked).await {
            let mut state = shared.state.lock().unwrap();
            let backend = state
                .backends
                .iter_mut()
                .find(|backend| backend.admin == admin);
            if let Some(backend) = backend {
                backend.ready = ready;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
