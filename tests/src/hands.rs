use std::sync::Arc;

use dialtone_agent_worker::{
    JobContext, JobHandler, JobResult, Registration, Worker, WorkerError, WorkerOptions,
};
use dialtone_auth::livekit::ApiKey;
use dialtone_contract::{DispatchMetadata, LIVE_WORKER_NAME, TEST_WORKER_NAME};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wait::soon;
use crate::{Answer, Api};

/// Jobs at once; more than any test has entries.
const JOBS: usize = 1000;

/// An agent worker under the test worker's name that does nothing by itself: each job
/// is handed to the test, which speaks to the API as the agent would.
#[derive(Debug)]
pub struct Hands {
    jobs: UnboundedReceiver<Hand>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
}

/// One job in the test's hand.
#[derive(Clone, Debug)]
pub struct Hand {
    /// The LiveKit job, which is the claimer's name.
    pub job_id: String,
    /// What the dispatch carried, but for the capability's type: see [`Hand::metadata`].
    metadata: Arc<Metadata>,
    api: Api,
}

struct Metadata(DispatchMetadata);

impl std::fmt::Debug for Metadata {
    /// Leaves out the capability.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Metadata").field(&self.0.call_id).finish()
    }
}

struct Handler(UnboundedSender<Hand>);

impl JobHandler for Handler {
    async fn run(&self, job: JobContext) -> JobResult {
        let metadata: DispatchMetadata = serde_json::from_str(&job.metadata).expect("metadata");
        let api = Api::new(metadata.api_url.clone());
        let metadata = Arc::new(Metadata(metadata));
        // The test may have seen enough and be gone.
        let _ = self.0.send(Hand { job_id: job.job_id.clone(), metadata, api });
        job.cancelled.cancelled().await;
        Ok(())
    }
}

impl Hands {
    /// Registers at the LiveKit server of this URL.
    ///
    /// # Panics
    /// If the server does not take the worker.
    pub async fn register(livekit: &Api) -> Self {
        Self::register_as(livekit, ApiKey::dev(), TEST_WORKER_NAME).await
    }

    /// Registers under the name that dispatches of live batches ask for.
    ///
    /// # Panics
    /// If the server does not take the worker.
    pub async fn register_live(livekit: &Api) -> Self {
        Self::register_live_under(livekit, ApiKey::dev()).await
    }

    /// As [`Self::register_live`], with a key of this server.
    ///
    /// # Panics
    /// If the server does not take the worker.
    pub async fn register_live_under(livekit: &Api, key: ApiKey) -> Self {
        Self::register_as(livekit, key, LIVE_WORKER_NAME).await
    }

    async fn register_as(livekit: &Api, key: ApiKey, name: &str) -> Self {
        let options = WorkerOptions {
            max_jobs: JOBS,
            drain_timeout: Some(std::time::Duration::ZERO),
            ..WorkerOptions::new(livekit.base(), key, name)
        };
        let worker = Worker::new(options).expect("the options are good");
        let mut registration = worker.registration();
        let (sender, jobs) = unbounded_channel();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(worker.run(Handler(sender), shutdown.clone()));
        let registered = |now: &Registration| matches!(now, Registration::Registered { .. });
        soon("registration", registration.wait_for(registered)).await.expect("registered");
        Self { jobs, shutdown, task }
    }

    /// The next job.
    ///
    /// # Panics
    /// If none comes.
    pub async fn next(&mut self) -> Hand {
        soon("a job", self.jobs.recv()).await.expect("the worker runs")
    }

    /// Leaves the server.
    ///
    /// # Panics
    /// If the worker does not end.
    pub async fn leave(self) {
        self.shutdown.cancel();
        soon("the worker's end", self.task).await.expect("no panic").expect("left in order");
    }
}

impl Hand {
    /// What the dispatch carried.
    pub fn metadata(&self) -> &DispatchMetadata {
        &self.metadata.0
    }

    /// The call.
    pub fn call_id(&self) -> &str {
        self.metadata().call_id.as_str()
    }

    /// The batch's capability for this attempt.
    pub fn capability(&self) -> &str {
        &self.metadata().capability
    }

    /// Posts `body` to one of the call's paths with this attempt's capability.
    pub async fn post(&self, verb: &str, body: &Value) -> Answer {
        let path = format!("/batch/calls/{}/{verb}", self.call_id());
        self.api.post(&path, Some(self.capability()), body).await
    }

    /// Asks for the dial claim under a name.
    pub async fn claim_as(&self, claimer: &str) -> Answer {
        self.post("claim", &json!({ "claimer": claimer })).await
    }

    /// Asks for the dial claim as this job, and gets it.
    ///
    /// # Panics
    /// If it does not.
    pub async fn claim(&self) -> Value {
        self.claim_as(&self.job_id).await.ok()
    }

    /// Sends a heartbeat.
    pub async fn beat(&self, seq: u64, state: &str) -> Answer {
        self.post("heartbeat", &json!({ "seq": seq, "state": state })).await
    }

    /// Says where the call stands.
    pub async fn status(&self, status: &str) -> Answer {
        self.post("status", &json!({ "status": status })).await
    }

    /// The callback with this outcome, as it should be.
    pub fn callback(&self, outcome: &str) -> Value {
        let metadata = self.metadata();
        json!({
            "call_id": metadata.call_id, "entry_id": metadata.entry_id,
            "attempt": metadata.attempt, "status": outcome,
        })
    }

    /// Sends a callback.
    pub async fn send_callback(&self, body: &Value) -> Answer {
        self.api.post("/batch/entry-completed", Some(self.capability()), body).await
    }

    /// Reports the outcome.
    pub async fn report(&self, outcome: &str) -> Answer {
        self.send_callback(&self.callback(outcome)).await
    }
}
