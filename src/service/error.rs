//! Why the service cannot start, or ended.

use std::io;
use std::net::SocketAddr;

use crate::callback::{InvalidForward, InvalidPath};
use crate::chat::InvalidEndpoint;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting that only `serve` needs is missing.
    #[error("{key} is not set; {mend}")]
    Missing {
        /// The key.
        key: &'static str,
        /// Where its value comes from.
        mend: &'static str,
    },
    /// The Chat client cannot be built.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// The callback path cannot be served.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Callbacks cannot be forwarded.
    #[error(transparent)]
    Forward(#[from] InvalidForward),
    /// An address is taken or not ours.
    #[error("{key} = {address} cannot be listened on: {reason}")]
    Listen {
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        reason: io::Error,
    },
}

/// The part that ended though nothing stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task \"{0}\" ended by itself; the log says why")]
pub struct PartEnded(pub &'static str);
