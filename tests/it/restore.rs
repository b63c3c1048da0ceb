//! A backup that takes the place of the database while replicas run, with the programs that people use.

use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use stickymark::testing::local::simulator::{Effect, Fault};
use url::Url;

use crate::support::process::until;
use crate::support::stage::Stage;

fn run(program: &str, arguments: &[&str]) {
    let binaries = Command::new("deploy/postgresql-binaries").output().unwrap();
    let binaries = String::from_utf8(binaries.stdout).unwrap();
    let ran = Command::new(format!("{}/{program}", binaries.trim()))
        .args(arguments)
        .status()
        .unwrap();
    assert!(ran.success(), "{program} {arguments:?}");
}

async fn execute(url: &Url, statements: &[String]) {
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    for statement in statements {
        let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut connection);
        done.await.expect(statement);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_restored_under_running_replicas_is_caught_up_with() {
    let mut stage = Stage::open(&[]).await;
    stage.add_replica().await;
    stage.put_rule("kept", "class-*", "vip*", &[1000]).await;
    stage.chat.join("class-7", &["vip1", "vip2"]).await.unwrap();
    for member in ["vip1", "vip2"] {
        stage.sees("class-7", member, &[1000]).await;
    }
    stage.rests().await;

    let url = stage.database.url();
    let name = url.path().trim_start_matches('/').to_owned();
    let at = |database: &str| {
        let mut url = url.clone();
        url.set_path(database);
        url
    };
    let directory = tempfile::tempdir().unwrap();
    let dump = directory.path().join("stickymark.dump");
    let dump = dump.to_str().unwrap();
    run(
        "pg_dump",
        &["--format=custom", "--file", dump, url.as_str()],
    );

    // An hour passes, of which the backup knows nothing.
    stage.put_rule("lost", "class-*", "guest*", &[1001]).await;
    stage.chat.join("class-7", &["guest1"]).await.unwrap();
    stage.sees("class-7", "guest1", &[1001]).await;
    stage.rests().await;
    let restored = format!("{name}_restored");
    let server = at("postgres");
    execute(&server, &[format!("create database {restored}")]).await;
    let restored_url = at(&restored);
    let into = format!("--dbname={restored_url}");
    run(
        "pg_restore",
        &["--no-owner", "--exit-on-error", &into, dump],
    );
    let age = [
        "update sweep_beat set beat_at = beat_at - interval '1 hour'",
        "update members set heard_at = heard_at - interval '1 hour',
                            confirmed_at = confirmed_at - interval '1 hour'",
    ];
    execute(&restored_url, &age.map(str::to_owned)).await;

    // No callback of these moments arrives.
    let deaf = stage
        .chat
        .inject(&Fault::new(Effect::LoseCallback))
        .await
        .unwrap();
    stage.chat.drop_offline("class-7", &["vip2"]).await.unwrap();
    stage.chat.come_back("class-7", &["vip2"]).await.unwrap();
    stage.sees("class-7", "vip2", &[]).await;
    execute(
        &server,
        &[
            format!("alter database {name} with allow_connections false"),
            format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            ),
            format!("alter database {name} rename to {name}_old"),
            format!("alter database {restored} rename to {name}"),
        ],
    )
    .await;
    stage.chat.clear(deaf).await.unwrap();
    until("both replicas use the restored database", || async {
        let statuses = stage.statuses().await;
        statuses.iter().all(|status| status["database"] == "ok")
    })
    .await;

    // The comparison with Chat sets what no callback reported.
    stage.sees("class-7", "vip2", &[1000]).await;
    stage.sees("class-7", "vip1", &[1000]).await;
    // Replicas know the rules that are there now, whatever revision they had read.
    stage.put_rule("new", "class-*", "pupil*", &[1002]).await;
    let arrivals = ["vip3", "pupil1", "guest2"];
    for (room, callbacks) in ["class-8", "class-9"]
        .into_iter()
        .zip(stage.callback_urls())
    {
        stage.callbacks_to(&callbacks).await;
        stage.chat.join(room, &arrivals).await.unwrap();
        stage.sees(room, "vip3", &[1000]).await;
        stage.sees(room, "pupil1", &[1002]).await;
        stage.sees(room, "guest2", &[]).await;
    }
    // As deploy/data.md says: nothing knows of the mark of the lost rule.
    stage.sees("class-7", "guest1", &[1001]).await;
    stage.close().await;
    execute(&server, &[format!("drop database {name}_old with (force)")]).await;
}
