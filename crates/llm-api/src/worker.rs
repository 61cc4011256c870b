use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dialtone_contract::ErrorCode;
use dialtone_inference::Token;
use dialtone_inference::engine::{Engine, Output, Refused, Request, Stats};
use dialtone_inference::load::ModelInfo;
use dialtone_inference::sampling::Sampling;
use dialtone_inference::template::ChatTemplate;
use dialtone_inference::tokenizer::Tokenize;
use dialtone_serve::address_file;
use dialtone_serve::health::Health;
use tokio::sync::watch;

use crate::job::Jobs;
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::{Options, Phase, id};

/// Parts of the readiness that this crate decides.
const MODEL: &str = "model";
const SHUTDOWN: &str = "shutdown";
/// Id of the request that proves that the model generates.
const PROBE: &str = "ready-probe";
/// How long the step that runs at the end of a drain may take: a whole chunk of a prompt on a
/// slow machine. A backend that hangs must not hold the process.
const LAST_STEP: Duration = Duration::from_secs(5);

/// Who a worker is, from its command line: known before its model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The worker, the same over all its beats.
    pub worker_id: String,
    /// The model as clients name it.
    pub model_id: String,
    /// What computes: `cpu`, `cuda`, `metal`, `vulkan`.
    pub backend: String,
    /// Version of the binary.
    pub version: String,
}

/// A model that runs, and what is needed to speak to it.
pub struct Serving {
    /// The thread that runs it.
    pub engine: Engine,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenize>,
    /// How it wants conversations.
    pub template: ChatTemplate,
    /// What it is.
    pub info: ModelInfo,
    /// What computes, as the backend names it.
    pub device: String,
}

/// Why a loaded model is not taken into service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The engine took no request.
    #[error("the engine takes no request: {0}")]
    Refused(#[from] Refused),
    /// No token came.
    #[error("the model generates nothing: {0}")]
    Silent(String),
    /// There is a model already, or the worker is going.
    #[error("the worker has a model already, or is shutting down")]
    Closed,
}

/// One LLM worker. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Worker(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub identity: Identity,
    pub options: Options,
    pub health: Health,
    pub metrics: Metrics,
    pub jobs: Jobs,
    pub nonce: Option<String>,
    pub started: Instant,
    phase: watch::Sender<Phase>,
    /// Thousandths of the load.
    progress: AtomicU32,
    /// 0 until known.
    port: AtomicU16,
    serving: OnceLock<Serving>,
}

impl Worker {
    /// A worker without a model. Its readiness shows in `health`, its figures in the metrics
    /// there.
    pub fn new(identity: Identity, options: Options, health: Health) -> Self {
        health.not_ready(MODEL, "loading");
        let metrics = Metrics::register(&mut health.registry());
        let worker = Self(Arc::new(Shared {
            identity,
            options,
            metrics,
            jobs: Jobs::default(),
            nonce: address_file::nonce(),
            started: Instant::now(),
            phase: watch::Sender::new(Phase::Loading),
            progress: AtomicU32::new(0),
            port: AtomicU16::new(0),
            serving: OnceLock::new(),
            health,
        }));
        worker.0.metrics.watch(&worker);
        worker
    }

    /// Tells where it serves, for heartbeats.
    pub fn listens_on(&self, port: u16) {
        self.0.port.store(port, Ordering::Relaxed);
    }

    /// The port that it serves on; 0 until it is known.
    pub fn port(&self) -> u16 {
        self.0.port.load(Ordering::Relaxed)
    }

    /// Tells how far the load is, 0 to 1.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=1000"
    )]
    pub fn progress(&self, fraction: f32) {
        let thousandths = (fraction.clamp(0.0, 1.0) * 1000.0) as u32;
        self.0.progress.fetch_max(thousandths, Ordering::Relaxed);
    }

    /// How far the load is, 0 to 1: 1 only once requests are taken.
    pub fn progressed(&self) -> f64 {
        let loaded = f64::from(self.0.progress.load(Ordering::Relaxed)) / 1000.0;
        match *self.0.phase.borrow() {
            Phase::Loading => loaded.min(0.99),
            _ => loaded,
        }
    }

    /// Takes the model into service: has it generate one token, and is ready only then.
    ///
    /// # Errors
    /// If the model generates nothing, or the worker is shutting down.
    pub async fn open(&self, serving: Serving) -> Result<(), OpenError> {
        self.0.serving.set(serving).map_err(|_| OpenError::Closed)?;
        let serving = self.0.serving.get().ok_or(OpenError::Closed)?;
        probe(serving).await?;
        self.0.progress.store(1000, Ordering::Relaxed);
        if !self.advance(Phase::Ready) {
            return Err(OpenError::Closed);
        }
        self.0.health.ready(MODEL);
        Ok(())
    }

    /// Takes nothing new from now on. What runs goes on, see [`Worker::finish`].
    pub fn drain(&self) {
        self.0.health.not_ready(SHUTDOWN, "draining");
        if self.advance(Phase::Draining)
            && let Some(serving) = self.0.serving.get()
        {
            serving.engine.drain();
        }
    }

    /// Drains, and returns when nothing runs any more: what still runs after `within` is ended
    /// by then.
    pub async fn finish(&self, within: Duration) {
        self.drain();
        if let Some(serving) = self.0.serving.get() {
            let finish = serving.engine.finish(within);
            if tokio::time::timeout(within.saturating_add(LAST_STEP), finish).await.is_err() {
                tracing::error!("the model does not come back from its last step; left behind");
            }
        }
    }

    /// Will never take requests.
    pub fn fail(&self, code: ErrorCode, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.health.not_ready(MODEL, format!("{}: {reason}", code.as_str()));
        self.advance(Phase::Failed { code, reason });
    }

    /// Is gone but for its last words.
    pub fn stopped(&self) {
        self.advance(Phase::Stopped);
    }

    /// Where it stands, now and at every change.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Returns when the model has failed for good while it served, with the reason.
    pub async fn broken(&self) -> String {
        const LOOK: Duration = Duration::from_millis(250);
        loop {
            if let Some(Stats { failed: Some(reason), .. }) = self.stats() {
                return reason;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The engine's figures; `None` while there is no model.
    pub(crate) fn stats(&self) -> Option<Stats> {
        self.0.serving.get().map(|serving| serving.engine.stats())
    }

    /// The model, if there is one, whether it takes requests or not.
    pub(crate) fn model(&self) -> Option<&Serving> {
        self.0.serving.get()
    }

    /// The model, if it takes requests.
    pub(crate) fn serving(&self) -> Result<&Serving, Refusal> {
        match (&*self.0.phase.borrow(), self.0.serving.get()) {
            (Phase::Ready, Some(serving)) => Ok(serving),
            (Phase::Loading | Phase::Ready, _) => {
                let loaded = (self.progressed() * 100.0).floor();
                Err(Refusal::away("loading", format!("the model is being loaded ({loaded} %)")))
            }
            (Phase::Failed { code, reason }, _) => {
                Err(Refusal::away(code.as_str(), format!("the worker has failed: {reason}")))
            }
            (Phase::Draining | Phase::Stopped, _) => {
                Err(Refusal::away("draining", "the worker is shutting down"))
            }
        }
    }

    /// Whether there was such a step forward.
    fn advance(&self, next: Phase) -> bool {
        self.0.phase.send_if_modified(|phase| {
            let forward = phase.precedes(&next);
            if forward {
                *phase = next;
            }
            forward
        })
    }
}

/// Has the model generate one token.
async fn probe(serving: &Serving) -> Result<(), OpenError> {
    let tokenizer = &serving.tokenizer;
    let mut prompt: Vec<Token> = tokenizer.begin().into_iter().collect();
    prompt.extend(tokenizer.encode("Hello", false));
    if prompt.is_empty() {
        prompt.push(0);
    }
    // A model with next to no context can still be asked for one token after one.
    prompt.truncate(serving.engine.shape().context.saturating_sub(1).max(1));
    let request = Request {
        id: id::fresh(PROBE),
        prompt,
        max_tokens: 1,
        sampling: Sampling::default(),
        stop: Vec::new(),
        session: None,
        ignore_end: true,
    };
    let mut answer = serving.engine.submit(request)?;
    while let Some(output) = answer.next().await {
        if let Output::Finish(finish) = output {
            return if finish.usage.completion_tokens > 0 {
                Ok(())
            } else {
                Err(OpenError::Silent(format!("it ended with {:?}", finish.reason)))
            };
        }
    }
    Err(OpenError::Silent("the engine is gone".to_owned()))
}
