//! What is asked of the database about itself.

use sqlx::PgPool;

/// Whether it takes no writes: a standby, or a failover under way.
pub async fn is_read_only(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select current_setting('transaction_read_only')::boolean as "read_only!""#
    )
    .fetch_one(pool)
    .await
}

/// Whether any migration was ever applied: their table is made with the first one.
pub(super) async fn has_schema(pool: &PgPool) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select to_regclass('_sqlx_migrations') is not null as "there!""#)
        .fetch_one(pool)
        .await
}

/// The versions of the migrations that were applied. Not checked when it is compiled: the table
/// belongs to the migrator.
pub(super) async fn applied(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar("select version from _sqlx_migrations where success")
        .fetch_all(pool)
        .await
}
