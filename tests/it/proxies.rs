//! nginx and haproxy in front of two replicas, which are restarted one after the other, and the
//! console behind nginx. `cargo test --test it proxies -- --ignored --nocapture`; both programs must be
//! installed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::Utc;
use reqwest::Client;
use serde_json::json;
use sha2::{Digest, Sha256};
use stickymark::testing::local::simulator::SAMPLE_SDK_APP_ID;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::process::{Orders, Replica, until};
use crate::support::{TestDatabase, database, insert_rule};

const TOKEN: &str = "token-of-this-test";
const EDITOR: &str = "secret-of-eve-the-editor";
const JOIN: &str = "Group.CallbackAfterNewMemberJoin";
/// For each proxy.
const CALLBACKS_PER_SECOND: u64 = 200;
const RESTARTS: usize = 10;

/// Ports that were free a moment ago. Proxies need to know those of replicas that restart.
fn free<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// A proxy in the foreground. Dropped, it is killed.
struct Proxy(Child);

impl Proxy {
    async fn start(program: &str, configuration: &Path, text: &str, at: SocketAddr) -> Self {
        std::fs::write(configuration, text).unwrap();
        let file = configuration.to_str().unwrap();
        let arguments: &[&str] = match program {
            "nginx" => &["-c", file],
            _ => &["-db", "-f", file],
        };
        let child = Command::new(program)
            .args(arguments)
            .env(
                "PATH",
                "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin",
            )
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is not installed: {error}"));
        let proxy = Self(child);
        until("the proxy listens", || async {
            tokio::net::TcpStream::connect(at).await.is_ok()
        })
        .await;
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// `max_fails=0`: two restarts within its 10 s would make nginx believe that both replicas are gone.
fn nginx(directory: &Path, http: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.log;
         events {{ worker_connections 8192; }}
         http {{
           access_log off; keepalive_requests 1000000;
           client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
           fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
           {http}
         }}"
    )
}

fn nginx_of_callbacks(
    directory: &Path,
    at: SocketAddr,
    [one, other]: [SocketAddr; 2],
    repeats: bool,
) -> String {
    let repeated = match repeats {
        true => "proxy_next_upstream error timeout non_idempotent;",
        false => "",
    };
    let http = format!(
        "upstream stickymark {{ server {one} max_fails=0; server {other} max_fails=0; keepalive 32; }}
         server {{
           listen {at};
           location / {{
             proxy_pass http://stickymark; proxy_http_version 1.1; proxy_set_header Connection '';
             {repeated}
           }}
         }}"
    );
    nginx(directory, &http)
}

fn haproxy(at: SocketAddr, [one, other]: [SocketAddr; 2], repeats: bool) -> String {
    let repeated = match repeats {
        true => "retry-on conn-failure empty-response",
        false => "",
    };
    format!(
        "defaults
           mode http
           timeout connect 1s
           timeout client 30s
           timeout server 10s
           option redispatch
           retries 3
           {repeated}
         frontend callbacks
           bind {at}
           default_backend stickymark
         backend stickymark
           option httpchk GET /
           http-reuse safe
           server one {one} check inter 500ms
           server other {other} check inter 500ms\n"
    )
}

/// Posts signed callbacks at a steady rate until stopped, and counts the answers by status; 0: none.
async fn post(to: SocketAddr, answers: Arc<Mutex<BTreeMap<u16, usize>>>, stop: CancellationToken) {
    let client = Client::new();
    let mut ticks = interval(Duration::from_micros(1_000_000 / CALLBACKS_PER_SECOND));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut posting = tokio::task::JoinSet::new();
    for member in 0.. {
        if stop.run_until_cancelled(ticks.tick()).await.is_none() {
            break;
        }
        let now = Utc::now().timestamp();
        let sign = hex::encode(Sha256::digest(format!("{TOKEN}{now}")));
        let url = format!(
            "http://{to}/callback?SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={JOIN}\
             &RequestTime={now}&Sign={sign}"
        );
        // A rule matches one in ten.
        let account = match member % 10 {
            0 => format!("vip-{}", member % 1000),
            _ => format!("pupil-{}", member % 1000),
        };
        let body = json!({"CallbackCommand": JOIN, "GroupId": "class-7", "Type": "AVChatRoom",
            "NewMemberList": [{"Member_Account": account}]});
        let request = client.post(url).json(&body);
        let answers = Arc::clone(&answers);
        posting.spawn(async move {
            let answer = request.send().await;
            let status = answer.map_or(0, |answer| answer.status().as_u16());
            *answers.lock().unwrap().entry(status).or_default() += 1;
        });
        while posting.try_join_next().is_some() {}
    }
    posting.join_all().await;
}

/// Two replicas behind both proxies, which pass on callbacks until the end.
struct Behind {
    replicas: [Replica; 2],
    ports: [SocketAddr; 2],
    started: usize,
    load: Vec<Load>,
    stop: CancellationToken,
    _proxies: [Proxy; 2],
    database: TestDatabase,
    directory: tempfile::TempDir,
}

struct Load {
    proxy: &'static str,
    posting: JoinHandle<()>,
    answers: Arc<Mutex<BTreeMap<u16, usize>>>,
}

impl Behind {
    /// `repeats`: the proxies send a request to the other replica when the first one gives no answer.
    async fn start(repeats: bool) -> Self {
        let database = database().await;
        insert_rule(database.db(), "class-7", "vip-*", &[1000]).await;
        let directory = tempfile::tempdir().unwrap();
        let [one, other, behind_nginx, behind_haproxy] = free();
        let ports = [one, other];
        let replicas = [
            replica(&database, &directory, 0, one).await,
            replica(&database, &directory, 1, other).await,
        ];
        let text = nginx_of_callbacks(directory.path(), behind_nginx, ports, repeats);
        let file = directory.path().join("nginx.conf");
        let nginx = Proxy::start("nginx", &file, &text, behind_nginx).await;
        let file = directory.path().join("haproxy.cfg");
        let text = haproxy(behind_haproxy, ports, repeats);
        let haproxy = Proxy::start("haproxy", &file, &text, behind_haproxy).await;
        let stop = CancellationToken::new();
        let load = [("nginx", behind_nginx), ("haproxy", behind_haproxy)].map(|(proxy, at)| {
            let answers = Arc::default();
            let posting = tokio::spawn(post(at, Arc::clone(&answers), stop.clone()));
            Load {
                proxy,
                posting,
                answers,
            }
        });
        Self {
            replicas,
            ports,
            started: 2,
            load: load.into(),
            stop,
            _proxies: [nginx, haproxy],
            database,
            directory,
        }
    }

    async fn start_again(&mut self, which: usize) {
        let port = self.ports[which];
        self.replicas[which] = replica(&self.database, &self.directory, self.started, port).await;
        self.started += 1;
        // haproxy looks twice before it routes there again.
        sleep(Duration::from_secs(2)).await;
    }

    /// Ends the load: every callback must have been answered with 200.
    async fn assert_all_answered(self, what: &str) {
        self.stop.cancel();
        for load in self.load {
            load.posting.await.unwrap();
            let (proxy, answers) = (load.proxy, load.answers.lock().unwrap().clone());
            println!("{proxy}: {what}, answers by status: {answers:?}");
            if proxy == "nginx" && answers.len() > 1 {
                let log = std::fs::read_to_string(self.directory.path().join("nginx.log")).unwrap();
                // A refused connection is tried at the other replica.
                let others = log
                    .lines()
                    .filter(|line| !line.contains("111: Connection refused"));
                println!("{}", others.take(20).collect::<Vec<_>>().join("\n"));
            }
            assert_eq!(
                answers.keys().collect::<Vec<_>>(),
                [&200],
                "{proxy}: {answers:?}"
            );
        }
    }
}

async fn replica(
    database: &TestDatabase,
    directory: &tempfile::TempDir,
    number: usize,
    port: SocketAddr,
) -> Replica {
    let orders = Orders {
        database: database.url().to_string(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: vec![
            ("STICKYMARK__CALLBACK__TOKENS", TOKEN.to_owned()),
            ("STICKYMARK__CALLBACK__LISTEN", port.to_string()),
        ],
    };
    Replica::start(&orders, directory.path().join(format!("log-{number}"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and needs nginx and haproxy"]
async fn rolling_restarts_behind_nginx_and_haproxy_answer_every_callback() {
    let mut behind = Behind::start(false).await;
    for restart in 0..RESTARTS {
        let replica = &mut behind.replicas[restart % 2];
        replica.signal("TERM");
        assert!(replica.ended().await.success());
        behind.start_again(restart % 2).await;
    }
    let what = format!("{RESTARTS} restarts");
    behind.assert_all_answered(&what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx and haproxy"]
async fn killed_replicas_lose_no_callback_behind_proxies_that_repeat_requests() {
    let mut behind = Behind::start(true).await;
    for which in [0, 1, 0, 1] {
        sleep(Duration::from_secs(1)).await;
        behind.replicas[which].kill();
        behind.start_again(which).await;
    }
    behind.assert_all_answered("4 killed").await;
}

/// Signs in and writes as the console's pages do.
async fn use_console(base: &str, more: &[(&'static str, &'static str)]) {
    let client = Client::new();
    let page = client.get(format!("{base}/")).send().await.unwrap();
    let html = page.text().await.unwrap();
    let script = html
        .split('"')
        .find(|part| part.ends_with("app.js"))
        .unwrap();
    let script = client.get(format!("{base}/{script}")).send().await.unwrap();
    assert_eq!(script.status(), 200, "{base}");
    let request = |method, path: &str| {
        let mut request = client.request(method, format!("{base}{path}"));
        for (name, value) in [("x-stickymark-console", "1")].iter().chain(more) {
            request = request.header(*name, *value);
        }
        request
    };
    let sign_in = request(reqwest::Method::POST, "/console/session");
    let sign_in = sign_in.json(&json!({"token": EDITOR, "secure": true}));
    let answer = sign_in.send().await.unwrap();
    assert_eq!(answer.status(), 200, "{base} {more:?}");
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-stickymark="));
    let cookie = cookie.split(';').next().unwrap();
    let rule = json!({"group": "g", "account": "a", "marks": [1000]});
    let write = request(reqwest::Method::PUT, "/v1/rules/r").header("cookie", cookie);
    let answer = write.json(&rule).send().await.unwrap();
    assert!(answer.status().is_success(), "{base} {more:?}");
    let now = request(reqwest::Method::GET, "/console/now?range=short").header("cookie", cookie);
    assert_eq!(now.send().await.unwrap().status(), 200, "{base} {more:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx"]
async fn the_console_works_behind_nginx_at_the_root_and_below_a_prefix() {
    let database = database().await;
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.url().to_string(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: vec![("STICKYMARK__ADMIN__TOKENS", format!("eve:editor:{EDITOR}"))],
    };
    let replica = Replica::start(&orders, directory.path().join("log")).await;
    let [bare, usual] = free();
    let admin = replica.admin;
    // With nginx's own defaults, and with the headers that its guides advise.
    let http = format!(
        "server {{ listen {bare}; location / {{ proxy_pass http://{admin}/; }}
           location /marks/ {{ proxy_pass http://{admin}/; }} }}
         server {{ listen {usual};
           proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto https;
           proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
           location / {{ proxy_pass http://{admin}/; }}
           location /marks/ {{ proxy_pass http://{admin}/; }} }}"
    );
    let file = directory.path().join("nginx.conf");
    let text = nginx(directory.path(), &http);
    let _nginx = Proxy::start("nginx", &file, &text, bare).await;
    for at in [bare, usual] {
        for prefix in ["", "/marks"] {
            let base = format!("http://{at}{prefix}");
            use_console(&base, &[("origin", "https://marks.example:8443")]).await;
            use_console(&base, &[("sec-fetch-site", "same-origin")]).await;
        }
    }
}
