//! What `check`, `migrate` and `serve` say about a database URL that cannot be read and a database
//! that cannot serve, as processes. Whatever they say, they never show a password.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stickymark::testing::local::postgres::LocalPostgres;
use stickymark::testing::local::simulator::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};
use url::Url;

use crate::support::process::{self, Ran};
use crate::support::{TestDatabase, database, empty_database};

const COMMANDS: [&str; 3] = ["check", "migrate", "serve"];

/// No server is there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Runs a command with this database. `serve` ends because its callback address is taken: if it gets
/// that far, the database is right.
async fn run(command: &'static str, url: &str) -> (Option<i32>, String) {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let app = SAMPLE_SDK_APP_ID.to_string();
    let listen = taken.local_addr().unwrap().to_string();
    let settings = [
        ("STICKYMARK__CHAT__SDK_APP_ID", app.as_str()),
        ("STICKYMARK__CHAT__SECRET_KEY", SAMPLE_SECRET_KEY),
        ("STICKYMARK__CHAT__BASE_URL", NOWHERE),
        ("STICKYMARK__CALLBACK__LISTEN", listen.as_str()),
        ("STICKYMARK__CALLBACK__TOKENS", "long-enough-token"),
        ("STICKYMARK__DATABASE__URL", url),
        ("STICKYMARK__LOG__FILTER", "trace"),
    ];
    let Ran { status, out, err } = process::run(&mut process::program(&[command], &settings)).await;
    (Some(status), out + &err)
}

/// What the command says of the database.
fn about_the_database(command: &str, said: &str) -> String {
    let mut lines = said.lines();
    match command {
        "check" => lines.find(|line| line.split_whitespace().nth(1) == Some("database")),
        _ => lines.find(|line| line.starts_with("error: ")),
    }
    .unwrap_or_else(|| panic!("{command}: {said}"))
    .to_owned()
}

async fn admin(database: &TestDatabase, statement: String) {
    let mut connection = PgConnection::connect(database.url().as_str())
        .await
        .unwrap();
    let done = connection.execute(AssertSqlSafe(statement.clone())).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// The database for a role, whose password is in the form given.
fn as_role(database: &TestDatabase, role: &str, password: &str) -> String {
    let url = database.url();
    let (host, port) = (url.host_str().unwrap(), url.port().unwrap_or(5432));
    format!("postgres://{role}:{password}@{host}:{port}{}", url.path())
}

fn unique(name: &str) -> String {
    format!("{name}_{}", uuid::Uuid::new_v4().simple())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_shows_any_part_of_a_password_whatever_is_in_it() {
    let database = database().await;
    for special in "/#?@:%&+=".chars() {
        for form in [
            "XGeheimWort",
            "GeheimXWort",
            "GeheimWortX",
            "4821XGeheimWort",
        ] {
            let password = form.replace('X', &special.to_string());
            let role = unique("grid");
            let create = format!("CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{password}'");
            admin(&database, create).await;
            let encoded = form.replace('X', &format!("%{:02X}", u32::from(special)));
            let encoded = as_role(&database, &role, &encoded);
            let raw = as_role(&database, &role, &password);
            let mut runs = tokio::task::JoinSet::new();
            for command in COMMANDS {
                let (raw, encoded) = (raw.clone(), encoded.clone());
                runs.spawn(async move { (command, false, run(command, &raw).await) });
                if command == "check" || form == "GeheimXWort" {
                    runs.spawn(async move { (command, true, run(command, &encoded).await) });
                }
            }
            let port = Url::parse(&encoded).unwrap().port().unwrap_or(5432);
            while let Some(ended) = runs.join_next().await {
                let (command, is_encoded, (status, said)) = ended.unwrap();
                let case = format!("{command} {form} {special} {is_encoded}: {said}");
                for part in ["Geheim", "Wort", "4821X"] {
                    assert!(
                        !said.contains(&part.replace('X', &special.to_string())),
                        "{case}"
                    );
                }
                if status == Some(2) {
                    assert!(!is_encoded && "/#?".contains(special), "{case}");
                    assert!(
                        !said.contains(&role) && !said.contains(&port.to_string()),
                        "{case}"
                    );
                    continue;
                }
                match command {
                    "check" => {
                        assert!(
                            about_the_database(command, &said).starts_with("ok "),
                            "{case}"
                        );
                    }
                    "migrate" => assert_eq!(status, Some(0), "{case}"),
                    _ => assert!(said.contains("cannot listen on"), "{case}"),
                }
            }
            admin(&database, format!("DROP ROLE {role}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_connection_is_named_with_host_and_port() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let v6 = format!("postgres://u:geheim@[::1]:{}/marks", closed.port());
    for (url, place) in [
        (
            format!("postgres://u:geheim@{closed}/marks"),
            closed.to_string(),
        ),
        (v6, format!("[::1]:{}", closed.port())),
    ] {
        for command in COMMANDS {
            let (status, said) = run(command, &url).await;
            assert_eq!(status, Some(1), "{said}");
            let line = about_the_database(command, &said);
            assert!(line.contains(&place), "{line}");
            // A machine without IPv6 gives another reason.
            assert!(
                line.contains("connection refused") || place.contains("::1"),
                "{line}"
            );
            assert!(
                !said.contains("pool timed out") && !said.contains("geheim"),
                "{said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_hosts_are_refused_in_words() {
    for command in COMMANDS {
        let (status, said) = run(command, "postgres://u:p@a:5432,b:5432/db").await;
        assert_eq!(status, Some(2), "{said}");
        assert!(said.contains("names several hosts"), "{said}");
    }
}

async fn refused(url: &str, words: &str) {
    for command in COMMANDS {
        let (status, said) = run(command, url).await;
        assert_eq!(status, Some(1), "{command}: {said}");
        let line = about_the_database(command, &said);
        assert!(line.contains(words), "{command}: {line}");
        assert!(!line.contains("ok ") && !line.contains("at line"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_is_refused_in_words() {
    let database = database().await;
    let url = database.url().to_string();
    let name = Url::parse(&url).unwrap().path()[1..].to_owned();
    let standby = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    admin(&database, standby).await;
    refused(&url, "takes no writes: it is a standby").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encoding_other_than_utf8_is_refused_in_words() {
    let database = database().await;
    let name = unique("latin");
    let create = format!("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    admin(&database, create).await;
    let mut url = database.url().clone();
    url.set_path(&name);
    refused(url.as_str(), "has the encoding LATIN1").await;
    admin(&database, format!("DROP DATABASE {name}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_is_refused_in_words() {
    let database = database().await;
    let role = unique("reader");
    admin(
        &database,
        format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'geheim'; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ),
    )
    .await;
    let url = as_role(&database, &role, "geheim");
    refused(&url, "may not select, insert, update and delete in").await;
    admin(&database, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_create_tables_is_refused_only_while_migrations_are_pending() {
    let (empty, full) = (empty_database().await, database().await);
    let role = unique("writer");
    let revoke = "REVOKE CREATE ON SCHEMA public FROM public";
    admin(
        &empty,
        format!("CREATE ROLE {role} LOGIN PASSWORD 'geheim'; {revoke}"),
    )
    .await;
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO";
    admin(&full, format!("{revoke}; {grant} {role}")).await;
    let url = as_role(&empty, &role, "geheim");
    refused(&url, "may not create tables in the schema \"public\"").await;

    let url = as_role(&full, &role, "geheim");
    let (_, said) = run("check", &url).await;
    assert!(
        about_the_database("check", &said).starts_with("ok "),
        "{said}"
    );
    assert_eq!(run("migrate", &url).await.0, Some(0));
    let (_, said) = run("serve", &url).await;
    assert!(said.contains("cannot listen on"), "{said}");
    admin(&full, format!("DROP OWNED BY {role}")).await;
    admin(&empty, format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_do_not_wait_for_the_disk_are_warned_of() {
    let database = database().await;
    let url = database.url().to_string();
    let name = Url::parse(&url).unwrap().path()[1..].to_owned();
    for (value, warned) in [("off", true), ("on", false)] {
        let set = format!("ALTER DATABASE {name} SET synchronous_commit = {value}");
        admin(&database, set).await;
        for command in ["check", "serve"] {
            let (_, said) = run(command, &url).await;
            assert_eq!(said.contains("synchronous_commit is off"), warned, "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_ca_is_named_with_the_parameter_that_adds_it() {
    const CERTIFICATE: &str = include_str!("forward_https/localhost-certificate.pem");
    const KEY: &str = include_str!("forward_https/localhost-key.pem");
    let server = LocalPostgres::throw_away().await.unwrap();
    let url = server.url().expose_secret().to_owned();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    // Written by the server, so that they belong to its account.
    for (name, text) in [("server.crt", CERTIFICATE), ("server.key", KEY)] {
        let path = server.path().join("data").join(name);
        let (path, lines) = (path.to_str().unwrap(), text.trim());
        let copy = format!("COPY (SELECT unnest(string_to_array('{lines}', E'\\n'))) TO '{path}'");
        connection.execute(AssertSqlSafe(copy)).await.unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    connection
        .execute("ALTER SYSTEM SET ssl = on")
        .await
        .unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    let url = url.replace("127.0.0.1", "localhost");
    // The server reloads when it gets to it.
    while PgConnection::connect(&format!("{url}?sslmode=require"))
        .await
        .is_err()
    {
        tokio::task::yield_now().await;
    }
    let verified = format!("{url}?sslmode=verify-full");
    for command in COMMANDS {
        let (status, said) = run(command, &verified).await;
        assert_eq!(status, Some(1), "{said}");
        let line = about_the_database(command, &said);
        assert!(line.contains("name its file with sslrootcert"), "{line}");
    }
    let root = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(root.path(), CERTIFICATE).unwrap();
    let named = format!("{verified}&sslrootcert={}", root.path().display());
    let (status, said) = run("migrate", &named).await;
    assert_eq!(status, Some(0), "{said}");
}
