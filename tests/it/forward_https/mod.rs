//! Forwarding to a backend behind TLS, with a certificate that only the operator trusts.
//!
//! Key and certificate (for `localhost`, signed by itself, valid for a hundred years) are of no use
//! elsewhere. They were made with `openssl req -x509 -newkey ec -pkeyopt
//! ec_paramgen_curve:prime256v1 -nodes -days 36500 -subj /CN=localhost -addext
//! subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE`.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::RawQuery;
use axum::serve::Listener;
use axum::{Json, Router};
use serde_json::{Value, json};
use stickymark::testing::local::simulator::SAMPLE_SDK_APP_ID;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::server::TlsStream;

use crate::support::process::{Orders, Replica};
use crate::support::{TestDatabase, database};

const CERTIFICATE: &str = include_str!("localhost-certificate.pem");
const KEY: &str = include_str!("localhost-key.pem");

/// Every connection ends TLS.
struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (tcp, peer) = self.tcp.accept().await.unwrap();
            // Who does not trust the certificate goes away.
            if let Ok(tls) = self.acceptor.accept(tcp).await {
                return (tls, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// A backend that forbids every message and repeats what it received.
async fn backend() -> String {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let tls = Tls {
        tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        acceptor: TlsAcceptor::from(std::sync::Arc::new(config)),
    };
    let url = format!("https://localhost:{}/im", tls.local_addr().unwrap().port());
    let answer = async |RawQuery(query): RawQuery, body: Bytes| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        Json(
            json!({"ActionStatus": "OK", "ErrorCode": 10100, "ErrorInfo": "not here",
            "Heard": body, "Query": query}),
        )
    };
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(tls, router).await });
    url
}

async fn replica(
    directory: &std::path::Path,
    url: &str,
    trusted: Option<&str>,
) -> (Replica, TestDatabase) {
    let database = database().await;
    let certificates = directory.join("ca.pem");
    std::fs::write(&certificates, trusted.unwrap_or_default()).unwrap();
    let mut environment = vec![
        ("STICKYMARK__CALLBACK__FORWARD_URL", url.to_owned()),
        ("STICKYMARK__CALLBACK__FORWARD_FAILURE", "fail".to_owned()),
    ];
    if trusted.is_some() {
        let path = certificates.to_str().unwrap().to_owned();
        environment.push(("SSL_CERT_FILE", path));
    }
    let orders = Orders {
        database: database.url().to_string(),
        chat: "http://127.0.0.1:9".to_owned(),
        environment,
    };
    let replica = Replica::start(&orders, directory.join("log")).await;
    (replica, database)
}

async fn before_a_message(replica: &Replica) -> (u16, Value, String) {
    let command = "Group.CallbackBeforeSendMsg";
    let query = format!("SdkAppid={SAMPLE_SDK_APP_ID}&CallbackCommand={command}&contenttype=json");
    let body = json!({"CallbackCommand": command, "GroupId": "class-7", "Type": "AVChatRoom",
        "From_Account": "teacher10", "MsgBody": []});
    let post = reqwest::Client::new()
        .post(format!("http://{}/callback?{query}", replica.callbacks))
        .json(&body);
    let answer = post.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap(), query)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_before_event_is_answered_by_a_backend_behind_tls() {
    let url = backend().await;
    let directory = tempfile::tempdir().unwrap();
    let (replica, _database) = replica(directory.path(), &url, Some(CERTIFICATE)).await;
    let (status, answer, query) = before_a_message(&replica).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["ErrorCode"], 10100,
        "the message is forbidden: {answer}"
    );
    assert_eq!(answer["Heard"]["From_Account"], "teacher10");
    assert_eq!(answer["Query"], query);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_whose_certificate_is_not_trusted_gets_nothing() {
    let url = backend().await;
    let directory = tempfile::tempdir().unwrap();
    let (replica, _database) = replica(directory.path(), &url, None).await;
    let (status, answer, _) = before_a_message(&replica).await;
    assert_eq!(status, 502, "{answer}");
    assert!(
        answer["ErrorInfo"]
            .as_str()
            .unwrap()
            .contains("unreachable"),
        "{answer}"
    );
}
