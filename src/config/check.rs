//! What settings must be to each other, and what `serve` needs beyond that.

use std::collections::HashSet;
use std::net::SocketAddr;

use humantime::format_duration;
use secrecy::ExposeSecret;

use super::{ConfigError, Problems, Settings};

impl Settings {
    /// Checks what `serve` needs beyond settings that are right: an application to serve, and no
    /// management API open to everybody.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with everything that is missing.
    pub fn validate_for_serve(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if self.chat.sdk_app_id.is_none() {
            problems.push(
                "chat.sdk_app_id: not set; give the SDKAppID of the Chat console \
                (STICKYMARK__CHAT__SDK_APP_ID)"
                    .to_owned(),
            );
        }
        if self.chat.secret_key.is_none() {
            problems.push(
                "chat.secret_key: not set; give the key of the Chat console \
                (STICKYMARK__CHAT__SECRET_KEY, or …_FILE for a file that holds it)"
                    .to_owned(),
            );
        }
        #[cfg(not(feature = "local"))]
        if self.database.url.is_none() {
            problems.push(
                "database.url: not set; give the URL of a PostgreSQL \
                 (STICKYMARK__DATABASE__URL, or …_FILE for a file that holds it): this build has \
                 no private one"
                    .to_owned(),
            );
        }
        if !self.admin.is_loopback() && self.admin.tokens.is_empty() {
            problems.push(format!(
                "admin.tokens: empty, while admin.listen {} can be reached from other machines; \
                 add a token (STICKYMARK__ADMIN__TOKENS=name:editor:secret) or listen on 127.0.0.1",
                self.admin.listen
            ));
        }
        Problems::none(problems)
    }

    /// Settings that are right one by one, but not together.
    pub(super) fn contradictions(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let (reapply, timeout) = (&self.reapply, self.chat.request_timeout);
        if reapply.settle > reapply.max_wait {
            problems.push(format!(
                "reapply.settle: {} is longer than reapply.max_wait, {}; give at most that",
                format_duration(reapply.settle),
                format_duration(reapply.max_wait)
            ));
        }
        if reapply.lease <= timeout {
            problems.push(format!(
                "reapply.lease: {} is not longer than chat.request_timeout, {}, so a member could \
                 be claimed twice during one call; give more",
                format_duration(reapply.lease),
                format_duration(timeout)
            ));
        }
        if collide(self.callback.listen, self.admin.listen) {
            problems.push(format!(
                "admin.listen: {} collides with callback.listen, {}; give another port",
                self.admin.listen, self.callback.listen
            ));
        }
        problems.extend(self.repeated_tokens());
        problems
    }

    fn repeated_tokens(&self) -> Vec<String> {
        let (mut names, mut secrets) = (HashSet::new(), HashSet::new());
        let mut problems = Vec::new();
        for token in &self.admin.tokens {
            if !names.insert(&token.name) {
                problems.push(format!(
                    "admin.tokens: the name {:?} stands there twice; give each token its own",
                    token.name
                ));
            }
            if !secrets.insert(token.secret.expose_secret()) {
                problems.push(format!(
                    "admin.tokens: {:?} has the secret of another token; give it its own",
                    token.name
                ));
            }
        }
        problems
    }
}

/// Whether two listeners cannot both have their address. Port 0 means any free port.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_ip = a.ip().to_canonical() == b.ip().to_canonical();
    let takes_all = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (same_ip || takes_all)
}
