use std::collections::{BTreeMap, HashMap};

use livekit_protocol as proto;
use livekit_protocol::server_message;
use rand::RngExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::ids;
use crate::launch::Launch;
use crate::state::State;
use crate::waiting::Seeker;

/// Messages that may wait for one worker. Offers wait elsewhere while some are unwritten,
/// and the rest is a few messages for each of its jobs: this is far more than the
/// 100 000 jobs of the largest worker can come to, a ceiling on memory. A worker that
/// does not read is cut off by its connection, when a write takes too long.
pub(crate) const WORKER_QUEUE: usize = 1 << 20;

/// With so many messages unwritten a worker is offered nothing more for now.
pub(crate) const UNWRITTEN: usize = 256;

/// Unanswered offers of queued dispatches that a worker may have. The number falls
/// when it refuses and rises when it accepts: a queue would go on asking a worker that
/// has room for one.
const OFFERS: std::ops::RangeInclusive<usize> = 4..=64;

/// Weight of a worker that calls itself available at full load. The open-source server
/// gives it none, and a busy machine with one worker would never work a job.
const LEAST_WEIGHT: f32 = 0.01;

/// A registered worker.
pub(crate) struct Worker {
    pub(crate) id: String,
    pub(crate) registered: proto::RegisterWorkerRequest,
    pub(crate) status: proto::WorkerStatus,
    pub(crate) load: f32,
    pub(crate) out: mpsc::Sender<proto::ServerMessage>,
    pub(crate) cut: CancellationToken,
    /// Offers that wait for their answer, by job id.
    pub(crate) offers: HashMap<String, oneshot::Sender<proto::AvailabilityResponse>>,
    /// Jobs that it runs, by job id.
    pub(crate) jobs: BTreeMap<String, WorkerJob>,
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
    pub(crate) unanswered: u64,
    /// How many offers of queued dispatches it may have to answer.
    pub(crate) window: usize,
    /// Counts the changes after which it may take a job that it refused.
    pub(crate) freed: u64,
}

/// A job on a worker.
#[derive(Clone)]
pub(crate) struct WorkerJob {
    pub(crate) job: proto::Job,
    pub(crate) room: String,
    pub(crate) dispatch_id: String,
    pub(crate) identity: String,
    pub(crate) launch: Launch,
}

/// A job whose worker is lost.
pub(crate) struct Orphan {
    pub(crate) job: WorkerJob,
}

/// An offer that was made.
pub(crate) struct Offer {
    pub(crate) worker_id: String,
    /// The worker's `freed` when it was asked.
    pub(crate) freed: u64,
    pub(crate) job: proto::Job,
    pub(crate) answer: oneshot::Receiver<proto::AvailabilityResponse>,
}

impl Worker {
    /// Queues a message.
    pub(crate) fn send(&self, message: server_message::Message) {
        if self.out.try_send(proto::ServerMessage { message: Some(message) }).is_err() {
            tracing::warn!(worker.id = %self.id, "worker does not read its messages: cut off");
            self.cut.cancel();
        }
    }

    /// Whether another offer may be made now.
    pub(crate) fn has_room(&self, queued: bool) -> bool {
        self.out.max_capacity() - self.out.capacity() < UNWRITTEN
            && (!queued || self.offers.len() < self.window)
    }
}

impl State {
    /// Adds a worker and gives its id.
    pub(crate) fn register(
        &mut self,
        registered: proto::RegisterWorkerRequest,
        out: mpsc::Sender<proto::ServerMessage>,
        cut: CancellationToken,
    ) -> String {
        let id = self.id("AW_");
        tracing::info!(worker.id = %id, agent = %registered.agent_name, "worker registered");
        let worker = Worker {
            id: id.clone(),
            registered,
            status: proto::WorkerStatus::WsAvailable,
            load: 0.0,
            out,
            cut,
            offers: HashMap::new(),
            jobs: BTreeMap::new(),
            offered: 0,
            accepted: 0,
            unanswered: 0,
            window: *OFFERS.end(),
            freed: 0,
        };
        let server_info = proto::ServerInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            agent_protocol: 1,
            node_id: "ND_dialtonedev".to_owned(),
            region: String::new(),
            ..Default::default()
        };
        // The first message; the worker may be offered jobs from here on.
        worker.send(server_message::Message::Register(proto::RegisterWorkerResponse {
            worker_id: id.clone(),
            server_info: Some(server_info),
            ..Default::default()
        }));
        self.workers.insert(id.clone(), worker);
        self.touch();
        self.fill_worker(&id);
        id
    }

    /// A worker's report on itself. An absent status leaves the old one.
    pub(crate) fn update_worker(&mut self, worker_id: &str, update: &proto::UpdateWorkerStatus) {
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        let status = if update.status.is_some() { update.status() } else { worker.status };
        let available = proto::WorkerStatus::WsAvailable;
        let freed =
            (worker.status != available && status == available) || update.load < worker.load;
        worker.status = status;
        worker.load = if update.load.is_finite() { update.load } else { 1.0 };
        self.touch();
        if freed {
            self.freed(worker_id);
        }
    }

    /// Whether a worker with this name registered for another type of job.
    pub(crate) fn has_worker_of_other_type(&self, launch: &Launch) -> bool {
        self.workers.values().any(|worker| {
            worker.registered.agent_name == launch.agent_name
                && worker.registered.r#type() != launch.job_type
        })
    }

    /// One of the workers that the launch may be offered to now, chosen at random with
    /// the free share of each as its weight.
    pub(crate) fn choose(&mut self, seeker: &Seeker) -> Option<String> {
        let weights: Vec<(&str, f32)> = self
            .workers
            .values()
            .filter(|worker| seeker.may_ask(worker) && worker.has_room(seeker.queued))
            .map(|worker| (worker.id.as_str(), (1.0 - worker.load).max(LEAST_WEIGHT)))
            .collect();
        let last = weights.last()?;
        let total: f32 = weights.iter().map(|(_, weight)| weight).sum();
        let mut point = self.rng.random_range(0.0..1.0) * total;
        let chosen = weights.iter().find(|(_, weight)| {
            point -= weight;
            point < 0.0
        });
        Some(chosen.unwrap_or(last).0.to_owned())
    }

    /// Offers the job to the worker.
    pub(crate) fn offer(&mut self, launch: &Launch, worker_id: &str) -> Option<Offer> {
        let job = self.new_job(launch, worker_id);
        let (sender, answer) = oneshot::channel();
        let worker = self.workers.get_mut(worker_id)?;
        worker.offered += 1;
        worker.offers.insert(job.id.clone(), sender);
        worker.send(server_message::Message::Availability(proto::AvailabilityRequest {
            job: Some(job.clone()),
            resuming: launch.resuming,
        }));
        Some(Offer { worker_id: worker_id.to_owned(), freed: worker.freed, job, answer })
    }

    fn new_job(&mut self, launch: &Launch, worker_id: &str) -> proto::Job {
        let now = ids::now_ns();
        proto::Job {
            id: self.id("AJ_"),
            dispatch_id: launch.dispatch_id.clone(),
            r#type: launch.job_type.into(),
            room: Some(self.room_snapshot(&launch.room)),
            participant: launch.participant.clone(),
            metadata: launch.metadata.clone(),
            agent_name: launch.agent_name.clone(),
            deployment: launch.deployment.clone(),
            attributes: launch.attributes.clone(),
            // LiveKit puts a job to running when it is offered.
            state: Some(proto::JobState {
                status: proto::JobStatus::JsRunning.into(),
                started_at: now,
                updated_at: now,
                worker_id: worker_id.to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// A worker's answer to an offer. An answer nobody waits for is ignored.
    pub(crate) fn answered(&mut self, worker_id: &str, answer: proto::AvailabilityResponse) {
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        match worker.offers.remove(&answer.job_id) {
            Some(sender) => {
                if answer.available {
                    worker.accepted += 1;
                    worker.window = (worker.window + 1).min(*OFFERS.end());
                } else {
                    worker.window = (worker.window / 2).max(*OFFERS.start());
                }
                // The launch may have been given up in between.
                let _ = sender.send(answer);
                self.fill_worker(worker_id);
            }
            None => tracing::debug!(job.id = %answer.job_id, "answer that nobody waits for"),
        }
    }

    /// An offer was not answered in time.
    pub(crate) fn unanswered(&mut self, worker_id: &str, job_id: &str) {
        if let Some(worker) = self.workers.get_mut(worker_id) {
            worker.offers.remove(job_id);
            worker.unanswered += 1;
            worker.window = (worker.window / 2).max(*OFFERS.start());
        }
        self.fill_worker(worker_id);
    }

    /// Removes a worker. Its jobs become orphans where the options say so; else, as in
    /// livekit-server's `deregisterWorker`, nobody hears of them again.
    pub(crate) fn deregister(&mut self, worker_id: &str) -> Vec<String> {
        let Some(worker) = self.workers.remove(worker_id) else { return Vec::new() };
        tracing::info!(worker.id = %worker_id, jobs = worker.jobs.len(), "worker gone");
        let features = &self.options.features;
        let mut orphaned = Vec::new();
        if features.redispatch_lost.is_some() || features.adopt_migrated {
            for (job_id, job) in worker.jobs {
                orphaned.push(job_id.clone());
                self.orphans.insert(job_id, Orphan { job });
            }
        }
        self.touch();
        orphaned
    }

    /// Gives a worker that came back the jobs that it still runs.
    pub(crate) fn adopt(&mut self, worker_id: &str, job_ids: &[String]) {
        if !self.options.features.adopt_migrated || !self.workers.contains_key(worker_id) {
            tracing::debug!(worker.id = %worker_id, "job migration ignored");
            return;
        }
        for job_id in job_ids {
            let Some(Orphan { mut job }) = self.orphans.remove(job_id) else { continue };
            tracing::info!(job.id = %job_id, worker.id = %worker_id, "job adopted");
            job.job.state.get_or_insert_default().worker_id = worker_id.to_owned();
            self.note_job(&job, proto::JobStatus::JsRunning, "");
            if let Some(worker) = self.workers.get_mut(worker_id) {
                worker.jobs.insert(job_id.clone(), job);
            }
        }
        self.touch();
    }
}

/// The signalling protocol that the server announces. From 18 on clients expect
/// negotiated data channels.
pub(crate) const PROTOCOL: i32 = 16;
