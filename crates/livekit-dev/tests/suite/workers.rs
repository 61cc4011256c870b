//! The worker socket, and the worker SDK on it.

use std::collections::HashSet;
use std::time::Duration;

use dialtone_agent_worker::{
    JobContext, JobFailure, JobHandler, JobResult, Registration, Worker, WorkerError, WorkerOptions,
};
use dialtone_auth::Secret;
use dialtone_auth::livekit::ApiKey;
use dialtone_livekit_dev::{Mode, Workers};
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use proto::{JobStatus, server_message, worker_message};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use crate::support::{Server, Step, Steps, soon};
use crate::wire::RawWorker;

#[tokio::test]
async fn an_unknown_message_closes_the_connection() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    worker.socket.send(Message::Binary(vec![0xff, 0xff].into())).await.expect("written");
    assert_eq!(worker.recv().await, None);
    soon("the end", server.handle.wait_for(|now| now.workers.is_empty())).await;
}

#[tokio::test]
async fn a_worker_must_register_first_and_in_time() {
    let server = Server::with(Mode::Oss, |options| {
        options.timings.register = Duration::from_millis(50);
    })
    .await;
    let mut silent = RawWorker::connect(&server).await;
    assert_eq!(silent.recv().await, None);
    let mut hasty = RawWorker::connect(&server).await;
    hasty.answer("AJ_x", true).await;
    assert_eq!(hasty.recv().await, None);
}

#[tokio::test]
async fn a_worker_may_speak_json() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::connect(&server).await;
    let register = r#"{"register":{"agentName":"js","somethingNew":true}}"#;
    worker.socket.send(Message::text(register)).await.expect("written");
    let answer = soon("the answer", worker.socket.next()).await.expect("open").expect("read");
    let answer: serde_json::Value =
        serde_json::from_str(answer.to_text().expect("text")).expect("JSON");
    assert!(answer["register"]["workerId"].as_str().expect("an id").starts_with("AW_"));
    server.dispatch("r", "js").await;
    let offer = soon("the offer", worker.socket.next()).await.expect("open").expect("read");
    assert!(offer.to_text().expect("text").contains("availability"));
}

#[tokio::test]
async fn a_worker_can_ask_for_a_simulated_job() {
    let server = Server::start(Mode::Oss).await;
    let mut worker = RawWorker::register(&server, "a").await;
    let room = proto::Room { name: "made-up".into(), ..Default::default() };
    let request = proto::SimulateJobRequest { room: Some(room), ..Default::default() };
    worker.send(worker_message::Message::SimulateJob(request)).await;
    let job = worker.accept().await.job.expect("a job");
    assert_eq!(job.room.expect("a room").name, "made-up");
    worker.settle().await;
}

#[tokio::test]
async fn one_dispatch_is_one_assignment_among_many_workers() {
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let mut workers = Vec::new();
    for _ in 0..5 {
        workers.push(server.worker("a", 4, handler.clone()).await);
    }
    server.dispatch("r", "a").await;
    let (step, _) = soon("the job", steps.recv()).await.expect("a step");
    assert!(matches!(step, Step::Started(_)));
    let (step, _) = soon("the join", steps.recv()).await.expect("a step");
    assert!(matches!(step, Step::Joined(_)));
    let now = server.handle.workers();
    let accepted: u64 = now.workers.iter().map(|worker| worker.jobs_accepted).sum();
    assert_eq!(accepted, 1);
    assert_eq!(server.participants("r").await.len(), 1);
}

#[tokio::test]
async fn jobs_spread_over_the_workers() {
    let server = Server::start(Mode::Oss).await;
    let (mut handler, mut steps) = Steps::new();
    handler.join = false;
    let mut workers = Vec::new();
    for _ in 0..4 {
        workers.push(server.worker("a", 100, handler.clone()).await);
    }
    for index in 0..60 {
        server.dispatch(&format!("r{index}"), "a").await;
    }
    for _ in 0..60 {
        soon("a job", steps.recv()).await.expect("a step");
    }
    let now = server.handle.workers();
    // With equal weights each has 15 on average; none has next to none.
    for worker in &now.workers {
        assert!((4..=30).contains(&worker.jobs_accepted), "{:?}", now.workers);
    }
    handler.release.cancel();
}

#[tokio::test]
async fn a_worker_takes_no_more_than_it_has_room_for() {
    let server = Server::start(Mode::Oss).await;
    let (mut handler, mut steps) = Steps::new();
    handler.join = false;
    let release = handler.release.clone();
    let _worker = server.worker("a", 2, handler).await;
    for index in 0..6 {
        server.dispatch(&format!("r{index}"), "a").await;
    }
    let mut started = HashSet::new();
    for _ in 0..2 {
        let (step, job) = soon("a job", steps.recv()).await.expect("a step");
        assert!(matches!(step, Step::Started(_)), "{step:?}");
        started.insert(job.job_id);
    }
    assert_eq!(started.len(), 2);
    let dropped = |now: &Workers| now.dispatches_dropped == 4;
    let now = soon("the drops", server.handle.wait_for(dropped)).await;
    assert_eq!((now.workers[0].jobs_accepted, now.workers[0].jobs_unanswered), (2, 0));
    // Its places are free again once the jobs are done.
    release.cancel();
    let idle =
        |now: &Workers| now.workers[0].job_count == 0 && now.workers[0].status == "WS_AVAILABLE";
    soon("the end of the jobs", server.handle.wait_for(idle)).await;
    server.dispatch("again", "a").await;
    soon("a job", steps.recv()).await.expect("a step");
}

#[tokio::test]
async fn a_drain_finishes_the_jobs_and_then_ends() {
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let release = handler.release.clone();
    let mut worker = server.worker("a", 3, handler).await;
    server.dispatch("r", "a").await;
    soon("the job", steps.recv()).await.expect("a step");
    worker.shutdown.cancel();
    let draining = |r: &Registration| *r == Registration::Draining;
    soon("the drain", worker.registration.wait_for(draining)).await.expect("open");
    let full = |now: &Workers| now.workers.iter().all(|worker| worker.status == "WS_FULL");
    soon("the status", server.handle.wait_for(full)).await;
    server.dispatch("other", "a").await;
    soon("the drop", server.handle.wait_for(|now| now.dispatches_dropped == 1)).await;
    assert!(!worker.task.is_finished());
    release.cancel();
    soon("the end", worker.task).await.expect("no panic").expect("a good end");
    soon("the close", server.handle.wait_for(|now| now.workers.is_empty())).await;
}

#[tokio::test]
async fn an_idle_worker_drains_at_once_and_a_stuck_job_is_cancelled() {
    let server = Server::start(Mode::Oss).await;
    let (handler, mut steps) = Steps::new();
    let idle = server.worker("idle", 1, handler.clone()).await;
    idle.shutdown.cancel();
    soon("the end", idle.task).await.expect("no panic").expect("a good end");

    let mut options = WorkerOptions::new(server.url(), ApiKey::dev(), "a");
    options.drain_timeout = Some(Duration::from_millis(50));
    let worker = server.worker_with(options, handler).await;
    server.dispatch("r", "a").await;
    soon("the job", steps.recv()).await.expect("a step");
    worker.shutdown.cancel();
    soon("the end", worker.task).await.expect("no panic").expect("a good end");
}

struct Fails;

impl JobHandler for Fails {
    async fn run(&self, job: JobContext) -> JobResult {
        assert_ne!(job.room, "panics", "as it should");
        Err(JobFailure::new("no luck"))
    }
}

#[tokio::test]
async fn failures_and_panics_are_reported_and_free_their_place() {
    let server = Server::start(Mode::Queue).await;
    let _worker = server.worker("a", 1, Fails).await;
    for (room, error) in [("fails", "no luck"), ("panics", "the job's handler panicked")] {
        let dispatch = server.dispatch(room, "a").await;
        let state = crate::support::eventually("the end of the job", async || {
            let job = server.jobs(room, &dispatch.id).await.into_iter().next()?;
            job.state.filter(|state| state.ended_at > 0)
        })
        .await;
        assert_eq!((state.status(), state.error.as_str()), (JobStatus::JsFailed, error));
    }
}

#[tokio::test]
async fn a_worker_comes_back_after_a_lost_connection_with_its_jobs() {
    let server = Server::start(Mode::Queue).await;
    let address = server.address.clone();
    let (mut handler, mut steps) = Steps::new();
    handler.join = false;
    let release = handler.release.clone();
    let mut worker = server.worker("a", 2, handler).await;
    server.dispatch("r", "a").await;
    let (_, job) = soon("the job", steps.recv()).await.expect("a step");
    // The server goes away and another one comes, on the same port.
    server.handle.shutdown().await;
    drop(server);
    let gone = |r: &Registration| *r == Registration::Connecting;
    soon("the loss", worker.registration.wait_for(gone)).await.expect("open");
    let listener = crate::support::eventually("the port", async || {
        tokio::net::TcpListener::bind(&address).await.ok()
    })
    .await;
    let (stream, _) = soon("the worker", listener.accept()).await.expect("accepted");
    let mut socket = tokio_tungstenite::accept_async(stream).await.expect("a WebSocket");
    let message = next_message(&mut socket).await;
    assert!(matches!(message, worker_message::Message::Register(_)), "{message:?}");
    let register = server_message::Message::Register(proto::RegisterWorkerResponse {
        worker_id: "AW_new".into(),
        ..Default::default()
    });
    use prost::Message as _;
    let register = proto::ServerMessage { message: Some(register) }.encode_to_vec();
    socket.send(Message::Binary(register.into())).await.expect("written");
    match next_message(&mut socket).await {
        worker_message::Message::MigrateJob(migrate) => {
            assert_eq!(migrate.job_ids, std::slice::from_ref(&job.job_id));
        }
        other => panic!("{other:?}"),
    }
    release.cancel();
    loop {
        if let worker_message::Message::UpdateJob(update) = next_message(&mut socket).await {
            assert_eq!((update.status(), update.job_id), (JobStatus::JsSuccess, job.job_id));
            break;
        }
    }
}

async fn next_message(
    socket: &mut tokio_tungstenite::WebSocketStream<tokio::net::TcpStream>,
) -> worker_message::Message {
    use prost::Message as _;
    loop {
        let frame = soon("a message", socket.next()).await.expect("open").expect("read");
        if let Message::Binary(bytes) = frame {
            let message = proto::WorkerMessage::decode(bytes).expect("a worker message");
            return message.message.expect("a known message");
        }
    }
}

#[tokio::test]
async fn a_worker_says_why_it_cannot_register() {
    let server = Server::start(Mode::Oss).await;
    let run = async |url: String, key: ApiKey| {
        let mut options = WorkerOptions::new(url, key, "a");
        options.max_retries = 1;
        options.timings.backoff_first = Duration::from_millis(1);
        let worker = Worker::new(options).expect("good options");
        let (handler, _steps) = Steps::new();
        soon("the end", worker.run(handler, CancellationToken::new())).await
    };
    let stranger = ApiKey { key: "devkey".into(), secret: Secret::new("wrong") };
    let error = run(server.url(), stranger).await.expect_err("refused");
    assert!(matches!(error, WorkerError::Unauthorized { .. }), "{error}");
    let elsewhere = format!("{}/elsewhere", server.url());
    let error = run(elsewhere, ApiKey::dev()).await.expect_err("refused");
    assert!(matches!(error, WorkerError::NotLiveKit { status: 404, .. }), "{error}");
    let error = run("ws://127.0.0.1:1".into(), ApiKey::dev()).await.expect_err("refused");
    assert!(matches!(error, WorkerError::Unreachable { attempts: 2, .. }), "{error}");
    let bad = Worker::new(WorkerOptions::new("wss://host", ApiKey::dev(), "a"));
    assert!(matches!(bad, Err(WorkerError::Options { name: "url", .. })));
}
