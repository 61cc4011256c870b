use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use dialtone_contract::wire::Durations;
use dialtone_contract::{CallId, DispatchMetadata, EntryId, TestPlan};
use dialtone_serve::problem::Json;
use dialtone_serve::{Limits, serve};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::wait::soon;

/// Largest body that an agent sends.
const BODY_BYTES: usize = 64 * 1024;

/// A platform that says yes to everything and hands each request to the test: shows
/// what an agent does when nobody stops it.
#[derive(Debug)]
pub struct Platform {
    url: String,
    said: UnboundedReceiver<Said>,
    _stop: DropGuard,
}

/// One request of an agent.
#[derive(Clone, Debug)]
pub struct Said {
    /// The path, `/batch/calls/..`.
    pub path: String,
    /// The body.
    pub body: Value,
}

impl Platform {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (sender, said) = unbounded_channel();
        let router = Router::new().fallback(answer).with_state(Arc::new(sender));
        let stop = CancellationToken::new();
        tokio::spawn(serve(listener, router, Limits::default(), stop.clone()));
        Self { url, said, _stop: stop.drop_guard() }
    }

    /// Metadata of a dispatch that leads here, for a call of this name to this number.
    pub fn metadata(&self, call: &str, to: &str) -> DispatchMetadata {
        DispatchMetadata {
            call_id: CallId::new(call),
            entry_id: EntryId::new(format!("ent-of-{call}")),
            attempt: 1,
            api_url: self.url.clone(),
            capability: "cap1.test.x".to_owned(),
            agent_id: None,
            voice_id: "demo".to_owned(),
            variables: None,
            test: Some(TestPlan {
                to: to.to_owned(),
                outcome: None,
                durations: Durations::default(),
                seed: 1,
            }),
            added_context: None,
        }
    }

    /// The next request.
    ///
    /// # Panics
    /// If none comes.
    pub async fn next(&mut self) -> Said {
        soon("a request of the agent", self.said.recv()).await.expect("the server runs")
    }

    /// What else was said so far.
    pub fn rest(&mut self) -> Vec<Said> {
        std::iter::from_fn(|| self.said.try_recv().ok()).collect()
    }
}

async fn answer(State(said): State<Arc<UnboundedSender<Said>>>, request: Request) -> Json<Value> {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let answer = match path.rsplit('/').next() {
        Some("claim") => {
            json!({ "attempt": 1, "to": "+15550000001", "budget_ms": 60_000, "heartbeat_ms": 500 })
        }
        Some("heartbeat") => json!({ "continue": true }),
        Some("status") => json!({ "applied": true, "state": "in_call" }),
        _ => json!({ "applied": true, "state": "completed", "outcome": "completed" }),
    };
    // The test may be over.
    let _ = said.send(Said { path, body });
    Json(answer)
}
