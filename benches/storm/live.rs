//! The whole product at work: database, simulated Chat, one or more services.

use std::net::SocketAddr;

use stickymark::testing::local::simulator::{Api, ApiCount, CallRecord, Simulated};

use crate::population::{Member, by_room};
use crate::process::{self, Server};
use crate::server::{self, Database};

/// The default of `chat.calls_per_second`.
pub const BUDGET: u32 = 160;
/// Rules where their number does not matter.
pub const RULES: usize = 100_000;

/// All of it.
pub struct Live {
    pub database: Database,
    pub services: Vec<Server>,
    pub chat: Simulated,
    simulator: Server,
}

impl Live {
    /// So many services on an empty database with so many rules.
    pub async fn start(
        server: &mut server::Server,
        rules: usize,
        replicas: usize,
    ) -> anyhow::Result<Self> {
        Self::with_budget(server, rules, replicas, BUDGET).await
    }

    /// The same with another budget.
    pub async fn with_budget(
        server: &mut server::Server,
        rules: usize,
        replicas: usize,
        budget: u32,
    ) -> anyhow::Result<Self> {
        let database = server.with_rules(rules).await?;
        let simulator = process::simulator().await?;
        let mut services = Vec::new();
        for _ in 0..replicas {
            services.push(process::service(&database, &simulator, budget).await?);
        }
        Ok(Self {
            database,
            services,
            chat: simulator.control()?,
            simulator,
        })
    }

    /// Members sit in their rooms, in Chat's eyes; no callback goes out.
    pub async fn seat(&self, members: &[Member]) -> anyhow::Result<()> {
        for (group, accounts) in by_room(members) {
            self.chat.join(group, &accounts).await?;
        }
        Ok(())
    }

    /// Where callbacks go.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.services
            .iter()
            .map(|service| service.address)
            .collect()
    }

    /// Figures of the calls that set marks.
    pub async fn calls(&self) -> anyhow::Result<ApiCount> {
        let stats = self.chat.stats().await?;
        Ok(stats
            .calls
            .get(&Api::ModifyUserInfo)
            .copied()
            .unwrap_or_default())
    }

    /// When Chat had answered the last of the calls after a number, Unix milliseconds.
    pub async fn last_answer(&self, after: u64) -> anyhow::Result<i64> {
        let calls = self.calls_after(after).await?;
        Ok(calls
            .iter()
            .filter_map(|call| call.finished_at)
            .max()
            .unwrap_or_default())
    }

    /// The calls after a number.
    pub async fn calls_after(&self, after: u64) -> anyhow::Result<Vec<CallRecord>> {
        Ok(self.chat.calls_after(after).await?)
    }

    /// Ends all processes.
    pub async fn stop(self) -> anyhow::Result<()> {
        for service in self.services {
            service.stop().await?;
        }
        self.simulator.stop().await
    }
}
