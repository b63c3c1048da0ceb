//! The time of day, given to whatever decides by it so that tests can turn it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Says what time it is.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The clock of this machine.
pub fn system() -> Clock {
    Arc::new(Utc::now)
}
