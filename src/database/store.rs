//! What is asked of the database about itself.

use chrono::{TimeDelta, Utc};
use sqlx::PgConnection;

use super::Db;

/// Whether it takes no writes: a standby, or a failover under way.
pub async fn is_read_only(db: &Db) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select current_setting('transaction_read_only')::boolean as "read_only!""#
    )
    .fetch_one(db)
    .await
}

/// The size of a table.
#[derive(Debug)]
pub struct TableSize {
    pub name: String,
    /// As PostgreSQL estimates.
    pub rows: i64,
    /// With its indexes.
    pub bytes: i64,
}

/// The sizes of the tables that grow.
pub async fn table_sizes(db: &Db) -> Result<Vec<TableSize>, sqlx::Error> {
    sqlx::query_as!(
        TableSize,
        r#"
        select name as "name!", pg_stat_get_live_tuples(to_regclass(name)) as "rows!",
               pg_total_relation_size(to_regclass(name)) as "bytes!"
        from unnest(array['rules', 'rule_history', 'members', 'rooms']) as name
        "#
    )
    .fetch_all(db)
    .await
}

/// What a server says about itself and about the role that connects.
#[derive(Debug)]
pub(super) struct Server {
    pub encoding: String,
    pub read_only: bool,
    pub synchronous_commit: String,
    pub role: String,
    /// The first schema of the search path that exists.
    pub schema: Option<String>,
    pub may_create: bool,
    /// Tables of ours that this role may not read and write.
    pub denied: Vec<String>,
    /// How far the clock of the server is ahead of this machine's.
    pub clock_difference: TimeDelta,
}

pub(super) async fn server(connection: &mut PgConnection) -> Result<Server, sqlx::Error> {
    let row = sqlx::query!(
        r#"select current_setting('server_encoding') as "encoding!",
                  current_setting('transaction_read_only')::boolean as "read_only!",
                  current_setting('synchronous_commit') as "synchronous_commit!",
                  current_user::text as "role!",
                  current_schema()::text as schema,
                  coalesce(has_schema_privilege(current_schema(), 'create'), false) as "may_create!",
                  array(select name
                        from unnest(array['rules', 'rooms', 'members']) as name
                        cross join unnest(array['select', 'insert', 'update', 'delete']) as action
                        where not has_table_privilege(to_regclass(name), action)
                        group by name) as "denied!",
                  clock_timestamp() as "now!""#
    )
    .fetch_one(connection)
    .await?;
    Ok(Server {
        encoding: row.encoding,
        read_only: row.read_only,
        synchronous_commit: row.synchronous_commit,
        role: row.role,
        schema: row.schema,
        may_create: row.may_create,
        denied: row.denied,
        clock_difference: row.now - Utc::now(),
    })
}

/// The versions of the migrations that were applied. Not checked when it is compiled: the table
/// belongs to the migrator, and the first migration creates it.
pub(super) async fn applied(db: &Db) -> Result<Vec<i64>, sqlx::Error> {
    let exists =
        sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "there!""#);
    if !exists.fetch_one(db).await? {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("select version from _sqlx_migrations where success")
        .fetch_all(db)
        .await
}
