//! The wall clock, read in one place.

/// Unix milliseconds.
pub(super) fn unix_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
