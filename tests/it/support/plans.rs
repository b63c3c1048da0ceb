//! One large room's life in a database whose statistics say little or lie, and what PostgreSQL does
//! for each statement meanwhile: its module `auto_explain` sends the plans as notices.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor};
use stickymark::testing::database::Db;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, filter::Targets};

use super::stage::Stage;
use super::{TestDatabase, database, wait_for_row};

/// Members that one callback names.
const A_CALLBACK: usize = 50;

/// What the planner knows before the room fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    None,
    /// The tables were analysed while they were empty, as they are after a night without rooms, and the
    /// first statements found hardly a row.
    Empty,
    FewSmallRooms,
    ManySmallRooms,
    /// The tables are analysed before each step.
    Fresh,
}

impl Statistics {
    fn small_rooms(self) -> i32 {
        match self {
            Self::None | Self::Empty => 0,
            Self::FewSmallRooms | Self::Fresh => 3,
            Self::ManySmallRooms => 2_000,
        }
    }
}

/// What PostgreSQL said of one execution of a statement.
#[derive(Debug)]
pub struct Execution {
    pub statement: String,
    pub milliseconds: f64,
    /// Rows that all nodes of the plan handled, those they threw away included.
    pub rows: f64,
    pub plan: Value,
}

/// Everything that was executed. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Executions(Arc<Mutex<Vec<Execution>>>);

impl Executions {
    /// A subscriber that collects them.
    pub fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let notices = Targets::new().with_target("sqlx::postgres::notice", tracing::Level::TRACE);
        tracing_subscriber::registry().with(self.clone().with_filter(notices))
    }

    /// Those since the last call.
    pub fn take(&self) -> Vec<Execution> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Executions {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "message" {
                    self.0 = value.to_owned();
                }
            }
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                self.record_str(field, &format!("{value:?}"));
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if let Some(execution) = Execution::of(&message.0) {
            self.0.lock().unwrap().push(execution);
        }
    }
}

impl Execution {
    fn of(notice: &str) -> Option<Self> {
        let (duration, explained) = notice.split_once(" ms  plan:")?;
        let mut explained: Value = serde_json::from_str(explained).unwrap();
        let text = explained["Query Text"].as_str().unwrap();
        let words = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .flat_map(str::split_whitespace);
        Some(Self {
            statement: words.collect::<Vec<_>>().join(" "),
            milliseconds: duration.rsplit(' ').next()?.parse().unwrap(),
            rows: rows(&explained["Plan"]),
            plan: explained["Plan"].take(),
        })
    }

    /// Whether it concerns members or rooms.
    pub fn is_of_members(&self) -> bool {
        let names = ["members", "rooms"];
        names.iter().any(|name| self.statement.contains(name))
    }
}

fn rows(node: &Value) -> f64 {
    let each = [
        "Actual Rows",
        "Rows Removed by Filter",
        "Rows Removed by Join Filter",
        "Rows Removed by Index Recheck",
    ];
    let each: f64 = each.iter().filter_map(|name| node[name].as_f64()).sum();
    let below = node["Plans"].as_array().into_iter().flatten();
    node["Actual Loops"].as_f64().unwrap_or(0.0) * each + below.map(rows).sum::<f64>()
}

/// How long each step took, with the work that it causes done.
pub type Steps = Vec<(&'static str, Duration)>;

const ROOM: &str = "gala";

/// The whole application between a simulated Chat and a database with certain statistics.
pub struct LargeRoom {
    stage: Stage,
    statistics: Statistics,
    accounts: Vec<String>,
    steps: Steps,
}

impl LargeRoom {
    /// Ten rules divide the members among ten marks.
    pub async fn open(statistics: Statistics, members: usize) -> Self {
        let database = database().await;
        explain_everything(&database).await;
        fill(database.db(), statistics).await;
        let settings = [
            ("STICKYMARK__RESYNC__INTERVAL", "0s"),
            ("STICKYMARK__CHAT__CALLS_PER_SECOND", "200"),
        ];
        let stage = Stage::on(database, &settings).await;
        for mark in 0..10_u32 {
            let (id, accounts) = (format!("rule-{mark}"), format!("{mark}-*"));
            stage.put_rule(&id, "*", &accounts, &[1000 + mark]).await;
        }
        let accounts = (0..members).map(|number| format!("{}-{number}", number % 10));
        Self {
            stage,
            statistics,
            accounts: accounts.collect(),
            steps: Steps::new(),
        }
    }

    /// Members arrive, drop, come back, get other rules, and are compared, retried and looked at; then
    /// the room ends.
    pub async fn live(mut self) -> Steps {
        let all = self.accounts.len();
        if self.statistics == Statistics::Empty {
            for first in 0..20 {
                let member = &self.accounts[first..=first];
                self.stage.chat.join(ROOM, member).await.unwrap();
                self.end("the first arrive", Instant::now()).await;
            }
        }
        for (step, movement, members) in [
            ("arrive", "join", all),
            ("drop", "drop", all / 2),
            ("come back", "back", all / 2),
        ] {
            let began = self.begin().await;
            let chat = self.stage.chat.sharing_callbacks(A_CALLBACK);
            let accounts = &self.accounts[..members];
            let moved = match movement {
                "join" => chat.join(ROOM, accounts).await,
                "drop" => chat.drop_offline(ROOM, accounts).await,
                _ => chat.come_back(ROOM, accounts).await,
            };
            let moved = moved.unwrap();
            assert_eq!(moved.delivered, moved.callbacks, "{step}");
            self.end(step, began).await;
        }
        for (step, enabled) in [("disable a rule", false), ("enable it", true)] {
            let began = self.begin().await;
            self.stage
                .patch_rule("rule-3", json!({ "enabled": enabled }))
                .await;
            self.end(step, began).await;
        }
        let began = self.begin().await;
        self.post("/v1/rooms/resync", json!({ "group": ROOM }))
            .await;
        let compared = "select swept_at is not null from rooms where group_id = 'gala'";
        wait_for_row(self.stage.db(), compared).await;
        self.end("compare", began).await;

        let began = self.begin().await;
        self.post("/v1/members/retry", json!({ "group": ROOM }))
            .await;
        for page in [
            "members?group=gala",
            "members?state=pending",
            "rooms",
            "explain?group=gala&account=3-3",
            "status",
        ] {
            let url = format!("{}/v1/{page}", self.stage.admin_url());
            let answer = reqwest::get(url).await.unwrap();
            assert!(answer.status().is_success(), "{page}");
        }
        self.end("retry and look", began).await;

        let began = self.begin().await;
        self.stage.chat.destroy(ROOM).await.unwrap();
        let nobody = "select not exists (select from members where presence <> 'absent' and group_id = 'gala')";
        wait_for_row(self.stage.db(), nobody).await;
        self.end("end", began).await;
        self.stage.close().await;
        self.steps
    }

    async fn post(&self, path: &str, body: Value) {
        let url = format!("{}{path}", self.stage.admin_url());
        let client = reqwest::Client::new();
        let answer = client.post(url).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
    }

    async fn begin(&self) -> Instant {
        if self.statistics == Statistics::Fresh {
            let db = self.stage.db();
            db.execute("analyze members, rooms, rules").await.unwrap();
        }
        Instant::now()
    }

    /// Waits until the worker has nothing to do: neither due members nor claimed ones.
    async fn end(&mut self, step: &'static str, began: Instant) {
        let nothing_is_due =
            "select not exists (select from members where due_at < now() + interval '20 s')
                 and (select sequence from propagation)
                     >= coalesce((select max(sequence) from rule_history), 0)";
        wait_for_row(self.stage.db(), nothing_is_due).await;
        self.steps.push((step, began.elapsed()));
    }
}

/// Every later connection sends the plan of each of its statements.
async fn explain_everything(database: &TestDatabase) {
    let db = database.db();
    let name: String = sqlx::query_scalar("select current_database()")
        .fetch_one(db)
        .await
        .unwrap();
    for (setting, value) in [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
        ("client_min_messages", "log"),
    ] {
        let set = format!("alter database {name} set {setting} = {value}");
        db.execute(AssertSqlSafe(set)).await.unwrap();
    }
    // The connection of before has not heard of the settings.
    let ended = db
        .execute("select pg_terminate_backend(pg_backend_pid())")
        .await;
    ended.unwrap_err();
}

/// Small rooms, and statistics of nothing else.
async fn fill(db: &Db, statistics: Statistics) {
    for table in ["members", "rooms", "rules"] {
        let by_hand = format!("alter table {table} set (autovacuum_enabled = off)");
        db.execute(AssertSqlSafe(by_hand)).await.unwrap();
    }
    if statistics == Statistics::None {
        return;
    }
    let rooms = statistics.small_rooms();
    for statement in [
        "insert into rooms (group_id, last_event_at) select 'small-' || room, now()
         from generate_series(1, $1) room",
        "insert into members (group_id, account, presence, event, event_at, heard_at)
         select 'small-' || room, account, 'present', 'join', 1, now()
         from generate_series(1, $1) room cross join unnest('{a,b,c}'::text[]) account",
    ] {
        sqlx::query(statement)
            .bind(rooms)
            .execute(db)
            .await
            .unwrap();
    }
    db.execute("analyze members, rooms, rules").await.unwrap();
}
