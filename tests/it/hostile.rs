//! Hostile connections against a real replica: it closes them, and answers callbacks meanwhile.

use std::net::SocketAddr;

use chrono::Utc;
use futures::future::join_all;
use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};
use stickymark::local::simulator::SAMPLE_SDK_APP_ID;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::process::{Orders, PATIENCE, Replica};
use crate::support::{database, insert_rule};

const OF_A_KIND: usize = 100;
const JOIN: &str = "Group.CallbackAfterNewMemberJoin";

fn path(token: &str) -> String {
    let now = Utc::now().timestamp();
    let sign = hex::encode(Sha256::digest(format!("{token}{now}")));
    format!(
        "/callback?SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={JOIN}&RequestTime={now}&Sign={sign}"
    )
}

async fn open(to: SocketAddr, sent: &str) -> Vec<TcpStream> {
    let open = (0..OF_A_KIND).map(|_| async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    });
    join_all(open).await
}

/// Waits until the replica has closed all of them; what each of them was answered begins so.
async fn assert_closed(streams: Vec<TcpStream>, answer: &str) {
    let closed = streams.into_iter().map(|mut stream| async move {
        let mut read = Vec::new();
        // A reset is a close, too.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut read))
            .await
            .expect("the replica closes it");
        String::from_utf8(read).unwrap()
    });
    for read in join_all(closed).await {
        assert!(read.starts_with(answer), "{read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_connections_are_closed_and_callbacks_are_answered_meanwhile() {
    let database = database().await;
    insert_rule(database.pool(), "class-7", "*", &[1000]).await;
    let directory = tempfile::tempdir().unwrap();
    let orders = Orders {
        database: database.settings().url.unwrap().expose_secret().to_owned(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment: vec![(
            "STICKYMARK__CALLBACK__TOKENS",
            "token-of-this-test".to_owned(),
        )],
    };
    let replica = Replica::start(&orders, directory.path().join("log")).await;

    let head = |token| format!("POST {} HTTP/1.1\r\nHost: x\r\n", path(token));
    let of_length = |head: String| head + "Content-Length: 1000000\r\n\r\n{";
    let silent = open(replica.callbacks, "").await;
    let halves = open(replica.callbacks, &head("token-of-this-test")).await;
    let halves_of_admin = open(replica.admin, "GET /livez HTTP/1.1\r\nHost: x\r\n").await;
    let strangers = open(replica.callbacks, &of_length(head("guess"))).await;
    let slow = open(replica.callbacks, &of_length(head("token-of-this-test"))).await;

    let client = reqwest::Client::new();
    for member in 0..50 {
        let url = format!("http://{}{}", replica.callbacks, path("token-of-this-test"));
        let body = json!({"CallbackCommand": JOIN, "GroupId": "class-7", "Type": "AVChatRoom",
            "NewMemberList": [{"Member_Account": format!("pupil-{member}")}]});
        let answer = client.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
    }
    let live = client.get(format!("http://{}/livez", replica.admin));
    assert_eq!(live.send().await.unwrap().status(), 200);
    let health = client.get(format!("http://{}/", replica.callbacks));
    assert_eq!(health.send().await.unwrap().status(), 200);

    assert_closed(strangers, "HTTP/1.1 403 Forbidden\r\n").await;
    assert_closed(slow, "HTTP/1.1 408 Request Timeout\r\n").await;
    assert_closed(halves, "").await;
    assert_closed(halves_of_admin, "").await;
    drop(silent);
    let members: i64 = sqlx::query_scalar("select count(*) from members")
        .fetch_one(database.pool())
        .await
        .unwrap();
    assert_eq!(members, 50);
}
