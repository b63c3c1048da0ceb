//! Replicas whose clocks are ten minutes ahead and behind. Postgres tells the time by which they
//! decide, so they agree; only what concerns Chat alone goes by a replica's own clock: how old a
//! callback is, and how long a UserSig lasts.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use stickymark::testing::WakeUp;
use stickymark::testing::domain::GroupId;
use stickymark::testing::local::simulator::{Effect, Fault};
use stickymark::testing::resync;

use crate::support::balancer::Promise;
use crate::support::insert_rule;
use crate::support::process::{Replica, until};
use crate::support::show::Show;
use crate::support::skew::Skew;

const SKEWS: [i64; 3] = [600, -600, 0];

/// How far the clock of a replica is off, by what it writes into its log.
fn clock_of(replica: &Replica) -> TimeDelta {
    let log = replica.log();
    let mut lines = log.lines().rev();
    let line: Value = lines
        .find_map(|line| serde_json::from_str(line).ok())
        .unwrap();
    let said: DateTime<Utc> = line["timestamp"].as_str().unwrap().parse().unwrap();
    said - Utc::now()
}

/// Three replicas, one of which has the right time.
async fn skewed(environment: &[(&'static str, String)]) -> Show {
    let skew = Skew::build();
    let mut show = Show::open_with(0, 3, environment.to_vec()).await;
    for seconds in SKEWS {
        show.start_with(&skew.environment(seconds)).await;
        let off = clock_of(show.replicas.last().unwrap()).num_seconds();
        assert!((off - seconds).abs() < 120, "{off} instead of {seconds} s");
    }
    show
}

fn long_age() -> Vec<(&'static str, String)> {
    vec![("STICKYMARK__CALLBACK__MAX_AGE", "1h".to_owned())]
}

async fn window(show: &Show, group: &str, starts: &str, ends: &str) {
    insert_rule(&show.db, group, "guest", &[1005]).await;
    let sql = format!(
        "update rules set starts_at = now() + interval '{starts}', ends_at = now() + interval '{ends}'
         where group_text = $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(group.trim_end_matches('*'))
        .execute(&show.db)
        .await
        .unwrap();
}

async fn row(show: &Show, query: &'static str) -> bool {
    let row: Option<Option<bool>> = sqlx::query_scalar(query)
        .fetch_optional(&show.db)
        .await
        .unwrap();
    row.flatten().unwrap_or(false)
}

#[tokio::test]
async fn replicas_with_clocks_minutes_apart_lose_nothing_and_never_call_at_once() {
    let mut show = skewed(&long_age()).await;
    let load = show.load(21);
    load.more(120).await;
    show.kill(2);
    load.more(60).await;
    load.stop().await;
    let kept = show
        .reckon(
            "clocks ten minutes ahead and behind, a replica killed",
            1,
            Promise::Answered,
        )
        .await;
    assert!(kept.members > 0);
}

#[tokio::test]
async fn rules_start_and_end_by_the_clock_of_postgres() {
    let show = skewed(&long_age()).await;
    window(&show, "now-*", "-5 minutes", "5 minutes").await;
    window(&show, "later-*", "5 minutes", "8 minutes").await;
    window(&show, "over-*", "-8 minutes", "-5 minutes").await;
    // Rooms enough that each replica has its share.
    for number in 0..12 {
        for kind in ["later", "over", "now"] {
            show.joins(&format!("{kind}-{number}"), "guest").await;
        }
    }
    until("all are settled", || {
        row(
            &show,
            "select count(*) = 36 and bool_and(pending_since is null) from members",
        )
    })
    .await;
    for (room, members) in show.control.rooms().await.unwrap() {
        let demanded = match room.starts_with("now-") {
            true => [1005].into(),
            false => std::collections::BTreeSet::new(),
        };
        assert_eq!(members["guest"].marks, demanded, "{room}");
    }
    let due = "select bool_and(due_at is not distinct from case when group_id like 'now-%' then
                   (select ends_at from rules where group_text = 'now-')
                   when group_id like 'later-%' then
                   (select starts_at from rules where group_text = 'later-') end) from members";
    assert!(
        row(&show, due).await,
        "each comes due when the rule ends or starts"
    );
    // The moment has come: every replica acts on it, whatever its own clock says.
    sqlx::query(
        "with moved as (update rules set starts_at = now() where group_text = 'later-'),
         due as (update members set due_at = now() where group_id like 'later-%')
         update rooms set due_at = now() where group_id like 'later-%'",
    )
    .execute(&show.db)
    .await
    .unwrap();
    for number in 0..12 {
        let room = format!("later-{number}");
        let patience = crate::support::process::PATIENCE;
        show.control
            .wait_for_marks(&room, "guest", &[1005], patience)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn renewals_and_the_sweeps_minute_of_grace_go_by_the_clock_of_postgres() {
    let show = skewed(&long_age()).await;
    insert_rule(&show.db, "fresh-*", "guest", &[500]).await;
    let rooms: Vec<String> = (0..12).map(|number| format!("fresh-{number}")).collect();
    for room in &rooms {
        show.joins(room, "guest").await;
    }
    until("all are marked", || {
        row(
            &show,
            "select count(*) = 12 and bool_and(marks = '{500}' and not in_doubt) from members",
        )
    })
    .await;
    let renewal = "select bool_and(due_at > now() + interval '59 h 55 min'
                       and due_at <= now() + interval '60 h') from members";
    assert!(
        row(&show, renewal).await,
        "mark 500 is renewed after 60 hours"
    );
    // The member is gone and back without a callback; the confirmation just now counts for more.
    for room in &rooms {
        let lose = Fault::new(Effect::LoseCallback);
        let lost = show.control.inject(&lose).await.unwrap();
        show.control
            .waiting()
            .drop_offline(room, &["guest"])
            .await
            .unwrap();
        show.control
            .waiting()
            .come_back(room, &["guest"])
            .await
            .unwrap();
        show.control.clear(lost).await.unwrap();
        let group = GroupId::parse(room).unwrap();
        let wake = WakeUp::default();
        resync::request(&show.db, &wake, &group).await.unwrap();
    }
    until("all are swept", || {
        row(
            &show,
            "select count(*) = 12 and bool_and(swept_at is not null) from rooms",
        )
    })
    .await;
    let young = "select bool_and(now() - confirmed_at < interval '50 s') from members";
    if row(&show, young).await {
        assert!(
            row(&show, "select bool_and(marks = '{500}') from members").await,
            "a minute of grace"
        );
    }
    sqlx::query(
        "update members set heard_at = heard_at - interval '70 s',
             confirmed_at = confirmed_at - interval '70 s'",
    )
    .execute(&show.db)
    .await
    .unwrap();
    for room in &rooms {
        let group = GroupId::parse(room).unwrap();
        let wake = WakeUp::default();
        resync::request(&show.db, &wake, &group).await.unwrap();
    }
    for room in &rooms {
        let patience = crate::support::process::PATIENCE;
        show.control
            .wait_for_marks(room, "guest", &[500], patience)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn how_old_a_callback_is_goes_by_the_replicas_own_clock() {
    let show = skewed(&[]).await;
    for number in 0..6 {
        show.joins(&format!("room-{number}"), "vip0").await;
    }
    // The callbacks go round: the replica that has the right time takes its share.
    let ledger = show.balancer.ledger();
    assert_eq!(ledger.with(200) + ledger.with(403), 12, "{ledger:?}");
    assert!(ledger.with(200) > 0 && ledger.with(403) > 0, "{ledger:?}");
    for (replica, seconds) in show.replicas.iter().zip(SKEWS) {
        let refused = replica.log().contains("RequestTime is");
        assert_eq!(refused, seconds != 0, "{}", replica.log());
    }
}
