//! Gives members who were given up another chance because a person asks for it.

use sqlx::PgPool;

use crate::domain::{Account, GroupId, RequestId};

/// Makes failed members due now, of one room, of one account, or all; returns how many. Wake the
/// worker afterwards.
///
/// # Errors
/// Those of the database.
pub async fn retry_failed(
    pool: &PgPool,
    group: Option<&GroupId>,
    account: Option<&Account>,
    request: &RequestId,
) -> Result<u64, sqlx::Error> {
    let retried = sqlx::query!(
        r#"
        -- Locked in the order that every writer of members keeps.
        with failed as (
            select group_id, account from members
            where failed_at is not null
              and ($1::text is null or group_id = $1) and ($2::text is null or account = $2)
            order by group_id, account
            for update
        )
        update members m set
            due_at = now(), pending_since = now(), generation = m.generation + 1, request_id = $3,
            omissions = 0, attempts = 0, refusals = 0, last_error = null, failed_at = null
        from failed f where m.group_id = f.group_id and m.account = f.account
        "#,
        group.map(GroupId::as_str),
        account.map(Account::as_str),
        request.as_str(),
    )
    .execute(pool)
    .await?;
    Ok(retried.rows_affected())
}
