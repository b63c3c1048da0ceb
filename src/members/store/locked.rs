//! Which members a stranger's transaction keeps locked: a person at a prompt, most often. Statements wait
//! for a lock no longer than the session allows; then the others of their batch go on without these.

use sqlx::PgExecutor;

/// The room and account of those of these members whose rows others have locked now. In a transaction the
/// rows of the other members are locked from here on.
pub(crate) async fn locked_members(
    executor: impl PgExecutor<'_>,
    members: impl Iterator<Item = (&str, &str)>,
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let (groups, accounts): (Vec<&str>, Vec<&str>) = members.unzip();
    let locked = sqlx::query!(
        r#"
        with asked as materialized (select * from unnest($1::text[], $2::text[]) as a (group_id, account))
        select a.group_id as "group_id!", a.account as "account!"
        from asked a
        cross join lateral (
            select from members m where m.group_id = a.group_id and m.account = a.account offset 0) there
        left join lateral (
            select true as free from members m where m.group_id = a.group_id and m.account = a.account
            offset 0 for update skip locked) f on true
        where f.free is null
        "#,
        &groups as &[&str],
        &accounts as &[&str],
    )
    .fetch_all(executor)
    .await?;
    Ok(locked
        .into_iter()
        .map(|row| (row.group_id, row.account))
        .collect())
}
