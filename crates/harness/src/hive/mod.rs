//! A hive that listens to workers, in this process: it takes their heartbeats, keeps them, and can
//! be made slow, broken or absent.
//!
//! The port is the harness's from the beginning to the end. A hive that is down takes connections
//! and closes them at once, so that nobody else can get the port between two lives.

mod book;

use std::fmt;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dialtone_contract::{ErrorCode, Problem};
use dialtone_serve::problem::{ProblemResponse, RawBody};
use dialtone_serve::{Limits, serve};
use hyper::StatusCode;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::envelope::millis;
use crate::event::{Bus, Event};
use crate::failure::Failure;
use crate::stack::Port;

pub use book::{Arrival, Book, KEPT};

/// Where workers send their heartbeats.
pub const HEARTBEATS: &str = "/heartbeat/workers";

/// How a hive that is up treats its workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// It answers at once.
    #[default]
    Well,
    /// It answers after this time.
    Slow(Duration),
    /// It answers with this status.
    Status(u16),
}

/// A hive in this process. Dropping it takes it down.
#[derive(Debug)]
pub struct MockHive {
    listener: TcpListener,
    port: u16,
    shared: Arc<Shared>,
    running: Running,
}

struct Shared {
    book: Book,
    mood: Mutex<Mood>,
    bus: Bus,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("book", &self.book).field("mood", &self.mood).finish()
    }
}

/// The task that holds the port at present.
#[derive(Debug)]
enum Running {
    Up(JoinHandle<()>),
    Down(JoinHandle<()>),
}

impl Running {
    fn task(&self) -> &JoinHandle<()> {
        match self {
            Self::Up(task) | Self::Down(task) => task,
        }
    }
}

impl MockHive {
    /// Starts to listen on this port, and tells every beat on `bus`.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub fn start(port: Port, bus: &Bus) -> Result<Self, Failure> {
        let (listener, port) = port.into_listener();
        let (book, mood) = (Book::default(), Mutex::default());
        let shared = Arc::new(Shared { book, mood, bus: bus.clone() });
        let running = Running::Up(up(&listener, &shared).map_err(|error| unusable(&error))?);
        Ok(Self { listener, port, shared, running })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it has received.
    pub fn book(&self) -> &Book {
        &self.shared.book
    }

    /// How it treats its workers from now on.
    pub fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Goes down as a killed process does: open connections are cut, new ones are closed at once.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub async fn down(&mut self) -> Result<(), Failure> {
        let refusing = refuse(&self.listener, &self.shared).map_err(|error| unusable(&error))?;
        self.replace(Running::Down(refusing)).await;
        Ok(())
    }

    /// Comes back on the same port, with what it received before.
    ///
    /// # Errors
    /// If the listener cannot be used.
    pub async fn up(&mut self) -> Result<(), Failure> {
        let up = up(&self.listener, &self.shared).map_err(|error| unusable(&error))?;
        self.replace(Running::Up(up)).await;
        Ok(())
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        matches!(self.running, Running::Up(_))
    }

    /// Ends it and gives its port back.
    pub async fn stop(mut self) -> Book {
        self.running.task().abort();
        let task = match &mut self.running {
            Running::Up(task) | Running::Down(task) => task,
        };
        let _ = task.await;
        self.shared.book.clone()
    }

    async fn replace(&mut self, next: Running) {
        let mut last = std::mem::replace(&mut self.running, next);
        last.task().abort();
        let (Running::Up(task) | Running::Down(task)) = &mut last;
        // Its connections are cut when it is gone, not when it is told to go.
        let _ = task.await;
    }
}

impl Drop for MockHive {
    fn drop(&mut self) {
        self.running.task().abort();
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::environment(format!("the mock hive cannot use its port: {error}"))
}

fn up(listener: &TcpListener, shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let router = Router::new().route(HEARTBEATS, post(take)).with_state(Arc::clone(shared));
    let listener = listener.try_clone()?;
    Ok(tokio::spawn(async move {
        // Ends with its task; a listener that cannot be used shows as beats that do not come.
        let _ = serve(listener, router, Limits::default(), CancellationToken::new()).await;
    }))
}

fn refuse(listener: &TcpListener, shared: &Arc<Shared>) -> io::Result<JoinHandle<()>> {
    let listener = listener.try_clone()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shared = Arc::clone(shared);
    Ok(tokio::spawn(async move {
        loop {
            if listener.accept().await.is_ok() {
                shared.book.refuse();
            } else {
                // Out of descriptors for a moment: not a reason to spin.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }))
}

async fn take(State(shared): State<Arc<Shared>>, RawBody(body): RawBody) -> Response {
    let mood = *shared.mood.lock().unwrap_or_else(PoisonError::into_inner);
    let status = match mood {
        Mood::Well | Mood::Slow(_) => StatusCode::OK,
        Mood::Status(status) => StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
    };
    let (read, gap) = shared.book.write(&body, status.as_u16());
    if let Ok(beat) = &read {
        shared.bus.emit(Event::Beat {
            seq: beat.seq,
            status: beat.health_status,
            gap_ms: gap.map(millis),
            slots_busy: beat.slots_busy,
            slots_total: beat.slots_total,
        });
    }
    if let Mood::Slow(pause) = mood {
        tokio::time::sleep(pause).await;
    }
    match read {
        Err(why) if status.is_success() => {
            ProblemResponse(Problem::new(ErrorCode::BadRequest, why)).into_response()
        }
        _ => (status, axum::Json(serde_json::json!({ "status": "ok" }))).into_response(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
