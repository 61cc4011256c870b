use std::any::Any;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use dialtone_contract::{ErrorCode, Problem};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, StatusCode};
use tower::ServiceExt;
use tracing::Instrument;

use crate::Limits;
use crate::body::RequestBody;
use crate::host::Hosts;
use crate::patience::Patience;
use crate::problem::ProblemResponse;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken from a client.
const REQUEST_ID_MAX: usize = 128;

/// The id of a request, in its extensions, in the span of its handler, and echoed as
/// `x-request-id`. The client's own where it sent one of up to 128 letters, digits and
/// `-_.:`, else made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        match headers.get(REQUEST_ID).map(HeaderValue::as_bytes) {
            Some(sent) if (1..=REQUEST_ID_MAX).contains(&sent.len()) => {
                match std::str::from_utf8(sent) {
                    Ok(text) if text.bytes().all(plain) => Self(text.into()),
                    _ => Self::fresh(),
                }
            }
            _ => Self::fresh(),
        }
    }

    /// Unique in the process by its counter, and over processes by its random half.
    fn fresh() -> Self {
        static PROCESS: LazyLock<u64> =
            LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let seq = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{:016x}-{seq}", *PROCESS).into())
    }
}

/// What stands between a connection and the routes: everything that must hold for
/// every request, whatever the routes do.
pub struct Gate {
    router: Router,
    hosts: Option<Hosts>,
    limits: Limits,
}

impl Gate {
    pub fn new(router: Router, hosts: Option<Hosts>, limits: Limits) -> Self {
        let router = router.layer(DefaultBodyLimit::max(limits.body_bytes));
        Self { router, hosts, limits }
    }

    /// Answers one request. `unread` is set when its body is dropped before its end.
    pub async fn answer(
        &self,
        mut request: Request<Incoming>,
        unread: Arc<AtomicBool>,
    ) -> Result<Response, Infallible> {
        unread.store(false, Ordering::Relaxed);
        let id = RequestId::of(request.headers());
        request.extensions_mut().insert(id.clone());
        let span = tracing::info_span!("request", request.id = &*id.0);
        let late = Arc::new(AtomicBool::new(false));
        let request = request.map(|body| {
            Body::new(RequestBody::new(body, self.limits.body, Arc::clone(&late), unread))
        });
        let patience = Patience::of(self.limits.request);
        let mut request = request;
        request.extensions_mut().insert(patience.clone());
        let mut response = match self.hosts.as_ref().map_or(Ok(()), |hosts| hosts.check(&request)) {
            Ok(()) => self.route(request, &patience).instrument(span).await,
            Err(host) => wrong_host(&host),
        };
        if late.load(Ordering::Relaxed) && !response.status().is_success() {
            // The handler saw a body that broke off; the client must see why.
            response = ProblemResponse::from(ErrorCode::RequestTimeout).into_response();
        }
        let mut response = dress(response);
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        Ok(response)
    }

    async fn route(&self, request: Request<Body>, patience: &Patience) -> Response {
        let target = format!("{} {}", request.method(), shown(request.uri().path()));
        let handler = catch(self.router.clone().oneshot(request));
        match patience.wait(handler).await {
            Ok(Ok(Ok(response))) => response,
            Ok(Err(message)) => {
                tracing::error!(target, message, "a handler panicked");
                ProblemResponse::from(ErrorCode::Internal).into_response()
            }
            Err(limit) => {
                tracing::warn!(target, "a handler took longer than the limit");
                let detail = format!("no answer within {limit:?}");
                ProblemResponse(Problem::new(ErrorCode::Overloaded, detail)).into_response()
            }
        }
    }
}

/// A path as logs may hold it: phone numbers can be part of one.
fn shown(path: &str) -> String {
    let hide = |part| {
        let part: &str = part;
        if part.starts_with('+') || part.starts_with("%2") { "***" } else { part }
    };
    path.split('/').map(hide).collect::<Vec<_>>().join("/")
}

fn wrong_host(host: &str) -> Response {
    let detail = format!("the host `{host}` is not served here; use `localhost`");
    ProblemResponse(Problem::new(ErrorCode::BadRequest, detail)).into_response()
}

/// Runs `future`, with a panic as its error.
async fn catch<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(message(&*panic))),
    })
    .await
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no text)".into())
}

/// Gives an error without a body (the router's own 404 and 405 above all) its problem.
fn dress(response: Response) -> Response {
    let bare = response.body().size_hint().exact() == Some(0)
        && !response.headers().contains_key(CONTENT_TYPE);
    let code = match response.status() {
        StatusCode::BAD_REQUEST => ErrorCode::BadRequest,
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => ErrorCode::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedType,
        StatusCode::INTERNAL_SERVER_ERROR => ErrorCode::Internal,
        StatusCode::SERVICE_UNAVAILABLE => ErrorCode::Overloaded,
        _ => return response,
    };
    if !bare {
        return response;
    }
    let mut dressed = ProblemResponse::from(code).into_response();
    // What the router said in headers (`Allow`) stays.
    for (name, value) in response.headers() {
        if name != hyper::header::CONTENT_LENGTH {
            dressed.headers_mut().insert(name, value.clone());
        }
    }
    dressed
}
