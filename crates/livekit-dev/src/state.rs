use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use dialtone_clock::Rng;
use livekit_protocol as proto;
use livekit_protocol::server_message;
use tokio::sync::watch;

use crate::ids;
use crate::options::Options;
use crate::room::Room;
use crate::waiting::Waiting;
use crate::webhook::Webhooks;
use crate::worker::{Orphan, Worker, WorkerJob};

/// All that the server knows. Guarded by one lock; nothing in here awaits.
pub(crate) struct State {
    pub(crate) options: Options,
    /// By name.
    pub(crate) rooms: BTreeMap<String, Room>,
    /// By worker id.
    pub(crate) workers: BTreeMap<String, Worker>,
    /// Jobs of lost workers that may still be adopted or dispatched again, by job id.
    pub(crate) orphans: HashMap<String, Orphan>,
    pub(crate) rng: Rng,
    pub(crate) dispatches_dropped: u64,
    pub(crate) webhooks: Webhooks,
    /// Counts changes, for those who wait for one.
    pub(crate) changed: watch::Sender<u64>,
    /// Launches that wait for a worker.
    pub(crate) waiting: Waiting,
}

impl State {
    pub(crate) fn new(options: Options, rng: Rng, webhooks: Webhooks) -> Self {
        Self {
            options,
            rooms: BTreeMap::new(),
            workers: BTreeMap::new(),
            orphans: HashMap::new(),
            rng,
            dispatches_dropped: 0,
            webhooks,
            changed: watch::Sender::new(0),
            waiting: Waiting::default(),
        }
    }

    /// Wakes those who wait for a change.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn id(&mut self, prefix: &str) -> String {
        ids::random(prefix, &mut self.rng)
    }

    /// The dispatch's record of a job, while both are there.
    pub(crate) fn job_record(
        &mut self,
        room: &str,
        dispatch_id: &str,
        job_id: &str,
    ) -> Option<&mut proto::Job> {
        let dispatch = self.rooms.get_mut(room)?.dispatches.get_mut(dispatch_id)?;
        dispatch.jobs.iter_mut().find(|job| job.id == job_id)
    }

    /// Notes how a job stands: in its dispatch (if job states are tracked) and, at its
    /// end, as a webhook (if those are sent).
    pub(crate) fn note_job(&mut self, job: &WorkerJob, status: proto::JobStatus, error: &str) {
        let now = ids::now_ns();
        let ended = matches!(status, proto::JobStatus::JsSuccess | proto::JobStatus::JsFailed);
        let mut record = job.job.clone();
        let state = record.state.get_or_insert_default();
        state.status = status.into();
        error.clone_into(&mut state.error);
        state.updated_at = now;
        if ended {
            state.ended_at = now;
        }
        if self.options.features.track_job_states
            && let Some(listed) = self.job_record(&job.room, &job.dispatch_id, &job.job.id)
        {
            listed.state.clone_from(&record.state);
        }
        if ended {
            tracing::info!(job.id = %record.id, status = status.as_str_name(), "job ended");
            if self.options.features.job_webhooks {
                self.webhooks.job("agent_job_ended", &record);
            }
        }
    }

    /// A worker's report on one of its jobs. Reports on jobs that it does not hold are
    /// ignored, as there (`ErrUnknownJob` is a debug line).
    pub(crate) fn update_job(&mut self, worker_id: &str, update: &proto::UpdateJobStatus) {
        let Some(worker) = self.workers.get_mut(worker_id) else { return };
        let status = update.status();
        let ended = matches!(status, proto::JobStatus::JsSuccess | proto::JobStatus::JsFailed);
        let job = if ended {
            worker.jobs.remove(&update.job_id)
        } else {
            worker.jobs.get(&update.job_id).cloned()
        };
        match job {
            Some(job) => self.note_job(&job, status, &update.error),
            None => tracing::debug!(job.id = %update.job_id, "report on an unknown job"),
        }
        self.touch();
        if ended {
            self.freed(worker_id);
        }
    }

    /// Ends the job of an agent whose participant has left its room
    /// (rtc/room.go, `JobTerminateReason_AGENT_LEFT_ROOM`).
    pub(crate) fn agent_left(&mut self, room: &str, identity: &str) {
        let held = |job: &&WorkerJob| job.room == room && job.identity == identity;
        let found = self.workers.values().find_map(|worker| {
            worker.jobs.values().find(held).map(|job| (worker.id.clone(), job.job.id.clone()))
        });
        let Some((worker_id, job_id)) = found else { return };
        self.send_termination(&worker_id, &job_id);
        // With tracked states the worker's own report has the last word; without, the
        // job ends here and its report comes too late.
        if !self.options.features.track_job_states
            && let Some(job) =
                self.workers.get_mut(&worker_id).and_then(|worker| worker.jobs.remove(&job_id))
        {
            self.note_job(&job, proto::JobStatus::JsFailed, "agent worker left the room");
        }
    }

    pub(crate) fn send_termination(&self, worker_id: &str, job_id: &str) {
        if let Some(worker) = self.workers.get(worker_id) {
            let termination = proto::JobTermination { job_id: job_id.to_owned() };
            worker.send(server_message::Message::Termination(termination));
        }
    }

    /// The worker that holds a job.
    pub(crate) fn holder(&self, job_id: &str) -> Option<&Worker> {
        self.workers.values().find(|worker| worker.jobs.contains_key(job_id))
    }

    /// Closes rooms that have been empty for long enough, and removes participants
    /// that never became active.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let timings = self.options.timings.clone();
        let mut stale = Vec::new();
        let mut idle = Vec::new();
        for room in self.rooms.values() {
            if room.idle_at(now, timings.room_second) {
                idle.push(room.info.name.clone());
            }
            for participant in room.participants.values() {
                if !participant.active && now.duration_since(participant.joined) >= timings.join {
                    let sid = participant.info.sid.clone();
                    stale.push((room.info.name.clone(), participant.info.identity.clone(), sid));
                }
            }
        }
        for (room, identity, sid) in stale {
            self.remove(&room, &identity, Some(&sid), proto::DisconnectReason::JoinFailure);
        }
        for room in idle {
            tracing::info!(%room, "room closed: empty");
            self.close_room(&room, proto::DisconnectReason::RoomClosed);
        }
    }
}
