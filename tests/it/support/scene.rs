//! A stage for tests: a simulated Chat over real HTTP, a database, and as many replicas of the real
//! service as a test asks for.

use std::time::Duration;

use secrecy::SecretString;
use stickymark::testing::chat::{Breaker, Budgets, ChatClient, CommandType, MemberMarks};
use stickymark::testing::config::Settings;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, EventSource, EventTime, GroupId, Mark, MarkSet, MemberEvent, RequestId,
};
use stickymark::testing::local::simulator::{
    self, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Simulated,
};
use stickymark::testing::members::{Batch, Named, Settling};
use stickymark::testing::metrics::Metrics;
use stickymark::testing::reapply::{Restorations, Worker, WorkerSettings};
use stickymark::testing::rules::filter::RuleFilter;
use stickymark::testing::{PartEnded, Service};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{TestDatabase, database, insert_rule, record, replica, rules_are_known, wait_for_row};

/// How long a test waits for what must happen; far longer than it takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

const CALLBACK_TOKEN: &str = "token-of-the-scene";

/// The stage. Dropped, everything on it stops.
pub struct Scene {
    database: TestDatabase,
    chat: Simulated,
    settings: Settings,
    replicas: Vec<Replica>,
    _running: Running,
}

struct Replica {
    filter: RuleFilter,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), PartEnded>>,
}

impl Scene {
    /// A simulated Chat and a database; no replica yet.
    pub async fn empty() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let running = simulator::start(simulator::Options::default(), listener).unwrap();
        let database = database().await;
        let mut settings = Settings::load(None, [("", ""); 0]).unwrap();
        settings.chat.sdk_app_id = Some(SAMPLE_SDK_APP_ID.into());
        settings.chat.secret_key = Some(SecretString::from(SAMPLE_SECRET_KEY));
        settings.chat.base_url = Some(running.url().parse().unwrap());
        settings.callback.listen = "127.0.0.1:0".parse().unwrap();
        settings.callback.tokens = vec![SecretString::from(CALLBACK_TOKEN)];
        settings.admin.listen = "127.0.0.1:0".parse().unwrap();
        settings.database = database.settings();
        settings.resync.interval = None;
        Self {
            database,
            chat: running.client().unwrap(),
            settings,
            replicas: Vec::new(),
            _running: running,
        }
    }

    /// The same with one replica, whose settings (sweeps are off) the test may change.
    pub async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut scene = Self::empty().await;
        change(&mut scene.settings);
        scene.add_replica().await;
        scene
    }

    /// One replica that sweeps every room once a second.
    pub async fn sweeping() -> Self {
        Self::with(|settings| settings.resync.interval = Some(Duration::from_secs(1))).await
    }

    /// The settings of replicas that are still to come.
    pub fn settings(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Starts one more replica; callbacks go to the newest.
    pub async fn add_replica(&mut self) {
        let db = self.db().clone();
        let service = Service::build(&self.settings, db).await.unwrap();
        let url = format!("http://{}/callback", service.callback_address());
        let (filter, metrics) = (service.rule_filter().clone(), service.metrics().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(service.run(async {
            let _stopped_or_dropped = stopped.await;
            Duration::ZERO
        }));
        let token = Some(SecretString::from(CALLBACK_TOKEN));
        self.chat.set_callback(Some(&url), token).await.unwrap();
        self.replicas.push(Replica {
            filter,
            metrics,
            stop,
            task,
        });
    }

    /// Stops all replicas in order.
    pub async fn stop_replicas(&mut self) {
        for Replica { stop, task, .. } in self.replicas.drain(..) {
            stop.send(()).unwrap();
            task.await.unwrap().unwrap();
        }
    }

    /// The simulated Chat; a command returns when its callbacks have been delivered.
    pub fn chat(&self) -> Simulated {
        self.chat.waiting()
    }

    pub fn db(&self) -> &Db {
        self.database.db()
    }

    /// A new rule, known to every replica: an arrival before that would be handed in late.
    pub async fn rule(&self, group: &str, account: &str, marks: &[i64]) {
        insert_rule(self.db(), group, account, marks).await;
        rules_are_known(self.db(), self.replicas.iter().map(|r| &r.filter)).await;
    }

    /// What the newest replica counts.
    pub fn metrics(&self) -> &Metrics {
        &self.replicas.last().unwrap().metrics
    }

    /// A client of the simulated Chat, to do things behind the service's back.
    pub fn client(&self) -> ChatClient {
        self.client_with(Budgets::none())
    }

    pub fn client_with(&self, budgets: Budgets) -> ChatClient {
        ChatClient::new(&self.settings.chat, budgets).unwrap()
    }

    pub fn breaker(&self) -> Breaker {
        Breaker::new("reapply")
    }

    /// A worker to be moved by hand or run, without the rest of the service.
    pub fn worker(&self, breaker: &Breaker) -> Worker {
        let replica = stickymark::testing::Replica {
            worker_breaker: breaker.clone(),
            ..replica(self.db())
        };
        Worker::new(WorkerSettings {
            chat: self.client_with(replica.budgets.clone()),
            replica,
            lease: Duration::from_secs(15),
            settling: Settling {
                settle: Duration::from_millis(30),
                max_wait: Duration::from_millis(250),
            },
            restorations: Restorations::default(),
        })
    }

    /// Members arrive by the table's account, whether or not Chat knows of it.
    pub async fn arrive(&self, group: &str, accounts: &[String]) {
        let mut batch = Batch::default();
        for account in accounts {
            batch.add(
                MemberEvent {
                    group: GroupId::parse(group).unwrap(),
                    account: Account::parse(account).unwrap(),
                    source: EventSource::Join,
                    at: Some(EventTime::from_number(1_760_000_000_000)),
                    request: RequestId::generate(),
                },
                Named::Unknown,
            );
        }
        let at_once = Settling {
            settle: Duration::ZERO,
            max_wait: Duration::ZERO,
        };
        record(self.db(), &batch, at_once).await.unwrap();
    }

    /// Takes a member's marks away as some other program of the operator might.
    pub async fn take_marks_behind_our_back(&self, group: &str, account: &str, numbers: &[i64]) {
        let member = MemberMarks {
            account: Account::parse(account).unwrap(),
            marks: marks(numbers),
        };
        let group = GroupId::parse(group).unwrap();
        let client = self.client();
        let answer = client
            .modify_user_info(&group, CommandType::Delete, &[member])
            .await;
        assert_eq!(answer.unwrap().confirmed.len(), 1);
    }

    /// Lets everything that is known of members be two minutes old.
    pub async fn two_minutes_pass(&self) {
        sqlx::query(
            "update members set heard_at = heard_at - interval '2 minutes',
                 confirmed_at = confirmed_at - interval '2 minutes'",
        )
        .execute(self.db())
        .await
        .unwrap();
    }

    /// Waits until a query, which gives one boolean, says yes.
    pub async fn wait_for_row(&self, query: &'static str) {
        wait_for_row(self.db(), query).await;
    }

    pub async fn wait_for_marks(&self, group: &str, account: &str, marks: &[u32]) {
        self.chat
            .wait_for_marks(group, account, marks, PATIENCE)
            .await
            .unwrap();
    }
}

pub fn marks(numbers: &[i64]) -> MarkSet {
    numbers
        .iter()
        .map(|number| Mark::parse(*number).unwrap())
        .collect()
}

/// `user0`, `user1`, …
pub fn users(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("user{number}")).collect()
}
