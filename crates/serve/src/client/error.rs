use std::error::Error;
use std::io;
use std::time::Duration;

use dialtone_contract::Problem;
use hyper::{StatusCode, Uri};

type Cause = Box<dyn Error + Send + Sync>;

/// Why a call did not succeed. No text of it ever has a credential, a query or a body.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("the URL cannot be used: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The request cannot be made.
    #[error("the request cannot be made: {reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody listens there. Nothing was sent.
    #[error("{url} refused the connection")]
    Refused {
        /// The URL, without its query.
        url: String,
    },
    /// No connection came about for another reason. Nothing was sent.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The URL, without its query.
        url: String,
        /// Why.
        source: Cause,
    },
    /// No whole answer in time. The server may have acted on the request.
    #[error("{url} did not answer within {after:?}")]
    Timeout {
        /// The URL, without its query.
        url: String,
        /// The time the whole call was given.
        after: Duration,
    },
    /// The connection broke. The server may have acted on the request.
    #[error("the connection to {url} broke off")]
    Broken {
        /// The URL, without its query.
        url: String,
        /// Why.
        source: Cause,
    },
    /// The answer is larger than the client takes.
    #[error("the answer of {url} is larger than {limit} bytes")]
    TooLarge {
        /// The URL, without its query.
        url: String,
        /// The largest answer taken, in bytes.
        limit: usize,
    },
    /// The status is not 2xx.
    #[error("{url} answered {}{}", status.as_u16(), told(problem.as_deref()))]
    Status {
        /// The URL, without its query.
        url: String,
        /// The status.
        status: StatusCode,
        /// The problem, where the answer was one.
        problem: Option<Box<Problem>>,
    },
    /// The answer is not the JSON that was expected.
    #[error("the answer of {url} is not as expected (line {line}, column {column})")]
    NotExpected {
        /// The URL, without its query.
        url: String,
        /// Line of the first difference, from 1.
        line: usize,
        /// Column of the first difference.
        column: usize,
    },
}

impl ClientError {
    /// Whether nothing was sent, so that another try can do nothing twice.
    pub fn never_sent(&self) -> bool {
        use ClientError::{BadRequest, BadUrl, Refused, Unreachable};
        matches!(self, BadUrl { .. } | BadRequest { .. } | Refused { .. } | Unreachable { .. })
    }

    /// The status of the answer, where there was one that is not 2xx.
    pub fn status(&self) -> Option<StatusCode> {
        if let Self::Status { status, .. } = self { Some(*status) } else { None }
    }

    /// The problem that the server answered with.
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Status { problem, .. } = self { problem.as_deref() } else { None }
    }

    pub(super) fn of_sending(url: &str, error: hyper_util::client::legacy::Error) -> Self {
        let url = url.to_owned();
        if !error.is_connect() {
            return Self::Broken { url, source: error.into() };
        }
        let refused = std::iter::successors(error.source(), |&cause| cause.source())
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            Self::Refused { url }
        } else {
            Self::Unreachable { url, source: error.into() }
        }
    }
}

/// The URL as it may be shown: a query can carry credentials.
pub(super) fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    format!("http://{authority}{}", uri.path())
}

/// The title of the code and not the detail, which can repeat what was sent.
fn told(problem: Option<&Problem>) -> String {
    problem.map_or_else(String::new, |p| format!(" {}: {}", p.code.as_str(), p.code.title()))
}
