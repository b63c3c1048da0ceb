//! A real scrape of a real service, held against the page that explains it.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Client;
use stickymark::testing::api::figures::shared_figures;

use crate::support::database;
use crate::support::scene::{Scene, users};
use crate::support::stage::Stage;

const PAGE: &str = include_str!("../../deploy/metrics.md");
/// Where `.ci/checks/deploy` wants the scrape, to have promtool read it.
const KEEP_SCRAPE: &str = "STICKYMARK_KEEP_SCRAPE";

/// A family: its type and the names of its labels.
type Shape = (String, BTreeSet<String>);

/// What the tables of the page promise.
fn promised() -> BTreeMap<String, Shape> {
    let rows = PAGE.lines().filter(|line| {
        let process = cfg!(target_os = "linux") && line.starts_with("| `process_");
        process || line.starts_with("| `stickymark_")
    });
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let families = cells.map(|cells| {
        let name = cells[0].trim_start_matches("| ").trim_matches('`');
        let kind = cells[1].trim_end_matches(", **shared**");
        let labels = cells[2].split('`').skip(1).step_by(2);
        let shape = (kind.to_owned(), labels.map(str::to_owned).collect());
        (name.to_owned(), shape)
    });
    families.collect()
}

/// A scrape, read.
struct Scrape {
    text: String,
    /// Each series with its value: `name{label="value",…}`.
    series: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(stage: &Stage) -> Self {
        let url = format!("{}/metrics", stage.admin_url());
        let answer = Client::new().get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let content_type = answer.headers()["content-type"].to_str().unwrap();
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let text = answer.text().await.unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let samples = samples.map(|line| line.rsplit_once(' ').unwrap());
        let series = samples.map(|(series, value)| (series.to_owned(), value.parse().unwrap()));
        let series = series.collect();
        Self { text, series }
    }

    fn value(&self, series: &str) -> f64 {
        let value = self.series.get(series);
        *value.unwrap_or_else(|| panic!("{series} is not there:\n{}", self.text))
    }

    /// The sum over all series of a family.
    fn sum(&self, family: &str) -> f64 {
        let of_family = |series: &str| series.split('{').next() == Some(family);
        let series = self.series.iter();
        series
            .filter(|(series, _)| of_family(series))
            .map(|(_, value)| value)
            .sum()
    }

    /// Every family with its type and the labels that its series carry.
    fn shapes(&self) -> BTreeMap<String, Shape> {
        let kinds = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "));
        let mut shapes: BTreeMap<String, Shape> = kinds
            .map(|line| {
                let (name, kind) = line.split_once(' ').unwrap();
                (name.to_owned(), (kind.to_owned(), BTreeSet::new()))
            })
            .collect();
        for series in self.series.keys() {
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let ends = ["_bucket", "_sum", "_count"];
            let family = match shapes.contains_key(name) {
                true => name,
                false => ends
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name),
            };
            let shape = shapes
                .get_mut(family)
                .unwrap_or_else(|| panic!("{name} has no type"));
            let keys = labels.split('"').step_by(2);
            let keys = keys.map(|key| key.trim_matches([',', '=', '}']));
            let keys = keys.filter(|key| !key.is_empty() && *key != "le");
            shape.1.extend(keys.map(str::to_owned));
        }
        shapes
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_scrape_shows_what_the_page_promises_and_nothing_else() {
    let stage = Stage::open(&[("STICKYMARK__REAPPLY__SETTLE", "0s")]).await;
    let first = Scrape::of(&stage).await;
    assert_eq!(first.shapes(), promised());
    stage
        .put_rule("teacher", "class-7", "teacher10", &[1000])
        .await;
    // A join that comes before the filter knows the rule is ignored at first.
    while Scrape::of(&stage).await.value("stickymark_filter_rules") < 1.0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let accounts = ["teacher10", "viewer1"].map(str::to_owned);
    stage.chat.join("class-7", &accounts).await.unwrap();
    stage.sees("class-7", "teacher10", &[1000]).await;
    stage.rests().await;
    stage.chat.leave("class-7", &accounts).await.unwrap();
    stage.rests().await;
    let stranger = format!("{}?SdkAppid=1&CallbackCommand=x", stage.callback_url());
    let client = Client::new();
    let refused = client.post(&stranger).body("{}").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let lost = client.get(&stranger).send().await.unwrap();
    assert_eq!(lost.status(), 405);

    let scrape = Scrape::of(&stage).await;
    assert_eq!(scrape.shapes(), promised());
    let (before, after): (Vec<_>, Vec<_>) = (
        first.series.keys().collect(),
        scrape.series.keys().collect(),
    );
    assert_eq!(before, after, "every series is there from the start");
    for text in ["class-7", "teacher10", "viewer1", "teacher\""] {
        assert!(!scrape.text.contains(text), "{text} is in a label");
    }
    holds_what_happened(&scrape);
    if let Ok(path) = std::env::var(KEEP_SCRAPE) {
        std::fs::write(path, &scrape.text).unwrap();
    }
    stage.close().await;
}

/// Two came and went, one of them matched by a rule; two requests were refused.
fn holds_what_happened(scrape: &Scrape) {
    let callbacks = |command, outcome| {
        scrape.value(&format!(
            "stickymark_callbacks_total{{command=\"{command}\",outcome=\"{outcome}\"}}"
        ))
    };
    let (join, exit) = (
        "Group.CallbackAfterNewMemberJoin",
        "Group.CallbackAfterMemberExit",
    );
    assert!(callbacks(join, "stored") >= 1.0);
    assert!(callbacks(exit, "stored") >= 1.0);
    assert_eq!(callbacks("other", "other_app"), 1.0);
    assert_eq!(callbacks("other", "not_found"), 1.0);
    let answered = scrape.sum("stickymark_callbacks_total") - 1.0;
    assert_eq!(
        scrape.sum("stickymark_callback_duration_seconds_count"),
        answered
    );
    let filtered = |decision| {
        scrape.value(&format!(
            "stickymark_filter_decisions_total{{decision=\"{decision}\"}}"
        ))
    };
    assert!(filtered("passed") >= 2.0);
    assert_eq!(filtered("passed"), filtered("skipped"));
    assert!(scrape.value("stickymark_inbox_wait_seconds_count") >= 2.0);
    assert!(scrape.value("stickymark_inbox_batch_members_count") >= 2.0);
    assert_eq!(scrape.value("stickymark_inbox_members"), 0.0);
    // One arrival may be told by two callbacks, and served by two calls.
    let delays = scrape.value("stickymark_mark_delay_seconds_count");
    let confirmed = scrape.value("stickymark_marked_members_total{result=\"confirmed\"}");
    assert!(delays >= 1.0 && confirmed >= delays);
    let ok = "stickymark_chat_calls_total{api=\"modify_user_info\",class=\"none\",outcome=\"ok\"}";
    assert!(scrape.value(ok) >= 1.0);
    let of_marks = "{api=\"modify_user_info\"}";
    // Who leaves at once may be tried once more, in vain.
    let calls: f64 = scrape
        .series
        .iter()
        .filter(|(series, _)| {
            series.starts_with("stickymark_chat_calls_total{api=\"modify_user_info\"")
        })
        .map(|(_, value)| value)
        .sum();
    for family in [
        "chat_call_duration_seconds_count",
        "chat_call_members_count",
    ] {
        let shown = scrape.value(&format!("stickymark_{family}{of_marks}"));
        assert_eq!(shown, calls, "{family}");
    }
    let waits = format!("stickymark_budget_wait_seconds_count{of_marks}");
    assert!(scrape.value(&waits) >= 1.0);
    assert_eq!(scrape.value("stickymark_ready"), 1.0);
    assert_eq!(scrape.value("stickymark_chat_paused"), 0.0);
    let configured = "stickymark_budget_configured_calls_per_second";
    assert_eq!(scrape.value(configured), 160.0);
    assert_eq!(scrape.value("stickymark_resync_interval_seconds"), 300.0);
    assert!(scrape.value("stickymark_queue_read_timestamp_seconds") > 1.7e9);
    assert!(scrape.value("stickymark_database_connections_max") >= 2.0);
    assert_eq!(scrape.sum("stickymark_database_errors_total"), 0.0);
    assert!(scrape.value("stickymark_table_bytes{table=\"members\"}") >= 8192.0);
    if cfg!(target_os = "linux") {
        holds_the_process(scrape);
    }
}

fn holds_the_process(scrape: &Scrape) {
    let value = |name: &str| scrape.value(&format!("process_{name}"));
    assert!(value("cpu_seconds_total") > 0.0);
    let (resident, whole) = (
        value("resident_memory_bytes"),
        value("virtual_memory_bytes"),
    );
    assert!(resident > 4e6 && resident < whole, "{resident} of {whole}");
    assert!(value("open_fds") > 3.0 && value("open_fds") < value("max_fds"));
    assert!(value("threads") > 1.0);
    let now = chrono::Utc::now().timestamp() as f64;
    let age = now - value("start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
}

#[tokio::test]
async fn every_member_with_something_to_do_is_in_one_state_of_the_queue() {
    let database = database().await;
    let db = database.db();
    for statement in [
        "insert into rooms (group_id, opened_at, swept_at, leased_until, gone_at) values
         ('live', now() - interval '1 hour', now() - interval '10 minutes', null, null),
         ('held', now() - interval '5 minutes', null, now() + interval '15 s', null),
         ('gone', now() - interval '1 day', null, null, now())",
        "insert into members (group_id, account, presence, marks, due_at, failed_at, in_doubt) values
         ('live', 'due', 'present', '{}', now() - interval '30 s', null, false),
         ('live', 'later', 'present', '{1000}', now() + interval '1 hour', null, false),
         ('live', 'idle', 'present', '{}', null, null, false),
         ('live', 'failed', 'present', '{}', now() + interval '1 hour', now(), false),
         ('held', 'claimed', 'present', '{1000}', now() - interval '1 s', null, true),
         ('held', 'since', 'present', '{}', now() + interval '10 s', null, true),
         ('gone', 'away', 'present', '{1000}', null, null, false)",
    ] {
        sqlx::query(statement).execute(db).await.unwrap();
    }
    let shared = shared_figures(db).await.unwrap();
    assert_eq!(
        (shared.due, shared.leased, shared.failed, shared.rooms_live),
        (1, 1, 1, 2)
    );
    assert_eq!(shared.delayed, 2);
    assert!((30.0..60.0).contains(&shared.oldest_due_seconds));
    assert!((600.0..660.0).contains(&shared.oldest_comparison_seconds));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_counted_by_kind_and_marks_that_the_sweep_restored_are_no_delay() {
    let scene = Scene::sweeping().await;
    scene.rule("class-7", "user*", &[1000]).await;
    let chat = scene.chat();
    chat.join("class-7", &users(3)).await.unwrap();
    for user in users(3) {
        scene.wait_for_marks("class-7", &user, &[1000]).await;
    }
    let settled = "select count(*) = 3 from members where pending_since is null and not in_doubt";
    scene.wait_for_row(settled).await;
    let metrics = scene.metrics();
    scene
        .take_marks_behind_our_back("class-7", "user1", &[1000])
        .await;
    // One arrival may be told by two callbacks, and served by two calls.
    let delays = |text: &str| value(text, "stickymark_mark_delay_seconds_count");
    let before = (metrics.text().unwrap(), metrics.totals());
    assert!(delays(&before.0) >= 3.0);
    scene.two_minutes_pass().await;
    scene.wait_for_marks("class-7", "user1", &[1000]).await;
    scene.wait_for_row(settled).await;
    let text = metrics.text().unwrap();
    for line in [
        "stickymark_resync_drift_members_total{kind=\"missing\"} 1",
        "stickymark_resync_drift_members_total{kind=\"gone\"} 0",
        "stickymark_resync_drift_age_seconds_count 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    assert_eq!(delays(&text), delays(&before.0));
    assert_eq!(metrics.totals().restored, before.1.restored + 1);
}

fn value(text: &str, series: &str) -> f64 {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("{series} is not there:\n{text}"))
}
