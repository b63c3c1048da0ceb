//! Writes back what became of a claim, and releases the room.
//!
//! A result applies only if the row's generation is unchanged since the claim. If an event or a rule
//! change came in between, that change wins, and the row keeps its doubt: the next plan must assume that
//! Chat may hold marks that no answer confirmed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::super::array_text;
use crate::domain::{Account, GroupId, MarkSet};

/// What to write back for one member.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    pub account: Account,
    /// The generation that was claimed.
    pub generation: i64,
    /// The marks that Chat confirmed before this round, without those whose deletion it confirmed in
    /// this round.
    pub held: MarkSet,
    /// When a rule starts or ends for the member, or a mark must be renewed. It limits every delay below,
    /// so that a failed or waiting member loses a mark in time, too.
    pub next: Option<DateTime<Utc>>,
    pub outcome: Outcome,
}

/// What became of a claimed member.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Chat confirmed that the member now carries exactly these marks of ours.
    Confirmed { marks: MarkSet },
    /// There was nothing to send.
    Idle,
    /// The room has no place for some mark that the member should carry, or Chat keeps leaving the member
    /// out although they are in the room. Try again after the delay.
    Waiting {
        /// The marks that Chat confirmed just now; `None` if it was not asked.
        marks: Option<MarkSet>,
        /// The marks without a place.
        waits_for: MarkSet,
        /// The reason, for people.
        reason: String,
        /// Delay of the next try.
        retry: Duration,
    },
    /// No rule matches the member any more: the row goes.
    Forgotten,
    /// Chat left the member out of its answer, so they were not online. Try again after the delay, or
    /// believe them absent until their next event.
    Omitted { retry: Option<Duration> },
    /// Chat refused the member and accepted others, perhaps because it does not see the member yet. Try
    /// again after the delay.
    Refused {
        /// The reason, for people.
        error: String,
        /// Delay of the next try.
        retry: Duration,
        /// Whether Chat may have carried out an earlier call.
        in_doubt: bool,
    },
    /// The call failed. Try again after the delay; without one the member has failed.
    Failed {
        /// The reason, for people.
        error: String,
        /// Delay of the next try.
        retry: Option<Duration>,
        /// Whether this try counts towards the limit of tries.
        counts: bool,
        /// Whether Chat may have carried out the call.
        in_doubt: bool,
    },
}

impl Outcome {
    /// In one word, for the statement below and the log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::Idle => "idle",
            Self::Waiting { marks: Some(_), .. } => "served",
            Self::Waiting { marks: None, .. } => "waiting",
            Self::Forgotten => "forgotten",
            Self::Omitted { retry: Some(_) } => "omitted",
            Self::Omitted { retry: None } => "parked",
            Self::Refused { .. } => "refused",
            Self::Failed { retry: Some(_), .. } => "retried",
            Self::Failed { retry: None, .. } => "failed",
        }
    }
}

/// A member whose marks were confirmed after one of their callbacks.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    pub account: String,
    /// Seconds since the first callback that was not served was handed in.
    pub seconds: f64,
}

#[derive(Default)]
struct Columns {
    accounts: Vec<String>,
    generations: Vec<i64>,
    kinds: Vec<&'static str>,
    marks: Vec<String>,
    waits_for: Vec<String>,
    next: Vec<Option<DateTime<Utc>>>,
    retry_seconds: Vec<Option<f64>>,
    errors: Vec<Option<String>>,
    counts: Vec<bool>,
    in_doubt: Vec<bool>,
}

impl Columns {
    fn push(&mut self, settlement: &Settlement) {
        let (mut marks, mut next) = (settlement.held.clone(), settlement.next);
        let (mut waiting, mut retry, mut error) = (MarkSet::new(), None, None);
        let (mut counts, mut in_doubt) = (false, false);
        match settlement.outcome.clone() {
            Outcome::Confirmed { marks: confirmed } => marks = confirmed,
            Outcome::Idle | Outcome::Forgotten => {}
            Outcome::Waiting {
                marks: confirmed,
                waits_for,
                reason,
                retry: delay,
            } => {
                marks = confirmed.unwrap_or(marks);
                (waiting, error, retry) = (waits_for, Some(reason), Some(delay));
            }
            // An absent member has no marks, and the next event plans anew.
            Outcome::Omitted { retry: None } => (marks, next) = (MarkSet::new(), None),
            Outcome::Omitted { retry: delay } => retry = delay,
            Outcome::Refused {
                error: why,
                retry: delay,
                in_doubt: doubt,
            } => (error, retry, counts, in_doubt) = (Some(why), Some(delay), true, doubt),
            Outcome::Failed {
                error: why,
                retry: delay,
                counts: counted,
                in_doubt: doubt,
            } => (error, retry, counts, in_doubt) = (Some(why), delay, counted, doubt),
        }
        self.accounts.push(settlement.account.as_str().to_owned());
        self.generations.push(settlement.generation);
        self.kinds.push(settlement.outcome.kind());
        self.marks.push(array_text(marks.into_iter()));
        self.waits_for.push(array_text(waiting.into_iter()));
        self.next.push(next);
        self.retry_seconds
            .push(retry.map(|delay| delay.as_secs_f64()));
        self.errors.push(error);
        self.counts.push(counts);
        self.in_doubt.push(in_doubt);
    }
}

/// Writes back the members of one claim and releases the room. Returns each member whose marks were
/// confirmed after a callback, with the time that took; members whom rules or sweeps made due are left
/// out.
pub async fn settle(
    pool: &PgPool,
    group: &GroupId,
    lease: Uuid,
    settlements: &[Settlement],
) -> Result<Vec<Waited>, sqlx::Error> {
    let mut columns = Columns::default();
    settlements
        .iter()
        .for_each(|settlement| columns.push(settlement));
    let Columns {
        accounts,
        generations,
        kinds,
        marks,
        waits_for,
        next,
        retry_seconds,
        errors,
        counts,
        in_doubt,
    } = columns;
    let waited = sqlx::query_as!(
        Waited,
        r#"
        -- The room comes from a row that the planner cannot look into, here and below: each member is
        -- one probe of the primary key, whatever the planner believes about the size of the room.
        with outcome as materialized (
            select $1::text as group_id, account, generation, kind, marks::bigint[] as marks,
                   waits_for::bigint[] as waits_for, next, retry_seconds, error, counts, in_doubt
            from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                        $8::timestamptz[], $9::float8[], $10::text[], $11::bool[], $12::bool[])
                as o (account, generation, kind, marks, waits_for, next, retry_seconds, error, counts,
                      in_doubt)
        ),
        -- Locked in the order that every writer of members keeps.
        locked as materialized (
            select o.*, m.unserved_since
            from members m join outcome o on m.group_id = o.group_id and m.account = o.account
            where m.generation = o.generation
            order by m.account
            for update of m
        ),
        forgotten as (
            delete from members m using locked l
            where m.group_id = l.group_id and m.account = l.account and l.kind = 'forgotten'
        ),
        settled as (
            update members m set
                presence = case when l.kind in ('confirmed', 'served') then 'present'
                           when l.kind = 'parked' then 'absent' else m.presence end,
                marks = l.marks,
                waits_for = l.waits_for,
                confirmed_marks = case when l.kind in ('confirmed', 'served') then l.marks
                                  else m.confirmed_marks end,
                confirmed_at = case when l.kind in ('confirmed', 'served') then now()
                               else m.confirmed_at end,
                in_doubt = l.kind in ('refused', 'retried', 'failed') and l.in_doubt,
                revoked = case when l.kind in ('refused', 'retried', 'failed') then m.revoked else '{}' end,
                due_at = least(now() + make_interval(secs => l.retry_seconds), l.next),
                pending_since = case when l.kind in ('omitted', 'refused', 'retried', 'served', 'waiting')
                                then m.pending_since end,
                unserved_since = case when l.kind in ('omitted', 'refused', 'retried', 'served', 'waiting')
                                 then m.unserved_since end,
                omissions = case when l.kind in ('omitted', 'parked') then m.omissions + 1
                            when l.kind in ('refused', 'retried', 'failed', 'waiting') then m.omissions
                            else 0 end,
                attempts = case when l.counts then m.attempts + 1
                           when l.kind in ('retried', 'failed') then m.attempts else 0 end,
                refusals = case l.kind when 'refused' then m.refusals + 1
                           when 'retried' then m.refusals when 'failed' then m.refusals else 0 end,
                last_error = l.error,
                failed_at = case when l.kind = 'failed' then now() end
            from locked l
            where m.group_id = l.group_id and m.account = l.account and l.kind <> 'forgotten'
        ),
        -- If a crash of the database loses this, the claim is left to its lease: no need to wait for a
        -- flush.
        released as (
            update rooms set leased_until = null, lease = null,
                -- A member who came while the room was believed gone has their marks: it exists.
                gone_at = case when gone_at is not null and exists (
                    select from locked l where l.kind in ('confirmed', 'served') and l.marks <> '{}')
                    then null else gone_at end
            from (select set_config('synchronous_commit', 'off', true)) unflushed
            where group_id = $1 and lease = $2
        )
        select l.account as "account!",
               extract(epoch from now() - l.unserved_since)::float8 as "seconds!"
        from locked l
        where l.kind = 'confirmed' and l.marks <> '{}' and l.unserved_since is not null
        "#,
        group.as_str(),
        lease,
        &accounts,
        &generations,
        &kinds as &[&'static str],
        &marks,
        &waits_for,
        &next as &[Option<DateTime<Utc>>],
        &retry_seconds as &[Option<f64>],
        &errors as &[Option<String>],
        &counts,
        &in_doubt,
    )
    .fetch_all(pool)
    .await?;
    Ok(waited)
}
