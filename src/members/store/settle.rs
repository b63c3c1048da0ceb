//! Writes down what became of a claim, and gives the room back.
//!
//! A member is settled only if his generation is still the one claimed: whatever happened to him
//! meanwhile (an event, a rule change) has set a due time of its own and counts for more. He then
//! stays in doubt, so that the next plan reckons with marks that nobody confirmed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::{Account, GroupId, MarkSet};
use crate::members::array_text;

/// What to write down for one member.
#[derive(Debug, Clone, PartialEq)]
pub struct Settlement {
    /// The member.
    pub account: Account,
    /// The generation that was claimed.
    pub generation: i64,
    /// What became of him.
    pub outcome: Outcome,
}

/// What became of a claimed member.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Chat confirmed that he now carries exactly these marks of ours; look again at `next`.
    Confirmed {
        /// The marks.
        marks: MarkSet,
        /// When a rule starts or ends for him, or a mark must be renewed.
        next: Option<DateTime<Utc>>,
    },
    /// There was nothing to send; look again at `next`.
    Idle {
        /// When a rule starts or ends for him.
        next: Option<DateTime<Utc>>,
    },
    /// Some mark that he should carry has no place in the room, or Chat keeps leaving him out though
    /// he is there. He waits until a place is free, and is tried again after the delay in any case.
    Waiting {
        /// The marks that Chat confirmed just now; `None` if it was not asked.
        marks: Option<MarkSet>,
        /// The marks he waits for.
        waits_for: MarkSet,
        /// What he waits for, in words for people.
        reason: String,
        /// Delay of the next try.
        retry: Duration,
    },
    /// No rule names him any more: his row goes.
    Forgotten,
    /// Chat left him out of its answer, so he was not online. Try again after the delay, or take
    /// him for absent until his next event.
    Omitted {
        /// Delay of the next try.
        retry: Option<Duration>,
    },
    /// Chat refused him beside others, perhaps because it does not see him yet; which is counted. Try
    /// again after the delay.
    Refused {
        /// Why, in words for people.
        error: String,
        /// Delay of the next try.
        retry: Duration,
        /// Whether Chat may have carried out a call before.
        in_doubt: bool,
    },
    /// The call failed. Try again after the delay, or give up until an event or a person asks.
    Failed {
        /// Why, in words for people.
        error: String,
        /// Delay of the next try.
        retry: Option<Duration>,
        /// Whether this counts towards giving up.
        counts: bool,
        /// Whether Chat may have carried out the call.
        in_doubt: bool,
    },
}

impl Outcome {
    /// In one word, as the settling statement and the log know it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::Idle { .. } => "idle",
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

/// A member whose marks were confirmed after a callback of his.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    /// The member.
    pub account: String,
    /// Seconds since the first of them was handed in that was not served before.
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
        let (mut marks, mut next, mut retry, mut error) = (String::from("{}"), None, None, None);
        let mut waiting = String::from("{}");
        let (mut counts, mut in_doubt) = (false, false);
        match &settlement.outcome {
            Outcome::Confirmed {
                marks: confirmed,
                next: at,
            } => {
                marks = array_text(confirmed.iter().copied());
                next = *at;
            }
            Outcome::Idle { next: at } => next = *at,
            Outcome::Waiting {
                marks: confirmed,
                waits_for,
                reason,
                retry: delay,
            } => {
                waiting = array_text(waits_for.iter().copied());
                (error, retry) = (Some(reason.clone()), Some(*delay));
                if let Some(confirmed) = confirmed {
                    marks = array_text(confirmed.iter().copied());
                }
            }
            Outcome::Forgotten => {}
            Outcome::Omitted { retry: delay } => retry = *delay,
            Outcome::Refused {
                error: why,
                retry: delay,
                in_doubt: doubt,
            } => (error, retry, counts, in_doubt) = (Some(why.clone()), Some(*delay), true, *doubt),
            Outcome::Failed {
                error: why,
                retry: delay,
                counts: counted,
                in_doubt: doubt,
            } => {
                (error, retry, counts, in_doubt) = (Some(why.clone()), *delay, *counted, *doubt);
            }
        }
        self.accounts.push(settlement.account.as_str().to_owned());
        self.generations.push(settlement.generation);
        self.kinds.push(settlement.outcome.kind());
        self.marks.push(marks);
        self.waits_for.push(waiting);
        self.next.push(next);
        self.retry_seconds
            .push(retry.map(|delay| delay.as_secs_f64()));
        self.errors.push(error);
        self.counts.push(counts);
        self.in_doubt.push(in_doubt);
    }
}

/// Settles the members of one claim and gives the room back. Returns each member whose marks were
/// confirmed after a callback, with the time that took; what rules or sweeps made due is left out.
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
        with outcome as (
            select account, generation, kind, marks::bigint[] as marks,
                   waits_for::bigint[] as waits_for, next, retry_seconds, error, counts, in_doubt
            from unnest($3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
                        $8::timestamptz[], $9::float8[], $10::text[], $11::bool[], $12::bool[])
                as o (account, generation, kind, marks, waits_for, next, retry_seconds, error, counts,
                      in_doubt)
        ),
        -- Locked in the order that every writer of members keeps.
        locked as materialized (
            select o.*, m.unserved_since, m.marks as old_marks
            from members m join outcome o on m.account = o.account
            where m.group_id = $1 and m.generation = o.generation
            order by m.account
            for update of m
        ),
        forgotten as (
            delete from members m using locked l
            where m.group_id = $1 and m.account = l.account and l.kind = 'forgotten'
        ),
        settled as (
            update members m set
                presence = case when l.kind in ('confirmed', 'served') then 'present'
                           when l.kind = 'parked' then 'absent' else m.presence end,
                marks = case when l.kind in ('confirmed', 'served', 'parked') then l.marks
                        else m.marks end,
                waits_for = l.waits_for,
                confirmed_at = case when l.kind in ('confirmed', 'served') then now()
                               else m.confirmed_at end,
                in_doubt = l.kind in ('refused', 'retried', 'failed') and l.in_doubt,
                revoked = case when l.kind in ('refused', 'retried', 'failed') then m.revoked else '{}' end,
                due_at = coalesce(now() + make_interval(secs => l.retry_seconds), l.next),
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
            where m.group_id = $1 and m.account = l.account and l.kind <> 'forgotten'
        ),
        -- A mark that somebody lost makes room for those who wait for it.
        freed as (
            select mark from locked l cross join unnest(l.old_marks) as mark
            where l.kind in ('confirmed', 'served', 'parked', 'forgotten')
              and mark <> all (l.marks)
        ),
        woken as (
            update members m set due_at = now()
            from (
                select w.account from members w
                where w.group_id = $1 and w.waits_for <> '{}' and not w.in_doubt
                  and w.waits_for && (select array_agg(distinct mark) from freed)
                  and not exists (select from locked l where l.account = w.account)
                order by w.pending_since
                limit (select count(*) from freed)
                for no key update skip locked
            ) waiting
            where m.group_id = $1 and m.account = waiting.account
        ),
        -- A settlement that is lost in a crash of the database leaves the claim to its lease: no
        -- flush is waited for.
        released as (
            update rooms set leased_until = null, lease = null,
                -- Somebody who came while the room was taken for gone has his marks: it lives.
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
