//! Stores rows that were decided in Rust: what became of a claim, and what a sweep found.
//!
//! A row is written only if its generation is unchanged since it was read. If an event or a rule
//! change came in between, that change wins, and after a round the row is in doubt: the next plan must
//! assume that Chat may hold marks that no answer confirmed.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::database::{Db, is_lock_timeout};
use crate::domain::GroupId;
use crate::members::{Claim, Member, array_text, column};
use crate::telemetry::warn_seldom;

/// How long a room with a locked member waits for its next round.
const LOCKED_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// What became of the members of a claim.
#[derive(Debug, Default)]
pub struct Results {
    pub rows: Vec<Member>,
    /// When it was decided, by the clock of Postgres.
    pub at: DateTime<Utc>,
    /// The room gathers members until then.
    pub gathers_until: Option<DateTime<Utc>>,
}

/// Writes back the members of a claim and releases the room. Returns the accounts whose rows it left as
/// they are: they had changed meanwhile, or another writer was about to, so Chat may hold marks for
/// them that no answer confirmed. While a stranger keeps one of them locked, the room is left as if its worker
/// had fallen silent, so that the next round takes its members as in doubt, and not at once, so that they
/// do not cost a call each moment.
pub async fn write_back(
    db: &Db,
    claim: &Claim,
    results: &Results,
) -> Result<HashSet<String>, sqlx::Error> {
    let Claim { group, lease, .. } = claim;
    let left = update(db, group, results.rows.iter()).await?;
    let pause = match doubt(db, claim, &left).await {
        Err(error) if is_lock_timeout(&error) => {
            warn_seldom!("results wait for members whose rows are locked");
            Some(results.at + LOCKED_PAUSE)
        }
        doubted => doubted.map(|()| None)?,
    };
    let confirmed = |row: &Member| row.confirmed_at == Some(results.at) && !row.marks.is_empty();
    let mut written = results
        .rows
        .iter()
        .filter(|row| !left.contains(row.account.as_str()));
    // A room in which Chat marks a member exists, unless it has ended since.
    let lives = written.any(confirmed);
    sqlx::query!(
        r#"
        update rooms r set leased_until = $6, lease = null,
            gone_at = case when $3 and gone_at < $5 then null else gone_at end,
            -- Members that this statement does not know may be due at a time that was moved away from
            -- the end of the lease.
            due_at = coalesce($6, greatest($4, least(
                case when r.due_at is distinct from r.leased_until then r.due_at end,
                (select m.due_at from members m
                 where m.group_id = $1 and m.due_at is not null order by m.due_at limit 1))))
        from (select set_config('synchronous_commit', 'off', true)) unflushed
        where group_id = $1 and lease = $2
        "#,
        group.as_str(),
        lease,
        lives,
        results.gathers_until,
        claim.at,
        pause,
    )
    .execute(db)
    .await?;
    Ok(left)
}

/// Marks members as in doubt whose rows changed during the call, while the lease is still held. A leave
/// ends doubt, since Chat clears the marks with it. Rows that others have locked are waited for, whatever they
/// say now.
async fn doubt(db: &Db, claim: &Claim, accounts: &HashSet<String>) -> Result<(), sqlx::Error> {
    if accounts.is_empty() {
        return Ok(());
    }
    let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
    sqlx::query!(
        r#"
        with changed as materialized (
            select r.group_id, c.account from rooms r cross join unnest($3::text[]) as c (account)
            where r.group_id = $1 and r.lease = $2
        ),
        -- Locked in the order that every writer of members keeps.
        locked as materialized (
            select m.group_id, m.account, m.presence
            from members m join changed c on m.group_id = c.group_id and m.account = c.account
            order by m.account
            for update of m
        )
        update members m set in_doubt = true, generation = m.generation + 1
        from locked l
        where m.group_id = l.group_id and m.account = l.account and l.presence <> 'absent'
        "#,
        claim.group.as_str(),
        claim.lease,
        &accounts as &[&str],
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Writes rows of distinct members of a room that have the generation given in them. Returns the accounts of
/// the others, and of those whose rows another writer has locked.
pub(crate) async fn update(
    db: &Db,
    group: &GroupId,
    rows: impl Iterator<Item = &Member>,
) -> Result<HashSet<String>, sqlx::Error> {
    let rows: Vec<&Member> = rows.collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let left = sqlx::query_scalar!(
        r#"
        with result as materialized (
            select $1::text as group_id, r.*
            from unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
                        $8::bool[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[],
                        $13::timestamptz[], $14::text[], $15::integer[], $16::text[],
                        $17::timestamptz[])
                as r (account, generation, presence, marks, confirmed_marks, confirmed_at, in_doubt,
                      revoked, waits_for, due_at, pending_since, unserved_since, request_id, tries,
                      last_error, failed_at)
            -- Locked in the order that every writer of members keeps.
            order by account collate "C"
        ),
        -- See "Batches" in the module's header. Who has rewritten a row since has raised its generation.
        found as materialized (
            select r.*, m.place
            from result r cross join lateral (
                select m.ctid as place from members m
                where m.group_id = r.group_id and m.account = r.account
                offset 0
                for no key update skip locked
            ) m
        ),
        updated as (
            update members m set
                presence = r.presence, marks = r.marks::bigint[],
                confirmed_marks = r.confirmed_marks::bigint[], confirmed_at = r.confirmed_at,
                in_doubt = r.in_doubt, revoked = r.revoked::bigint[], waits_for = r.waits_for::bigint[],
                due_at = r.due_at, pending_since = r.pending_since, unserved_since = r.unserved_since,
                request_id = r.request_id, tries = r.tries, last_error = r.last_error,
                failed_at = r.failed_at, generation = m.generation + 1,
                traceparent = case when r.pending_since is not null then m.traceparent end
            from found r where m.ctid = r.place and m.generation = r.generation
            returning m.account
        ),
        -- If a crash of the database loses this, the room is left to its lease or its next sweep: no
        -- need to wait for a flush.
        unflushed as materialized (select set_config('synchronous_commit', 'off', true))
        select r.account as "account!" from result r cross join unflushed
        where not exists (select from updated u where u.account = r.account)
        "#,
        group.as_str(),
        &column(&rows, |row| row.account.as_str()) as &[&str],
        &column(&rows, |row| row.generation),
        &column(&rows, |row| row.presence.as_str()) as &[&str],
        &column(&rows, |row| array_text(&row.marks)),
        &column(&rows, |row| array_text(&row.confirmed_marks)),
        &column(&rows, |row| row.confirmed_at) as &[Option<DateTime<Utc>>],
        &column(&rows, |row| row.in_doubt),
        &column(&rows, |row| array_text(&row.revoked)),
        &column(&rows, |row| array_text(&row.waits_for)),
        &column(&rows, |row| row.due_at) as &[Option<DateTime<Utc>>],
        &column(&rows, |row| row.pending_since) as &[Option<DateTime<Utc>>],
        &column(&rows, |row| row.unserved_since) as &[Option<DateTime<Utc>>],
        &column(&rows, |row| row.request_id.as_deref()) as &[Option<&str>],
        &column(&rows, |row| row.tries),
        &column(&rows, |row| row.last_error.as_deref()) as &[Option<&str>],
        &column(&rows, |row| row.failed_at) as &[Option<DateTime<Utc>>],
    )
    .fetch_all(db)
    .await?;
    Ok(left.into_iter().collect())
}

/// Adds rows of distinct members of a room. Returns the accounts that have a row already, or all if the
/// room has none.
pub(crate) async fn insert(
    db: &Db,
    group: &GroupId,
    rows: impl Iterator<Item = &Member>,
) -> Result<HashSet<String>, sqlx::Error> {
    let rows: Vec<&Member> = rows.collect();
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let accounts = column(&rows, |row| row.account.as_str());
    let added = sqlx::query_scalar!(
        r#"
        insert into members (group_id, account, presence, marks, due_at, pending_since)
        select room.group_id, r.account, r.presence, r.marks::bigint[], r.due_at, r.pending_since
        from unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::timestamptz[])
            as r (account, presence, marks, due_at, pending_since)
        -- So that the room is not deleted meanwhile.
        cross join (select group_id from rooms where group_id = $1 for key share) room
        order by r.account
        on conflict on constraint members_pkey do nothing
        returning account
        "#,
        group.as_str(),
        &accounts as &[&str],
        &column(&rows, |row| row.presence.as_str()) as &[&str],
        &column(&rows, |row| array_text(&row.marks)),
        &column(&rows, |row| row.due_at) as &[Option<DateTime<Utc>>],
        &column(&rows, |row| row.pending_since) as &[Option<DateTime<Utc>>],
    )
    .fetch_all(db)
    .await?;
    let mut refused: HashSet<String> = accounts.into_iter().map(str::to_owned).collect();
    added.iter().for_each(|account| {
        refused.remove(account);
    });
    Ok(refused)
}
