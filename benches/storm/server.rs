//! The PostgreSQL in use, and the databases made in it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor, PgPool};
use stickymark::testing::database::MIGRATIONS;
use stickymark::testing::local::postgres::LocalPostgres;
use url::Url;

use crate::population;

/// Names the server to use instead of a private one; its user must be able to create databases.
const VARIABLE: &str = "STICKYMARK_BENCH_DATABASE_URL";

/// The server.
pub struct Server {
    url: Url,
    admin: PgPool,
    local: Option<LocalPostgres>,
    databases: HashMap<usize, Database>,
}

/// A migrated database with rules.
#[derive(Clone)]
pub struct Database {
    pub url: String,
    pub pool: PgPool,
    pub rules: usize,
}

impl Server {
    /// The server that the environment names, or a private one, as durable as that of `serve`.
    pub async fn start() -> anyhow::Result<Self> {
        let given = std::env::var(VARIABLE).ok().filter(|url| !url.is_empty());
        let (url, local) = match given {
            Some(url) => (url, None),
            None => {
                let name = format!("bench-{}", uuid::Uuid::new_v4().simple());
                let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
                let local = LocalPostgres::start(&path).await?;
                (local.url().expose_secret().to_owned(), Some(local))
            }
        };
        let admin = pool(&url, 2).await?;
        Ok(Self {
            url: Url::parse(&url).with_context(|| format!("{VARIABLE} is no URL"))?,
            admin,
            local,
            databases: HashMap::new(),
        })
    }

    /// The database with so many rules; made when it is first asked for, without members each time.
    pub async fn with_rules(&mut self, rules: usize) -> anyhow::Result<Database> {
        if let Some(database) = self.databases.get(&rules) {
            database.forget_members().await?;
            return Ok(database.clone());
        }
        eprintln!("loading {rules} rules");
        let name = format!("stickymark_bench_{rules}");
        let drop = format!("drop database if exists {name} with (force)");
        self.admin.execute(AssertSqlSafe(drop)).await?;
        let create = format!("create database {name}");
        self.admin.execute(AssertSqlSafe(create)).await?;
        let mut url = self.url.clone();
        url.set_path(&name);
        let pool = pool(url.as_str(), 4).await?;
        MIGRATIONS.run(&pool).await?;
        if rules > 0 {
            population::load_rules(&pool, rules).await?;
        }
        let url = url.into();
        let database = Database { url, pool, rules };
        self.databases.insert(rules, database.clone());
        Ok(database)
    }

    /// What a reader must know of the server.
    pub async fn facts(&self) -> anyhow::Result<Vec<String>> {
        let version: String = sqlx::query_scalar("show server_version")
            .fetch_one(&self.admin)
            .await?;
        let place = match &self.local {
            Some(_) => "private, started by the benchmark".to_owned(),
            None => format!("given by {VARIABLE}"),
        };
        let settings: Vec<(String, String)> = sqlx::query_as(
            "select name, current_setting(name) from pg_settings where name in ('fsync', \
             'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers', \
             'max_wal_size', 'max_connections', 'jit') order by name",
        )
        .fetch_all(&self.admin)
        .await?;
        let settings: Vec<String> = settings
            .into_iter()
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        let commits = self.commits().await?;
        Ok(vec![
            format!("PostgreSQL {version}, {place}"),
            settings.join(", "),
            format!(
                "one row written and committed, by one connection, one after the other: median \
                 {:.2} ms, 99th percentile {:.2} ms",
                commits[commits.len() / 2].as_secs_f64() * 1e3,
                commits[commits.len() * 99 / 100].as_secs_f64() * 1e3
            ),
        ])
    }

    /// What a commit costs, which is mostly the disk.
    async fn commits(&self) -> anyhow::Result<Vec<Duration>> {
        let mut connection = self.admin.acquire().await?;
        connection
            .execute("drop table if exists stickymark_bench_commits")
            .await?;
        connection
            .execute("create table stickymark_bench_commits (at timestamptz)")
            .await?;
        let mut times = Vec::new();
        for _ in 0..500 {
            let began = Instant::now();
            sqlx::query("insert into stickymark_bench_commits values (now())")
                .execute(&mut *connection)
                .await?;
            times.push(began.elapsed());
        }
        connection
            .execute("drop table stickymark_bench_commits")
            .await?;
        times.sort_unstable();
        Ok(times)
    }

    /// Leaves nothing behind.
    pub async fn stop(self) -> anyhow::Result<()> {
        for database in self.databases.into_values() {
            database.pool.close().await;
            let drop = format!(
                "drop database if exists stickymark_bench_{} with (force)",
                database.rules
            );
            self.admin.execute(AssertSqlSafe(drop)).await?;
        }
        self.admin.close().await;
        if let Some(local) = self.local {
            let path = local.path().to_owned();
            local.stop().await?;
            std::fs::remove_dir_all(path)?;
        }
        Ok(())
    }
}

impl Database {
    async fn forget_members(&self) -> anyhow::Result<()> {
        self.pool.execute("truncate members, rooms").await?;
        Ok(())
    }

    /// The processes that serve the connections to it.
    pub async fn backends(&self) -> anyhow::Result<Vec<u32>> {
        let pids: Vec<i32> = sqlx::query_scalar(
            "select pid from pg_stat_activity where datname = current_database()",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(pids.into_iter().map(i32::unsigned_abs).collect())
    }

    /// Whether some member waits for a call.
    pub async fn somebody_waits(&self) -> anyhow::Result<bool> {
        let query = "select exists (select from members where pending_since is not null)";
        Ok(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
    }

    /// Waits until no member waits for a call.
    pub async fn quiet(&self) -> anyhow::Result<()> {
        while self.somebody_waits().await? {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

async fn pool(url: &str, connections: u32) -> anyhow::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?.application_name("stickymark bench");
    PgPoolOptions::new()
        .max_connections(connections)
        .connect_with(options)
        .await
        .context("the PostgreSQL of the benchmark does not answer")
}
