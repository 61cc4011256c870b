//! Everything before the worker runs: its backend, its model, its hive.

use std::future::Future;
use std::time::{Duration, Instant};

use dialtone_clock::Timeline;
use dialtone_contract::ErrorCode;

use super::backend::{self, Asked, Backend, Chosen};
use super::binary::{Binary, ModelInfo};
use super::client::Client;
use super::{Binaries, Guard, Options, ms};
use crate::failure::Failure;
use crate::hive::MockHive;
use crate::run::Run;
use crate::stack::{Port, Service, Setting, Stack};

/// Requests that the worker shall run at once.
const SLOTS: usize = 4;

/// How long the worker may finish its answers: shorter than the grace that the stack gives.
const DRAIN: &str = "2s";

/// The name of the worker's process.
const LLM_WORKER: &str = "llm-worker";

/// What every step of one worker's run uses.
pub struct Bench<'a> {
    /// The run.
    pub run: &'a Run,
    /// What is asked for.
    pub options: &'a Options,
    /// What may end it.
    pub guard: &'a Guard,
    /// The backend that is asked for.
    pub asked: Asked,
}

/// What the worker is started on.
pub struct Ground {
    chosen: Chosen,
    info: ModelInfo,
    hive: MockHive,
}

/// A worker that runs, and what belongs to it.
pub struct Scene {
    /// The hive that it tells of itself.
    pub hive: MockHive,
    /// Its model.
    pub info: ModelInfo,
    /// Its backend.
    pub chosen: Chosen,
    /// Its id.
    pub worker_id: String,
    /// Who asks it.
    pub client: Client,
    /// When it was started.
    pub started: Instant,
}

impl Bench<'_> {
    /// Chooses the backend, looks at the model, starts the hive. `None` if there is nothing to run
    /// on: that is a skip.
    ///
    /// # Errors
    /// If a step fails. It is recorded; the reason is told by the caller.
    pub async fn ground(&self, binaries: &Binaries) -> Result<Option<Ground>, Failure> {
        let binary = Binary {
            program: &binaries.llm_worker,
            run_id: self.run.dir().run_id(),
            within: self.options.within,
        };
        let Some(chosen) = self.backend(&binary).await? else { return Ok(None) };
        let model = self.options.model.argument();
        let inspect = async {
            let info = binary.inspect(&model).await?;
            let said = describe(&info);
            Ok((info, said))
        };
        let info = self.step("model", inspect).await?;
        let listen = async {
            let port = Port::bind("hive", self.options.hive_port).map_err(port_hint)?;
            let hive = MockHive::start(port, self.run.bus())?;
            let said = format!("{} in this process", hive.url());
            Ok((hive, said))
        };
        let hive = self.step("hive", listen).await?;
        Ok(Some(Ground { chosen, info, hive }))
    }

    async fn backend(&self, binary: &Binary<'_>) -> Result<Option<Chosen>, Failure> {
        let began = Instant::now();
        self.guard.step.set("asking llm-worker for its backends");
        let offers = self.guard.watch(binary.backends()).await;
        let chosen = offers.and_then(|offers| backend::choose(self.asked, self.device(), &offers));
        match chosen {
            Ok(chosen) => {
                self.run.pass("backend", began.elapsed(), chosen.said.clone());
                Ok(Some(chosen))
            }
            // In a matrix a binary without the backend is like a machine without the device.
            Err(why)
                if why.code == ErrorCode::NoDevice
                    || (self.options.matrix && why.code == ErrorCode::BackendNotBuilt) =>
            {
                self.run.skip_for("backend", began.elapsed(), why);
                Ok(None)
            }
            Err(failure) => {
                self.run.broke_off("backend", began.elapsed(), &failure);
                Err(failure)
            }
        }
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// If it cannot be started. It is recorded; the reason is told by the caller.
    pub async fn spawn(
        &self,
        binaries: &Binaries,
        ground: Ground,
    ) -> Result<(Stack, Scene), Failure> {
        let Ground { chosen, info, hive } = ground;
        let backend = chosen.backend.as_str();
        let run_id = self.run.dir().run_id();
        let (name, worker_id) = match self.options.matrix {
            true => (format!("{LLM_WORKER}-{backend}"), format!("worker-{run_id}-{backend}")),
            false => (LLM_WORKER.to_owned(), format!("worker-{run_id}")),
        };
        let started = Instant::now();
        let start = async {
            let port = Port::bind(LLM_WORKER, self.options.port).map_err(port_hint)?;
            let number = port.number;
            let service = Service::new(&name, &binaries.llm_worker, "http", port)
                .args(self.arguments(backend, &hive.url(), &worker_id));
            let setting = Setting {
                supervise: binaries.supervise.clone(),
                timeline: Timeline::REAL,
                ready_within: self.options.within,
            };
            let run = self.run;
            let stack = Stack::start(vec![service], &setting, run.dir(), run.bus()).await?;
            let pid = stack.members().first().map_or(0, |member| member.pid());
            let said = format!("pid {pid}, http://127.0.0.1:{number}");
            Ok(((stack, number), said))
        };
        let (stack, port) = self.step("spawn", start).await?;
        self.run.artifact(&format!("log_{name}"), &format!("{name}.log"));
        let client = Client {
            http: stack.http().clone(),
            port,
            within: self.options.within,
            model: self.options.model.id(),
            seed: self.run.identity().seed,
        };
        Ok((stack, Scene { hive, info, chosen, worker_id, client, started }))
    }

    fn arguments(&self, backend: &str, hive: &str, worker_id: &str) -> Vec<String> {
        let interval = format!("{}ms", self.options.interval.as_millis());
        let mut arguments: Vec<String> = [
            ("--model", self.options.model.argument().as_str()),
            ("--backend", backend),
            ("--hive-url", hive),
            ("--worker-id", worker_id),
            ("--heartbeat-interval", &interval),
            ("--slots", &SLOTS.to_string()),
            ("--threads", "auto"),
            ("--drain", DRAIN),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect();
        if let Some(device) = self.device() {
            arguments.extend(["--device".to_owned(), device.to_string()]);
        }
        arguments
    }

    /// The device that is asked for. In a matrix the processor has none: the number is a GPU's.
    fn device(&self) -> Option<u32> {
        let gpu = !self.options.matrix || self.asked != Asked::One(Backend::Cpu);
        self.options.device.filter(|_| gpu)
    }

    /// A check without which nothing after it makes sense.
    async fn step<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<(T, String), Failure>>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        self.guard.step.set(format!("at the check `{name}`"));
        match self.guard.watch(work).await {
            Ok((done, said)) => {
                let took = began.elapsed();
                self.run.pass(name, took, said);
                self.run.metric(&format!("{name}_ms"), ms(took));
                Ok(done)
            }
            Err(failure) => {
                self.run.broke_off(name, began.elapsed(), &failure);
                Err(failure)
            }
        }
    }
}

fn port_hint(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::PortTaken => {
            failure.hint("drop --port or --hive-port to use a free one, or stop its owner")
        }
        _ => failure,
    }
}

fn describe(info: &ModelInfo) -> String {
    let sum = info.sha256.as_deref().unwrap_or_default();
    format!(
        "{}: gguf v{}, {}, {}, {} tensors, {}, sha256 {}..",
        info.name,
        info.version,
        info.architecture,
        info.format,
        info.tensors,
        size(info.bytes),
        sum.get(..8).unwrap_or_default()
    )
}

/// A size in the unit that fits.
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mib = bytes as f64 / f64::from(1024 * 1024);
    if mib < 1000.0 { format!("{mib:.1} MiB") } else { format!("{:.2} GiB", mib / 1024.0) }
}

/// How long a question about the machine may take.
pub const SOON: Duration = Duration::from_secs(2);
