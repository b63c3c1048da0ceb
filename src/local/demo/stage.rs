//! The stage: database, simulated Chat and service, all on this machine and on real sockets.
//!
//! Nothing of the user's own configuration is read, so that no real application and no real rules
//! take part. The database is removed at the end, even if the demo is killed.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::operator::Operator;
use super::page::Page;
use crate::config::Settings;
use crate::database::Database;
use crate::local::postgres::LocalPostgres;
use crate::local::simulator::{self, Running, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};
use crate::service::{PartEnded, Service, StartError};

const CHAT_PORT: u16 = 9100;
const CALLBACK_PORT: u16 = 8080;
const ADMIN_PORT: u16 = 8081;

#[derive(Debug)]
pub(super) struct Stage {
    database: Database,
    postgres: LocalPostgres,
    running: Running,
    service: JoinHandle<Result<(), PartEnded>>,
    closing: DropGuard,
    pub page: Arc<Page>,
    pub places: Places,
}

/// Where things are, and how one gets in.
#[derive(Debug)]
pub(super) struct Places {
    pub chat: SocketAddr,
    pub callback: SocketAddr,
    pub admin: SocketAddr,
    /// Of an editor.
    pub token: SecretString,
    /// Of one who may only look.
    pub viewer: SecretString,
    pub database: PathBuf,
    /// Ports that belong to others.
    pub taken: Vec<u16>,
}

impl Stage {
    pub(super) async fn set() -> anyhow::Result<Self> {
        let mut taken = Vec::new();
        let listener = listen(CHAT_PORT, &mut taken).await?;
        let running = simulator::start(simulator::Options::default(), listener)?;
        let (token, viewer, callback_token) = (secret(), secret(), secret());
        let postgres = LocalPostgres::throw_away().await?;
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string();
        let tokens = format!(
            "demo:editor:{},guest:viewer:{}",
            token.expose_secret(),
            viewer.expose_secret()
        );
        // Beside the defaults, which are compiled in.
        let settings = [
            ("CHAT__SDK_APP_ID", SAMPLE_SDK_APP_ID.to_string()),
            ("CHAT__SECRET_KEY", SAMPLE_SECRET_KEY.to_owned()),
            ("CHAT__BASE_URL", running.url()),
            ("CALLBACK__LISTEN", local(CALLBACK_PORT)),
            (
                "CALLBACK__TOKENS",
                callback_token.expose_secret().to_owned(),
            ),
            ("ADMIN__LISTEN", local(ADMIN_PORT)),
            ("ADMIN__TOKENS", tokens),
            ("DATABASE__URL", postgres.url().expose_secret().to_owned()),
        ];
        let settings = settings.map(|(key, value)| (format!("STICKYMARK__{key}"), value));
        let settings = Settings::load(None, settings)?;
        let database = Database::connect(
            settings.database.server(),
            Path::new(""),
            settings.database.max_connections,
        )
        .await?;
        database.migrate().await?;
        let service = build(settings, &database, &mut taken).await?;
        let (callback, admin) = (service.callback_address(), service.admin_address());
        let closing = CancellationToken::new();
        let stop = closing.clone().cancelled_owned().map(|()| Duration::ZERO);
        let operator = Operator {
            http: reqwest::Client::builder().no_proxy().build()?,
            api: format!("http://{admin}/v1"),
            token: token.clone(),
        };
        let page = Arc::new(Page {
            chat: running.client()?,
            db: database.db().clone(),
            operator,
            playing: AtomicBool::new(true),
            ledger: Mutex::default(),
        });
        let service = service.with_stage(page.clone().router());
        let service = tokio::spawn(service.run(stop));
        let url = format!("http://{callback}/callback");
        let chat = &page.chat;
        chat.set_callback(Some(&url), Some(callback_token)).await?;
        let places = Places {
            chat: running.address(),
            callback,
            admin,
            token,
            viewer,
            database: postgres.path().to_owned(),
            taken,
        };
        Ok(Self {
            database,
            postgres,
            running,
            service,
            closing: closing.drop_guard(),
            page,
            places,
        })
    }

    pub(super) async fn strike(self) -> anyhow::Result<()> {
        drop(self.closing);
        let service = self.service.await;
        let chat = self.running.stop().await;
        self.database.close().await?;
        self.postgres.stop().await?;
        service.context("the service failed")??;
        chat.context("the simulated Chat ended badly")
    }
}

/// Builds the service; a port that is taken gives way to any free one.
async fn build(
    mut settings: Settings,
    database: &Database,
    taken: &mut Vec<u16>,
) -> anyhow::Result<Service> {
    loop {
        let error = match Service::build(&settings, database.db().clone()).await {
            Ok(service) => return Ok(service),
            Err(error) => error,
        };
        let listen = match &error {
            StartError::Listen { key, .. } if key.starts_with("callback") => {
                &mut settings.callback.listen
            }
            StartError::Listen { .. } => &mut settings.admin.listen,
            _ => return Err(error.into()),
        };
        if listen.port() == 0 {
            return Err(error.into());
        }
        taken.push(listen.port());
        listen.set_port(0);
    }
}

async fn listen(port: u16, taken: &mut Vec<u16>) -> anyhow::Result<TcpListener> {
    if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        return Ok(listener);
    }
    taken.push(port);
    let any = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    any.context("no port of this machine can be listened on")
}

fn secret() -> SecretString {
    let random: [u8; 16] = rand::random();
    SecretString::from(hex::encode(random))
}
