//! `stickymark simulate`: the simulated Chat as a program.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::{Options, serve};
use crate::config::{LogFormat, LogSettings};
use crate::local::stop_on_signal;
use crate::telemetry;

const CONTROL_HELP: &str = "\
Chat's side: POST /v4/group_open_avchatroom_http_svc/{modify_user_info,get_members,check_members}
             POST /v4/group_open_http_svc/get_online_member_num

Control API: POST /control/COMMAND with JSON; a refused command answers {\"error\": …}
  create    {group}
  join      {group, accounts, wait?, members_per_callback?}
  leave     as join
  drop      as join: connections are lost, Chat clears the marks
  back      as join: lost connections return
  destroy   {group, wait?}
  callback  {url?, token?}: where callbacks go and how they are signed
  settings  {latency_ms?, calls_per_second?, page_size?, all_offline_code?}
  fault     {api?, kind?, group?, account?, count?, fraction?, seed?, effect}
              effect on calls: {\"error_code\": n} {\"late_error_code\": n} {\"http_status\": n}
                {\"delay_ms\": n} {\"lost_answer\": \"close\"|\"hang\"} \"omit\"
              effect on callbacks: \"lose_callback\" {\"duplicate_callback\": n} \"hold_callback\"
  faults    lists them; clear {id?} ends one or all
  rooms     with their members; room {group} shows one
  calls     {after?, api?, group?}
  stats";

/// Runs only the simulated Chat: in place of Tencent, on this machine.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CONTROL_HELP)]
pub struct Command {
    /// Address to listen on. Everyone who can reach it controls the simulator.
    #[arg(
        long,
        env = "STICKYMARK_SIMULATE_LISTEN",
        default_value = "127.0.0.1:9100",
        value_parser = listen
    )]
    listen: SocketAddr,
    #[command(flatten)]
    options: Options,
}

/// Serves until the process is asked to end.
pub async fn run(command: Command) -> anyhow::Result<()> {
    telemetry::init(&LogSettings {
        format: LogFormat::Text,
        filter: "warn".to_owned(),
    })?;
    let listen = command.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; if it is in use, choose another with --listen")
    })?;
    let address = listener.local_addr()?;
    let stop = stop_on_signal()?;
    std::io::stdout().write_all(greeting(&command, address).as_bytes())?;
    serve(command.options, listener, stop).await?;
    Ok(())
}

fn greeting(command: &Command, address: SocketAddr) -> String {
    let callback = match &command.options.callback_url {
        Some(_) => "Callbacks go to the address of --callback-url.\n".to_owned(),
        None => format!(
            "No callbacks are sent yet; to send them:\n  \
             curl http://{address}/control/callback \
             -d '{{\"url\":\"http://127.0.0.1:8080/callback\"}}'\n"
        ),
    };
    let warning = if address.ip().is_loopback() {
        ""
    } else {
        "Warning: everyone who can reach this address controls the simulator.\n"
    };
    let member = r#"'{"group":"class-7","accounts":["teacher10"]}'"#;
    format!(
        r#"Simulated Chat for SDKAppID {app} at http://{address} (set chat.base_url to it)
{warning}{callback}Let a member join, lose the connection and return:
  curl http://{address}/control/join -d {member}
  curl http://{address}/control/drop -d {member}
  curl http://{address}/control/back -d {member}
See members and marks, the calls, the figures:
  curl http://{address}/control/room -d '{{"group":"class-7"}}'
  curl http://{address}/control/calls
  curl http://{address}/control/stats
Let the next two calls that set marks fail:
  curl http://{address}/control/fault -d '{{"api":"modify_user_info","count":2,"effect":{{"error_code":10002}}}}'
All commands: stickymark simulate --help
"#,
        app = command.options.sdk_app_id,
    )
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let fix = "give an IP address and a port, like 127.0.0.1:9100";
    text.parse().map_err(|error| format!("{error}; {fix}"))
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;
    use crate::local::simulator::{SAMPLE_SDK_APP_ID, SAMPLE_SECRET_KEY};

    fn parse(arguments: &[&str]) -> Result<Command, clap::Error> {
        let command = Command::augment_args(clap::Command::new("simulate"));
        command.clone().debug_assert();
        let arguments = ["simulate"].iter().chain(arguments);
        Command::from_arg_matches(&command.try_get_matches_from(arguments)?)
    }

    #[test]
    fn the_greeting_gives_lines_for_the_real_address_and_no_secret() {
        let command = parse(&["--callback-token", "hush-hush", "--latency-ms", "7"]).unwrap();
        let text = greeting(&command, SocketAddr::from(([127, 0, 0, 1], 4321)));
        assert!(text.contains("\n  curl http://127.0.0.1:4321/control/join -d '{\"group\""));
        assert!(!text.contains("hush-hush") && !text.contains(SAMPLE_SECRET_KEY));
        assert!(!text.contains("Warning"));
        let open = greeting(&command, SocketAddr::from(([0, 0, 0, 0], 4321)));
        assert!(open.contains("Warning"));
        assert!(!format!("{command:?}").contains("hush-hush"));
        assert_eq!(
            (
                command.options.settings.latency_ms,
                command.options.sdk_app_id
            ),
            (7, SAMPLE_SDK_APP_ID)
        );
        assert!(parse(&["--callback-url", "http://127.0.0.1/?a=1"]).is_err());
    }
}
