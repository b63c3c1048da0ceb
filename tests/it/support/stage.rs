//! The whole application in this process, between a simulated Chat and a database of its own;
//! everything over real HTTP on free ports.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use stickymark::testing::chat::{Budgets, ChatClient};
use stickymark::testing::config::Settings;
use stickymark::testing::database::Db;
use stickymark::testing::local::simulator::{
    CallRecord, Options, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Simulated, start,
};
use stickymark::testing::rules::filter::RuleFilter;
use stickymark::testing::{PartEnded, Service};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{TestDatabase, database, rules_are_known, wait_for_row};

/// Far beyond what any step takes; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);
const CALLBACK_TOKEN: &str = "callback-token";

/// A running application and what surrounds it.
pub struct Stage {
    pub chat: Simulated,
    pub database: TestDatabase,
    replicas: Vec<Replica>,
    settings: Settings,
    http: reqwest::Client,
    _simulator: Running,
}

struct Replica {
    admin: String,
    callbacks: String,
    filter: RuleFilter,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), PartEnded>>,
}

impl Stage {
    /// The application with default settings but for these, `("STICKYMARK__REAPPLY__SETTLE", "1s")`.
    pub async fn open(settings: &[(&str, &str)]) -> Self {
        Self::on(database().await, settings).await
    }

    /// The same on a database that the test has prepared.
    pub async fn on(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = Options {
            callback_token: Some(SecretString::from(CALLBACK_TOKEN)),
            ..Options::default()
        };
        let simulator = start(options, listener).unwrap();
        let app = SAMPLE_SDK_APP_ID.to_string();
        let url = simulator.url();
        let fixed = [
            ("STICKYMARK__CHAT__SDK_APP_ID", app.as_str()),
            ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
            ("STICKYMARK__CHAT__BASE_URL", url.as_str()),
            ("STICKYMARK__CALLBACK__LISTEN", "127.0.0.1:0"),
            ("STICKYMARK__CALLBACK__TOKENS", CALLBACK_TOKEN),
            ("STICKYMARK__ADMIN__LISTEN", "127.0.0.1:0"),
        ];
        let settings = Settings::load(None, fixed.into_iter().chain(settings.iter().copied()));
        let mut stage = Self {
            chat: simulator.client().unwrap().waiting(),
            database,
            replicas: Vec::new(),
            settings: settings.unwrap(),
            http: reqwest::Client::new(),
            _simulator: simulator,
        };
        stage.add_replica().await;
        stage.callbacks_to(&stage.replicas[0].callbacks).await;
        stage
    }

    /// Chat posts its callbacks to this URL from now on.
    pub async fn callbacks_to(&self, url: &str) {
        let token = Some(SecretString::from(CALLBACK_TOKEN));
        self.chat.set_callback(Some(url), token).await.unwrap();
    }

    /// Where each replica receives callbacks.
    pub fn callback_urls(&self) -> Vec<String> {
        self.replicas.iter().map(|r| r.callbacks.clone()).collect()
    }

    /// One more replica on the same database. Callbacks go on to the first.
    pub async fn add_replica(&mut self) {
        let service = Service::build(&self.settings, self.db().clone())
            .await
            .unwrap();
        let admin = format!("http://{}", service.admin_address());
        let callbacks = format!("http://{}/callback", service.callback_address());
        let filter = service.rule_filter().clone();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(service.run(async {
            let _ = stopped.await;
            Duration::ZERO
        }));
        self.replicas.push(Replica {
            admin,
            callbacks,
            filter,
            stop,
            running,
        });
    }

    /// Stops every replica in order.
    pub async fn close(self) {
        for replica in self.replicas {
            replica.stop.send(()).unwrap();
            replica.running.await.unwrap().unwrap();
        }
    }

    pub fn db(&self) -> &Db {
        self.database.db()
    }

    /// Where the management API of the first replica listens.
    pub fn admin_url(&self) -> &str {
        &self.replicas[0].admin
    }

    /// What each replica says of itself at `/v1/status`.
    pub async fn statuses(&self) -> Vec<Value> {
        let mut statuses = Vec::new();
        for replica in &self.replicas {
            let answer = self.http.get(format!("{}/v1/status", replica.admin)).send();
            statuses.push(answer.await.unwrap().json().await.unwrap());
        }
        statuses
    }

    /// Where Chat posts callbacks of the first replica.
    pub fn callback_url(&self) -> &str {
        &self.replicas[0].callbacks
    }

    /// Creates or replaces a rule by the API, and waits until all replicas know it.
    pub async fn put_rule(&self, id: &str, group: &str, account: &str, marks: &[u32]) {
        let url = format!("{}/v1/rules/{id}", self.replicas[0].admin);
        let body = json!({"group": group, "account": account, "marks": marks});
        let answer = self.http.put(url).json(&body).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
        rules_are_known(self.db(), self.replicas.iter().map(|r| &r.filter)).await;
    }

    /// Changes a rule by a merge patch.
    pub async fn patch_rule(&self, id: &str, patch: Value) {
        let url = format!("{}/v1/rules/{id}", self.replicas[0].admin);
        let answer = self.http.patch(url).json(&patch).send().await.unwrap();
        assert!(
            answer.status().is_success(),
            "{}",
            answer.text().await.unwrap()
        );
    }

    pub async fn delete_rule(&self, id: &str) {
        let url = format!("{}/v1/rules/{id}", self.replicas[0].admin);
        let answer = self.http.delete(url).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }

    /// Waits until Chat holds exactly these marks for a member.
    pub async fn sees(&self, group: &str, account: &str, marks: &[u32]) {
        let seen = self.chat.wait_for_marks(group, account, marks, PATIENCE);
        if let Err(error) = seen.await {
            let rows = "select coalesce(string_agg(m::text || ' ' || r::text, '; '), 'no row')
                        from members m join rooms r using (group_id)";
            let rows: String = sqlx::query_scalar(rows).fetch_one(self.db()).await.unwrap();
            let calls = self.mark_calls().await;
            panic!("{error:?}; the table has {rows}; calls: {calls:#?}");
        }
    }

    /// Waits until nothing is due for anybody.
    pub async fn rests(&self) {
        let nobody =
            "select not exists (select from members where pending_since is not null or in_doubt)
                 and (select sequence from propagation)
                     >= coalesce((select max(sequence) from rule_history), 0)";
        wait_for_row(self.db(), nobody).await;
    }

    /// The calls that set or delete marks.
    pub async fn mark_calls(&self) -> Vec<CallRecord> {
        let calls = self.chat.calls().await.unwrap();
        calls
            .into_iter()
            .filter(|call| call.command_type.is_some())
            .collect()
    }

    /// A client of Chat past the application, as another service of the same app would have.
    pub fn other_client(&self) -> ChatClient {
        ChatClient::new(&self.settings.chat, Budgets::none()).unwrap()
    }
}
