//! What the two modes do with dispatches that go wrong.

use std::time::Duration;

use dialtone_livekit_dev::{Mode, Workers};
use livekit_protocol as proto;
use proto::{DisconnectReason, JobStatus, JobType, WorkerStatus, server_message, worker_message};

use crate::support::{
    CREATE_DISPATCH, CREATE_ROOM, DELETE_DISPATCH, Post, Server, Step, Steps, admin, create, soon,
};
use crate::wire::{Peer, RawWorker};

async fn delete(server: &Server, room: &str, id: &str) -> Result<proto::AgentDispatch, u16> {
    let request = proto::DeleteAgentDispatchRequest { room: room.into(), dispatch_id: id.into() };
    let answer = server.call(admin(room), DELETE_DISPATCH, request).await;
    answer.map_err(|refusal| refusal.status)
}

fn dropped(count: u64) -> impl Fn(&Workers) -> bool {
    move |now| now.dispatches_dropped == count
}

async fn impatient(mode: Mode) -> Server {
    Server::with(mode, |options| {
        options.timings.availability = Duration::from_millis(100);
        options.features.redispatch_lost =
            options.features.redispatch_lost.map(|_| Duration::from_millis(100));
    })
    .await
}

#[tokio::test]
async fn oss_drops_a_dispatch_that_finds_no_worker_for_ever() {
    let server = Server::start(Mode::Oss).await;
    let dispatch = server.dispatch("r", "late").await;
    assert!(dispatch.id.starts_with("AD_"));
    soon("the drop", server.handle.wait_for(dropped(1))).await;
    let mut worker = RawWorker::register(&server, "late").await;
    // The next message after a full round is no offer.
    worker.settle().await;
    assert_eq!(server.jobs("r", &dispatch.id).await, Vec::new());
}

#[tokio::test]
async fn queue_keeps_a_dispatch_until_a_worker_comes() {
    let server = Server::start(Mode::Queue).await;
    let dispatch = server.dispatch("r", "late").await;
    let mut other = RawWorker::register(&server, "other").await;
    let mut worker = RawWorker::register(&server, "late").await;
    let assignment = worker.accept().await;
    assert_eq!(assignment.job.expect("a job").dispatch_id, dispatch.id);
    other.settle().await;
    assert_eq!(server.handle.workers().dispatches_dropped, 0);
}

#[tokio::test]
async fn queue_gives_up_at_its_deadline() {
    let server = Server::with(Mode::Queue, |options| {
        options.features.queue_dispatches = Some(Duration::from_millis(50));
    })
    .await;
    server.dispatch("r", "never").await;
    soon("the drop", server.handle.wait_for(dropped(1))).await;
}

#[tokio::test]
async fn a_refused_job_goes_to_the_next_worker() {
    let server = Server::start(Mode::Oss).await;
    let mut first = RawWorker::register(&server, "a").await;
    let mut second = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    // Whoever is asked first refuses.
    let (refuser, taker) = tokio::select! {
        offer = first.offer() => (offer, 1),
        offer = second.offer() => (offer, 0),
    };
    let job_id = refuser.job.expect("a job").id;
    let (refuser, taker) =
        if taker == 1 { (&mut first, &mut second) } else { (&mut second, &mut first) };
    refuser.answer(&job_id, false).await;
    let assignment = taker.accept().await;
    assert!(!assignment.token.is_empty());
    assert_eq!(server.handle.workers().dispatches_dropped, 0);
}

#[tokio::test]
async fn oss_drops_a_job_that_everybody_refuses() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    let job = worker.offer().await.job.expect("a job");
    worker.answer(&job.id, false).await;
    soon("the drop", server.handle.wait_for(dropped(1))).await;
}

#[tokio::test]
async fn a_refusal_that_terminates_ends_the_job() {
    let server = Server::start(Mode::Oss).await;
    let mut first = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    let job = first.offer().await.job.expect("a job");
    let answer =
        proto::AvailabilityResponse { job_id: job.id, terminate: true, ..Default::default() };
    first.send(worker_message::Message::Availability(answer)).await;
    first.settle().await;
    assert_eq!(server.handle.workers().dispatches_dropped, 0);
}

#[tokio::test]
async fn oss_does_not_retry_an_offer_without_an_answer() {
    let server = impatient(Mode::Oss).await;
    let mut silent = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    silent.offer().await;
    let mut other = RawWorker::register(&server, "a").await;
    let now = soon("the drop", server.handle.wait_for(dropped(1))).await;
    let unanswered: u64 = now.workers.iter().map(|worker| worker.jobs_unanswered).sum();
    assert_eq!(unanswered, 1);
    other.settle().await;
}

#[tokio::test]
async fn queue_retries_an_offer_without_an_answer() {
    let server = impatient(Mode::Queue).await;
    let mut silent = RawWorker::register(&server, "a").await;
    server.dispatch("r", "a").await;
    silent.offer().await;
    let mut other = RawWorker::register(&server, "a").await;
    other.accept().await;
}

#[tokio::test]
async fn a_closed_worker_is_passed_over_in_both_modes() {
    for mode in [Mode::Oss, Mode::Queue] {
        let server = Server::start(mode).await;
        let mut first = RawWorker::register(&server, "a").await;
        server.dispatch("r", "a").await;
        first.offer().await;
        let mut second = RawWorker::register(&server, "a").await;
        drop(first);
        second.accept().await;
    }
}

#[tokio::test]
async fn oss_forgets_the_jobs_of_a_lost_worker() {
    let server = Server::start(Mode::Oss).await;
    let mut lost = RawWorker::register(&server, "a").await;
    let dispatch = server.dispatch("r", "a").await;
    let job = lost.accept().await.job.expect("a job");
    drop(lost);
    soon("the loss", server.handle.wait_for(|now| now.workers.is_empty())).await;
    let mut back = RawWorker::register(&server, "a").await;
    let migrate = proto::MigrateJobRequest { job_ids: vec![job.id.clone()] };
    back.send(worker_message::Message::MigrateJob(migrate)).await;
    back.settle().await;
    let jobs = server.jobs("r", &dispatch.id).await;
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].state.as_ref().expect("a state").status(), JobStatus::JsRunning);
    assert!(server.handle.workers().workers.iter().all(|worker| worker.job_count == 0));
}

#[tokio::test]
async fn queue_dispatches_the_jobs_of_a_lost_worker_again() {
    let server = impatient(Mode::Queue).await;
    let mut lost = RawWorker::register(&server, "a").await;
    let dispatch = server.dispatch("r", "a").await;
    let first = lost.accept().await.job.expect("a job");
    let mut other = RawWorker::register(&server, "a").await;
    drop(lost);
    let offer = other.offer().await;
    assert!(offer.resuming);
    let job = offer.job.expect("a job");
    assert_eq!(job.dispatch_id, dispatch.id);
    assert_ne!(job.id, first.id);
    other.answer(&job.id, true).await;
    other.assignment().await;
    other.finish(&job.id, JobStatus::JsSuccess).await;
    other.settle().await;
    let states: Vec<_> = server
        .jobs("r", &dispatch.id)
        .await
        .into_iter()
        .map(|job| {
            let state = job.state.expect("a state");
            (job.id, state.status())
        })
        .collect();
    assert_eq!(states, [(first.id, JobStatus::JsFailed), (job.id, JobStatus::JsSuccess)]);
}

#[tokio::test]
async fn queue_lets_a_worker_come_back_to_its_jobs() {
    let server = impatient(Mode::Queue).await;
    let mut lost = RawWorker::register(&server, "a").await;
    let dispatch = server.dispatch("r", "a").await;
    let job = lost.accept().await.job.expect("a job");
    drop(lost);
    soon("the loss", server.handle.wait_for(|now| now.workers.is_empty())).await;
    let mut back = RawWorker::register(&server, "a").await;
    let migrate = proto::MigrateJobRequest { job_ids: vec![job.id.clone()] };
    back.send(worker_message::Message::MigrateJob(migrate)).await;
    let adopted = |now: &Workers| now.workers.iter().any(|worker| worker.job_count == 1);
    soon("the adoption", server.handle.wait_for(adopted)).await;
    let jobs = server.jobs("r", &dispatch.id).await;
    let [listed] = jobs.as_slice() else { panic!("{jobs:?}") };
    assert_eq!(listed.state.as_ref().expect("a state").worker_id, back.worker_id);
}

#[tokio::test]
async fn oss_shows_jobs_as_running_for_ever() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    let dispatch = server.dispatch("r", "a").await;
    let job = worker.accept().await.job.expect("a job");
    worker.finish(&job.id, JobStatus::JsFailed).await;
    worker.settle().await;
    let jobs = server.jobs("r", &dispatch.id).await;
    assert_eq!(jobs[0].state.as_ref().expect("a state").status(), JobStatus::JsRunning);
}

#[tokio::test]
async fn a_full_worker_is_offered_nothing() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    worker.status(WorkerStatus::WsFull, 0.2).await;
    worker.settle().await;
    server.dispatch("r", "a").await;
    soon("the drop", server.handle.wait_for(dropped(1))).await;
    worker.status(WorkerStatus::WsAvailable, 1.0).await;
    worker.settle().await;
    server.dispatch("r", "a").await;
    // Available at full load is available.
    worker.accept().await;
}

#[tokio::test]
async fn a_repeated_request_makes_one_dispatch_and_a_new_one_another() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    let call = async |request_id: Option<&str>| {
        let body = r#"{"room":"r","agentName":"a"}"#;
        let mut post = Post::new(CREATE_DISPATCH, "application/json", body).grant(admin("r"));
        post.request_id = request_id.map(str::to_owned);
        let (status, body) = server.post(post).await;
        assert_eq!(status, 200);
        let dispatch: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        dispatch["id"].as_str().expect("an id").to_owned()
    };
    let first = call(Some("one")).await;
    assert_eq!(call(Some("one")).await, first);
    worker.accept().await;
    // The repeated attempt caused no second offer.
    worker.settle().await;
    let second = call(None).await;
    worker.accept().await;
    assert_ne!(call(None).await, second);
    worker.accept().await;
}

#[tokio::test]
async fn a_deleted_dispatch_terminates_its_job() {
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let _worker = server.worker("a", 1, handler).await;
    let dispatch = server.dispatch("r", "a").await;
    let mut cancelled = false;
    let mut left = false;
    while !left {
        match soon("a step", steps.recv()).await.expect("a step").0 {
            Step::Joined(_) => {
                let deleted = delete(&server, "r", &dispatch.id).await.expect("deleted");
                assert!(deleted.state.expect("a state").deleted_at > 0);
            }
            Step::Cancelled(_) => cancelled = true,
            Step::Left(_) => left = true,
            Step::Started(_) => {}
        }
    }
    assert!(cancelled);
    assert_eq!(delete(&server, "r", &dispatch.id).await, Err(404));
    assert_eq!(delete(&server, "none", &dispatch.id).await, Err(404));
}

#[tokio::test]
async fn an_agent_that_ignores_its_termination_is_removed() {
    let server = Server::with(Mode::Oss, |options| {
        options.timings.removal = Duration::from_millis(100);
    })
    .await;
    let mut worker = RawWorker::register(&server, "a").await;
    let dispatch = server.dispatch("r", "a").await;
    let assignment = worker.accept().await;
    let mut agent = Peer::with_token(&server, &assignment.token, true).await;
    delete(&server, "r", &dispatch.id).await.expect("deleted");
    match worker.recv().await {
        Some(server_message::Message::Termination(termination)) => {
            assert_eq!(termination.job_id, assignment.job.expect("a job").id);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(soon("the removal", agent.left()).await, DisconnectReason::ParticipantRemoved);
}

#[tokio::test]
async fn a_room_brings_its_agents_and_unnamed_workers_get_every_room() {
    let server = Server::start(Mode::Oss).await;
    let mut unnamed = RawWorker::register(&server, "").await;
    let mut named = RawWorker::register(&server, "named").await;
    let room = |name: &str, agents: Vec<&str>| proto::CreateRoomRequest {
        name: name.into(),
        agents: agents
            .into_iter()
            .map(|agent| proto::RoomAgentDispatch {
                agent_name: agent.into(),
                metadata: "m".into(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let create = async |request| -> proto::Room {
        server.call(create(), CREATE_ROOM, request).await.expect("a room")
    };
    create(room("plain", vec![])).await;
    let job = unnamed.offer().await.job.expect("a job");
    assert_eq!(job.room.expect("a room").name, "plain");
    unnamed.answer(&job.id, true).await;
    unnamed.assignment().await;
    create(room("with", vec!["named"])).await;
    let job = named.offer().await.job.expect("a job");
    assert_eq!((job.metadata.as_str(), job.room.expect("a room").name.as_str()), ("m", "with"));
    unnamed.settle().await;
    // The room is live: its agents are what they are.
    create(room("plain", vec!["named"])).await;
    named.settle().await;
    assert_eq!(server.handle.workers().dispatches_dropped, 0);
}

#[tokio::test]
async fn participants_have_jobs_of_their_own() {
    let server = Server::start(Mode::Oss).await;
    let mut per_join = RawWorker::register_for(&server, "a", JobType::JtParticipant).await;
    let mut per_track = RawWorker::register_for(&server, "a", JobType::JtPublisher).await;
    server.dispatch("r", "a").await;
    let mut peer = Peer::join(&server, "r", "p", true).await;
    let job = per_join.offer().await.job.expect("a job");
    assert_eq!(job.participant.expect("for somebody").identity, "p");
    let track = proto::AddTrackRequest { cid: "c".into(), ..Default::default() };
    peer.send(proto::signal_request::Message::AddTrack(track.clone())).await;
    let job = per_track.offer().await.job.expect("a job");
    assert_eq!(job.participant.expect("for somebody").identity, "p");
    // A second track is no first one.
    peer.send(proto::signal_request::Message::AddTrack(track)).await;
    loop {
        if let Some(proto::signal_response::Message::TrackPublished(published)) = peer.recv().await
        {
            assert_eq!(published.cid, "c");
            break;
        }
    }
    assert_eq!(server.handle.workers().dispatches_dropped, 0, "workers of other types");
}
