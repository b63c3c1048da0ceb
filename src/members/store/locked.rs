//! Which members a stranger's transaction keeps locked: a person at a prompt, most often. Statements wait
//! for a lock no longer than the session allows; then the others of their batch go on without these.

use std::collections::HashSet;

use crate::database::Db;
use crate::members::gathered::hash_of;

/// The hashes of those of these members whose rows are locked now.
pub(crate) async fn locked_members(
    db: &Db,
    members: impl Iterator<Item = (&str, &str)>,
) -> Result<HashSet<u64>, sqlx::Error> {
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
    .fetch_all(db)
    .await?;
    let hashes = locked
        .iter()
        .map(|row| hash_of(&row.group_id, &row.account));
    Ok(hashes.collect())
}
