//! Answers as JSON that end in a line feed, so that several in a terminal stay apart.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Problem;

/// An answer as JSON.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Problem::internal(&error).into_response(),
        }
    }
}
