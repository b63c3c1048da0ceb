//! Why the service cannot start, or ended.

use std::io;
use std::net::SocketAddr;

use crate::callback::InvalidForward;
use crate::chat::InvalidEndpoint;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that only `serve` needs is missing.
    #[error("{key} is not set; {fix}")]
    Missing {
        key: &'static str,
        /// Where its value comes from.
        fix: &'static str,
    },
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    #[error(transparent)]
    Forward(#[from] InvalidForward),
    #[error("cannot listen on {key} = {address}: {reason}")]
    Listen {
        key: &'static str,
        address: SocketAddr,
        reason: io::Error,
    },
}

/// The part that ended although nothing had stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task \"{0}\" ended by itself; the log says why")]
pub struct PartEnded(pub &'static str);
