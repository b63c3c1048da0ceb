//! The end of a room: no member is in it any more, and none is due.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::database::{Db, interval};
use crate::domain::{EventTime, GroupId, RoomEnd};

/// A room that was declared gone is checked with Chat after this time, in which Chat's lists catch up.
const CHECKED_AFTER: Duration = Duration::from_secs(70);

/// Where the end of a room is known from.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// `Group.CallbackAfterGroupDestroyed`. Members who arrived later, in a new room of the same id, stay.
    Told(&'a RoomEnd),
    /// Chat's answer to a call that was made after this moment of Postgres. Members with an event since
    /// then stay, since they may have come while Chat answered; with any of them the room stays.
    Answered(DateTime<Utc>),
}

/// Records that a room has ended. Returns whether it was known and had not ended before.
pub async fn room_gone(db: &Db, group: &GroupId, ended: Ended<'_>) -> Result<bool, sqlx::Error> {
    let (at, request, asked) = match ended {
        Ended::Told(end) => (end.at, Some(end.request.as_str()), None),
        Ended::Answered(asked) => (None, None, Some(asked)),
    };
    let ended = sqlx::query!(
        r#"
        with locked as (
            select group_id, account from members
            where group_id = $1 and ($2::bigint is null or event_at is null or event_at <= $2)
              and ($4::timestamptz is null or heard_at is null or heard_at < $4)
            order by account
            for update
        ),
        emptied as (
            update members m set
                presence = 'absent', marks = '{}', revoked = '{}', waits_for = '{}', in_doubt = false,
                event = 'destroyed', event_at = coalesce($2, m.event_at), heard_at = now(),
                request_id = $3, traceparent = null,
                generation = m.generation + 1, due_at = null, pending_since = null, unserved_since = null,
                tries = 0, last_error = null, failed_at = null
            from locked l where m.group_id = l.group_id and m.account = l.account
            returning 1
        )
        update rooms set gone_at = now(), sweep_due_at = now() + $5, sweep_requested_at = null
        -- Members are locked before their room, as every writer does.
        where (select count(*) from emptied) >= 0
          and group_id = $1 and gone_at is null
          and not exists (select from members where group_id = $1 and presence <> 'absent'
                          and (heard_at >= $4 or event_at > $2))
        "#,
        group.as_str(),
        at.map(EventTime::millis),
        request,
        asked,
        interval(CHECKED_AFTER),
    )
    .execute(db)
    .await?;
    Ok(ended.rows_affected() > 0)
}
