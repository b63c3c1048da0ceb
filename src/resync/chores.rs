//! What the sweeper does now and then: the heartbeat that detects gaps in the callbacks, the schedule of
//! new rooms, the cleanup.

use std::time::{Duration, Instant};

use sqlx::PgPool;

use super::beat::{BEAT, beat};
use super::schedule::schedule_new;
use crate::members::store::cleanup::{
    CLEANUP_INTERVAL, delete_rooms, delete_unmatched_somewhere, forget_retired_marks,
};

/// After a gap every room is swept within this time, or within the interval if that is shorter.
const CATCH_UP: Duration = Duration::from_secs(30);

/// When each was done last.
#[derive(Debug, Default)]
pub(super) struct Chores {
    beaten: Option<Instant>,
    cleaned: Option<Instant>,
}

impl Chores {
    /// Does what it is time for. `every`: time between two sweeps of a room.
    pub(super) async fn run(
        &mut self,
        pool: &PgPool,
        every: Option<Duration>,
    ) -> Result<(), sqlx::Error> {
        if let Some(every) = every {
            if is_time(self.beaten, BEAT) {
                let due = beat(pool, every.min(CATCH_UP)).await?;
                self.beaten = Some(Instant::now());
                if due > 0 {
                    tracing::warn!(
                        rooms = due,
                        "callbacks may have been missed; every room is compared"
                    );
                }
            }
            schedule_new(pool, every).await?;
        }
        if is_time(self.cleaned, CLEANUP_INTERVAL) {
            self.cleaned = Some(Instant::now());
            let rooms = delete_rooms(pool).await?;
            forget_retired_marks(pool).await?;
            if every.is_none() {
                delete_unmatched_somewhere(pool).await?;
            }
            tracing::debug!(rooms, "cleaned up");
        }
        Ok(())
    }
}

fn is_time(last: Option<Instant>, every: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= every)
}
