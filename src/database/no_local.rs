//! Takes the place of the private PostgreSQL in a build without the feature `local`. Starting it fails
//! and asks for `database.url`.

use std::convert::Infallible;
use std::path::Path;

use secrecy::SecretString;

/// A private PostgreSQL. There is none in this build.
#[derive(Debug)]
pub struct LocalPostgres(Infallible);

/// Why there is no private PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(
        "database.url: not set; give the URL of a PostgreSQL (STICKYMARK__DATABASE__URL, or …_FILE \
         for a file that holds it): this build has no private one"
    )]
    NotInThisBuild,
}

impl LocalPostgres {
    pub async fn start(_: &Path) -> Result<Self, LocalError> {
        Err(LocalError::NotInThisBuild)
    }

    pub fn url(&self) -> &SecretString {
        match self.0 {}
    }

    pub async fn stop(self) -> Result<(), LocalError> {
        match self.0 {}
    }
}
