//! Takes the place of the private PostgreSQL in a build without the feature `local`. Starting it fails
//! and asks for `database.url`.

use std::convert::Infallible;
use std::path::Path;

use anyhow::bail;
use secrecy::SecretString;

/// A private PostgreSQL. There is none in this build.
#[derive(Debug)]
pub struct LocalPostgres(Infallible);

impl LocalPostgres {
    pub async fn start(_: &Path) -> anyhow::Result<Self> {
        bail!(
            "database.url: not set; give the URL of a PostgreSQL (STICKYMARK__DATABASE__URL, or …_FILE \
             for a file that holds it): this build has no private one"
        );
    }

    pub fn url(&self) -> &SecretString {
        match self.0 {}
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        match self.0 {}
    }
}
