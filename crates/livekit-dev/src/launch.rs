use std::collections::HashMap;
use std::sync::Arc;

use dialtone_auth::livekit::{Claims, VideoGrant};
use livekit_protocol as proto;
use livekit_protocol::server_message;
use tokio::time::{Instant, timeout, timeout_at};

use crate::server::Shared;
use crate::state::State;
use crate::waiting::{Kind, Seeker, Tried};
use crate::worker::{Offer, WorkerJob};

/// LiveKit's agent tokens are good for an hour (protocol/agent/token.go).
const AGENT_TOKEN_TTL_S: u64 = 3600;

/// A job that looks for a worker.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) room: String,
    pub(crate) dispatch_id: String,
    pub(crate) agent_name: String,
    pub(crate) deployment: String,
    pub(crate) metadata: String,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) restart_policy: proto::JobRestartPolicy,
    pub(crate) job_type: proto::JobType,
    /// The participant that the job is for, with `JT_PUBLISHER` and `JT_PARTICIPANT`.
    pub(crate) participant: Option<proto::ParticipantInfo>,
    /// Whether another worker lost this job.
    pub(crate) resuming: bool,
    /// The one worker to offer the job to (`simulate_job`).
    pub(crate) only: Option<String>,
}

/// What became of an offer.
enum Outcome {
    /// The job has a worker, or wants none any more.
    Done,
    /// Another worker may be asked.
    Next,
    /// The job is dropped.
    Dropped(&'static str),
}

/// Looks for a worker until the job has one or is dropped.
pub(crate) async fn launch(server: Shared, launch: Launch) {
    let deadline = queue_deadline(&server, &launch);
    let mut seeker = Seeker {
        kind: Kind::of(&launch),
        ticket: server.state().waiting.ticket(),
        tried: Tried::new(),
        queued: deadline.is_some(),
        launch: Arc::new(launch),
    };
    let launch = Arc::clone(&seeker.launch);
    loop {
        if seeker.queued && !server.state().wanted(&launch) {
            return;
        }
        let lined_up = server.state().line_up(&seeker);
        let Some(mut offered) = lined_up else {
            return server.state().drop_launch(&launch, "no worker is available");
        };
        // Where nothing is queued a launch waits all the same for a worker whose
        // messages are not written yet.
        let until =
            deadline.unwrap_or_else(|| Instant::now() + server.options.timings.availability);
        let offer = match timeout_at(until, &mut offered).await {
            Ok(offer) => offer.ok(),
            Err(_) => {
                let mut state = server.state();
                if state.leave_line(&seeker) {
                    return state.drop_launch(&launch, "no worker is available");
                }
                // Offered in this moment.
                offered.try_recv().ok()
            }
        };
        // Without an offer: nobody wants the job any more.
        let Some(offer) = offer else { return };
        let asked = (offer.worker_id.clone(), offer.freed);
        match settle(&server, &launch, offer).await {
            Outcome::Done => return,
            Outcome::Next => {
                seeker.tried.insert(asked.0, asked.1);
            }
            Outcome::Dropped(reason) => return server.state().drop_launch(&launch, reason),
        }
    }
}

/// When a queued dispatch is given up. Only dispatches with a name wait: every room
/// has an unnamed one, which mostly nobody serves.
fn queue_deadline(server: &Shared, launch: &Launch) -> Option<Instant> {
    let queued = launch.job_type == proto::JobType::JtRoom
        && launch.only.is_none()
        && !launch.agent_name.is_empty();
    server.options.features.queue_dispatches.filter(|_| queued).map(|wait| Instant::now() + wait)
}

async fn settle(server: &Shared, launch: &Launch, offer: Offer) -> Outcome {
    let Offer { worker_id, job, answer, .. } = offer;
    match timeout(server.options.timings.availability, answer).await {
        Ok(Ok(answer)) if answer.available => {
            if server.state().assign(launch, &worker_id, job, answer) {
                Outcome::Done
            } else {
                Outcome::Next
            }
        }
        // A refusal that ends the job (JobRequest.reject(terminate)).
        Ok(Ok(answer)) if answer.terminate => Outcome::Done,
        Ok(Ok(_) | Err(_)) => Outcome::Next,
        Err(_) => {
            server.state().unanswered(&worker_id, &job.id);
            tracing::warn!(job.id = %job.id, worker.id = %worker_id, "offer not answered in time");
            if server.options.features.retry_unanswered {
                Outcome::Next
            } else {
                Outcome::Dropped("the worker did not answer in time")
            }
        }
    }
}

impl State {
    /// Whether the launch's dispatch is still there.
    fn wanted(&self, launch: &Launch) -> bool {
        self.rooms
            .get(&launch.room)
            .is_some_and(|room| room.dispatches.contains_key(&launch.dispatch_id))
    }

    fn drop_launch(&mut self, launch: &Launch, reason: &'static str) {
        // A room offers its dispatches to workers of every type, and to unnamed ones:
        // that nobody takes those up is no loss.
        let expected = launch.agent_name.is_empty()
            || launch.job_type != proto::JobType::JtRoom
            || self.has_worker_of_other_type(launch);
        if expected {
            tracing::debug!(room = %launch.room, reason, "no job for this kind of worker");
            return;
        }
        self.dispatches_dropped += 1;
        self.touch();
        tracing::info!(
            dispatch.id = %launch.dispatch_id,
            room = %launch.room,
            agent = %launch.agent_name,
            reason,
            "not dispatching agent job since no worker is available"
        );
    }

    /// Gives an accepted job to its worker. `false` if the worker is gone.
    fn assign(
        &mut self,
        launch: &Launch,
        worker_id: &str,
        mut job: proto::Job,
        answer: proto::AvailabilityResponse,
    ) -> bool {
        let Some(worker) = self.workers.get_mut(worker_id) else { return false };
        let identity = if answer.participant_identity.is_empty() {
            format!("agent-{}", job.id)
        } else {
            answer.participant_identity.clone()
        };
        job.state.get_or_insert_default().participant_identity.clone_from(&identity);
        let token = self.options.keys.first().map(|key| {
            let permissions = worker.registered.allowed_permissions.as_ref();
            key.token(agent_claims(launch, permissions, &identity, answer), AGENT_TOKEN_TTL_S)
        });
        worker.jobs.insert(
            job.id.clone(),
            WorkerJob {
                job: job.clone(),
                room: launch.room.clone(),
                dispatch_id: launch.dispatch_id.clone(),
                identity,
                launch: launch.clone(),
            },
        );
        worker.send(server_message::Message::Assignment(proto::JobAssignment {
            job: Some(job.clone()),
            url: self.options.advertise_url.clone(),
            token: token.unwrap_or_default(),
        }));
        tracing::info!(job.id = %job.id, worker.id = %worker_id, room = %launch.room, "job assigned");
        if self.options.features.job_webhooks {
            self.webhooks.job("agent_job_started", &job);
        }
        let listed = self
            .rooms
            .get_mut(&launch.room)
            .and_then(|room| room.dispatches.get_mut(&launch.dispatch_id));
        match listed {
            Some(dispatch) => dispatch.jobs.push(job),
            // Deleted while the worker made up its mind: a deletion waits for pending
            // jobs there too, and ends them.
            None if launch.only.is_none() => self.send_termination(worker_id, &job.id),
            None => {}
        }
        self.touch();
        true
    }
}

fn agent_claims(
    launch: &Launch,
    permissions: Option<&proto::ParticipantPermission>,
    identity: &str,
    answer: proto::AvailabilityResponse,
) -> Claims {
    let default = proto::ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        can_update_metadata: true,
        ..Default::default()
    };
    let allowed = permissions.unwrap_or(&default);
    let mut attributes: std::collections::BTreeMap<_, _> =
        answer.participant_attributes.into_iter().collect();
    attributes.insert("lk.agent_name".to_owned(), launch.agent_name.clone());
    Claims {
        sub: identity.to_owned(),
        name: answer.participant_name,
        kind: "agent".to_owned(),
        metadata: answer.participant_metadata,
        attributes,
        video: Some(VideoGrant {
            room_join: true,
            agent: true,
            room: launch.room.clone(),
            can_subscribe: Some(allowed.can_subscribe),
            can_publish: Some(allowed.can_publish),
            can_publish_data: Some(allowed.can_publish_data),
            can_update_own_metadata: Some(allowed.can_update_metadata),
            hidden: allowed.hidden,
            ..Default::default()
        }),
        ..Default::default()
    }
}
