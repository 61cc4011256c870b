//! Launches that wait for a worker: in the order in which they came, and given to a
//! worker when it has room for offers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use livekit_protocol as proto;
use tokio::sync::oneshot;

use crate::launch::Launch;
use crate::state::State;
use crate::worker::{Offer, Worker};

/// Which workers a launch is for (pkg/agent: workers are grouped by agent name,
/// namespace, job type and deployment).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Named {
        agent_name: String,
        job_type: proto::JobType,
        deployment: String,
    },
    /// The one worker (`simulate_job`).
    Only(String),
}

/// Workers that were asked already, each with its `freed` at that time.
pub(crate) type Tried = HashMap<String, u64>;

/// A launch on its way to a worker. It keeps its place when a worker refuses it.
#[derive(Clone)]
pub(crate) struct Seeker {
    pub(crate) launch: Arc<Launch>,
    pub(crate) kind: Kind,
    /// Its place in the order of all launches.
    pub(crate) ticket: u64,
    pub(crate) tried: Tried,
    /// Whether it waits for workers that come later, or that refused it and have been
    /// freed since. Otherwise it asks every worker once, those that are there.
    pub(crate) queued: bool,
}

struct Place {
    seeker: Seeker,
    offer: oneshot::Sender<Offer>,
}

/// All launches that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    places: HashMap<Kind, BTreeMap<u64, Place>>,
    tickets: u64,
}

impl Waiting {
    /// The next place in the order.
    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }
}

impl Kind {
    pub(crate) fn of(launch: &Launch) -> Self {
        match &launch.only {
            Some(worker_id) => Self::Only(worker_id.clone()),
            None => Self::Named {
                agent_name: launch.agent_name.clone(),
                job_type: launch.job_type,
                deployment: launch.deployment.clone(),
            },
        }
    }

    fn of_worker(worker: &Worker) -> Self {
        Self::Named {
            agent_name: worker.registered.agent_name.clone(),
            job_type: worker.registered.r#type(),
            deployment: worker.registered.deployment.clone(),
        }
    }

    /// Whether the worker takes offers for such launches now.
    pub(crate) fn served_by(&self, worker: &Worker) -> bool {
        match self {
            // A simulated job goes to the worker that asked for it in any case.
            Self::Only(worker_id) => worker.id == *worker_id,
            Self::Named { agent_name, job_type, deployment } => {
                worker.status == proto::WorkerStatus::WsAvailable
                    && worker.registered.agent_name == *agent_name
                    && worker.registered.r#type() == *job_type
                    && worker.registered.deployment == *deployment
            }
        }
    }
}

impl Seeker {
    /// Whether the worker may be asked, as soon as it has room.
    pub(crate) fn may_ask(&self, worker: &Worker) -> bool {
        let untried = match self.tried.get(&worker.id) {
            Some(freed) => self.queued && *freed != worker.freed,
            None => true,
        };
        untried && self.kind.served_by(worker)
    }
}

impl State {
    /// Lines the launch up for an offer, behind those that came earlier. None if it is
    /// not one to wait and there is no worker that it could be offered to.
    pub(crate) fn line_up(&mut self, seeker: &Seeker) -> Option<oneshot::Receiver<Offer>> {
        if !seeker.queued && !self.workers.values().any(|worker| seeker.may_ask(worker)) {
            return None;
        }
        let (offer, offered) = oneshot::channel();
        let place = Place { seeker: seeker.clone(), offer };
        self.waiting.places.entry(seeker.kind.clone()).or_default().insert(seeker.ticket, place);
        self.fill(&seeker.kind);
        Some(offered)
    }

    /// Takes a launch out of the line. `false` if it is in it no more.
    pub(crate) fn leave_line(&mut self, seeker: &Seeker) -> bool {
        let Some(places) = self.waiting.places.get_mut(&seeker.kind) else { return false };
        let left = places.remove(&seeker.ticket).is_some();
        if places.is_empty() {
            self.waiting.places.remove(&seeker.kind);
        }
        left
    }

    /// Forgets those whose dispatch is gone.
    pub(crate) fn forget_unwanted(&mut self) {
        let rooms = &self.rooms;
        self.waiting.places.retain(|kind, places| {
            if matches!(kind, Kind::Named { .. }) {
                places.retain(|_, place| {
                    let launch = &place.seeker.launch;
                    rooms
                        .get(&launch.room)
                        .is_some_and(|room| room.dispatches.contains_key(&launch.dispatch_id))
                });
            }
            !places.is_empty()
        });
    }

    /// The worker may take jobs again that it refused.
    pub(crate) fn freed(&mut self, worker_id: &str) {
        if let Some(worker) = self.workers.get_mut(worker_id) {
            worker.freed += 1;
        }
        self.fill_worker(worker_id);
    }

    /// The worker may have room for offers.
    pub(crate) fn fill_worker(&mut self, worker_id: &str) {
        let Some(worker) = self.workers.get(worker_id) else { return };
        let kinds = [Kind::of_worker(worker), Kind::Only(worker_id.to_owned())];
        for kind in kinds {
            self.fill(&kind);
        }
    }

    /// Makes offers to those who wait, the oldest first, as long as there is room.
    fn fill(&mut self, kind: &Kind) {
        let Some(mut places) = self.waiting.places.remove(kind) else { return };
        let mut next = 0;
        while let Some((&ticket, place)) = places.range(next..).next() {
            let queued = place.seeker.queued;
            if !self.workers.values().any(|w| kind.served_by(w) && w.has_room(queued)) {
                break;
            }
            next = ticket + 1;
            let Some(worker_id) = self.choose(&place.seeker) else { continue };
            let Some(place) = places.remove(&ticket) else { continue };
            // Those who give up leave the line first: the receiver is there.
            if let Some(offer) = self.offer(&place.seeker.launch, &worker_id) {
                let _ = place.offer.send(offer);
            }
        }
        if !places.is_empty() {
            self.waiting.places.insert(kind.clone(), places);
        }
    }
}
