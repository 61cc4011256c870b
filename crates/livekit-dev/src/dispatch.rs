use std::collections::HashMap;

use livekit_protocol as proto;

use crate::ids;
use crate::launch::{Launch, launch};
use crate::server::Shared;
use crate::state::State;
use crate::worker::Orphan;

/// A dispatch: the wish to have an agent in a room.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) id: String,
    pub(crate) agent_name: String,
    pub(crate) metadata: String,
    pub(crate) deployment: String,
    pub(crate) attributes: HashMap<String, String>,
    pub(crate) restart_policy: proto::JobRestartPolicy,
    pub(crate) created_at: i64,
    pub(crate) jobs: Vec<proto::Job>,
}

impl Dispatch {
    /// A dispatch out of a room's configuration.
    pub(crate) fn new(id: String, agent: proto::RoomAgentDispatch) -> Self {
        Self {
            restart_policy: agent.restart_policy(),
            id,
            agent_name: agent.agent_name,
            metadata: agent.metadata,
            deployment: agent.deployment,
            attributes: agent.attributes,
            created_at: ids::now_ns(),
            jobs: Vec::new(),
        }
    }

    /// As the dispatch service shows it.
    pub(crate) fn to_proto(&self, room: &str) -> proto::AgentDispatch {
        proto::AgentDispatch {
            id: self.id.clone(),
            agent_name: self.agent_name.clone(),
            room: room.to_owned(),
            metadata: self.metadata.clone(),
            state: Some(proto::AgentDispatchState {
                jobs: self.jobs.clone(),
                created_at: self.created_at,
                deleted_at: 0,
            }),
            restart_policy: self.restart_policy.into(),
            deployment: self.deployment.clone(),
            attributes: self.attributes.clone(),
        }
    }

    fn launch(
        &self,
        room: &str,
        job_type: proto::JobType,
        participant: Option<proto::ParticipantInfo>,
    ) -> Launch {
        Launch {
            room: room.to_owned(),
            dispatch_id: self.id.clone(),
            agent_name: self.agent_name.clone(),
            deployment: self.deployment.clone(),
            metadata: self.metadata.clone(),
            attributes: self.attributes.clone(),
            restart_policy: self.restart_policy,
            job_type,
            participant,
            resuming: false,
            only: None,
        }
    }
}

impl State {
    /// The jobs that a new dispatch starts: one for the room, and one for each
    /// participant that is there already.
    pub(crate) fn launches_of_dispatch(&self, room: &str, dispatch_id: &str) -> Vec<Launch> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let Some(dispatch) = room.dispatches.get(dispatch_id) else { return Vec::new() };
        let name = &room.info.name;
        let mut launches = vec![dispatch.launch(name, proto::JobType::JtRoom, None)];
        for participant in room.participants.values().filter(|p| !p.dependent()) {
            let info = Some(participant.info.clone());
            launches.push(dispatch.launch(name, proto::JobType::JtParticipant, info.clone()));
            if participant.info.is_publisher {
                launches.push(dispatch.launch(name, proto::JobType::JtPublisher, info));
            }
        }
        launches
    }

    /// The jobs that a participant starts by joining, or by publishing for the first
    /// time.
    pub(crate) fn launches_of_participant(
        &self,
        room: &str,
        identity: &str,
        job_type: proto::JobType,
    ) -> Vec<Launch> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let Some(participant) = room.participants.get(identity).filter(|p| !p.dependent()) else {
            return Vec::new();
        };
        let info = Some(participant.info.clone());
        room.dispatches
            .values()
            .map(|dispatch| dispatch.launch(&room.info.name, job_type, info.clone()))
            .collect()
    }
}

/// Starts looking for workers, in the background.
pub(crate) fn start(server: &Shared, launches: Vec<Launch>) {
    for one in launches {
        server.spawn(launch(Shared::clone(server), one));
    }
}

/// Ends the jobs of a deleted dispatch: terminates them, waits for their agents to
/// leave, then removes those that are still there.
pub(crate) async fn end_jobs(server: Shared, room: String, jobs: Vec<proto::Job>) {
    let mut waiting: Vec<(String, String)> = Vec::new();
    let mut changed = server.changed();
    {
        let state = server.state();
        for job in jobs {
            // A lost worker's agent may still be in the room.
            if let Some(worker) = state.holder(&job.id) {
                state.send_termination(&worker.id, &job.id);
            }
            let identity = job.state.map(|state| state.participant_identity).unwrap_or_default();
            waiting.push((job.id, identity));
        }
    }
    let all_left = async {
        loop {
            changed.mark_unchanged();
            let left = |state: &State, identity: &str| {
                state.rooms.get(&room).is_none_or(|room| !room.participants.contains_key(identity))
            };
            {
                let state = server.state();
                // An agent that has not joined yet may still do so, until its job ends.
                waiting.retain(|(job_id, identity)| {
                    !left(&state, identity) || state.holder(job_id).is_some()
                });
            }
            if waiting.is_empty() || changed.changed().await.is_err() {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(server.options.timings.removal, all_left).await;
    for (_, identity) in waiting {
        server.state().remove(&room, &identity, None, proto::DisconnectReason::ParticipantRemoved);
    }
}

/// Dispatches the jobs of a lost worker again, if nobody has adopted them when the
/// grace is over.
pub(crate) async fn redispatch(server: Shared, job_ids: Vec<String>) {
    let features = &server.options.features;
    tokio::time::sleep(features.redispatch_lost.unwrap_or_default()).await;
    for job_id in job_ids {
        let next = {
            let mut state = server.state();
            let Some(Orphan { job }) = state.orphans.remove(&job_id) else { continue };
            state.note_job(&job, proto::JobStatus::JsFailed, "the worker was lost");
            let reason = proto::DisconnectReason::ParticipantRemoved;
            state.remove(&job.room, &job.identity, None, reason);
            let again = features.redispatch_lost.is_some()
                && job.launch.restart_policy == proto::JobRestartPolicy::JrpOnFailure
                && job.launch.only.is_none();
            again.then_some(Launch { resuming: true, ..job.launch })
        };
        start(&server, next.into_iter().collect());
    }
}
