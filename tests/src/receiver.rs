use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use dialtone_serve::{Limits, serve};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How a receiver answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// 200.
    Takes,
    /// 500.
    Fails,
    /// Not at all.
    Hangs,
    /// 302 to this URL.
    Redirects(String),
    /// 200, after so long.
    Late(Duration),
}

/// A receiver of webhooks that answers as it is told and keeps what it got.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    listener: TcpListener,
    state: Arc<Mutex<Inner>>,
    stop: Option<DropGuard>,
}

#[derive(Debug)]
struct Inner {
    manner: Manner,
    got: Vec<Got>,
}

/// One request to a receiver.
#[derive(Clone, Debug)]
pub struct Got {
    /// The body as it came.
    pub raw: Vec<u8>,
    /// The body.
    pub body: Value,
    /// `X-Dialtone-Signature`.
    pub signature: String,
    /// `Idempotency-Key`.
    pub key: String,
    /// Whether it was answered with a 200.
    pub taken: bool,
}

impl Receiver {
    /// Listens on a free port and answers in this manner.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(Inner { manner, got: Vec::new() }));
        let mut receiver = Self { url, listener, state, stop: None };
        receiver.come_back();
        receiver
    }

    /// Serves, if it does not.
    ///
    /// # Panics
    /// If the listener is gone.
    pub fn come_back(&mut self) {
        let router = Router::new().fallback(answer).with_state(Arc::clone(&self.state));
        let stop = CancellationToken::new();
        let listener = self.listener.try_clone().expect("the listener is there");
        let limits = Limits { drain: Duration::from_millis(1), ..Limits::default() };
        tokio::spawn(serve(listener, router, limits, stop.clone()));
        self.stop = Some(stop.drop_guard());
    }

    /// Serves no longer; who connects gets no answer.
    pub fn go_away(&mut self) {
        self.stop = None;
    }

    /// The endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on it answers so.
    ///
    /// # Panics
    /// Never.
    pub fn answer(&self, manner: Manner) {
        self.state.lock().expect("no panics").manner = manner;
    }

    /// What it got so far.
    ///
    /// # Panics
    /// Never.
    pub fn got(&self) -> Vec<Got> {
        self.state.lock().expect("no panics").got.clone()
    }
}

async fn answer(
    State(state): State<Arc<Mutex<Inner>>>,
    headers: HeaderMap,
    raw: Bytes,
) -> Response {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let manner = {
        let mut inner = state.lock().expect("no panics");
        let manner = inner.manner.clone();
        inner.got.push(Got {
            raw: raw.to_vec(),
            body: serde_json::from_slice(&raw).unwrap_or_default(),
            signature: text("x-dialtone-signature").unwrap_or_default().to_owned(),
            key: text("idempotency-key").unwrap_or_default().to_owned(),
            taken: manner == Manner::Takes,
        });
        manner
    };
    match manner {
        Manner::Takes => StatusCode::OK.into_response(),
        Manner::Fails => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Manner::Hangs => std::future::pending().await,
        Manner::Redirects(to) => {
            let to = HeaderValue::from_str(&to).expect("a URL");
            (StatusCode::FOUND, [(LOCATION, to)]).into_response()
        }
        Manner::Late(after) => {
            tokio::time::sleep(after).await;
            StatusCode::OK.into_response()
        }
    }
}
