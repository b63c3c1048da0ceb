//! The admin listener: the real router over real HTTP, with a real PostgreSQL.

use reqwest::{Client, Method, RequestBuilder, header};
use secrecy::SecretString;
use serde_json::{Value, json};
use stickymark::testing::api::Readiness;
use stickymark::testing::api::{self, AdminState};
use stickymark::testing::config::{AdminToken, Role};
use stickymark::testing::database::Db;

use super::database::{TestDatabase, database, replica};

pub const EDITOR: &str = "editor-secret";
pub const VIEWER: &str = "viewer-secret";

/// The admin listener on a port of its own, and a client for it.
pub struct Api {
    pub base: String,
    pub client: Client,
    pub readiness: Readiness,
    database: TestDatabase,
}

pub fn token(name: &str, role: Role, secret: &str) -> AdminToken {
    AdminToken {
        name: name.to_owned(),
        role,
        secret: SecretString::from(secret),
    }
}

/// With an editor and a viewer.
pub async fn api() -> Api {
    api_with(&[
        token("eve", Role::Editor, EDITOR),
        token("vic", Role::Viewer, VIEWER),
    ])
    .await
}

/// With these tokens.
pub async fn api_with(tokens: &[AdminToken]) -> Api {
    let database = database().await;
    let readiness = Readiness::new(database.db().clone());
    let state = AdminState::new(replica(database.db()), readiness.clone(), tokens);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api::router(state)).await });
    Api {
        base,
        client: Client::new(),
        readiness,
        database,
    }
}

/// An answer, read.
pub struct Answer {
    pub status: u16,
    pub headers: header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The id of the problem; checks what all problems have in common.
    pub fn problem(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["status"], self.status);
        assert!(!self.body["detail"].as_str().unwrap().is_empty());
        self.body["type"]
            .as_str()
            .unwrap()
            .strip_prefix("urn:stickymark:problem:")
            .unwrap()
    }

    /// The status and the id of the problem.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.problem())
    }

    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().unwrap();
        errors
            .iter()
            .map(|error| error["pointer"].as_str().unwrap())
            .collect()
    }

    pub fn ids(&self) -> Vec<&str> {
        let items = self.body["items"].as_array().unwrap();
        items
            .iter()
            .map(|rule| rule["id"].as_str().unwrap())
            .collect()
    }
}

/// Sends and reads.
pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status,
        headers,
        body,
    }
}

impl Api {
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).bearer_auth(EDITOR)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, body: Value) -> Answer {
        send(self.request(Method::POST, "/v1/rules").json(&body)).await
    }

    pub async fn put(&self, id: &str, body: Value) -> Answer {
        let request = self.request(Method::PUT, &format!("/v1/rules/{id}"));
        send(request.json(&body)).await
    }

    pub async fn patch(&self, id: &str, body: Value) -> Answer {
        let request = self.request(Method::PATCH, &format!("/v1/rules/{id}"));
        send(request.json(&body)).await
    }

    pub async fn delete(&self, id: &str) -> Answer {
        send(self.request(Method::DELETE, &format!("/v1/rules/{id}"))).await
    }

    pub fn db(&self) -> &Db {
        self.database.db()
    }
}

/// A rule without an id.
pub fn rule(group: &str, account: &str, marks: &[u32]) -> Value {
    json!({"group": group, "account": account, "marks": marks})
}

/// A rule with an id.
pub fn named(id: &str, group: &str, account: &str, marks: &[u32]) -> Value {
    json!({"id": id, "group": group, "account": account, "marks": marks})
}
