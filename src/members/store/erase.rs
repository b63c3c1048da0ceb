//! Deletes what is stored about one account.

use crate::database::Db;
use crate::domain::Account;

/// Deletes the rows of an account in all rooms; returns how many. Chat may still hold marks that only
/// these rows knew, so those rooms are compared with Chat at once.
pub(crate) async fn delete_rows_of(db: &Db, account: &Account) -> Result<u64, sqlx::Error> {
    let mut transaction = db.begin().await?;
    let deleted = sqlx::query!(
        r#"
        with mine as materialized (
            select group_id, account from members
            where account = $1 and group_id = any(array(select group_id from rooms))
            -- Locked in the order that every writer of members keeps.
            order by group_id
            for update
        )
        delete from members m using mine where m.group_id = mine.group_id and m.account = mine.account
        returning m.group_id, m.marks <> '{}' or m.in_doubt or m.due_at is not null as "carries_marks!"
        "#,
        account.as_str(),
    )
    .fetch_all(&mut *transaction)
    .await?;
    sqlx::query!(
        "delete from unreached_members where account = $1",
        account.as_str()
    )
    .execute(&mut *transaction)
    .await?;
    let to_compare: Vec<&str> = deleted
        .iter()
        .filter(|row| row.carries_marks)
        .map(|row| row.group_id.as_str())
        .collect();
    sqlx::query!(
        r#"
        with here as materialized (
            select group_id from rooms where group_id = any($1) and gone_at is null
            order by group_id
            for no key update
        )
        update rooms r set sweep_due_at = least(sweep_due_at, now()), sweep_requested_at = now()
        from here where r.group_id = here.group_id
        "#,
        &to_compare as &[&str],
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(deleted.len() as u64)
}

/// How many rows [`delete_rows_of`] would delete.
pub(crate) async fn count_rows_of(db: &Db, account: &Account) -> Result<u64, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select count(*) as "rows!" from members
        where account = $1 and group_id = any(array(select group_id from rooms))
        "#,
        account.as_str(),
    )
    .fetch_one(db)
    .await?;
    Ok(rows.unsigned_abs())
}
