//! What the sweeps of this process found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use utoipa::ToSchema;

use crate::members::Found;

/// Counts since the start of the process; clones share them.
#[derive(Debug, Clone, Default)]
pub struct SweepTotals {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    rooms: AtomicU64,
    failed: AtomicU64,
    missing: AtomicU64,
    surplus: AtomicU64,
    unheard: AtomicU64,
    vanished: AtomicU64,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SweepTotals)]
pub struct TotalsSnapshot {
    /// Complete sweeps.
    pub rooms: u64,
    /// Failed sweeps.
    pub failed: u64,
    /// What the complete ones found.
    pub found: Found,
}

impl SweepTotals {
    pub(super) fn swept(&self, found: &Found) {
        let counts = &*self.counts;
        counts.rooms.fetch_add(1, Ordering::Relaxed);
        counts.missing.fetch_add(found.missing, Ordering::Relaxed);
        counts.surplus.fetch_add(found.surplus, Ordering::Relaxed);
        counts.unheard.fetch_add(found.unheard, Ordering::Relaxed);
        counts.vanished.fetch_add(found.vanished, Ordering::Relaxed);
    }

    pub(super) fn failed(&self) {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn snapshot(&self) -> TotalsSnapshot {
        let counts = &*self.counts;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TotalsSnapshot {
            rooms: get(&counts.rooms),
            failed: get(&counts.failed),
            found: Found {
                missing: get(&counts.missing),
                surplus: get(&counts.surplus),
                unheard: get(&counts.unheard),
                vanished: get(&counts.vanished),
            },
        }
    }
}
