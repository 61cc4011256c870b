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
use tokio::sync::{Semaphore, watch};

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

/// How long answers of the two-step route can be fetched once the worker drains.
const LAST_FETCH: Duration = Duration::from_secs(1);

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

/// The model does not come back from a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("one step of the model takes longer than {0:?}")]
pub struct Hung(Duration);

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
    /// Turns to make tokens of a long text.
    pub encoders: Arc<Semaphore>,
    /// Bytes of text that one token stands for at most.
    longest_token: OnceLock<usize>,
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
            encoders: Arc::new(Semaphore::new(
                std::thread::available_parallelism().map_or(1, usize::from),
            )),
            longest_token: OnceLock::new(),
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
        let longest = longest_token(&*serving.tokenizer);
        self.0.longest_token.get_or_init(|| longest);
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
    /// by then. Answers of the two-step route that nobody fetches are dropped soon.
    ///
    /// # Errors
    /// If the model does not come back from its last step. It is left behind.
    pub async fn finish(&self, within: Duration) -> Result<(), Hung> {
        self.drain();
        let Some(serving) = self.0.serving.get() else { return Ok(()) };
        let forget = async {
            tokio::time::sleep(LAST_FETCH.min(within)).await;
            self.0.jobs.forget();
            std::future::pending::<()>().await;
        };
        let last = LAST_STEP.min(self.0.options.longest_step);
        let finish =
            tokio::time::timeout(within.saturating_add(last), serving.engine.finish(within));
        tokio::select! {
            finished = finish => finished.map_err(|_| Hung(last)),
            () = forget => Ok(()),
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

    /// Returns when the model has failed for good while it served, with the reason: it panicked,
    /// or one of its steps takes longer than [`Options::longest_step`].
    pub async fn broken(&self) -> String {
        let mut phase = self.phase();
        // Fails only if the sender is gone, which this handle keeps.
        let _ = phase.wait_for(|phase| *phase != Phase::Loading).await;
        let Some(serving) = self.0.serving.get() else { return std::future::pending().await };
        tokio::select! {
            biased;
            () = serving.engine.ended() => match serving.engine.stats().failed {
                Some(reason) => reason,
                // It was asked to end.
                None => std::future::pending().await,
            },
            hung = hung(&serving.engine, self.0.options.longest_step) => hung.to_string(),
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

    /// Bytes of text that one token stands for at most; without a model, any number.
    pub(crate) fn longest_token(&self) -> usize {
        self.0.longest_token.get().copied().unwrap_or(usize::MAX)
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

/// Returns when the engine has been in one and the same step for `longest`. Time in which the
/// whole process was stopped counts little: what is counted are looks, not the clock.
async fn hung(engine: &Engine, longest: Duration) -> Hung {
    const LOOKS: u32 = 4;
    let (mut turn, mut seen) = (None, 0);
    loop {
        tokio::time::sleep(longest / LOOKS).await;
        let now = engine.turn();
        seen = if now.is_some() && now == turn { seen + 1 } else { 0 };
        turn = now;
        if seen == LOOKS {
            return Hung(longest);
        }
    }
}

/// Bytes of text that one token stands for at most.
fn longest_token(tokenizer: &dyn Tokenize) -> usize {
    // The token for what is unknown stands for any character.
    const CHARACTER: usize = 4;
    let tokens = 0..Token::try_from(tokenizer.len()).unwrap_or(Token::MAX);
    // A control token has no bytes, but stands for its name in a raw prompt.
    let bytes = |token| tokenizer.bytes(token).len().max(tokenizer.name(token).len());
    tokens.map(bytes).max().unwrap_or_default().max(CHARACTER)
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
