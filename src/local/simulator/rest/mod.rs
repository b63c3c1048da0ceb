//! The REST side: `POST /v4/{service}/{command}`, as strict as Chat or stricter.
//!
//! As in Chat, every answer has HTTP status 200 and tells of errors in `ErrorCode`, unless an
//! injected fault says otherwise. Order of checks: address, UserSig, rate, JSON, faults, content.
//! Source: <https://www.tencentcloud.com/document/product/1047/34620>.

mod answer;
mod call;
mod lists;
mod modify;
mod query;
mod request;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;

use super::api::Api;
use super::connection::Cut;
use super::fault::LostAnswer;
use super::shared::Shared;
use answer::{Refusal, code};
use call::Call;

/// Far more than 500 members with 10 marks each need.
const LARGEST_BODY: usize = 1024 * 1024;

/// The routes of the REST side.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/v4/{*path}", any(serve))
}

/// What a call is answered with, and how.
struct Reply {
    body: Vec<u8>,
    http_status: u16,
    delay: Duration,
    lost: Option<LostAnswer>,
}

impl Reply {
    fn now(body: Vec<u8>) -> Self {
        Self {
            body,
            http_status: 200,
            delay: Duration::ZERO,
            lost: None,
        }
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    Path(path): Path<String>,
    method: Method,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let Some(api) = Api::at(&path) else {
        let refusal = Refusal::new(code::NO_SUCH_COMMAND, "no such service or command");
        return json(200, refusal.body());
    };
    if method != Method::POST {
        let refusal = Refusal::new(code::HTTP_FORMAT, "the method is POST");
        return json(200, refusal.body());
    }
    let mut call = Call::begin(shared.clone(), api);
    let reply = match axum::body::to_bytes(body, LARGEST_BODY).await {
        Ok(body) => call.answer(query.as_deref().unwrap_or_default(), &body),
        Err(_) => call.refuse(Refusal::new(
            code::JSON_UNREADABLE,
            "the body is cut or too large",
        )),
    };
    let latency = Duration::from_millis(shared.world().settings.latency_ms);
    let wait = latency + reply.delay;
    if !wait.is_zero() {
        shared
            .stop
            .run_until_cancelled(tokio::time::sleep(wait))
            .await;
    }
    match reply.lost {
        Some(LostAnswer::Close) => cut.pull(),
        // Ends with the simulator, or when the caller closes the connection.
        Some(LostAnswer::Hang) => {
            shared.stop.cancelled().await;
            cut.pull();
        }
        None => {}
    }
    drop(call);
    json(reply.http_status, reply.body)
}

fn json(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = [(axum::http::header::CONTENT_TYPE, "application/json")];
    (status, content_type, body).into_response()
}
