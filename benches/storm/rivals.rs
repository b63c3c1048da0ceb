//! What the service is compared with, as one would write it in an afternoon.
//!
//! `bare` is an axum handler that verifies `Sign`, parses, and answers: it stores nothing. `plain`
//! does the same and records each callback by a statement of its own, through a pool of 16
//! connections. The statement is a good one: it finds the rule by the same index and writes the
//! same row as the service does, and spares itself the upkeep of rooms. Both run as processes of
//! their own, on tokio's default runtime, as the service does.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::requests::{APP, PATH, sign, unix_ms};

const OK: &str = r#"{"ActionStatus":"OK","ErrorCode":0,"ErrorInfo":""}"#;
const MAX_AGE: i64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    sdk_appid: u32,
    callback_command: String,
    sign: String,
    request_time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Callback {
    callback_command: String,
    group_id: String,
    event_time: i64,
    #[serde(default)]
    event_type: Option<String>,
    #[serde(default)]
    new_member_list: Vec<Listed>,
    #[serde(default)]
    member_list: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Member_Account")]
    account: String,
}

/// Serves until killed.
pub async fn serve(address: SocketAddr, database: Option<&str>) -> anyhow::Result<()> {
    let pool = match database {
        Some(url) => Some(
            PgPoolOptions::new()
                .max_connections(16)
                .connect(url)
                .await?,
        ),
        None => None,
    };
    let app = Router::new()
        .route(PATH, post(handle))
        .with_state(Arc::new(pool));
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, app).await.context("serving")
}

async fn handle(
    State(pool): State<Arc<Option<PgPool>>>,
    Query(query): Query<Signed>,
    body: Bytes,
) -> Response {
    let fresh = (unix_ms() / 1000 - query.request_time).abs() <= MAX_AGE;
    if query.sdk_appid != APP || !fresh || sign(query.request_time) != query.sign {
        return (StatusCode::FORBIDDEN, "not signed").into_response();
    }
    let callback: Callback = match serde_json::from_slice(&body) {
        Ok(callback) => callback,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    if callback.callback_command != query.callback_command {
        return (StatusCode::FORBIDDEN, "commands differ").into_response();
    }
    let arrived = callback
        .event_type
        .as_deref()
        .is_none_or(|event| event == "Online");
    if let (Some(pool), true) = (&*pool, arrived) {
        for member in callback.new_member_list.iter().chain(&callback.member_list) {
            if let Err(error) = record(pool, &callback, &member.account).await {
                return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
            }
        }
    }
    ([(CONTENT_TYPE, "application/json")], OK).into_response()
}

async fn record(pool: &PgPool, callback: &Callback, account: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into members as m
             (group_id, account, presence, event, event_at, heard_at, due_at, pending_since)
         select $1, $2, 'present', 'online', $3, now(), now() + interval '30 ms', now()
         where exists (
             select from rule_shapes s cross join lateral (
                 select from rules r
                 where r.account_prefix_len = s.account_prefix_len
                   and r.group_prefix_len = s.group_prefix_len
                   and r.account_text = case when s.account_prefix_len < 0
                       then $2 else left($2, s.account_prefix_len) end
                   and r.group_text = case when s.group_prefix_len < 0
                       then $1 else left($1, s.group_prefix_len) end
                 offset 0) rule)
         on conflict (group_id, account) do update set
             presence = 'present', event = excluded.event, event_at = excluded.event_at,
             heard_at = excluded.heard_at, marks = '{}', generation = m.generation + 1,
             due_at = excluded.due_at, pending_since = excluded.pending_since
         where m.event_at <= excluded.event_at",
    )
    .bind(&callback.group_id)
    .bind(account)
    .bind(callback.event_time)
    .execute(pool)
    .await?;
    Ok(())
}
