//! A server on a free port, and clients for it.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use dialtone_agent_worker::{
    JobContext, JobHandler, JobResult, Registration, Worker, WorkerOptions,
};
use dialtone_auth::livekit::{ApiKey, Claims, VideoGrant};
use dialtone_livekit_dev::{Handle, LivekitDev, Mode, Options};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use livekit_protocol as proto;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing in these tests takes longer unless it hangs.
pub const CEILING: Duration = Duration::from_secs(20);

/// Waits for a future, up to the ceiling.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(CEILING, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come within {CEILING:?}"),
    }
}

pub struct Server {
    pub address: String,
    pub handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub async fn start(mode: Mode) -> Self {
        Self::with(mode, |_| {}).await
    }

    pub async fn with(mode: Mode, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::new(vec![ApiKey::dev()], mode);
        options.introspection = true;
        options.timings.sweep = Duration::from_millis(20);
        change(&mut options);
        let (handle, router) = LivekitDev::new(options).expect("the options are good");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let task = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("the server runs");
        });
        Self { address, handle, task }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A worker with the given name and room for `max_jobs`.
    pub async fn worker<H: JobHandler>(&self, name: &str, max_jobs: usize, handler: H) -> Running {
        let mut options = WorkerOptions::new(self.url(), ApiKey::dev(), name);
        options.max_jobs = max_jobs;
        options.timings.backoff_first = Duration::from_millis(20);
        self.worker_with(options, handler).await
    }

    pub async fn worker_with<H: JobHandler>(&self, options: WorkerOptions, handler: H) -> Running {
        let worker = Worker::new(options).expect("the options are good");
        let mut registration = worker.registration();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(worker.run(handler, shutdown.clone()));
        let registered = |r: &Registration| matches!(r, Registration::Registered { .. });
        let worker_id = match soon("registration", registration.wait_for(registered)).await {
            Ok(now) => match &*now {
                Registration::Registered { worker_id } => worker_id.clone(),
                other => panic!("{other:?}"),
            },
            Err(error) => panic!("{error}"),
        };
        Running { worker_id, registration, shutdown, task }
    }

    /// A Twirp call in protobuf.
    pub async fn call<Q, A>(&self, grant: VideoGrant, path: &str, request: Q) -> Result<A, Refusal>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let request = Post::new(path, "application/protobuf", request.encode_to_vec()).grant(grant);
        let (status, body) = self.post(request).await;
        if status == StatusCode::OK {
            Ok(A::decode(body).expect("an answer in protobuf"))
        } else {
            let error: Value = serde_json::from_slice(&body).expect("an error in JSON");
            let code = error["code"].as_str().expect("a code").to_owned();
            Err(Refusal { status: status.as_u16(), code })
        }
    }

    pub async fn post(&self, post: Post) -> (StatusCode, Bytes) {
        let uri = format!("http://{}{}", self.address, post.path);
        let mut request = Request::post(uri).header("Content-Type", post.content_type);
        if let Some(token) = &post.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(id) = &post.request_id {
            request = request.header("X-Livekit-Request-Id", id);
        }
        send(request.body(Body::from(post.body)).expect("a request")).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        let uri = format!("http://{}{path}", self.address);
        send(Request::get(uri).body(Body::empty()).expect("a request")).await
    }

    pub async fn dispatch(&self, room: &str, agent: &str) -> proto::AgentDispatch {
        let request = proto::CreateAgentDispatchRequest {
            room: room.into(),
            agent_name: agent.into(),
            metadata: "for the agent only".into(),
            ..Default::default()
        };
        self.call(admin(room), CREATE_DISPATCH, request).await.expect("a dispatch")
    }

    /// The jobs of a dispatch, as `ListDispatch` shows them.
    pub async fn jobs(&self, room: &str, dispatch_id: &str) -> Vec<proto::Job> {
        let request =
            proto::ListAgentDispatchRequest { room: room.into(), dispatch_id: dispatch_id.into() };
        let list: proto::ListAgentDispatchResponse =
            self.call(admin(room), LIST_DISPATCH, request).await.expect("a list");
        let dispatch = list.agent_dispatches.into_iter().next();
        dispatch.and_then(|dispatch| dispatch.state).unwrap_or_default().jobs
    }

    pub async fn participants(&self, room: &str) -> Vec<proto::ParticipantInfo> {
        let request = proto::ListParticipantsRequest { room: room.into() };
        let list: Result<proto::ListParticipantsResponse, _> =
            self.call(admin(room), LIST_PARTICIPANTS, request).await;
        list.map(|list| list.participants).unwrap_or_default()
    }
}

async fn send(request: Request<Body>) -> (StatusCode, Bytes) {
    use http_body_util::BodyExt as _;
    let response = exchange(request).await;
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, body)
}

pub async fn exchange(request: Request<Body>) -> Response<Incoming> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    soon("an answer", client.request(request)).await.expect("an answer")
}

pub const CREATE_ROOM: &str = "/twirp/livekit.RoomService/CreateRoom";
pub const LIST_ROOMS: &str = "/twirp/livekit.RoomService/ListRooms";
pub const DELETE_ROOM: &str = "/twirp/livekit.RoomService/DeleteRoom";
pub const LIST_PARTICIPANTS: &str = "/twirp/livekit.RoomService/ListParticipants";
pub const REMOVE_PARTICIPANT: &str = "/twirp/livekit.RoomService/RemoveParticipant";
pub const CREATE_DISPATCH: &str = "/twirp/livekit.AgentDispatchService/CreateDispatch";
pub const DELETE_DISPATCH: &str = "/twirp/livekit.AgentDispatchService/DeleteDispatch";
pub const LIST_DISPATCH: &str = "/twirp/livekit.AgentDispatchService/ListDispatch";

#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub code: String,
}

/// A POST with whatever token and body.
pub struct Post {
    pub path: String,
    pub content_type: String,
    pub body: Vec<u8>,
    pub token: Option<String>,
    pub request_id: Option<String>,
}

impl Post {
    pub fn new(path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            content_type: content_type.into(),
            body: body.into(),
            token: None,
            request_id: None,
        }
    }

    pub fn grant(mut self, grant: VideoGrant) -> Self {
        self.token = Some(token("", grant));
        self
    }
}

pub fn token(identity: &str, video: VideoGrant) -> String {
    let claims = Claims { sub: identity.into(), video: Some(video), ..Default::default() };
    ApiKey::dev().token(claims, 60)
}

pub fn admin(room: &str) -> VideoGrant {
    VideoGrant { room_admin: true, room: room.into(), ..Default::default() }
}

pub fn create() -> VideoGrant {
    VideoGrant { room_create: true, ..Default::default() }
}

pub fn join(room: &str) -> VideoGrant {
    VideoGrant { room_join: true, room: room.into(), ..Default::default() }
}

pub struct Running {
    pub worker_id: String,
    pub registration: watch::Receiver<Registration>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<Result<(), dialtone_agent_worker::WorkerError>>,
}

/// What happens to a [`Steps`] worker's jobs, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Started(String),
    Joined(String),
    Cancelled(String),
    Left(String),
}

/// Joins the room, stays until released or cancelled, leaves.
#[derive(Clone)]
pub struct Steps {
    pub steps: tokio::sync::mpsc::UnboundedSender<(Step, JobContext)>,
    pub release: CancellationToken,
    pub join: bool,
}

impl Steps {
    pub fn new() -> (Self, tokio::sync::mpsc::UnboundedReceiver<(Step, JobContext)>) {
        let (steps, receiver) = tokio::sync::mpsc::unbounded_channel();
        (Self { steps, release: CancellationToken::new(), join: true }, receiver)
    }

    fn say(&self, step: Step, job: &JobContext) {
        // A test that has seen enough drops the receiver.
        let _ = self.steps.send((step, job.clone()));
    }
}

impl JobHandler for Steps {
    async fn run(&self, job: JobContext) -> JobResult {
        self.say(Step::Started(job.job_id.clone()), &job);
        let session = if self.join { Some(job.join().await?) } else { None };
        if session.is_some() {
            self.say(Step::Joined(job.job_id.clone()), &job);
        }
        tokio::select! {
            () = self.release.cancelled() => {}
            () = job.cancelled.cancelled() => self.say(Step::Cancelled(job.job_id.clone()), &job),
        }
        if let Some(session) = session {
            session.leave().await;
            self.say(Step::Left(job.job_id.clone()), &job);
        }
        Ok(())
    }
}

/// Polls `probe` until it gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, probe: impl Fn() -> F) -> T {
    soon(what, async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
