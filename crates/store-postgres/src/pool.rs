//! Connections that are lent out, and made again when they are lost.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dialtone_clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::fault::{Fault, Result, said};
use crate::session::{Session, Shared};
use crate::target::Target;

/// How long a caller waits for a connection that others use.
const WAIT: Duration = Duration::from_secs(5);
/// Pause after a connection that failed; doubled with each, up to [`PAUSE_MAX`]. Callers
/// meanwhile are told at once, so that a database that comes back is not stormed.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest pause: a database that is back is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

pub(crate) struct Pool {
    target: Target,
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Shared>>,
    gate: Mutex<Gate>,
}

/// When to try again after a connection failed.
#[derive(Default)]
struct Gate {
    closed_until: Option<Instant>,
    failures: u32,
    why: String,
}

impl Pool {
    /// A pool of at most `size` connections, which are made when they are needed.
    pub(crate) fn new(target: Target, clock: Arc<dyn Clock>, size: usize) -> Self {
        let places = Arc::new(Semaphore::new(size));
        Self { target, clock, places, idle: Mutex::default(), gate: Mutex::default() }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Adds a connection that is there already.
    pub(crate) fn add(&self, session: Session) {
        self.idle().push(Arc::new(session));
    }

    /// Lends a connection.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Lent> {
        let places = Arc::clone(&self.places);
        let place = match tokio::time::timeout(WAIT, places.acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Fault::Unreachable("the store is closed".to_owned())),
            Err(_) => {
                let text = format!("no connection was free within {} s", WAIT.as_secs());
                return Err(Fault::Unreachable(text));
            }
        };
        let session = match self.take_idle() {
            Some(session) => session,
            None => Arc::new(self.connect().await?),
        };
        Ok(Lent { session, pool: Arc::clone(self), _place: place })
    }

    /// The connection used last: those that are not needed grow old and cost nothing.
    fn take_idle(&self) -> Option<Shared> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(|session| session.is_fit())
    }

    async fn connect(&self) -> Result<Session> {
        if let Some(why) = self.gate().closed() {
            return Err(Fault::Unreachable(why));
        }
        let connected = match Session::connect(&self.target).await {
            Ok(session) => session.tell_time(&*self.clock).await.map(|()| session),
            Err(error) => Err(Fault::Unreachable(said(&error))),
        };
        match connected {
            Ok(session) => {
                self.gate().open(&self.target);
                Ok(session)
            }
            Err(fault) => {
                let why = format!("{} cannot be reached: {fault}", self.target);
                self.gate().close(why.clone());
                Err(Fault::Unreachable(why))
            }
        }
    }

    /// Refuses all further callers and closes what nobody uses.
    pub(crate) fn close(&self) {
        self.places.close();
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Shared>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Why nobody may try now.
    fn closed(&self) -> Option<String> {
        self.closed_until.filter(|until| Instant::now() < *until).map(|_| self.why.clone())
    }

    fn close(&mut self, why: String) {
        if self.failures == 0 {
            tracing::warn!("{why}");
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(10)).min(PAUSE_MAX);
        self.failures += 1;
        self.closed_until = Some(Instant::now() + pause);
        self.why = why;
    }

    fn open(&mut self, target: &Target) {
        if self.failures > 0 {
            tracing::info!(attempts = self.failures, "{target} is back");
        }
        *self = Self::default();
    }
}

/// A connection on loan. Goes back when dropped, unless it is fit for nobody.
pub(crate) struct Lent {
    session: Shared,
    pool: Arc<Pool>,
    /// After the session: whoever waits finds it in its place.
    _place: OwnedSemaphorePermit,
}

impl Lent {
    /// The session, for work that is not bound to this loan's place on the stack.
    pub(crate) fn shared(&self) -> Shared {
        Arc::clone(&self.session)
    }
}

impl Deref for Lent {
    type Target = Session;
    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.session.is_fit() && !self.pool.places.is_closed() {
            self.pool.idle().push(Arc::clone(&self.session));
        }
    }
}
