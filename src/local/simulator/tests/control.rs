//! The control API itself.

use clap::{Args, Command, FromArgMatches};

use super::harness::{Chat, ROOM};
use crate::local::simulator::client::ControlError;
use crate::local::simulator::{Effect, Fault, Settings};

fn reason<T: std::fmt::Debug>(result: Result<T, ControlError>) -> (u16, String) {
    match result {
        Err(ControlError::Refused { status, reason }) => (status.as_u16(), reason),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_command_that_makes_no_sense_is_refused_with_a_reason() {
    let chat = Chat::start().await;
    let control = &chat.control;
    let unknown = control.drop_offline("other", &["alice"]).await;
    assert_eq!(reason(unknown).0, 404);
    let (status, text) = reason(control.join(ROOM, &["a".repeat(33)]).await);
    assert_eq!(status, 400);
    assert!(text.contains("32 bytes"), "{text}");
    control.create(ROOM, "", "").await.unwrap();
    assert_eq!(reason(control.create(ROOM, "", "").await).0, 409);
    control.destroy(ROOM).await.unwrap();
    assert_eq!(reason(control.join(ROOM, &["alice"]).await).0, 409);
    let query = control
        .set_callback(Some("http://127.0.0.1/hook?key=1"), None)
        .await;
    assert!(reason(query).1.contains("no query"));
    let fault = Fault::new(Effect::HttpStatus(99));
    assert!(
        reason(control.inject(&fault).await)
            .1
            .contains("http_status")
    );
    let settings = Settings {
        page_size: 0,
        ..Settings::default()
    };
    assert!(
        reason(control.configure(&settings).await)
            .1
            .contains("page_size")
    );
}

#[tokio::test]
async fn a_reset_forgets_rooms_calls_and_faults_but_not_settings() {
    let chat = Chat::start().await;
    let control = &chat.control;
    control.join(ROOM, &["alice"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000]).await;
    control.inject(&Fault::new(Effect::Omit)).await.unwrap();
    let settings = control.settings().await.unwrap();
    control.reset().await.unwrap();
    assert!(control.rooms().await.unwrap().is_empty());
    assert!(control.calls().await.unwrap().is_empty());
    assert!(control.faults().await.unwrap().calls.is_empty());
    assert!(control.stats().await.unwrap().calls.is_empty());
    assert_eq!(control.settings().await.unwrap(), settings);
    assert_eq!(reason(control.room(ROOM).await).0, 404);
}

#[tokio::test]
async fn the_list_of_rooms_counts_members_and_marks() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice", "bob"]).await.unwrap();
    chat.control.drop_offline(ROOM, &["bob"]).await.unwrap();
    chat.modify(1, &["alice"], &[1000, 1001]).await;
    let rooms = chat.control.rooms().await.unwrap();
    assert_eq!((rooms[0].members, rooms[0].online), (2, 1));
    assert_eq!(rooms[0].marks, [(1000, 1), (1001, 1)].into());
}

#[tokio::test]
async fn ten_thousand_members_move_in_one_command() {
    let chat = Chat::start().await;
    let names: Vec<String> = (0..10_000)
        .map(|number| format!("member{number}"))
        .collect();
    assert_eq!(
        chat.control.join(ROOM, &names).await.unwrap().changed,
        10_000
    );
    assert_eq!(
        chat.control
            .drop_offline(ROOM, &names)
            .await
            .unwrap()
            .changed,
        10_000
    );
    assert_eq!(
        chat.control.come_back(ROOM, &names).await.unwrap().changed,
        10_000
    );
    assert_eq!(chat.control.rooms().await.unwrap()[0].online, 10_000);
}

#[tokio::test]
async fn it_stops_while_a_call_hangs() {
    let chat = Chat::start().await;
    chat.control.join(ROOM, &["alice"]).await.unwrap();
    chat.control
        .inject(&Fault::new(Effect::DelayMs(600_000)))
        .await
        .unwrap();
    let patience = super::harness::PATIENCE;
    let (control, url) = (chat.control.clone(), chat.running.url());
    let seen = control.wait_for_marks(ROOM, "alice", &[1000], patience);
    tokio::select! {
        _ = chat.modify(1, &["alice"], &[1000]) => panic!("the answer was not delayed"),
        seen = seen => seen.unwrap(),
    }
    tokio::time::timeout(patience, chat.running.stop())
        .await
        .unwrap()
        .unwrap();
    assert!(reqwest::get(url).await.is_err());
}

#[test]
fn the_command_line_refuses_a_callback_address_with_a_query_and_hides_secrets() {
    let command = || crate::local::simulator::Command::augment_args(Command::new("simulate"));
    command().debug_assert();
    let parse = |arguments: &[&str]| command().try_get_matches_from(arguments);
    assert!(parse(&["simulate", "--callback-url", "http://127.0.0.1/?a=1"]).is_err());
    let matches = parse(&["simulate", "--callback-token", "hush-hush"]).unwrap();
    let parsed = crate::local::simulator::Command::from_arg_matches(&matches).unwrap();
    assert!(!format!("{parsed:?}").contains("hush-hush"));
    let help = command().render_long_help().to_string();
    assert!(help.contains("/control/callback-faults"));
}
