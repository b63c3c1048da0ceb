//! A database for each test, copied from a template that is migrated once.
//!
//! The server is that of `STICKYMARK_TEST_DATABASE_URL` or `DATABASE_URL`; without these a private
//! one, started once per test process, which ends with it and leaves nothing behind.

use std::str::FromStr;
use std::sync::{LazyLock, mpsc};

use secrecy::ExposeSecret;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use stickymark::testing::Replica;
use stickymark::testing::chat::CallRate;
use stickymark::testing::config::{DatabaseSettings, Settings};
use stickymark::testing::database::{Database, DatabaseError, Db, MIGRATIONS};
use stickymark::testing::local::postgres::LocalPostgres;
use stickymark::testing::members::{self, Batch, Settling, wake_rooms};
use url::Url;

/// The server's URL, with a user who may create databases.
static SERVER: LazyLock<Url> = LazyLock::new(|| {
    let given = ["STICKYMARK_TEST_DATABASE_URL", "DATABASE_URL"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|url| !url.is_empty()));
    Url::parse(&given.unwrap_or_else(private_server)).expect("a database URL")
});

/// The name of the migrated template.
static TEMPLATE: tokio::sync::OnceCell<String> = tokio::sync::OnceCell::const_new();

/// Serialises test processes that make the template on a shared server at once.
const TEMPLATE_LOCK: i64 = 0x5713_6b79;

/// Starts the private server on a thread that lives as long as the process: the runtime of a test
/// ends with it.
fn private_server() -> String {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let server = LocalPostgres::throw_away()
                .await
                .expect("a private PostgreSQL");
            sender
                .send(server.url().expose_secret().to_owned())
                .unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().expect("a private PostgreSQL")
}

/// What the parts of a replica share, for tests of single parts.
pub fn replica(db: &Db) -> Replica {
    Replica::new(db.clone(), CallRate::new(200))
}

/// Records a batch and wakes its rooms, as the inbox does; how many members became due.
pub async fn record(db: &Db, batch: &Batch, settling: Settling) -> Result<usize, sqlx::Error> {
    let due = members::record(db, batch, settling).await?;
    let asleep: Vec<String> = due.asleep.into_iter().collect();
    wake_rooms(db, &asleep, settling.settle, settling.max_wait).await?;
    Ok(due.members)
}

/// A database of a test's own. Dropped with it.
pub struct TestDatabase {
    url: Url,
    name: String,
    db: Db,
}

/// A migrated database.
pub async fn database() -> TestDatabase {
    let template = TEMPLATE.get_or_init(template).await;
    TestDatabase::create(template).await
}

/// A database without any table.
pub async fn empty_database() -> TestDatabase {
    TestDatabase::create("template0").await
}

/// Sessions like those of the program, but under another name: some tests end those of the program.
pub fn sessions(url: &str) -> Db {
    let options = PgConnectOptions::from_str(url).unwrap();
    Db::new_lazy(options.application_name("test"), 8)
}

/// Connects as the program does with these settings.
pub async fn connect(settings: &DatabaseSettings) -> Result<Database, DatabaseError> {
    Database::connect(settings.server(), &settings.path, settings.max_connections).await
}

impl TestDatabase {
    async fn create(template: &str) -> Self {
        let name = format!("stickymark_test_{}", uuid::Uuid::new_v4().simple());
        let mut admin = admin().await;
        run(
            &mut admin,
            format!("CREATE DATABASE {name} TEMPLATE {template}"),
        )
        .await;
        let url = named(&name);
        let db = sessions(url.as_str());
        Self { url, name, db }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// To execute statements on.
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Settings by which the application uses it.
    pub fn settings(&self) -> DatabaseSettings {
        settings_of(self.url.as_str())
    }
}

/// Settings by which the application uses the database of a URL.
pub fn settings_of(url: &str) -> DatabaseSettings {
    let settings = Settings::load(None, [("STICKYMARK__DATABASE__URL", url)]);
    DatabaseSettings {
        max_connections: 8,
        ..settings.unwrap().database
    }
}

impl Drop for TestDatabase {
    /// As well as it goes: a test that failed must not fail twice.
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut admin = PgConnection::connect(SERVER.as_str()).await?;
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                admin.execute(AssertSqlSafe(drop)).await?;
                Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
            })
        });
        if !matches!(dropped.join(), Ok(Ok(()))) {
            eprintln!("a test database stays behind");
        }
    }
}

/// Makes the template, named after the migrations, so that a shared server keeps it for later runs.
async fn template() -> String {
    let checksums: Vec<u8> = MIGRATIONS
        .iter()
        .flat_map(|migration| migration.checksum.to_vec())
        .collect();
    let digest = uuid::Uuid::from_slice(&sha2_of(&checksums)[..16]).unwrap();
    let name = format!("stickymark_template_{}", digest.simple());
    let mut admin = admin().await;
    sqlx::query("SELECT pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut admin)
        .await
        .unwrap();
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut admin)
            .await
            .unwrap();
    if !exists {
        // Under another name until it is whole.
        let half = format!("{name}_half");
        run(
            &mut admin,
            format!("DROP DATABASE IF EXISTS {half} WITH (FORCE)"),
        )
        .await;
        run(
            &mut admin,
            format!("CREATE DATABASE {half} TEMPLATE template0"),
        )
        .await;
        let mut inside = PgConnection::connect(named(&half).as_str()).await.unwrap();
        MIGRATIONS.run(&mut inside).await.unwrap();
        inside.close().await.unwrap();
        run(
            &mut admin,
            format!("ALTER DATABASE {half} RENAME TO {name}"),
        )
        .await;
    }
    admin.close().await.unwrap();
    name
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

async fn admin() -> PgConnection {
    PgConnection::connect(SERVER.as_str())
        .await
        .expect("the test server answers")
}

async fn run(connection: &mut PgConnection, statement: String) {
    connection
        .execute(AssertSqlSafe(statement.clone()))
        .await
        .expect(&statement);
}

fn named(database: &str) -> Url {
    let mut url = SERVER.clone();
    url.set_path(database);
    url
}
