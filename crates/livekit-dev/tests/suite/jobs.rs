//! From a dispatch to the end of its job.

use dialtone_agent_worker::{JobContext, JobHandler, JobResult};
use dialtone_livekit_dev::{Mode, Workers};
use livekit_protocol as proto;
use proto::participant_info::{Kind, State};

use crate::support::{CREATE_ROOM, Running, Server, Step, Steps, create, soon};

#[tokio::test]
async fn a_dispatch_becomes_a_job_that_joins_and_leaves_its_room() {
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let release = handler.release.clone();
    let worker = server.worker("caller", 2, handler).await;

    let dispatch = server.dispatch("room-1", "caller").await;
    let (step, job) = soon("the job", steps.recv()).await.expect("a step");
    assert_eq!(step, Step::Started(job.job_id.clone()));
    assert_eq!(job.dispatch_id, dispatch.id);
    assert_eq!(job.room, "room-1");
    assert_eq!(job.metadata, "for the agent only");
    assert!(!format!("{job:?}").contains("for the agent"), "metadata is shown");

    let (step, _) = soon("the join", steps.recv()).await.expect("a step");
    assert_eq!(step, Step::Joined(job.job_id.clone()));
    let participants = server.participants("room-1").await;
    let [agent] = participants.as_slice() else { panic!("{participants:?}") };
    assert_eq!(agent.identity, format!("agent-{}", job.job_id));
    assert_eq!((agent.kind(), agent.state()), (Kind::Agent, State::Active));
    assert_eq!(agent.attributes["lk.agent_name"], "caller");

    let jobs = server.jobs("room-1", &dispatch.id).await;
    let [listed] = jobs.as_slice() else { panic!("{jobs:?}") };
    let state = listed.state.clone().expect("a state");
    assert_eq!(state.status(), proto::JobStatus::JsRunning);
    assert_eq!(state.worker_id, worker.worker_id);
    assert_eq!(state.participant_identity, agent.identity);

    release.cancel();
    let (step, _) = soon("the leave", steps.recv()).await.expect("a step");
    assert_eq!(step, Step::Left(job.job_id));
    let idle = |w: &Workers| w.workers.iter().all(|w| w.job_count == 0);
    soon("the end of the job", server.handle.wait_for(idle)).await;
    assert_eq!(server.participants("room-1").await, Vec::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_jobs_at_once_leave_nothing_behind() {
    const JOBS: usize = 200;
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let release = handler.release.clone();
    let worker = server.worker("caller", JOBS, handler).await;
    for index in 0..JOBS {
        server.dispatch(&format!("room-{index}"), "caller").await;
    }
    let mut joined = 0;
    while joined < JOBS {
        let (step, _) = soon("a join", steps.recv()).await.expect("a step");
        joined += usize::from(matches!(step, Step::Joined(_)));
    }
    release.cancel();
    let idle = |now: &Workers| {
        now.workers.iter().all(|worker| worker.job_count == 0 && worker.status == "WS_AVAILABLE")
    };
    let now = soon("the end of the jobs", server.handle.wait_for(idle)).await;
    assert_eq!((now.rooms, now.dispatches_dropped), (JOBS, 0));
    assert_eq!(now.workers[0].jobs_accepted, JOBS as u64);
    assert_eq!(server.participants("room-7").await, Vec::new());
    worker.shutdown.cancel();
    soon("the drain", worker.task).await.expect("no panic").expect("a good end");
}

/// A burst that is larger than all queues of messages, and a worker that takes its time
/// over nothing.
const BURST: usize = 1500;

struct Brief;

impl JobHandler for Brief {
    async fn run(&self, _: JobContext) -> JobResult {
        Ok(())
    }
}

async fn burst(server: &Server) {
    for index in 0..BURST {
        server.dispatch(&format!("room-{index}"), "caller").await;
    }
}

/// Waits until the one worker has run the burst, over its first connection.
async fn all_run(server: &Server, worker: Running) {
    let id = worker.worker_id.as_str();
    let done = |now: &Workers| {
        now.dispatches_dropped > 0
            || now.workers.iter().any(|worker| {
                worker.worker_id != id
                    || (worker.jobs_accepted == BURST as u64 && worker.job_count == 0)
            })
    };
    let now = soon("the end of the jobs", server.handle.wait_for(done)).await;
    assert_eq!(now.dispatches_dropped, 0);
    assert_eq!(now.workers[0].worker_id, worker.worker_id, "it registered again");
    assert_eq!(now.workers[0].jobs_accepted, BURST as u64);
    assert_eq!(now.workers[0].jobs_unanswered, 0);
    assert!(now.workers[0].jobs_offered < 10 * BURST as u64, "{now:?}");
    worker.shutdown.cancel();
    soon("the drain", worker.task).await.expect("no panic").expect("a good end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_worked_off_by_a_worker_that_comes_late() {
    let server = Server::start(Mode::Queue).await;
    burst(&server).await;
    let worker = server.worker("caller", 50, Brief).await;
    all_run(&server, worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_without_a_queue_is_no_reason_to_drop_jobs_or_the_worker() {
    let server = Server::start(Mode::Oss).await;
    let worker = server.worker("caller", 2000, Brief).await;
    // At once: all dispatches of a room's configuration.
    let agents = (0..BURST)
        .map(|_| proto::RoomAgentDispatch { agent_name: "caller".into(), ..Default::default() });
    let request = proto::CreateRoomRequest {
        name: "r".into(),
        agents: agents.collect(),
        ..Default::default()
    };
    let _: proto::Room = server.call(create(), CREATE_ROOM, request).await.expect("a room");
    all_run(&server, worker).await;
}
