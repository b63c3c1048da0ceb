//! How Postgres runs the four hot statements, with a million rules and 100,000 members.
//!
//! The statements are those of the service, called as it calls them: Postgres itself notes their
//! plans (its module `auto_explain`) and sends them as notices. Each runs often enough for a
//! prepared statement to have settled on its plan; the last run is shown.

use std::fmt::Write;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;
use stickymark::testing::database::Db;
use stickymark::testing::domain::{
    Account, EventSource, EventTime, GroupId, Mark, MemberEvent, RequestId,
};
use stickymark::testing::members::{self, Batch, Named, Outcome, Settling};
use stickymark::testing::rules::matching_rules;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter};

use crate::population::{self, A_ROOM};
use crate::requests::unix_ms;
use crate::server::{Database, Server};

const RULES: usize = 1_000_000;
const ROOMS: usize = 200;
/// Beyond the five runs that Postgres plans each time.
const RUNS: usize = 8;
const LEASE: Duration = Duration::from_secs(15);
const SETTLING: Settling = Settling {
    settle: Duration::from_millis(30),
    max_wait: Duration::from_millis(250),
};

/// The plans that came in notices.
#[derive(Clone, Default)]
struct Plans(Arc<Mutex<Vec<String>>>);

impl Plans {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: tracing::Subscriber> Layer<S> for Plans {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "message" {
                    self.0 = value.to_owned();
                }
            }
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        if message.0.contains("plan:") {
            let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            plans.push(message.0);
        }
    }
}

/// Runs the statements and writes the page.
pub async fn run(server: &mut Server) -> anyhow::Result<()> {
    eprintln!("\nplans of the hot statements");
    let plans = Plans::default();
    let notices =
        filter::Targets::new().with_target("sqlx::postgres::notice", tracing::Level::TRACE);
    tracing_subscriber::registry()
        .with(plans.clone().with_filter(notices))
        .try_init()?;
    let database = server.with_rules(RULES).await?;
    fill(&database).await?;
    let db = explaining(&database)?;
    let mut page = format!(
        "# Plans of the hot statements\n\nWritten by `cargo bench -- explain`. {RULES} rules in \
         three shapes, {} members in {ROOMS} rooms, all of them due. Each statement ran {RUNS} \
         times; the last run is shown, the times of all are given.\n",
        ROOMS * A_ROOM
    );
    for round in 0..RUNS {
        let due = members::record(&db, &arrivals(round)?, SETTLING).await?;
        let Settling { settle, max_wait } = SETTLING;
        let asleep: Vec<String> = due.asleep.into_iter().collect();
        members::wake_rooms(&db, &asleep, settle, max_wait).await?;
    }
    show(&mut page, "record: 500 arrivals of one statement", &plans)?;
    let mut claims = Vec::new();
    for _ in 0..RUNS {
        let claim = members::claim(&db, LEASE, &[]).await?;
        claims.push(claim.context("no room is due")?);
    }
    show(
        &mut page,
        "claim: the room that has been due longest",
        &plans,
    )?;
    let mut due = Vec::new();
    for claim in &claims {
        due.push(members::due_members(&db, claim, SETTLING).await?);
    }
    show(&mut page, "the 500 due members of a claimed room", &plans)?;
    for (claim, due) in claims.iter().zip(&due) {
        let accounts: Vec<Account> = due.members.iter().map(|m| m.account.clone()).collect();
        matching_rules(&db, &claim.group, &accounts).await?;
    }
    show(
        &mut page,
        "match: the rules for 500 members of a room",
        &plans,
    )?;
    for (claim, due) in claims.iter().zip(due) {
        let marks = [Mark::parse(1000)?].into_iter().collect();
        let outcome = Outcome::Confirmed { marks };
        let members = due.members.into_iter();
        let results = members::Results {
            rows: members
                .map(|member| member.after(outcome.clone(), None, claim.at))
                .collect(),
            at: claim.at,
            ..members::Results::default()
        };
        members::write_back(&db, claim, &results).await?;
    }
    show(
        &mut page,
        "write back: 500 confirmed members of a room",
        &plans,
    )?;
    members::until_next_due(&db).await?;
    show(
        &mut page,
        "the worker's look at the queue: until when may it sleep",
        &plans,
    )?;
    db.close().await;
    std::fs::write("benches/EXPLAIN.md", page)?;
    eprintln!("written to benches/EXPLAIN.md");
    Ok(())
}

async fn fill(database: &Database) -> anyhow::Result<()> {
    let pool = &database.pool;
    sqlx::query(
        "insert into rooms (group_id, due_at) select 'room-' || i, now() from generate_series(0, $1 - 1) i",
    )
    .bind(i32::try_from(ROOMS)?)
    .execute(pool)
    .await?;
    sqlx::query(
        "insert into members (group_id, account, presence, event, event_at, heard_at, due_at, pending_since)
         select 'room-' || i / $2, 'user-' || i, 'present', 'join', 1, now(),
                now() - interval '1 s' + i * interval '1 us', now()
         from generate_series(0, $1 * $2 - 1) i",
    )
    .bind(i32::try_from(ROOMS)?)
    .bind(i32::try_from(A_ROOM)?)
    .execute(pool)
    .await?;
    pool.execute("vacuum analyze").await?;
    Ok(())
}

/// A database whose statements explain themselves. That takes a superuser, and auto_explain of
/// PostgreSQL's contrib modules.
fn explaining(database: &Database) -> anyhow::Result<Db> {
    let options = PgConnectOptions::from_str(&database.url)?.options([
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_buffers", "on"),
        ("client_min_messages", "log"),
    ]);
    Ok(Db::new_lazy(options, 1))
}

/// 500 arrivals, spread over the last rooms; each member has a rule of their own.
fn arrivals(round: usize) -> anyhow::Result<Batch> {
    let mut batch = Batch::default();
    let members = ROOMS * A_ROOM;
    for i in 0..A_ROOM {
        let member = population::exact_member(members / 2 + (round * A_ROOM + i) * 7);
        batch.add(
            MemberEvent {
                group: GroupId::parse(&member.group)?,
                account: Account::parse(&member.account)?,
                source: EventSource::Join,
                at: Some(EventTime::from_number(unix_ms())),
                request: RequestId::generate(),
            },
            Named::Perhaps,
        );
    }
    Ok(batch)
}

fn show(page: &mut String, title: &str, plans: &Plans) -> anyhow::Result<()> {
    let plans = plans.take();
    let last = plans.last().context("Postgres sent no plan")?;
    // The statement comes first; its text stands in the source.
    let lines = last.lines().skip_while(|line| !line.contains("(cost="));
    let milliseconds: Vec<&str> = plans
        .iter()
        .filter_map(|plan| plan.split("duration: ").nth(1)?.split(" ms").next())
        .collect();
    write!(
        page,
        "\n## {title}\n\n{} ms\n\n```\n",
        milliseconds.join(", ")
    )?;
    for line in lines {
        writeln!(page, "{line}")?;
    }
    page.push_str("```\n");
    eprintln!("  {title}: {} ms", milliseconds.join(", "));
    Ok(())
}
