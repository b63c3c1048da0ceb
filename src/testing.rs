//! What tests and benchmarks use of the inside. It changes with their needs; nothing else may rely on it.

pub use crate::check::check;
pub use crate::replica::Replica;
pub use crate::service::{PartEnded, Service};
pub use crate::wake::WakeUp;

pub mod api {
    pub use crate::api::status::{Readiness, figures};
    pub use crate::api::{AdminState, openapi, router};
}

pub mod callback {
    pub use crate::callback::{Arrivals, Events, Listener, Recorded};
}

pub mod chat {
    pub use crate::chat::{
        Breaker, Budget, Budgets, CallRate, ChatClient, CommandType, ErrorCode, MemberMarks, Tried,
    };
}

pub mod config {
    pub use crate::config::{AdminToken, DatabaseSettings, Role, Settings};
}

pub mod database {
    pub use crate::database::{Database, DatabaseError, Db, MIGRATIONS, SchemaState};
}

pub mod domain {
    pub use crate::domain::{
        Account, EventSource, EventTime, GroupId, MAX_MARKS_PER_ROOM, Mark, MarkSet, Marks,
        MemberEvent, Pattern, RequestId, RoomEnd, RuleDraft, RuleId, Window,
    };
}

pub mod members {
    pub use crate::members::{
        Batch, Claim, Ended, Inbox, InboxWriter, Member, Named, News, NotTaken, Outcome, Results,
        Settling, claim, due_members, record, retry_failed, room_gone, until_next_due, wake_rooms,
        write_back,
    };
}

pub mod metrics {
    pub use crate::metrics::{Api, Metrics};
}

pub mod reapply {
    pub use crate::reapply::{Restorations, Worker, WorkerSettings};
}

pub mod resync {
    pub use crate::resync::request;
}

pub mod rules {
    pub use crate::rules::filter;
    pub use crate::rules::import;
    pub use crate::rules::propagation::{backlog, propagate};
    pub use crate::rules::{Author, Rules, WriteError, delete_old_history, matching_rules};
}

#[cfg(feature = "local")]
pub mod local {
    pub use crate::local::{postgres, simulator};
}
