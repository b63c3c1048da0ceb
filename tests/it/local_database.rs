//! The private PostgreSQL: real binaries, real processes, real kills.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use stickymark::testing::config::{DatabaseSettings, Settings};

use stickymark::testing::local::postgres::LocalPostgres;

use crate::support;

/// A directory that every account can reach, as databases of root need it.
fn place() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o755)).unwrap();
    place
}

async fn connect(server: &LocalPostgres) -> PgConnection {
    PgConnection::connect(server.url().expose_secret())
        .await
        .unwrap()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(30), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_stop_and_a_start() {
    let place = place();
    let none: [(&str, &str); 0] = [];
    let defaults = Settings::load(None, none).unwrap().database;
    let path = place.path().join("not/yet/there");
    let settings = DatabaseSettings {
        url: None,
        path,
        ..defaults
    };
    let database = support::connect(&settings).await.unwrap();
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)")
            .bind(setting)
            .fetch_one(database.db())
            .await
            .unwrap();
        assert_eq!(value, "on", "{setting}");
    }
    sqlx::query("CREATE TABLE kept (x int)")
        .execute(database.db())
        .await
        .unwrap();
    let data = database.local().unwrap().path().join("data/postmaster.pid");
    assert!(data.exists());
    database.close().await.unwrap();
    assert!(!data.exists(), "the server ended in good order");

    let database = support::connect(&settings).await.unwrap();
    sqlx::query("INSERT INTO kept VALUES (1)")
        .execute(database.db())
        .await
        .unwrap();
    database.close().await.unwrap();
}

#[tokio::test]
async fn nobody_gets_in_without_the_password() {
    let server = LocalPostgres::throw_away().await.unwrap();
    connect(&server).await.close().await.unwrap();
    let bare = format!(
        "postgres://stickymark:wrong@127.0.0.1:{}/postgres",
        server.port()
    );
    let error = PgConnection::connect(&bare).await.unwrap_err().to_string();
    assert!(error.contains("password"), "{error}");
    assert!(!format!("{server:?}").contains(server.url().expose_secret()));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_to_throw_away_leaves_nothing_behind_even_when_dropped() {
    let server = LocalPostgres::throw_away().await.unwrap();
    let path = server.path().to_path_buf();
    assert!(path.exists());
    drop(server);
    until("the directory is gone", || !path.exists()).await;
}

#[tokio::test]
async fn a_second_process_in_the_same_directory_is_refused_and_told_who_holds_it() {
    let place = place();
    let first = LocalPostgres::start(place.path()).await.unwrap();
    let second = LocalPostgres::start(&place.path().join("."))
        .await
        .unwrap_err();
    let message = second.to_string();
    let holder = format!("is in use by process {}.", std::process::id());
    assert!(message.contains(&holder), "{message}");
    assert!(message.contains("database.path"), "{message}");
    connect(&first).await.close().await.unwrap();
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_note_of_a_dead_server_does_not_block_the_start() {
    let place = place();
    LocalPostgres::start(place.path())
        .await
        .unwrap()
        .stop()
        .await
        .unwrap();
    // As after a power cut: the note is there, and its number now belongs to a living process.
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let data = place.path().join("data");
    let note = format!("{}\n{}\n1\n1\n\n\n\nready\n", stranger.id(), data.display());
    std::fs::write(data.join("postmaster.pid"), note).unwrap();
    let started = LocalPostgres::start(place.path()).await;
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    let server = started.unwrap();
    connect(&server).await.close().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_was_cut_short_is_begun_anew() {
    let place = place();
    std::fs::create_dir(place.path().join("data.new")).unwrap();
    std::fs::write(place.path().join("data.new/PG_VERSION"), "15").unwrap();
    let server = LocalPostgres::start(place.path()).await.unwrap();
    connect(&server).await.close().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_of_another_version_is_refused_and_left_alone() {
    let place = place();
    std::fs::create_dir(place.path().join("data")).unwrap();
    let version = place.path().join("data/PG_VERSION");
    std::fs::write(&version, "9.6\n").unwrap();
    let error = LocalPostgres::start(place.path()).await.unwrap_err();
    assert!(
        error.to_string().contains("made by PostgreSQL 9.6"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(version).unwrap(), "9.6\n");
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_and_full_of_odd_characters_works() {
    let place = place();
    let path = place
        .path()
        .join("a directory's \"name\" $(true)")
        .join("d".repeat(150));
    let server = LocalPostgres::start(&path).await.unwrap();
    connect(&server).await.close().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_home_that_is_shut_for_others_is_no_hindrance_even_for_root() {
    use std::os::unix::fs::PermissionsExt;
    let home = place();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let path = home.path().join("clone/stickymark-data");
    let first = LocalPostgres::start(&path).await.unwrap();
    let in_force = first.path().to_path_buf();
    let second = LocalPostgres::start(&path).await;
    connect(&first).await.close().await.unwrap();
    first.stop().await.unwrap();
    if in_force != path {
        std::fs::remove_dir_all(&in_force).unwrap();
        assert!(in_force.starts_with("/var/lib/stickymark"), "{in_force:?}");
    }
    assert!(second.unwrap_err().to_string().contains("is in use by"));
}

/// Not a test: the process that is killed in the tests below. It serves the directory named in
/// the environment until its end; run without that, it does nothing.
#[tokio::test]
#[ignore = "started by other tests"]
async fn victim() {
    let Some(path) = std::env::var_os("STICKYMARK_TEST_VICTIM") else {
        return;
    };
    let server = LocalPostgres::start(Path::new(&path)).await.unwrap();
    std::fs::write(Path::new(&path).join("url"), server.url().expose_secret()).unwrap();
    std::fs::rename(
        Path::new(&path).join("url"),
        Path::new(&path).join("serves"),
    )
    .unwrap();
    std::future::pending::<()>().await;
}

struct Victim {
    process: Child,
    serves: PathBuf,
}

impl Victim {
    fn start(path: &Path) -> Self {
        let serves = path.join("serves");
        let _ = std::fs::remove_file(&serves);
        let process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "local_database::victim",
                "--ignored",
                "--nocapture",
            ])
            .env("STICKYMARK_TEST_VICTIM", path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, serves }
    }

    async fn serves(&self) -> PgConnection {
        until("the victim serves", || self.serves.exists()).await;
        let url = std::fs::read_to_string(&self.serves).unwrap();
        PgConnection::connect(&url).await.unwrap()
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn the_server_ends_with_its_process_after_kill_9_and_the_next_start_works_twenty_times() {
    let place = place();
    for round in 1..=20_i32 {
        let victim = Victim::start(place.path());
        let mut connection = victim.serves().await;
        sqlx::query("CREATE TABLE IF NOT EXISTS rounds (x int)")
            .execute(&mut connection)
            .await
            .unwrap();
        sqlx::query("INSERT INTO rounds VALUES ($1)")
            .bind(round)
            .execute(&mut connection)
            .await
            .unwrap();
        let rounds: i64 = sqlx::query_scalar("SELECT count(*) FROM rounds")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(rounds, i64::from(round), "nothing was lost");
        victim.kill();
        // Every other time the next start comes at once, before the old server has ended.
        if round % 2 == 0 {
            let note = place.path().join("data/postmaster.pid");
            until("the server has ended", || !note.exists()).await;
        }
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_of_the_first_start_does_not_block_the_next() {
    let place = place();
    let victim = Victim::start(place.path());
    until("initdb is at work", || {
        place.path().join("data.new/PG_VERSION").exists()
    })
    .await;
    victim.kill();
    let server = LocalPostgres::start(place.path()).await.unwrap();
    connect(&server).await.close().await.unwrap();
    server.stop().await.unwrap();
}
