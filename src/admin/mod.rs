//! Placeholder until the admin listener is merged.
use crate::config::AdminToken;
use crate::members::WakeUp;
use sqlx::PgPool;

/// x
#[derive(Debug, Clone, Default)]
pub struct Readiness;
impl Readiness {
    /// x
    pub fn drain(&self) {}
}
/// x
#[derive(Debug, Clone)]
pub struct AdminState;
impl AdminState {
    /// x
    pub fn new(_: PgPool, _: WakeUp, _: Vec<AdminToken>, _: Readiness) -> Self {
        Self
    }
}
/// x
pub fn router(_: AdminState) -> axum::Router {
    axum::Router::new()
}
/// x
pub fn openapi() -> utoipa::openapi::OpenApi {
    utoipa::openapi::OpenApi::default()
}
