//! The plain HTTP client that the processes of Dialtone talk to each other with.
//!
//! `http://` only; no redirects, no proxies, no cookies. Everything is bounded: the
//! time of a call as a whole, and the size of its answer.

mod error;

use std::time::Duration;

use bytes::Bytes;
use dialtone_contract::Problem;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

pub use error::ClientError;
use error::shown;

use crate::problem::PROBLEM_JSON;

/// How long an unused connection is kept. Shorter than [`crate::Limits::header`], after
/// which our servers close it, so that requests seldom meet a connection that closes.
const IDLE: Duration = Duration::from_secs(3);
/// Unused connections kept for each server: an eighth of what one serves
/// ([`crate::Limits::connections`]). With fewer, a busy worker opens one for most requests.
const IDLE_CONNECTIONS: usize = 128;

/// What a client allows its calls. All durations are wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// One call as a whole: connecting, sending, waiting, reading the answer.
    pub timeout: Duration,
    /// Connecting.
    pub connect: Duration,
    /// Body of an answer in bytes.
    pub response_bytes: usize,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            connect: Duration::from_secs(3),
            response_bytes: 16 * 1024 * 1024,
        }
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A client. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    inner: Client<HttpConnector, Full<Bytes>>,
    limits: ClientLimits,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new(ClientLimits::default())
    }
}

impl HttpClient {
    /// A client with connections of its own.
    pub fn new(limits: ClientLimits) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limits.connect));
        let inner = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            // Only requests of which no byte was written are sent again, so that nothing
            // ever happens twice for it.
            .retry_canceled_requests(true)
            .build(connector);
        Self { inner, limits }
    }

    /// The same client and connections, with another time for each call as a whole.
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: self.inner.clone(), limits: ClientLimits { timeout, ..self.limits } }
    }

    /// Sends one request. An answer is `Ok` whatever its status, a redirect too.
    ///
    /// # Errors
    /// If the URL cannot be used, or no whole answer came within the limits.
    pub async fn request(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Option<Bytes>,
    ) -> Result<Response, ClientError> {
        let uri = parse(url)?;
        let shown = shown(&uri);
        let mut request = Request::new(Full::new(body.unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        let call = async {
            let sent = self.inner.request(request).await;
            let answer = sent.map_err(|error| ClientError::of_sending(&shown, error))?;
            self.read(&shown, answer).await
        };
        let after = self.limits.timeout;
        let late = |_| ClientError::Timeout { url: shown.clone(), after };
        timeout(after, call).await.map_err(late)?
    }

    /// Gets a JSON document, with `bearer` as the credential where there is one.
    ///
    /// # Errors
    /// As [`HttpClient::request`], and if the status is not 2xx or the answer not a `T`.
    pub async fn get_json<T: DeserializeOwned>(
        &self,
        url: &str,
        bearer: Option<&str>,
    ) -> Result<T, ClientError> {
        let answer = self.request(Method::GET, url, credential(url, bearer)?, None).await?;
        decode(url, &answer)
    }

    /// Posts `body` as JSON, with `bearer` as the credential where there is one. An
    /// empty answer reads as `null`.
    ///
    /// # Errors
    /// As [`HttpClient::request`], and if the status is not 2xx or the answer not a `T`.
    pub async fn post_json<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        url: &str,
        bearer: Option<&str>,
        body: &B,
    ) -> Result<T, ClientError> {
        let mut headers = credential(url, bearer)?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body).map_err(|_| ClientError::BadRequest {
            reason: "the body cannot be written as JSON",
        })?;
        decode(url, &self.request(Method::POST, url, headers, Some(body.into())).await?)
    }

    async fn read(
        &self,
        url: &str,
        answer: hyper::Response<Incoming>,
    ) -> Result<Response, ClientError> {
        let limit = self.limits.response_bytes;
        let too_large = || ClientError::TooLarge { url: url.to_owned(), limit };
        let (head, body) = answer.into_parts();
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let body = Limited::new(body, limit).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_large()
            } else {
                ClientError::Broken { url: url.to_owned(), source: error }
            }
        })?;
        Ok(Response { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

impl Response {
    /// The problem, if the answer is one.
    pub fn problem(&self) -> Option<Problem> {
        let media = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        if media.split(';').next()?.trim() != PROBLEM_JSON {
            return None;
        }
        serde_json::from_slice(&self.body).ok()
    }
}

fn parse(url: &str) -> Result<Uri, ClientError> {
    let bad = |reason| Err(ClientError::BadUrl { reason });
    let Ok(uri) = url.parse::<Uri>() else { return bad("it cannot be read") };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http"), Some(authority)) if authority.as_str().contains('@') => {
            bad("it carries credentials")
        }
        (Some("http"), Some(_)) => Ok(uri),
        _ => bad("it is not an absolute http:// URL"),
    }
}

fn credential(url: &str, bearer: Option<&str>) -> Result<HeaderMap, ClientError> {
    // A bad URL is told before a bad credential.
    parse(url)?;
    let mut headers = HeaderMap::new();
    if let Some(bearer) = bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| {
            ClientError::BadRequest { reason: "the bearer token is not plain text" }
        })?;
        // Keeps it out of every debug output of the headers.
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn decode<T: DeserializeOwned>(url: &str, answer: &Response) -> Result<T, ClientError> {
    let url = || parse(url).map_or_else(|_| String::new(), |uri| shown(&uri));
    if !answer.status.is_success() {
        let problem = answer.problem().map(Box::new);
        return Err(ClientError::Status { url: url(), status: answer.status, problem });
    }
    let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
    serde_json::from_slice(body).map_err(|error| ClientError::NotExpected {
        url: url(),
        line: error.line(),
        column: error.column(),
    })
}
