//! `stickymark simulate`: the simulated Chat as a program.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::callback::Kind;
use super::options::{
    CallbackOptions, Options, SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY, Settings, check_callback_url,
};
use super::server::serve;

const CONTROL_HELP: &str = "\
Chat's side: POST /v4/group_open_avchatroom_http_svc/{modify_user_info,get_members,check_members}
             POST /v4/group_open_http_svc/{get_online_member_num,get_group_info}

Control API (JSON; a refused command answers {\"error\": …}):
  POST   /control/create      {group, owner?, name?}
  POST   /control/join        {group, accounts, wait?, members_per_callback?}
  POST   /control/leave       the same, and kicked?
  POST   /control/drop        the same as join: connections are lost, marks wiped
  POST   /control/back        the same as join: lost connections return
  POST   /control/expire      the same as join: the three days of mark 500 are over
  POST   /control/destroy     {group, wait?}
  PUT    /control/callback    {url?, token?, kinds?}
  GET    /control/settings    PATCH changes those that are named
  POST   /control/faults      {api?, group?, account?, count?, fraction?, seed?, effect}
           effect: {\"error_code\": n} {\"late_error_code\": n} {\"http_status\": n} {\"delay_ms\": n}
                   {\"lost_answer\": \"close\"|\"hang\"} \"omit\"
  POST   /control/callback-faults  {kind?, group?, account?, count?, fraction?, seed?, effect}
           effect: \"lose\" {\"duplicate\": n} {\"delay_ms\": n} \"hold\" \"shuffle\"
  GET    /control/faults      DELETE clears all; DELETE /control/faults/{id} clears one
  GET    /control/rooms       GET /control/room?group=G
  GET    /control/calls       ?after=SEQ&api=&group=&limit=
  GET    /control/moment      ?after=N&wait_ms=
  GET    /control/stats
  POST   /control/reset";

/// Runs only the simulated Chat: a stand-in for Tencent on this machine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CONTROL_HELP)]
pub struct Command {
    /// Address to listen on. Whoever reaches it controls the simulator.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_LISTEN",
        default_value = "127.0.0.1:9100",
        value_parser = listen
    )]
    listen: SocketAddr,
    /// SDKAppID of the simulated application.
    #[arg(long, env = "STICKYMARK_SIMULATE_SDK_APP_ID", default_value_t = SAMPLE_SDK_APP_ID)]
    sdk_app_id: u32,
    /// Key that UserSigs are checked with; the default is a published sample.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_SECRET_KEY",
        hide_env_values = true,
        default_value = SAMPLE_SECRET_KEY,
        value_parser = secret,
    )]
    secret_key: SecretString,
    /// The account that may call.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_ADMIN_ACCOUNT",
        default_value = "administrator"
    )]
    admin_account: String,
    /// Where callbacks go, e.g. http://127.0.0.1:8080/callback; none = no callbacks.
    #[arg(long, env = "STICKYMARK_SIMULATE_CALLBACK_URL", value_parser = callback_url)]
    callback_url: Option<Url>,
    /// Token that callbacks are signed with; none = no `Sign`.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_CALLBACK_TOKEN",
        hide_env_values = true,
        value_parser = secret,
    )]
    callback_token: Option<SecretString>,
    /// Only these callbacks, separated by commas; all without it.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_CALLBACKS",
        value_delimiter = ',',
        value_enum
    )]
    callbacks: Option<Vec<Kind>>,
    /// Milliseconds between a call and its answer.
    #[arg(long, env = "STICKYMARK_SIMULATE_LATENCY_MS", default_value_t = Settings::default().latency_ms)]
    latency_ms: u64,
    /// How often a callback is sent again after a timeout.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_CALLBACK_RETRIES",
        default_value_t = 0
    )]
    callback_retries: u32,
}

/// Serves until the process is told to end.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let listen = command.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; is it taken? choose another with --listen")
    })?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        ended.cancel();
    });
    std::io::stdout().write_all(greeting(&command, address).as_bytes())?;
    serve(command.options(), listener, stop).await?;
    Ok(())
}

impl Command {
    fn options(self) -> Options {
        let kinds = self
            .callbacks
            .map_or_else(|| Kind::ALL.into(), |kinds| kinds.into_iter().collect());
        Options {
            sdk_app_id: self.sdk_app_id,
            secret_key: self.secret_key,
            admin_account: self.admin_account,
            callback: CallbackOptions {
                url: self.callback_url,
                token: self.callback_token,
                kinds,
            },
            settings: Settings {
                latency_ms: self.latency_ms,
                callback_retries: self.callback_retries,
                ..Settings::default()
            },
        }
    }
}

fn greeting(command: &Command, address: SocketAddr) -> String {
    let callback = match &command.callback_url {
        Some(_) => "Callbacks go to the address of --callback-url.\n".to_owned(),
        None => format!(
            "No callbacks yet; to send them:\n  \
             curl -X PUT http://{address}/control/callback \
             -d '{{\"url\":\"http://127.0.0.1:8080/callback\"}}'\n"
        ),
    };
    let warning = if address.ip().is_loopback() {
        ""
    } else {
        "Warning: everybody who reaches this address controls the simulator.\n"
    };
    format!(
        "Simulated Chat for SDKAppID {app} at http://{address} (set chat.base_url to it)\n\
         {warning}{callback}\
         Let a member join, lose the connection and return:\n  \
         curl http://{address}/control/join -d '{{\"group\":\"class-7\",\"accounts\":[\"teacher10\"]}}'\n  \
         curl http://{address}/control/drop -d '{{\"group\":\"class-7\",\"accounts\":[\"teacher10\"]}}'\n  \
         curl http://{address}/control/back -d '{{\"group\":\"class-7\",\"accounts\":[\"teacher10\"]}}'\n\
         Look at members and marks, at the calls, at the figures:\n  \
         curl 'http://{address}/control/room?group=class-7'\n  \
         curl http://{address}/control/calls\n  \
         curl http://{address}/control/stats\n\
         Let the next two calls fail:\n  \
         curl http://{address}/control/faults -d '{{\"count\":2,\"effect\":{{\"error_code\":10002}}}}'\n\
         All commands: stickymark simulate --help\n",
        app = command.sdk_app_id,
    )
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let right = "give an IP address and a port, like 127.0.0.1:9100";
    text.parse().map_err(|error| format!("{error}; {right}"))
}

fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}

fn callback_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    check_callback_url(&url)?;
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Command {
        let command = Command::augment_args(clap::Command::new("simulate"));
        let matches = command.try_get_matches_from(arguments).unwrap();
        Command::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn the_greeting_gives_lines_for_the_real_address_and_no_secret() {
        let command = parse(&[
            "simulate",
            "--callback-token",
            "hush-hush",
            "--latency-ms",
            "7",
        ]);
        let text = greeting(&command, SocketAddr::from(([127, 0, 0, 1], 4321)));
        assert!(text.contains("\n  curl http://127.0.0.1:4321/control/join -d '{\"group\""));
        assert!(!text.contains("hush-hush") && !text.contains(SAMPLE_SECRET_KEY));
        assert!(!text.contains("Warning"));
        println!("{text}");
        let open = greeting(&command, SocketAddr::from(([0, 0, 0, 0], 4321)));
        assert!(open.contains("Warning"));
        assert_eq!(command.options().settings.latency_ms, 7);
    }
}
