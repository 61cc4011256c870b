use std::time::Duration;

use crate::socket::ConnectError;

/// Why a worker could not be made, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// An option that cannot be worked with.
    #[error("option {name} is unusable: {reason}")]
    Options {
        /// The option's name.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server refused the token: unknown key, other secret, or a key without the
    /// agent grant.
    #[error("{url} refused the worker's token (401): check the API key and its secret")]
    Unauthorized {
        /// The server.
        url: String,
    },
    /// Something answers there, but it is no LiveKit server.
    #[error("{url} answered {status} to the worker's registration: is it a LiveKit server?")]
    NotLiveKit {
        /// The server.
        url: String,
        /// HTTP status of the answer.
        status: u16,
    },
    /// The server could not be reached for as many attempts as the options allow.
    #[error("gave up on {url} after {attempts} attempts in a row: {last}")]
    Unreachable {
        /// The server.
        url: String,
        /// Attempts in a row.
        attempts: u32,
        /// What the last one ran into.
        last: String,
    },
}

/// Why a room could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The server answered the join with an HTTP status other than 101.
    #[error("the server refused the join with status {0}")]
    Refused(u16),
    /// The server let the participant in and sent it away before the join was done.
    #[error("the server ended the join: {0}")]
    Ended(String),
    /// No join response in time.
    #[error("no join response within {0:?}")]
    Timeout(Duration),
    /// The connection failed.
    #[error("failed to connect to the room: {0}")]
    Connection(String),
}

impl From<ConnectError> for JoinError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Refused(status) => Self::Refused(status),
            other => Self::Connection(other.to_string()),
        }
    }
}
