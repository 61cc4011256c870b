//! The worker against a server that is played by hand.

use std::time::Duration;

use dialtone_agent_worker::{
    Closed, JobContext, JobHandler, JobResult, Registration, Timings, Worker, WorkerOptions,
};
use dialtone_auth::livekit::ApiKey;
use futures_util::{SinkExt as _, StreamExt as _};
use livekit_protocol as proto;
use prost::Message as _;
use proto::{
    JobStatus, WorkerStatus, server_message, signal_request, signal_response, worker_message,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer unless it hangs.
const CEILING: Duration = Duration::from_secs(20);

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(CEILING, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {CEILING:?}"),
    }
}

/// The server's end of one connection.
struct Connection {
    socket: WebSocketStream<TcpStream>,
    /// Path and query of the upgrade.
    path: String,
    authorization: String,
}

impl Connection {
    async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = soon("a connection", listener.accept()).await.expect("accepted");
        let (mut path, mut authorization) = (String::new(), String::new());
        #[expect(clippy::result_large_err, reason = "the callback's type is given")]
        let see = |request: &Request, response: Response| {
            path = request.uri().to_string();
            let header = request.headers().get("authorization");
            authorization =
                header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, see).await.expect("a WebSocket");
        Self { socket, path, authorization }
    }

    async fn bytes(&mut self) -> Option<Vec<u8>> {
        loop {
            match soon("a frame", self.socket.next()).await {
                Some(Ok(Message::Binary(bytes))) => return Some(bytes.to_vec()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    async fn recv(&mut self) -> Option<worker_message::Message> {
        let bytes = self.bytes().await?;
        let message = proto::WorkerMessage::decode(&*bytes).expect("a worker message").message;
        Some(message.expect("a known message"))
    }

    /// The next message that is no report of status.
    async fn next(&mut self) -> worker_message::Message {
        loop {
            match self.recv().await {
                Some(worker_message::Message::UpdateWorker(_)) => {}
                Some(message) => return message,
                None => panic!("closed"),
            }
        }
    }

    async fn status(&mut self) -> proto::UpdateWorkerStatus {
        loop {
            match self.recv().await {
                Some(worker_message::Message::UpdateWorker(update)) => return update,
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }

    async fn send(&mut self, message: server_message::Message) {
        let message = proto::ServerMessage { message: Some(message) };
        let frame = Message::Binary(message.encode_to_vec().into());
        self.socket.send(frame).await.expect("written");
    }

    async fn signal(&mut self, message: signal_response::Message) {
        let message = proto::SignalResponse { message: Some(message) };
        let frame = Message::Binary(message.encode_to_vec().into());
        self.socket.send(frame).await.expect("written");
    }

    /// Takes the registration and answers it.
    async fn register(&mut self) -> proto::RegisterWorkerRequest {
        let Some(worker_message::Message::Register(request)) = self.recv().await else {
            panic!("the first message is no registration");
        };
        self.send(server_message::Message::Register(proto::RegisterWorkerResponse {
            worker_id: "AW_test".into(),
            ..Default::default()
        }))
        .await;
        request
    }

    /// Offers a job and gives whether it is taken.
    async fn offer(&mut self, job_id: &str) -> bool {
        let job = proto::Job { id: job_id.into(), ..Default::default() };
        let offer = proto::AvailabilityRequest { job: Some(job), resuming: false };
        self.send(server_message::Message::Availability(offer)).await;
        match self.next().await {
            worker_message::Message::Availability(answer) => {
                assert_eq!(answer.job_id, job_id);
                answer.available
            }
            other => panic!("expected an answer, got {other:?}"),
        }
    }

    async fn assign(&mut self, job_id: &str, url: Option<String>) {
        let room = proto::Room { name: "r".into(), ..Default::default() };
        let job = proto::Job {
            id: job_id.into(),
            dispatch_id: "AD_1".into(),
            metadata: "secret".into(),
            room: Some(room),
            ..Default::default()
        };
        let assignment = proto::JobAssignment { job: Some(job), url, token: "token".into() };
        self.send(server_message::Message::Assignment(assignment)).await;
    }

    async fn terminate(&mut self, job_id: &str) {
        let termination = proto::JobTermination { job_id: job_id.into() };
        self.send(server_message::Message::Termination(termination)).await;
    }

    /// The next report on a job.
    async fn report(&mut self) -> (String, JobStatus, String) {
        match self.next().await {
            worker_message::Message::UpdateJob(update) => {
                let status = update.status();
                (update.job_id, status, update.error)
            }
            other => panic!("expected a report, got {other:?}"),
        }
    }
}

/// Hands its jobs to the test and waits.
struct Hands {
    jobs: mpsc::UnboundedSender<JobContext>,
    /// Whether a cancelled job ends by itself.
    obeys: bool,
    release: CancellationToken,
}

impl JobHandler for Hands {
    async fn run(&self, job: JobContext) -> JobResult {
        // A test that has seen enough drops the receiver.
        let _ = self.jobs.send(job.clone());
        tokio::select! {
            () = self.release.cancelled() => {}
            () = job.cancelled.cancelled(), if self.obeys => {}
        }
        Ok(())
    }
}

struct Fixture {
    listener: TcpListener,
    url: String,
    jobs: mpsc::UnboundedReceiver<JobContext>,
    registration: watch::Receiver<Registration>,
    release: CancellationToken,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), dialtone_agent_worker::WorkerError>>,
}

impl Fixture {
    async fn start(change: impl FnOnce(&mut WorkerOptions), obeys: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let mut options = WorkerOptions::new(url.clone(), ApiKey::dev(), "a");
        options.timings = Timings {
            backoff_first: Duration::from_millis(1),
            termination_grace: Duration::from_millis(100),
            ..Timings::default()
        };
        change(&mut options);
        let worker = Worker::new(options).expect("the options are good");
        let registration = worker.registration();
        let (sender, jobs) = mpsc::unbounded_channel();
        let (release, shutdown) = (CancellationToken::new(), CancellationToken::new());
        let handler = Hands { jobs: sender, obeys, release: release.clone() };
        let task = tokio::spawn(worker.run(handler, shutdown.clone()));
        Self { listener, url, jobs, registration, release, shutdown, task }
    }
}

#[tokio::test]
async fn registers_with_the_agent_grant_and_says_so() {
    let mut fixture = Fixture::start(|_| {}, true).await;
    let mut server = Connection::accept(&fixture.listener).await;
    assert_eq!(server.path, "/agent?protocol=1");
    let token = server.authorization.strip_prefix("Bearer ").expect("a bearer token");
    let claims = ApiKey::dev().verify(token).expect("signed by its key");
    assert!(claims.video.expect("grants").agent);
    assert_eq!(*fixture.registration.borrow(), Registration::Connecting);
    let request = server.register().await;
    assert_eq!(request.agent_name, "a");
    let registered = Registration::Registered { worker_id: "AW_test".into() };
    soon("the state", fixture.registration.wait_for(|now| *now == registered)).await.expect("open");
    let status = server.status().await;
    assert_eq!((status.status(), status.job_count), (WorkerStatus::WsAvailable, 0));
}

#[tokio::test]
async fn reports_its_load_regularly_and_on_change() {
    let fixture = Fixture::start(
        |options| {
            options.max_jobs = 2;
            options.timings.status_interval = Duration::from_millis(10);
        },
        true,
    )
    .await;
    let mut server = Connection::accept(&fixture.listener).await;
    server.register().await;
    for _ in 0..3 {
        let status = server.status().await;
        assert_eq!((status.status(), status.load), (WorkerStatus::WsAvailable, 0.0));
    }
    assert!(server.offer("AJ_1").await);
    let status = server.status().await;
    assert_eq!((status.status(), status.load), (WorkerStatus::WsAvailable, 0.5));
    assert!(server.offer("AJ_2").await);
    let status = server.status().await;
    assert_eq!((status.status(), status.load), (WorkerStatus::WsFull, 1.0));
    // Asked again about the same job, it answers the same; for another there is no room.
    assert!(server.offer("AJ_2").await);
    assert!(!server.offer("AJ_3").await);
}

#[tokio::test]
async fn frees_the_place_of_a_job_that_is_never_assigned() {
    let fixture = Fixture::start(
        |options| options.timings.assignment_timeout = Duration::from_millis(50),
        true,
    )
    .await;
    let mut server = Connection::accept(&fixture.listener).await;
    server.register().await;
    assert!(server.offer("AJ_1").await);
    assert_eq!(server.status().await.status(), WorkerStatus::WsFull);
    while server.status().await.status() != WorkerStatus::WsAvailable {}
    // The assignment comes after all: too late.
    server.assign("AJ_1", None).await;
    let (job_id, status, _) = server.report().await;
    assert_eq!((job_id.as_str(), status), ("AJ_1", JobStatus::JsFailed));
    assert!(server.offer("AJ_2").await);
}

#[tokio::test]
async fn runs_reports_and_ends_a_job() {
    let mut fixture = Fixture::start(|_| {}, true).await;
    let mut server = Connection::accept(&fixture.listener).await;
    server.register().await;
    assert!(server.offer("AJ_1").await);
    server.assign("AJ_1", None).await;
    assert_eq!(server.report().await.1, JobStatus::JsRunning);
    let job = soon("the job", fixture.jobs.recv()).await.expect("a job");
    assert_eq!((job.room.as_str(), job.metadata.as_str()), ("r", "secret"));
    assert_eq!(job.url, fixture.url);
    let shown = format!("{job:?}");
    assert!(!shown.contains("secret") && !shown.contains("token"), "{shown}");
    assert!(!server.offer("AJ_2").await, "one place, and it is taken");
    fixture.release.cancel();
    assert_eq!(server.report().await.1, JobStatus::JsSuccess);
    assert!(server.offer("AJ_3").await);
}

#[tokio::test]
async fn a_terminated_job_is_cancelled_and_a_stubborn_one_aborted() {
    for obeys in [true, false] {
        let mut fixture = Fixture::start(|_| {}, obeys).await;
        let mut server = Connection::accept(&fixture.listener).await;
        server.register().await;
        assert!(server.offer("AJ_1").await);
        server.assign("AJ_1", None).await;
        assert_eq!(server.report().await.1, JobStatus::JsRunning);
        let job = soon("the job", fixture.jobs.recv()).await.expect("a job");
        server.terminate("AJ_other").await;
        server.terminate("AJ_1").await;
        let (_, status, _) = server.report().await;
        assert!(job.cancelled.is_cancelled());
        let expected = if obeys { JobStatus::JsSuccess } else { JobStatus::JsFailed };
        assert_eq!(status, expected);
        assert!(server.offer("AJ_2").await, "the place is free");
    }
}

/// Joins, leaves, and then has something left to do.
struct LeavesFirst {
    left: mpsc::UnboundedSender<JobContext>,
    release: CancellationToken,
}

impl JobHandler for LeavesFirst {
    async fn run(&self, job: JobContext) -> JobResult {
        let session = job.join().await?;
        assert_eq!(session.identity, "agent-AJ_1");
        assert_eq!(session.leave().await, Closed::Left);
        let _ = self.left.send(job);
        self.release.cancelled().await;
        Ok(())
    }
}

#[tokio::test]
async fn joins_its_room_and_a_termination_after_its_own_leave_cancels_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let rtc = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let worker =
        Worker::new(WorkerOptions::new(url, ApiKey::dev(), "a")).expect("the options are good");
    let (left, mut jobs) = mpsc::unbounded_channel();
    let release = CancellationToken::new();
    let handler = LeavesFirst { left, release: release.clone() };
    let task = tokio::spawn(worker.run(handler, CancellationToken::new()));
    let mut server = Connection::accept(&listener).await;
    server.register().await;
    assert!(server.offer("AJ_1").await);
    let elsewhere = format!("ws://{}", rtc.local_addr().expect("bound"));
    server.assign("AJ_1", Some(elsewhere)).await;
    assert_eq!(server.report().await.1, JobStatus::JsRunning);

    let mut room = Connection::accept(&rtc).await;
    assert!(room.path.starts_with("/rtc?"), "{}", room.path);
    assert_eq!(room.authorization, "Bearer token");
    let participant =
        proto::ParticipantInfo { identity: "agent-AJ_1".into(), ..Default::default() };
    room.signal(signal_response::Message::Join(proto::JoinResponse {
        participant: Some(participant),
        ..Default::default()
    }))
    .await;
    loop {
        let bytes = room.bytes().await.expect("a request");
        let request = proto::SignalRequest::decode(&*bytes).expect("a request").message;
        if let Some(signal_request::Message::Leave(_)) = request {
            break;
        }
    }
    drop(room);
    let job = soon("the leave", jobs.recv()).await.expect("a job");
    server.terminate("AJ_1").await;
    // Answered after the termination has been read.
    assert!(!server.offer("AJ_2").await);
    assert!(!job.cancelled.is_cancelled());
    release.cancel();
    assert_eq!(server.report().await.1, JobStatus::JsSuccess);
    task.abort();
}

#[tokio::test]
async fn refuses_jobs_while_it_drains_and_closes_in_order() {
    let mut fixture = Fixture::start(|options| options.max_jobs = 2, true).await;
    let mut server = Connection::accept(&fixture.listener).await;
    server.register().await;
    assert!(server.offer("AJ_1").await);
    server.assign("AJ_1", None).await;
    soon("the job", fixture.jobs.recv()).await.expect("a job");
    fixture.shutdown.cancel();
    while server.status().await.status() != WorkerStatus::WsFull {}
    assert!(!server.offer("AJ_2").await);
    fixture.release.cancel();
    assert_eq!(server.report().await.1, JobStatus::JsSuccess);
    let code = loop {
        let frame = soon("the close", server.socket.next()).await.expect("open");
        if let Message::Close(close) = frame.expect("read") {
            break u16::from(close.expect("a code").code);
        }
    };
    assert_eq!(code, 1000);
    drop(server);
    soon("the end", fixture.task).await.expect("no panic").expect("a good end");
}

#[tokio::test]
async fn a_silent_server_is_left_for_a_new_connection() {
    let fixture = Fixture::start(
        |options| {
            options.timings.ping_interval = Duration::from_millis(10);
            options.timings.silence_timeout = Duration::from_millis(50);
        },
        true,
    )
    .await;
    let mut silent = Connection::accept(&fixture.listener).await;
    silent.register().await;
    // Not read from any more, so that its pings are not answered either.
    let mut next = Connection::accept(&fixture.listener).await;
    next.register().await;
    drop(silent);
}

#[tokio::test]
async fn a_server_that_registers_and_closes_is_left_alone_for_longer_each_time() {
    let first = Duration::from_millis(20);
    let fixture = Fixture::start(|options| options.timings.backoff_first = first, true).await;
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        let mut connection = Connection::accept(&fixture.listener).await;
        connection.register().await;
    }
    // Four pauses, at least half of each.
    let least = first * (2 + 4 + 8 + 16) / 2;
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}
