//! From a dispatch to the end of its job.

use dialtone_livekit_dev::Mode;
use livekit_protocol as proto;
use proto::participant_info::{Kind, State};

use crate::support::{Server, Step, Steps, soon};

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
    let idle = |w: &dialtone_livekit_dev::Workers| w.workers.iter().all(|w| w.job_count == 0);
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
    let idle = |now: &dialtone_livekit_dev::Workers| {
        now.workers.iter().all(|worker| worker.job_count == 0 && worker.status == "WS_AVAILABLE")
    };
    let now = soon("the end of the jobs", server.handle.wait_for(idle)).await;
    assert_eq!((now.rooms, now.dispatches_dropped), (JOBS, 0));
    assert_eq!(now.workers[0].jobs_accepted, JOBS as u64);
    assert_eq!(server.participants("room-7").await, Vec::new());
    worker.shutdown.cancel();
    soon("the drain", worker.task).await.expect("no panic").expect("a good end");
}
